"""Batches, cut from what waits in a lane: pure decisions about size, bytes and time."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import itemgetter
from typing import Final

from consumer.record import Record

__all__ = ["BatchRules", "Run", "cut", "seconds_to_ready"]

_WINDOW_BYTES: Final = 6 * 1024 * 1024  # AWS Lambda's limit of a payload


@dataclass(frozen=True, slots=True)
class Run:
    """Records of one lane, in order, with their indexes in the shard's ledger.

    ``millis_behind_latest`` as their page had it; ``came_at`` (monotonic) is when the first of them came.
    """

    records: Sequence[Record]
    indexes: Sequence[int]
    millis_behind_latest: int | None
    came_at: float

    def __len__(self) -> int:
        return len(self.records)

    def part(self, begin: int, end: int) -> Run:
        """The records from ``begin`` up to ``end``."""
        return Run(self.records[begin:end], self.indexes[begin:end], self.millis_behind_latest, self.came_at)

    def only(self, positions: Sequence[int]) -> Run:
        """The records at ``positions``, ascending."""
        records = [self.records[at] for at in positions]
        return Run(records, [self.indexes[at] for at in positions], self.millis_behind_latest, self.came_at)


@dataclass(frozen=True, slots=True)
class BatchRules:
    """``most_records`` (AWS: BatchSize), ``most_bytes``, ``window_seconds`` (AWS: MaximumBatchingWindowInSeconds).

    ``joins``: what waits of several pages goes into one batch. A lane gets a part of each page, which would otherwise
    end in a batch that is almost empty; a shard with one lane takes whole pages, and does not copy them together.
    """

    most_records: int
    most_bytes: int | None = None
    window_seconds: float = 0.0
    joins: bool = False

    @property
    def bound_bytes(self) -> int | None:
        """What a batch weighs at most; without a word, that of Lambda where records are gathered over time."""
        return _WINDOW_BYTES if self.most_bytes is None and self.window_seconds else self.most_bytes


def seconds_to_ready(queue: deque[Run], rules: BatchRules, now: float) -> float | None:
    """How long until a batch may be cut: 0 when it is full, or its first record has waited long enough. None: empty."""
    if not queue:
        return None
    wait = queue[0].came_at + rules.window_seconds - now
    if wait <= 0 or sum(map(len, queue)) >= rules.most_records:
        return 0.0
    bound = rules.bound_bytes
    return 0.0 if bound is not None and _size_bytes(queue) >= bound else wait


def cut(queue: deque[Run], rules: BatchRules) -> Run:
    """The next batch, taken from the head of ``queue``, which holds something; at least one record, however large."""
    first = queue.popleft()
    if len(first) > rules.most_records:
        queue.appendleft(first.part(rules.most_records, len(first)))
        first = first.part(0, rules.most_records)
    if (rules.joins or rules.window_seconds) and queue and len(first) < rules.most_records:
        first = _joined(first, queue, rules.most_records)
    bound = rules.bound_bytes
    if bound is not None and len(first) > 1:
        sizes = accumulate([record.size_bytes for record in first.records])
        fitting = max(1, sum(1 for size in sizes if size <= bound))
        if fitting < len(first):
            queue.appendleft(first.part(fitting, len(first)))
            first = first.part(0, fitting)
    return first


def _joined(first: Run, queue: deque[Run], most_records: int) -> Run:
    records, indexes, behind = list(first.records), list(first.indexes), first.millis_behind_latest
    is_mixed = False
    while queue and len(records) < most_records:
        more = queue.popleft()
        room = most_records - len(records)
        if len(more) > room:
            queue.appendleft(more.part(room, len(more)))
            more = more.part(0, room)
        is_mixed = is_mixed or more.indexes[0] < indexes[-1]
        records.extend(more.records)
        indexes.extend(more.indexes)
        behind = more.millis_behind_latest
    if is_mixed:
        # What follows a key that was parked comes before what has waited, and may be younger: a batch is in order all
        # the same, or a checkpoint of one record would speak of others after it.
        ordered = sorted(zip(indexes, records, strict=True), key=itemgetter(0))
        records, indexes = [record for _, record in ordered], [index for index, _ in ordered]
    return Run(records, indexes, behind, first.came_at)


def _size_bytes(queue: deque[Run]) -> int:
    return sum(record.size_bytes for run in queue for record in run.records)
