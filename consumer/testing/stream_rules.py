"""In what the two services differ, as values: page limits, lifetimes, the look of shard ids and sequence numbers."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal

__all__ = ["DYNAMODB", "FRESH", "KINESIS", "Staleness", "StreamOptions", "StreamRules"]


@dataclass(frozen=True, slots=True)
class StreamRules:
    """The limits and habits of one service. Times in seconds, sizes in bytes.

    ``first_sequence`` is where an incarnation's sequence numbers begin: DynamoDB's a few records below the next power
    of ten, so that they grow by a digit early on and a client that compares them as text is found out. Every
    incarnation begins there again, so that a checkpoint carried over from an older one is found out too.
    ``trims_loudly``: a trimmed position raises TrimmedDataAccessException (DynamoDB); otherwise reading goes on at the
    oldest record (Kinesis).
    """

    service: Literal["dynamodbstreams", "kinesis"]
    page_records: int
    page_bytes: int
    iterator_lifetime_seconds: float
    first_sequence: int
    largest_step: int
    invalid_argument: str
    trims_loudly: bool
    whole_second_stamps: bool
    merges: bool
    names_children: bool

    def shard_id(self, serial: int, created_at: float, rng: random.Random) -> str:
        """The id of the ``serial``-th shard: Kinesis counts, DynamoDB writes its birth and eight hex digits."""
        if self.service == "kinesis":
            return f"shardId-{serial:012d}"
        return f"shardId-{int(created_at * 1000):020d}-{rng.getrandbits(32):08x}"


DYNAMODB: Final = StreamRules(
    service="dynamodbstreams",
    page_records=1_000,
    page_bytes=1_000_000,
    iterator_lifetime_seconds=15 * 60.0,
    first_sequence=10**21 - 50_000,
    largest_step=1_000,
    invalid_argument="ValidationException",
    trims_loudly=True,
    whole_second_stamps=True,
    merges=False,
    names_children=False,
)

KINESIS: Final = StreamRules(
    service="kinesis",
    page_records=10_000,
    page_bytes=10_000_000,
    iterator_lifetime_seconds=5 * 60.0,
    first_sequence=49_590_338_271_490_256_608_559_692_538_361_571_095_921_575_989_136_588_898,
    largest_step=10**12,
    invalid_argument="InvalidArgumentException",
    trims_loudly=False,
    whole_second_stamps=False,
    merges=True,
    names_children=True,
)


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """How one stream behaves. Times in seconds on the log's clock.

    ``rotate_every_seconds``: every open shard is followed by one child at that age (AWS: about 4 h); None: only when
    told.
    ``retention_seconds``: age at which records are trimmed, and at which closed shards and streams switched off leave
    the listing.
    ``gone_listed_seconds``: how long a shard that already answers "not found" still stands in listings.
    ``empty_last_page``: a closed shard ends with a page of its own without records; otherwise the last records come on
    the last page.
    ``transition_seconds``: how long a Kinesis stream stays CREATING, UPDATING or DELETING.
    ``reads_per_second``: more GetRecords calls than that on one shard within a second are refused; None: never.
    """

    rotate_every_seconds: float | None = None
    retention_seconds: float = 24 * 3600.0
    gone_listed_seconds: float = 0.0
    empty_last_page: bool = False
    transition_seconds: float = 0.0
    reads_per_second: int | None = None

    def __post_init__(self) -> None:
        if self.rotate_every_seconds is not None and self.rotate_every_seconds < 0.05:
            raise ValueError(f"rotate_every_seconds is {self.rotate_every_seconds}, it must be at least 0.05.")
        if self.retention_seconds <= 0:
            raise ValueError(f"retention_seconds is {self.retention_seconds}, it must be above 0.")

    def changed(self, values: Mapping[str, Any]) -> StreamOptions:
        """These options with ``values`` by name; raises ValueError for a name that is no option."""
        unknown = set(values) - {each.name for each in fields(self)}
        if unknown:
            raise ValueError(f"{', '.join(sorted(unknown))}: no such stream option.")
        return replace(self, **values)


@dataclass(frozen=True, slots=True)
class Staleness:
    """How far a listing lags: what a child's first listings hide, and what a closed shard's do not yet tell.

    A child stays hidden for its first ``child_late_calls`` listings and until it is ``child_late_seconds`` old; a
    closed shard is listed without its end for the first ``end_late_calls`` listings after it closed and
    ``end_late_seconds`` long. ``left_out`` are the odds that one listing leaves one shard out, whatever its age.
    """

    child_late_calls: int = 0
    child_late_seconds: float = 0.0
    end_late_calls: int = 0
    end_late_seconds: float = 0.0
    left_out: float = 0.0


FRESH: Final = Staleness()
