"""What a run looks like at one moment, folded from the journals as they grow and from the stream's state."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from consumer.demo.journal import Delivery, Follower, Write
from consumer.demo.stage import ShardState, StreamState

__all__ = ["Event", "Phase", "Scene", "ShardRow", "Snapshot", "WorkerRow", "WorkerState"]

_EVENTS_KEPT: Final = 100


class Phase(Enum):
    """Where the run is."""

    WRITING = "writing"
    CATCHING_UP = "catching up"
    STOPPING = "stopping"
    DONE = "done"


class WorkerState(Enum):
    """What is known of a worker's process."""

    RUNNING = "running"
    KILLED = "killed with -9"
    DRAINING = "draining"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Event:
    """Something worth a line. ``number`` counts them from 1 on, ``at`` is seconds since the writer's start."""

    number: int
    at: float
    text: str
    is_alarming: bool = False


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker: its state, the open shards whose records it was the last to get, and how many records it got."""

    name: str
    pid: int
    state: WorkerState
    shards: int
    records: int


@dataclass(frozen=True, slots=True)
class ShardRow:
    """A shard: who got its last record, how many writes wait to be delivered, and for how long the oldest has."""

    shard_id: str
    is_open: bool
    owner: str
    waiting: int
    lag_seconds: float
    records: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that a view shows. ``elapsed_seconds`` since the writer's start, ``seconds`` as long as it writes."""

    phase: Phase
    source: str
    elapsed_seconds: float
    seconds: float
    workers: tuple[WorkerRow, ...]
    shards: tuple[ShardRow, ...]
    events: tuple[Event, ...]
    written: int
    delivered: int
    duplicates: int
    rotations: int
    splits: int


class Scene:
    """The run so far. ``read`` looks at what was appended since; everything else only remembers."""

    def __init__(
        self, source: str, journal: Path, deliveries: dict[str, Path], *, began: float, seconds: float
    ) -> None:
        self._source = source
        self._began = began
        self._seconds = seconds
        self._writes = Follower(journal, Write)
        self._deliveries = {worker: Follower(path, Delivery) for worker, path in deliveries.items()}
        self._pending: dict[str, dict[int, float]] = defaultdict(dict)
        self._done: set[tuple[str, int]] = set()
        self._shard_of: dict[str, str] = {}
        self._owners: dict[str, str] = {}
        self._last: dict[str, float] = {}
        self._records: Counter[str] = Counter()
        self._by_worker: Counter[str] = Counter()
        self._given = 0
        self._written = 0
        self._events: deque[Event] = deque(maxlen=_EVENTS_KEPT)
        self.stream = StreamState((), 0, 0, 0)
        self.phase = Phase.WRITING
        self.states: dict[str, tuple[int, WorkerState]] = {}

    def read(self) -> None:
        """Take in new lines, and say so where a shard has a new owner."""
        for write in self._writes.new():
            self._written += 1
            if (write.key, write.version) not in self._done:
                self._pending[write.key][write.version] = write.at
        found = [delivery for follower in self._deliveries.values() for delivery in follower.new()]
        for delivery in sorted(found, key=lambda each: each.at):
            self._take(delivery)

    def note(self, at: float, text: str, *, is_alarming: bool = False) -> None:
        """Remember an event at ``at`` of the clock."""
        number = self._events[-1].number + 1 if self._events else 1
        self._events.append(Event(number, at - self._began, text, is_alarming))

    def owned(self, worker: str) -> list[str]:
        """The open shards whose last record went to ``worker``."""
        return [
            shard.shard_id
            for shard in self.stream.shards
            if shard.is_open and self._owners.get(shard.shard_id) == worker
        ]

    @property
    def undelivered(self) -> int:
        """Journalled writes that no processor was given yet."""
        return sum(map(len, self._pending.values()))

    def snapshot(self, now: float) -> Snapshot:
        """The moment ``now`` of the clock."""
        waiting: dict[str, list[float]] = defaultdict(list)
        for key, versions in self._pending.items():
            waiting[self._shard_of.get(key, "")] += versions.values()
        shards = [self._row(shard, waiting[shard.shard_id], now) for shard in self.stream.shards]
        workers = [
            WorkerRow(
                name, pid, state, len(self.owned(name)) if state is WorkerState.RUNNING else 0, self._by_worker[name]
            )
            for name, (pid, state) in self.states.items()
        ]
        return Snapshot(
            phase=self.phase,
            source=self._source,
            elapsed_seconds=now - self._began,
            seconds=self._seconds,
            workers=tuple(workers),
            shards=tuple(row for row in shards if row.is_open or row.waiting),
            events=tuple(self._events),
            written=self._written,
            delivered=len(self._done),
            duplicates=self._given - len(self._done),
            rotations=self.stream.rotations or self.stream.merges,
            splits=self.stream.splits,
        )

    def _row(self, shard: ShardState, waiting: list[float], now: float) -> ShardRow:
        shard_id = shard.shard_id
        lag = max(0.0, now - min(waiting)) if waiting else 0.0
        owner = self._owners.get(shard_id, "")
        return ShardRow(shard_id, shard.is_open, owner, len(waiting), lag, self._records[shard_id])

    def _take(self, delivery: Delivery) -> None:
        shard, worker = delivery.shard_id, delivery.worker
        before = self._owners.get(shard)
        if before is not None and before != worker:
            pause = delivery.at - self._last[shard]
            how = "taken over after" if self.states[before][1] is WorkerState.KILLED else "handed over in"
            self.note(delivery.at, f"…{shard[-8:]} from {before} to {worker}, {how} {pause:.2f} s")
        self._owners[shard] = worker
        self._last[shard] = delivery.at
        self._shard_of[delivery.key] = shard
        self._given += 1
        self._records[shard] += 1
        self._by_worker[worker] += 1
        self._done.add((delivery.key, delivery.version))
        self._pending[delivery.key].pop(delivery.version, None)
