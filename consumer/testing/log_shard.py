"""One shard of the shard log: its records in order, what was trimmed from it, and how positions are found in it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from consumer.testing.hash_space import HashRange
from consumer.testing.wire_json import dumps

__all__ = ["LogRecord", "LogShard", "ShardView"]


class LogRecord:
    """A record as it lies in a shard.

    ``entry`` is the record in the shape botocore parses it into (bytes, datetimes), ``wire`` the same as JSON, made
    once. ``arrived_at`` (epoch seconds) is when the log took it, for retention; ``stamp`` is the time the service
    publishes for it.
    """

    __slots__ = ("_wire", "arrived_at", "entry", "key", "sequence", "size_bytes", "stamp")

    def __init__(
        self, *, sequence: int, key: str, arrived_at: float, stamp: float, size_bytes: int, entry: Mapping[str, Any]
    ) -> None:
        self.sequence = sequence
        self.key = key
        self.arrived_at = arrived_at
        self.stamp = stamp
        self.size_bytes = size_bytes
        self.entry = entry
        self._wire: bytes | None = None

    @property
    def wire(self) -> bytes:
        """The record's JSON; made on first use and kept."""
        wire = self._wire
        return self.prebuild() if wire is None else wire

    def prebuild(self) -> bytes:
        """Make the JSON now, so that reading costs nothing; a server does it when the record arrives."""
        self._wire = wire = dumps(self.entry)
        return wire

    def __repr__(self) -> str:
        return f"<record {self.sequence} of key {self.key!r}>"


@dataclass(frozen=True, slots=True)
class ShardView:
    """A shard as a listing shows it; a stale listing may show ``ending_sequence`` None for a shard that has ended."""

    id: str
    parents: tuple[str, ...]
    hash_range: HashRange
    starting_sequence: int
    ending_sequence: int | None
    created_at: float
    closed_at: float | None


class LogShard:
    """A shard: appended to while open, read by position, trimmed from its old end."""

    def __init__(
        self, shard_id: str, parents: Sequence[str], hash_range: HashRange, starting_sequence: int, created_at: float
    ) -> None:
        self.id = shard_id
        self.parents = tuple(parents)
        self.hash_range = hash_range
        self.starting_sequence = starting_sequence
        self.ending_sequence: int | None = None
        self.created_at = created_at
        self.closed_at: float | None = None
        self.last_trimmed = 0
        self.times_listed = 0
        self.times_listed_closed = 0
        self._records: list[LogRecord] = []
        self._sequences: list[int] = []

    def __len__(self) -> int:
        return len(self._records)

    @property
    def is_open(self) -> bool:
        """True until the shard was rotated, split or merged away, or its stream was switched off."""
        return self.ending_sequence is None

    @property
    def oldest_arrival(self) -> float | None:
        """Epoch seconds at which the oldest record that is still here came; None when there is none."""
        return self._records[0].arrived_at if self._records else None

    def owns(self, hash_key: int) -> bool:
        """Whether ``hash_key`` lies in this shard's range."""
        return self.hash_range[0] <= hash_key <= self.hash_range[1]

    def append(self, record: LogRecord) -> None:
        """Add the newest record of this shard."""
        self._records.append(record)
        self._sequences.append(record.sequence)

    def close(self, ending_sequence: int, at: float) -> None:
        """End the shard: nothing is appended any more."""
        self.ending_sequence = ending_sequence
        self.closed_at = at

    def trim(self, until: float) -> int:
        """Drop the records that came at or before ``until`` (epoch seconds); returns how many went."""
        count = bisect_right(self._records, until, key=lambda record: record.arrived_at)
        if count:
            self.last_trimmed = self._sequences[count - 1]
            del self._records[:count]
            del self._sequences[:count]
        return count

    def position_at_time(self, timestamp: float) -> int | None:
        """The sequence of the first record published at or after ``timestamp``; None when there is none yet."""
        index = bisect_left(self._records, timestamp, key=lambda record: record.stamp)
        return self._sequences[index] if index < len(self._sequences) else None

    def from_position(self, position: int, limit: int, limit_bytes: int) -> list[LogRecord]:
        """Records at or above ``position``: at most ``limit`` and ``limit_bytes``, but the first may be larger."""
        start = bisect_left(self._sequences, position)
        page: list[LogRecord] = []
        size = 0
        for record in self._records[start : start + limit]:
            size += record.size_bytes
            if size > limit_bytes and page:
                break
            page.append(record)
        return page

    def has_after(self, sequence: int) -> bool:
        """Whether a record above ``sequence`` is here."""
        return bisect_right(self._sequences, sequence) < len(self._sequences)

    def view(self, *, show_end: bool = True) -> ShardView:
        """The shard as a listing shows it."""
        return ShardView(
            id=self.id,
            parents=self.parents,
            hash_range=self.hash_range,
            starting_sequence=self.starting_sequence,
            ending_sequence=self.ending_sequence if show_end else None,
            created_at=self.created_at,
            closed_at=self.closed_at if show_end else None,
        )
