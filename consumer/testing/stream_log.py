"""One incarnation of a stream as a pure log: records laid on shards by key, read by iterator. No I/O."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from consumer.testing import iterators
from consumer.testing.hash_space import hash_of
from consumer.testing.lineage import Lineage
from consumer.testing.log_shard import LogRecord, LogShard, ShardView
from consumer.testing.service_error import ServiceError
from consumer.testing.stream_rules import FRESH, Staleness, StreamOptions, StreamRules

__all__ = ["Compose", "IteratorType", "LogPage", "StreamLog"]

IteratorType = Literal["TRIM_HORIZON", "LATEST", "AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER", "AT_TIMESTAMP"]

# Makes a record's entry (botocore's shape) from its sequence number and the time it is published under.
Compose = Callable[[str, float], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class LogPage:
    """What one GetRecords returns. ``next_iterator`` None: the shard has ended, these are its last records, if any."""

    records: list[LogRecord]
    next_iterator: str | None
    millis_behind_latest: int
    children: tuple[ShardView, ...]


class StreamLog:
    """A stream between its creation and its deletion; ``lineage`` rotates, splits and merges its shards.

    ``now`` gives epoch seconds and is all that this log knows of time. ``incarnation`` tells this life of the stream
    from its others. Raises ServiceError as the service would.
    """

    def __init__(
        self,
        rules: StreamRules,
        *,
        arn: str,
        incarnation: str,
        now: Callable[[], float],
        rng: random.Random,
        shard_count: int = 1,
        options: StreamOptions | None = None,
        prebuild: bool = False,
    ) -> None:
        self.rules = rules
        self.arn = arn
        self.incarnation = incarnation
        self.options = options or StreamOptions()
        self.disabled_at: float | None = None
        self.lineage = Lineage(rules, self.options, now=now, rng=rng, shard_count=shard_count)
        self.created_at = self.lineage.created_at
        self._now = now
        self._rng = rng
        self._prebuild = prebuild
        self._latest = self.created_at
        self._reads: dict[str, deque[float]] = {}

    # -- writing

    def append(
        self, key: str, size_bytes: int, compose: Compose, *, hash_key: int | None = None
    ) -> tuple[LogRecord, str]:
        """Lay a record on the open shard that owns ``key`` (or ``hash_key``); returns it and the shard's id."""
        if self.disabled_at is not None:
            raise ServiceError("ResourceNotFoundException", f"Stream {self.arn} is switched off and takes no records.")
        shard = self.lineage.owner_of(hash_of(key) if hash_key is None else hash_key)
        # A log's order is its arrival order even where the clock went back.
        self._latest = now = max(self._now(), self._latest)
        stamp = math.floor(now) if self.rules.whole_second_stamps else math.floor(now * 1000) / 1000
        sequence = self.lineage.next_sequence()
        entry = compose(str(sequence), stamp)
        record = LogRecord(sequence=sequence, key=key, arrived_at=now, stamp=stamp, size_bytes=size_bytes, entry=entry)
        if self._prebuild:
            record.prebuild()
        shard.append(record)
        self.lineage.note_append(now)
        return record, shard.id

    def disable(self) -> None:
        """The stream is switched off: every open shard closes without children, readable until retention."""
        if self.disabled_at is None:
            self.lineage.close_all()
            self.disabled_at = self._now()

    # -- reading

    def listing(self, staleness: Staleness = FRESH) -> list[ShardView]:
        """Every shard that a listing shows, by id, as stale as ``staleness`` says; each call ages it by one."""
        now = self.lineage.settle()
        shards = sorted((*self.lineage.shards.values(), *self.lineage.gone.values()), key=lambda shard: shard.id)
        views = [view for shard in shards if (view := _listed(shard, now, staleness)) is not None]
        if not staleness.left_out:
            return views
        return [view for view in views if self._rng.random() >= staleness.left_out]

    def open_shards(self) -> list[ShardView]:
        """The shards that take records now, by hash range."""
        return [shard.view() for shard in self.lineage.open_shards()]

    def is_over(self) -> bool:
        """Whether the stream was switched off so long ago that it exists no more."""
        return self.disabled_at is not None and self.disabled_at + self.options.retention_seconds <= self._now()

    def iterator(
        self, shard_id: str, kind: IteratorType, *, sequence_number: str | None = None, timestamp: float | None = None
    ) -> str:
        """A token to read ``shard_id`` with; the two kinds by number need digits, AT_TIMESTAMP epoch seconds."""
        shard = self.lineage.shard(shard_id)
        if kind == "TRIM_HORIZON":
            position = _horizon(shard)
        elif kind == "LATEST":
            position = self.lineage.sequence + 1
        elif kind == "AT_TIMESTAMP":
            position = self._position_at(shard, timestamp)
        elif kind in ("AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"):
            position = self._position_by_number(shard, sequence_number) + (kind == "AFTER_SEQUENCE_NUMBER")
        else:
            raise ServiceError(self.rules.invalid_argument, f"{kind!r} is no ShardIteratorType.")
        return self._token(shard, position)

    def read(self, cursor: iterators.Cursor, limit: int | None = None) -> LogPage:
        """The page at ``cursor``: at most ``limit`` records, and the service's page size in records and bytes."""
        lifetime = self.rules.iterator_lifetime_seconds
        if self._now() - cursor.issued_at > lifetime:
            raise ServiceError("ExpiredIteratorException", f"Iterator expired: it is older than {lifetime:g} seconds.")
        shard = self.lineage.shard(cursor.shard_id)
        self._pace(shard)
        position = cursor.position
        if position <= shard.last_trimmed:
            if self.rules.trims_loudly:
                message = "The operation attempted to read past the oldest stream record in a shard."
                raise ServiceError("TrimmedDataAccessException", message)
            position = _horizon(shard)
        count = min(limit or self.rules.page_records, self.rules.page_records)
        return self._page(shard, position, shard.from_position(position, count, self.rules.page_bytes))

    def records(self) -> list[tuple[str, LogRecord]]:
        """Every record still here with its shard's id, in order of arrival: what a test compares deliveries with."""
        self.lineage.settle()
        shards = self.lineage.shards.values()
        found = [(shard.id, record) for shard in shards for record in shard.from_position(0, len(shard), 2**62)]
        return sorted(found, key=lambda pair: pair[1].sequence)

    def state(self) -> dict[str, Any]:
        """What there is, as JSON: shards with their counts, and how often the stream was resharded."""
        self.lineage.settle()
        shards = [
            {
                "id": shard.id,
                "parents": list(shard.parents),
                "open": shard.is_open,
                "records": len(shard),
                "created_at": shard.created_at,
                "closed_at": shard.closed_at,
            }
            for shard in self.lineage.shards.values()
        ]
        lineage = self.lineage
        counts = {"rotations": lineage.rotations, "splits": lineage.splits, "merges": lineage.merges}
        return {"arn": self.arn, "enabled": self.disabled_at is None, "shards": shards, **counts}

    # -- inside

    def _position_at(self, shard: LogShard, timestamp: float | None) -> int:
        now = self._now()
        if timestamp is None:
            raise ServiceError(self.rules.invalid_argument, "AT_TIMESTAMP needs a Timestamp.")
        if timestamp > now:
            message = f"The timestamp {timestamp:.3f} lies in the future; it is {now:.3f} now."
            raise ServiceError(self.rules.invalid_argument, message)
        return shard.position_at_time(timestamp) or self.lineage.sequence + 1

    def _position_by_number(self, shard: LogShard, sequence_number: str | None) -> int:
        if sequence_number is None or not (sequence_number.isascii() and sequence_number.isdigit()):
            message = f"Invalid SequenceNumber: {sequence_number!r} is no decimal number."
            raise ServiceError(self.rules.invalid_argument, message)
        number = int(sequence_number)
        if number < shard.starting_sequence:
            message = (
                f"Sequence number {number} lies before shard {shard.id}, which starts at {shard.starting_sequence}."
            )
            raise ServiceError(self.rules.invalid_argument, message)
        if number <= shard.last_trimmed and self.rules.trims_loudly:
            message = f"The requested sequence number {number} is beyond the trim horizon of shard {shard.id}."
            raise ServiceError("TrimmedDataAccessException", message)
        return number

    def _token(self, shard: LogShard, position: int) -> str:
        prefix = f"{self.arn}|1|" if self.rules.service == "dynamodbstreams" else ""
        return iterators.encode(iterators.Cursor(self.incarnation, shard.id, position, self._now()), prefix)

    def _pace(self, shard: LogShard) -> None:
        allowed, now = self.options.reads_per_second, self._now()
        if allowed is None:
            return
        if shard.id not in self._reads:
            kept = {shard_id: reads for shard_id, reads in self._reads.items() if shard_id in self.lineage.shards}
            self._reads = {**kept, shard.id: deque(maxlen=allowed)}
        reads = self._reads[shard.id]
        if len(reads) == allowed and now - reads[0] < 1.0:
            message = f"Rate exceeded for shard {shard.id}: {allowed} reads a second are allowed."
            raise ServiceError("ProvisionedThroughputExceededException", message)
        reads.append(now)

    def _page(self, shard: LogShard, position: int, records: list[LogRecord]) -> LogPage:
        after = records[-1].sequence + 1 if records else position
        more = shard.has_after(after - 1)
        ended = not (shard.is_open or more or (records and self.options.empty_last_page))
        behind = max(1, int((self._now() - records[-1].arrived_at) * 1000)) if records and more else 0
        children: tuple[ShardView, ...] = ()
        if ended and self.rules.names_children:
            shards = self.lineage.shards.values()
            children = tuple(child.view() for child in shards if shard.id in child.parents)
        return LogPage(records, None if ended else self._token(shard, after), behind, children)


def _horizon(shard: LogShard) -> int:
    """The position of the oldest record that is still there, or of the next one to come."""
    return max(shard.starting_sequence, shard.last_trimmed + 1)


def _listed(shard: LogShard, now: float, staleness: Staleness) -> ShardView | None:
    """``shard`` as a stale listing shows it; None while it is hidden."""
    seen, shard.times_listed = shard.times_listed, shard.times_listed + 1
    young = seen < staleness.child_late_calls or now - shard.created_at < staleness.child_late_seconds
    if shard.parents and young:
        return None
    if shard.closed_at is None:
        return shard.view()
    told, shard.times_listed_closed = shard.times_listed_closed, shard.times_listed_closed + 1
    late = told < staleness.end_late_calls or now - shard.closed_at < staleness.end_late_seconds
    return shard.view(show_end=not late)
