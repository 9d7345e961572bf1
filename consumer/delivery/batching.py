"""Batches, cut from what waits in a lane, by records, bytes and time."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from operator import itemgetter
from typing import Final

from consumer.record import Record

__all__ = ["BatchRules", "Run", "Waiting"]

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


class Waiting:
    """Runs of one lane that wait to be cut into batches, in order; what they hold is counted as it comes and goes."""

    __slots__ = ("_bound_bytes", "_count", "_rules", "_runs", "_size_bytes")

    def __init__(self, rules: BatchRules) -> None:
        self._rules = rules
        self._bound_bytes = rules.bound_bytes
        self._runs: deque[Run] = deque()
        self._size_bytes = 0
        self._count = 0

    def __len__(self) -> int:
        """How many records wait."""
        return self._count

    @property
    def is_full(self) -> bool:
        """Whether as many wait as a batch holds."""
        return self._count >= self._rules.most_records

    def firsts(self) -> list[Record]:
        """The first record of each run."""
        return [run.records[0] for run in self._runs]

    def add(self, run: Run) -> None:
        """``run``, which is not empty, comes after all that waits."""
        self._enter(run, 1)
        self._runs.append(run)

    def put_first(self, run: Run) -> None:
        """``run``, which is not empty, comes before all that waits."""
        self._enter(run, 1)
        self._runs.appendleft(run)

    def seconds_to_ready(self, now: float) -> float | None:
        """How long until a batch may be cut: 0 when it is full, or its first record has waited long enough.

        None: nothing waits. ``now`` is monotonic.
        """
        if not self._runs:
            return None
        wait = self._runs[0].came_at + self._rules.window_seconds - now
        if wait <= 0 or self.is_full:
            return 0.0
        return 0.0 if self._bound_bytes is not None and self._size_bytes >= self._bound_bytes else wait

    def cut(self, most: int | None = None) -> Run:
        """The next batch, or one of ``most`` records; there is one. At least one record, however large."""
        most = most or self._rules.most_records
        first = self._take(most)
        if (self._rules.joins or self._rules.window_seconds) and self._runs and len(first) < most:
            parts, room = [first], most - len(first)
            while self._runs and room:
                parts.append(self._take(room))
                room -= len(parts[-1])
            first = _joined(parts)
        if self._bound_bytes is not None and len(first) > 1:
            sizes = accumulate([record.size_bytes for record in first.records])
            fitting = max(1, sum(1 for size in sizes if size <= self._bound_bytes))
            if fitting < len(first):
                self.put_first(first.part(fitting, len(first)))
                first = first.part(0, fitting)
        return first

    def _take(self, most: int) -> Run:
        """What waits longest of one run, up to ``most`` records."""
        run = self._runs.popleft()
        if len(run) > most:
            self._runs.appendleft(run.part(most, len(run)))
            run = run.part(0, most)
        self._enter(run, -1)
        return run

    def _enter(self, run: Run, sign: int) -> None:
        self._count += sign * len(run)
        if self._bound_bytes is not None:
            self._size_bytes += sign * sum(record.size_bytes for record in run.records)


def _joined(parts: Sequence[Run]) -> Run:
    records = [record for part in parts for record in part.records]
    indexes = [index for part in parts for index in part.indexes]
    if any(later.indexes[0] < before.indexes[-1] for before, later in pairwise(parts)):
        # What follows a key that was parked comes before what has waited, and may be younger: a batch is in order all
        # the same, or a checkpoint of one record would speak of others after it.
        ordered = sorted(zip(indexes, records, strict=True), key=itemgetter(0))
        records, indexes = [record for _, record in ordered], [index for index, _ in ordered]
    return Run(records, indexes, parts[-1].millis_behind_latest, parts[0].came_at)
