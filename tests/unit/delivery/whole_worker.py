"""A whole worker in virtual time over a Kinesis stream in memory, its sink and what the sink makes of each record."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from consumer.config import InitialPosition, WorkerConfig
from consumer.dead_letters.envelope import decode
from consumer.delivery.threads import InlineThreads
from consumer.hooks import Fact
from consumer.leasing.seam import LeasesInline
from consumer.outcomes import BatchFailures
from consumer.processor import RecordProcessor
from consumer.testing import MemoryDeadLetters
from consumer.testing.memory_source import MemoryRecordSource
from consumer.testing.shard_log import ShardLog
from consumer.testing.virtual_time import VirtualClock, run_virtual
from consumer.worker import Worker
from lease_store.memory import MemoryLeaseStore

__all__ = ["Call", "Sink", "World", "play"]


@dataclass(frozen=True, slots=True)
class Call:
    """One call of ``process_records``: when it began and ended, with which records, and whether it came to its end."""

    began_at: float
    ended_at: float
    numbers: tuple[int, ...]
    returned: bool


@dataclass(slots=True)
class Sink:
    """What records are written to. ``bad`` never get there; ``how`` is what the processor says of them.

    ``raise``: as it comes to one, those before it being written; ``names``: all others are written, and BatchFailures
    names the bad; ``fails``: the same by ``record.fail``. While ``down(now)`` holds, every call raises after
    ``slow_seconds``. A call that writes takes ``seconds``.
    """

    bad: frozenset[int] = frozenset()
    how: str = "raise"
    seconds: float = 0.01
    down: Callable[[float], bool] = lambda now: False
    slow_seconds: float = 0.0
    writes: list[tuple[int, float]] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)

    async def process(self, records: Any) -> BatchFailures | None:
        """One call."""
        began_at, numbers = _now(), tuple(int(record.data) for record in records)
        returned = False
        try:
            if self.down(began_at):
                await asyncio.sleep(self.slow_seconds)
                raise ConnectionError("the sink is down")
            await asyncio.sleep(self.seconds)
            failures = self._write(records)
            returned = True
            return failures
        finally:
            self.calls.append(Call(began_at, _now(), numbers, returned))

    def _write(self, records: Any) -> BatchFailures | None:
        failed = []
        for record in records:
            number = int(record.data)
            if number not in self.bad:
                self.writes.append((number, _now()))
            elif self.how == "raise":
                raise ValueError(f"record {number} is poison")
            else:
                failed.append(record)
                if self.how == "fails":
                    record.fail(ValueError("poison"))
        return BatchFailures(failed) if failed and self.how == "names" else None


class World:
    """A stream, filled by the test, a sink, a store for dead letters, and one worker until everything is done."""

    def __init__(self, sink: Sink, *, shards: int = 1, with_store: bool = True, **settings: Any) -> None:
        self.sink = sink
        self.clock = VirtualClock()
        self.log = ShardLog(self.clock.wall)
        self.stream = self.log.create_stream("orders", shards)
        self.store = MemoryDeadLetters() if with_store else None
        self.table = MemoryLeaseStore()
        self.facts: list[Fact] = []
        if with_store:
            settings["dead_letters"] = "file:in-memory"  # a word for the judge of settings; the object is what counts
        self.config = WorkerConfig(app="audit", initial_position=InitialPosition("TRIM_HORIZON"), **settings)
        self._puts = 0
        self._last: dict[str, str] = {}
        self._later = 0

    def put(self, key: str, count: int = 1) -> None:
        """Records of one key, numbered on."""
        for _ in range(count):
            record, shard_id = self.log.kinesis.put("orders", key, str(self._puts).encode())
            self._last[shard_id] = str(record.sequence)
            self._puts += 1

    def put_later(self, seconds: float, key: str) -> None:
        """A record that is written when the worker has run for so long."""

        def now() -> None:
            self._later -= 1
            self.put(key)

        self._later += 1
        asyncio.get_running_loop().call_later(seconds, now)

    @property
    def is_done(self) -> bool:
        """Whether the checkpoint of each shard names its last record."""
        if self._later:
            return False
        rows = {lease.key: lease.checkpoint.sequence_number for lease in self.table.rows().leases}
        return all(rows.get(shard_id) == last for shard_id, last in self._last.items())

    @property
    def dead(self) -> dict[int, str]:
        """Numbers of the records in the store, with the reason of each."""
        letters = [] if self.store is None else map(decode, self.store.envelopes.values())
        return {int(letter.record().data): letter.reason.value for letter in letters}

    def of(self, kind: type[Any]) -> list[Any]:
        """Facts of one kind."""
        return [fact for fact in self.facts if isinstance(fact, kind)]

    async def run(self, within_seconds: float) -> bool:
        """Let the worker run until everything is done and stored; whether it was in time."""
        sink = self.sink

        class User(RecordProcessor):
            async def process_records(self, records: Any, checkpointer: Any) -> BatchFailures | None:
                return await sink.process(records)

        async with self._worker(User) as worker:
            running = asyncio.ensure_future(worker.run())
            done = await self._until_done(_now() + within_seconds, running)
            worker.stop()
            await running
        return done

    async def _until_done(self, until: float, running: asyncio.Future[Any]) -> bool:
        while _now() < until and not running.done():
            if self.is_done:
                return True
            await asyncio.wait({running}, timeout=1.0)
        return self.is_done

    def _worker(self, factory: Callable[[], RecordProcessor]) -> Worker:
        return Worker(
            MemoryRecordSource(self.log, "kinesis:orders", clock=self.clock),
            self.table,
            factory,
            self.config,
            clock=self.clock,
            random=Random(1),
            hooks=[self.facts.append],
            seam=LeasesInline(),
            threads=InlineThreads(),
            dead_letters=self.store,
        )


def play(make: Callable[[], World], within_seconds: float) -> tuple[World, bool]:
    """Run a world in virtual time; whether it came to its end."""

    async def main() -> tuple[World, bool]:
        world = make()
        return world, await world.run(within_seconds)

    return run_virtual(main(), limit_seconds=within_seconds + 3600)


def _now() -> float:
    return asyncio.get_running_loop().time()
