"""Lanes over a processor that waits: how many times one lane's records 16 of them deliver, by the clock.

A whole worker on the machine's clock reads 20,000 records of as many keys from a stream in memory; a call waits 10 ms,
in an ``async def`` or in a thread. The clock decides here, since waiting is what lanes are for. A busy machine only
ever adds to it, and to 16 lanes more than to one: each figure is the least of three.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from consumer.clock import SystemClock
from consumer.config import InitialPosition, WorkerConfig
from consumer.processor import RecordProcessor
from consumer.testing.memory_source import MemoryRecordSource
from consumer.testing.shard_log import ShardLog
from consumer.worker import Worker
from lease_store.memory import MemoryLeaseStore
from tests.benchmarks.processes import progress
from tests.benchmarks.results import goal_row

__all__ = ["measure", "seconds"]

RECORDS: Final = 20_000
LANES: Final = 16
_WAIT_SECONDS: Final = 0.01
_GOAL: Final = 14.0
_ROUNDS: Final = 3
_LIMIT_SECONDS: Final = 600.0


@dataclass(slots=True)
class _Count:
    """Records delivered, by all lanes; ``began_at`` is when the first call began."""

    wanted: int
    all_done: asyncio.Event = field(default_factory=asyncio.Event)
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    began_at: float | None = None
    ended_at: float = 0.0
    done: int = 0

    def begin(self) -> None:
        if self.began_at is None:
            self.began_at = time.monotonic()

    def add(self, records: int) -> None:
        self.done += records
        if self.done >= self.wanted:
            self.ended_at = time.monotonic()
            self.all_done.set()


def _awaiting(count: _Count) -> Callable[[], RecordProcessor]:
    class Awaiting(RecordProcessor):
        async def process_records(self, records: Any, checkpointer: Any) -> None:
            count.begin()
            await asyncio.sleep(_WAIT_SECONDS)
            count.add(len(records))

    return Awaiting


def _blocking(count: _Count) -> Callable[[], RecordProcessor]:
    class Blocking(RecordProcessor):
        def process_records(self, records: Any, checkpointer: Any) -> None:
            count.loop.call_soon_threadsafe(count.begin)
            time.sleep(_WAIT_SECONDS)
            count.loop.call_soon_threadsafe(count.add, len(records))

    return Blocking


_KINDS: Final = {"async def": _awaiting, "def": _blocking}


def seconds(service: str, kind: str, *, lanes: int, batch_size: int, records: int = RECORDS) -> float:
    """From the first call to the end of the last. Raises TimeoutError where that takes ten minutes."""
    return asyncio.run(_seconds(service, kind, lanes, batch_size, records))


async def _seconds(service: str, kind: str, lanes: int, batch_size: int, records: int) -> float:
    clock, count = SystemClock(), _Count(records)
    log = _log(service, records, clock)
    config = WorkerConfig(
        app="bench", initial_position=InitialPosition("TRIM_HORIZON"), lanes=lanes, batch_size=batch_size
    )
    source = MemoryRecordSource(log, f"{service}:bench", clock=clock)
    worker = Worker(source, MemoryLeaseStore(), _KINDS[kind](count), config, clock=clock, random=Random(1))
    async with worker:
        running = asyncio.ensure_future(worker.run())
        await asyncio.wait_for(count.all_done.wait(), _LIMIT_SECONDS)
        worker.stop()
        await running
    assert count.began_at is not None
    return count.ended_at - count.began_at


def _log(service: str, records: int, clock: SystemClock) -> ShardLog:
    log = ShardLog(clock.wall, prebuild=True)
    if service == "dynamodb":
        log.create_table("bench", ["pk"])
        for number in range(records):
            log.put_item("bench", new_image={"pk": f"key-{number}"})
    else:
        log.create_stream("bench", 1)
        for number in range(records):
            log.put_record("bench", f"key-{number}", b"{}")
    return log


def measure() -> dict[str, Any]:
    """16 lanes against one, over DynamoDB Streams and Kinesis, ``def`` and ``async def``, in batches of 10."""
    figures: dict[str, Any] = {"records": RECORDS, "batch_size": 10, "lanes": LANES}
    rows = []
    for service, label in (("dynamodb", "DynamoDB Streams"), ("kinesis", "Kinesis")):
        for kind in _KINDS:
            turns = [
                [seconds(service, kind, lanes=lanes, batch_size=10) for lanes in (1, LANES)] for _ in range(_ROUNDS)
            ]
            one, many = map(min, zip(*turns, strict=True))
            progress(f"  {label}, {kind}: {one:.2f} s in one lane, {many:.2f} s in {LANES}: {one / many:.1f} x")
            figures[f"{service}, {kind}"] = {"one_lane_seconds": round(one, 2), "lanes_seconds": round(many, 2)}
            what = f"{label}, `{kind}` that waits 10 ms, batches of 10: {LANES} lanes against one"
            rows.append(goal_row(what, round(one / many, 2), _GOAL, "x", at_least=True))
    return {"figures": figures, "goals": rows}
