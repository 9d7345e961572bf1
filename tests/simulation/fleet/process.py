"""One worker process of the fleet world: the whole product on a clock, a network and a source of its own."""

from __future__ import annotations

import asyncio
import random

from consumer.config import InitialPosition, WorkerConfig
from consumer.delivery.threads import InlineThreads
from consumer.errors import LeaseholdError
from consumer.leasing.seam import LeasesInline
from consumer.processor import RecordProcessor
from consumer.retry import is_transient
from consumer.streams.source import Page, StreamIdentity
from consumer.testing.faults import FaultPlan
from consumer.testing.memory_source import MemoryRecordSource
from consumer.testing.shard_log import ShardLog
from consumer.worker import Outcome, Worker
from tests.simulation.fleet.code import AsyncCode, PlainCode
from tests.simulation.fleet.draw import Code, Draw
from tests.simulation.fleet.judge import StreamJudge
from tests.simulation.fleet.loop import FleetLoop
from tests.simulation.loop import SimClock, spawn_as
from tests.simulation.store import SimStore

__all__ = ["Process", "Surroundings"]


class Surroundings:
    """What all processes of one world share; network and code change when the faults stop."""

    def __init__(self, draw: Draw, log: ShardLog, plan: FaultPlan, judge: StreamJudge, source: str) -> None:
        self.draw = draw
        self.log = log
        self.plan = plan
        self.judge = judge
        self.source = source
        self.network = draw.network
        self.code = draw.code
        self.is_stream_gone = False
        self.stream_born_at = 0.0


class WatchedSource(MemoryRecordSource):
    """Tells of each read before it is made."""

    def __init__(self, name: str, around: Surroundings, clock: SimClock) -> None:
        super().__init__(
            around.log, around.source, clock=clock, faults=around.plan, latency_seconds=around.draw.latency
        )
        self._worker = name
        self._around = around

    async def read(self, stream: StreamIdentity, shard_id: str, iterator: str, limit: int) -> Page:
        self._around.judge.reading(self._worker, shard_id, self._around.draw.failover / 3)
        return await super().read(stream, shard_id, iterator, limit)


class Process:
    """A worker from its start to its end, clean, killed or refused."""

    def __init__(
        self, name: str, around: Surroundings, loop: FleetLoop, chance: random.Random, position: InitialPosition
    ) -> None:
        draw = around.draw
        self.name = name
        self.state = "starting"
        self.frozen = False
        self.outcome: Outcome | None = None
        self._around = around
        self._loop = loop
        self._chance = chance
        self.clock = SimClock(
            skew_seconds=chance.uniform(-draw.skew, draw.skew), rate=chance.choice((1.0, chance.uniform(0.995, 1.005)))
        )
        self.worker = Worker(
            WatchedSource(name, around, self.clock),
            SimStore(around.judge.table, name, self.clock, lambda: around.network, random.Random(chance.random())),
            self._make_code,
            self._config(draw, position),
            clock=self.clock,
            random=random.Random(chance.random()),
            hooks=[lambda fact: around.judge.fact(name, fact)],
            seam=LeasesInline(),
            threads=InlineThreads(),
        )

    def _config(self, draw: Draw, position: InitialPosition) -> WorkerConfig:
        return WorkerConfig(
            app="fleet",
            initial_position=position,
            worker_id=self.name,
            failover_seconds=draw.failover,
            max_leases=draw.max_leases,
            drain_timeout_seconds=draw.drain_timeout,
            hand_off_timeout_seconds=draw.hand_off_timeout,
            checkpointing="manual" if draw.manual else "automatic",
            checkpoint_interval_seconds=draw.checkpoint_interval,
            max_records=draw.max_records,
            idle_wait_seconds=draw.idle_wait,
            retry_limit_seconds=3.0,
            audit_interval_seconds=draw.audit_interval,
            child_wait_seconds=draw.child_wait,
        )

    def _make_code(self) -> RecordProcessor:
        around = self._around
        shared = (self.name, around.judge, self._code_now, random.Random(self._chance.random()))
        if around.draw.code.plain:
            return PlainCode(*shared, manual=around.draw.manual)
        return AsyncCode(*shared, sleep=self.clock.sleep, manual=around.draw.manual)

    def _code_now(self) -> Code:
        return self._around.code

    @property
    def is_up(self) -> bool:
        return self.state in ("starting", "running", "draining")

    @property
    def leases(self) -> set[str]:
        """Keys of the tenures that this worker holds."""
        return set(self.worker._loop.leases.held) if hasattr(self.worker, "_loop") else set()

    def start(self) -> None:
        self._main = spawn_as(self.name, self._run())

    def drain(self) -> None:
        if self.state in ("starting", "running"):
            self.state = "draining"
            self.worker.stop()

    async def _run(self) -> None:
        judge = self._around.judge
        entered, began_at = False, self._loop.time()
        try:
            async with self.worker as worker:
                entered = True
                if self.state == "starting":
                    self.state = "running"
                self.outcome = await worker.run()
        except LeaseholdError as error:
            judge.note(f"{self.name} ended with {type(error).__name__}: {error}")
            without_stream = self._around.is_stream_gone or self._around.stream_born_at > began_at
            if entered or not (is_transient(error) or without_stream):
                judge.breach(f"{self.name} ended with {type(error).__name__}: {error}")
        except Exception as error:
            judge.breach(f"{self.name} ended by a defect: {error!r}")
        self.state = "gone"
        judge.note(f"{self.name} is gone ({self.outcome})")
        left = [task for task in self._loop.tasks_of(self.name) if task is not asyncio.current_task()]
        if left:
            judge.breach(f"{self.name} left {len(left)} tasks behind: {left[:3]}")
