"""The seam between a worker and a stream: what it must be able to ask, and nothing about how."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, runtime_checkable

from consumer.config import DataPath
from consumer.record import Record, ViewType

__all__ = [
    "LEAST_RETENTION_SECONDS",
    "NO_HASH_RANGE",
    "OPENINGS_AT_ONCE",
    "READS_AT_ONCE",
    "Opened",
    "Page",
    "Position",
    "RecordSource",
    "Shard",
    "ShardListing",
    "StreamIdentity",
    "base_of",
]


# Two words for one thing: shards of DynamoDB have no hash range, and this is what the Java adapter stores for them.
NO_HASH_RANGE: Final = ("0", "1")

# What DynamoDB Streams keep, and the shortest that Kinesis does.
LEAST_RETENTION_SECONDS: Final = 24 * 3600.0

# How many reads a worker has under way at most, and how many shards it opens at once: a source has a connection for
# each, and some for its other calls, so that no call's time-out runs while it waits for one. At 10 ms a read, these are
# 8,000 reads a second.
READS_AT_ONCE: Final = 80
OPENINGS_AT_ONCE: Final = 10


@dataclass(frozen=True, slots=True)
class StreamIdentity:
    """One incarnation of a stream: re-enabling or recreating it makes another, with sequence numbers of its own.

    ``label`` is what rows of the lease table carry: for DynamoDB the stream ARN (it ends in the creation label), for
    Kinesis ``<stream ARN>@<creation time, epoch seconds>``, since a recreated Kinesis stream repeats its ARN and its
    shard ids. ``base`` is the part two incarnations of one stream share (table ARN, stream ARN). ``view_type`` is None
    for Kinesis. ``retention_seconds``: how long records are kept, as of when this was asked.
    """

    arn: str
    label: str
    base: str
    view_type: ViewType | None = None
    enabled: bool = True
    retention_seconds: float = field(default=LEAST_RETENTION_SECONDS, compare=False)


def base_of(label: str) -> str:
    """What all incarnations of one stream share: a table's ARN, a Kinesis stream's ARN, else the label itself."""
    table, mark, _ = label.partition("/stream/")
    return table if mark else label.partition("@")[0]


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard as the service lists it. ``is_open`` is False once it has an ending sequence number.

    ``created_at`` (epoch seconds) is known where the shard's id carries it (DynamoDB), else None.
    ``first_sequence_number`` is what no record of the shard lies before, None where it was not told.
    """

    id: str
    parents: tuple[str, ...] = ()
    is_open: bool = True
    hash_range: tuple[str, str] | None = None
    created_at: float | None = None
    first_sequence_number: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class ShardListing:
    """All pages of a stream's shard list, eventually consistent: shards may be late, dead ones may still be there.

    ``server_time`` (epoch seconds) comes from the service's Date header, a whole second; None where it sent none. Where
    shards do not tell their birth, whatever is listed as over was over by then.
    """

    shards: tuple[Shard, ...]
    server_time: float | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """Where to open a shard.

    ``timestamp`` (epoch seconds) for AT_TIMESTAMP, ``sequence_number`` for the two by number.
    """

    kind: Literal["TRIM_HORIZON", "LATEST", "AT_TIMESTAMP", "AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"]
    sequence_number: str | None = None
    timestamp: float | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """An iterator, and for a service without AT_TIMESTAMP the instant (epoch seconds) before which to drop records."""

    iterator: str
    drop_before: float | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """One reply of GetRecords.

    ``next_iterator`` None means the shard has ended, and this page may still carry its last records.

    ``children`` are the shards named by the last page of a Kinesis shard, None where the service does not say.
    ``millis_behind_latest`` is None where the service does not say (DynamoDB). ``size_bytes`` counts against the
    prefetch budget. ``skipped`` counts entries too malformed to be records: survived, counted, reported.
    """

    records: Sequence[Record]
    next_iterator: str | None
    millis_behind_latest: int | None = None
    children: tuple[Shard, ...] | None = None
    size_bytes: int = 0
    skipped: int = 0


@runtime_checkable
class RecordSource(Protocol):
    """A DynamoDB table's stream or a Kinesis stream.

    All calls raise from the ``StreamError`` branch; but for a later page of a listing they retry nothing themselves.
    """

    @property
    def name(self) -> str:
        """As the user gave it: ``dynamodb:orders``, ``kinesis:clicks`` or an ARN."""
        ...

    @property
    def max_reads_per_second(self) -> float | None:
        """The service's limit of GetRecords calls on one shard, for pacing (Kinesis 5); None where there is none."""
        ...

    def share(self, workers: int) -> None:
        """How many live workers share the service's limits for this stream now; told again and again."""
        ...

    def open(self, data_path: DataPath = "auto") -> AbstractAsyncContextManager[None]:
        """Connections for the running loop; ``data_path`` as ``WorkerConfig`` has it."""
        ...

    async def resolve(self) -> StreamIdentity:
        """The incarnation that is the stream now (for a table its latest stream, enabled or not)."""
        ...

    async def list_shards(self, stream: StreamIdentity) -> ShardListing:
        """Every page of the shard list."""
        ...

    async def children(self, stream: StreamIdentity, shard_id: str) -> tuple[Shard, ...]:
        """The shards that follow ``shard_id``; empty where none is shown yet."""
        ...

    async def iterator(self, stream: StreamIdentity, shard_id: str, position: Position) -> Opened:
        """An iterator at ``position``."""
        ...

    async def read(self, stream: StreamIdentity, shard_id: str, iterator: str, limit: int) -> Page:
        """The next page."""
        ...
