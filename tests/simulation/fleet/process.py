"""One worker process of the fleet world: the whole product on a clock, a network and a source of its own."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from consumer.config import InitialPosition, WorkerConfig
from consumer.dead_letters.letter import DeadLetter
from consumer.errors import LeaseholdError
from consumer.leasing.seam import LeasesInline
from consumer.processor import RecordProcessor
from consumer.retry import is_transient
from consumer.shards.shard_consumer import ShardConsumer
from consumer.streams.source import Page, StreamIdentity
from consumer.testing.faults import FaultPlan
from consumer.testing.memory_source import MemoryRecordSource
from consumer.testing.shard_log import ShardLog
from consumer.worker import Outcome, Worker
from lease_store.lease import Lease
from tests.simulation.fleet.code import AsyncCode, PlainCode
from tests.simulation.fleet.draw import Code, Draw
from tests.simulation.fleet.judge import StreamJudge
from tests.simulation.fleet.letters import DoorToLetters, Letters
from tests.simulation.fleet.loop import FleetLoop
from tests.simulation.fleet.policy import PolicyDraw
from tests.simulation.fleet.threads import SimThreads
from tests.simulation.fleet.trouble import Trouble
from tests.simulation.loop import SimClock, spawn_as
from tests.simulation.store import SimStore

__all__ = ["Process", "Surroundings"]

_TASKS = 60
_TASKS_A_SHARD = 5
_LINGERS_SECONDS = 2.5  # what waits for a lease's parents sees within so long that the lease is gone
_LETTERS = 100  # of which one write has so many at most, each looked for before it
_LEFT_WITHIN_SECONDS = 5.0


class Surroundings:
    """What all processes of one world share; network and code change when the faults stop."""

    def __init__(
        self, draw: Draw, log: ShardLog, plan: FaultPlan, judge: StreamJudge, source: str, *, trouble: Trouble
    ) -> None:
        self.draw = draw
        self.log = log
        self.plan = plan
        self.judge = judge
        self.source = source
        self.network = draw.network
        self.code = draw.code
        self.is_stream_gone = False
        self.stream_born_at = 0.0
        self.processes: list[Process] = []
        self.long_batches = 0
        self.letters = Letters(draw.policy, judge)
        self.trouble = trouble


class Factory:
    """Makes processors, and says what else a processor's class may say."""

    def __init__(self, make: Callable[[], RecordProcessor], policy: PolicyDraw, service: str) -> None:
        self._make = make
        predicate = policy.predicate()
        self.filter = predicate[service == "dynamodb"] if isinstance(predicate, tuple) else predicate
        self.lane_key = policy.lane_key_of()
        self.retries = policy.retries

    def __call__(self) -> RecordProcessor:
        return self._make()


class WatchedSource(MemoryRecordSource):
    """Tells of each read before it is made, and what it found; the stream keeps records for as long as drawn."""

    def __init__(self, name: str, around: Surroundings, clock: SimClock) -> None:
        super().__init__(
            around.log, around.source, clock=clock, faults=around.plan, latency_seconds=around.draw.latency
        )
        self._worker = name
        self._around = around

    async def read(self, stream: StreamIdentity, shard_id: str, iterator: str, limit: int) -> Page:
        self._around.judge.reading(self._worker, shard_id, self._around.draw.failover / 3)
        page = await super().read(stream, shard_id, iterator, limit)
        self._around.judge.calls.read(self._worker, shard_id, len(page.records))
        return page

    async def resolve(self) -> StreamIdentity:
        stream, retention = await super().resolve(), self._around.draw.policy.retention
        return stream if retention is None else replace(stream, retention_seconds=retention)


class Process:
    """A worker from its start to its end, clean, killed or refused."""

    def __init__(
        self, name: str, around: Surroundings, loop: FleetLoop, chance: random.Random, position: InitialPosition
    ) -> None:
        draw = around.draw
        self.name = name
        self._held_lately: list[tuple[float, int]] = []
        self.state = "starting"
        self.frozen = False
        self.outcome: Outcome | None = None
        self._around = around
        self._loop = loop
        self._chance = chance
        self.clock = SimClock(
            skew_seconds=chance.uniform(-draw.skew, draw.skew), rate=chance.choice((1.0, chance.uniform(0.995, 1.005)))
        )
        self._made: list[AsyncCode | PlainCode] = []
        self._pace = random.Random(chance.random())
        self._threads = SimThreads(draw.threads, self.clock.sleep, self._blocked_seconds)
        self.worker = Worker(
            WatchedSource(name, around, self.clock),
            SimStore(around.judge.table, name, self.clock, lambda: around.network, random.Random(chance.random())),
            Factory(self._make_code, draw.policy, draw.service),
            self._config(draw, position),
            clock=self.clock,
            random=random.Random(chance.random()),
            hooks=[lambda fact: around.judge.fact(name, fact)],
            seam=LeasesInline(),
            threads=self._threads,
            dead_letters=self._letters() if draw.policy.store else None,
        )
        around.judge.ids[name] = self.worker.worker_id

    def _config(self, draw: Draw, position: InitialPosition) -> WorkerConfig:
        return WorkerConfig(
            app="fleet",
            initial_position=position,
            worker_id="worker" if draw.same_name else self.name,
            failover_seconds=draw.failover,
            max_leases=draw.max_leases,
            drain_timeout_seconds=draw.drain_timeout,
            hand_off_timeout_seconds=draw.hand_off_timeout,
            checkpointing="manual" if draw.manual else "automatic",
            checkpoint_interval_seconds=draw.checkpoint_interval,
            prefetch_bytes=draw.prefetch_bytes,
            idle_wait_seconds=draw.idle_wait,
            scan_read_units_per_second=draw.scan_read_units,
            stuck_after_seconds=60.0,
            retry_limit_seconds=3.0,
            audit_interval_seconds=draw.audit_interval,
            child_wait_seconds=draw.child_wait,
            worker_metrics="none",  # what this machine does has no place in a seed
            **{"batch_size": draw.batch_size, **draw.policy.settings},
        )

    def _letters(self) -> DoorToLetters:
        around, draw = self._around, random.Random(f"{self.name}:letters")
        return DoorToLetters(around.letters, self.name, clock=self.clock, draw=draw, may_begin=self._begins_letters)

    def _begins_letters(self, letters: Sequence[DeadLetter]) -> None:
        judge = self._around.judge
        for shard_id in {letter.shard_id for letter in letters}:
            if self.trusted(shard_id) is None and judge.awake_since.get(self.name) != self._loop.time():
                judge.breach(f"{self.name} writes a dead letter of {shard_id} without trust in its lease")

    def _make_code(self) -> RecordProcessor:
        around, manual = self._around, self._around.draw.manual
        shared = (
            self.name,
            around.judge,
            self._code_now,
            random.Random(self._chance.random()),
            self._begins,
        )
        named: dict[str, Any] = {"trouble": around.trouble, "manual": manual}
        self._made.append(
            PlainCode(*shared, at_return=self._threads.at_return, **named)
            if around.draw.code.plain
            else AsyncCode(*shared, sleep=self.clock.sleep, **named)
        )
        return self._made[-1]

    def _blocked_seconds(self) -> float:
        code = self._around.code
        is_long = self._pace.random() < code.long
        if not code.plain:
            return 0.0
        self._around.long_batches += is_long
        return self._pace.uniform(0.0, code.long_seconds if is_long else code.usual_seconds)

    def _begins(self, shard_id: str) -> None:
        """A batch begins: this worker must trust its lease, and nobody else may."""
        judge = self._around.judge
        mine = self.trusted(shard_id)
        theirs = {each.name: each.trusted(shard_id) for each in self._around.processes if each is not self}
        # A recreated Kinesis stream has the shard ids of the one before, whose finished rows its own replace.
        others = [name for name, lease in theirs.items() if lease and (mine is None or lease.stream == mine.stream)]
        if others:
            judge.breach(f"{self.name} begins a batch of {shard_id} while {others} trust its lease, too")
        if mine is None and judge.awake_since.get(self.name) != self._loop.time():
            judge.breach(f"{self.name} begins a batch of {shard_id} without trust in its lease")

    def trusted(self, shard_id: str) -> Lease | None:
        """The lease of a shard where it trusts that now, by its own clock."""
        if not self.is_up or not hasattr(self.worker, "_loop"):
            return None
        held = self.worker._loop.leases.held.get(shard_id)
        return held.lease if held is not None and self.clock.monotonic() < held.trusted_until else None

    def check_bounds(self) -> None:
        """Pages, bytes and tasks stay within what the configuration and the number of shards allow."""
        self._check_restart()
        consumers = self.consumers
        held = [ahead for consumer in consumers if (ahead := consumer._reader._ahead) is not None]
        pages = max((len(ahead._pages) for ahead in held), default=0)
        largest = max((page.grant.size_bytes for ahead in held for page in ahead._pages if page.grant), default=0)
        allowed = self._around.draw.prefetch_bytes + len(consumers) * largest
        tasks, now = len(self._loop.tasks_of(self.name)), self._loop.time()
        self._held_lately = [(at, count) for at, count in self._held_lately if now - at < _LINGERS_SECONDS]
        self._held_lately.append((now, len(consumers)))
        lately = max(count for _, count in self._held_lately)
        policy = self._around.draw.policy
        for consumer in consumers:
            if not policy.is_plain and (delivery := consumer._user._delivery) is not None:
                self._check_shard(consumer.shard_id, len(delivery._books.lot), delivery._books.ledger.ahead)
        if (
            pages > max(4, 2 * policy.lanes)
            or self.worker._budget.used_bytes > allowed
            or tasks > _TASKS + (_TASKS_A_SHARD + 3 * policy.lanes + policy.holds_keys * _LETTERS) * lately
        ):
            too_much = (
                f"{pages} pages, {self.worker._budget.used_bytes} bytes, {tasks} tasks for {len(consumers)} shards"
            )
            self._around.judge.breach(f"{self.name} holds {too_much}")

    def _check_restart(self) -> None:
        """A call that does not end ends the worker: in the time of a drain, and of the last words of its shards."""
        judge = self._around.judge
        if not self.frozen:
            within = self._around.draw.drain_timeout + _LEFT_WITHIN_SECONDS
            judge.calls.check_restart(self.name, judge.awake_since.get(self.name, 0.0), within)

    def _check_shard(self, shard_id: str, parked: int, ahead: int) -> None:
        """Each lane begins a batch where there is room, and all keys in it may fail at once.

        Past the bound of parked keys others are samples, where anything follows from how they fare.
        """
        policy = self._around.draw.policy
        in_hand = policy.lanes * policy.setting("batch_size", 1000)
        most_ahead = policy.setting("max_ahead_records", 10_000)
        has_samples = policy.gives_up or policy.setting("breaker_batches", 3) > 0
        most_parked = most_ahead if has_samples else policy.setting("max_parked_keys", 100)
        if parked > most_parked + in_hand or ahead > most_ahead + 2 * in_hand:
            self._around.judge.breach(f"{self.name} holds {parked} parked keys of {shard_id}, {ahead} records ahead")

    def _code_now(self) -> Code:
        return self._around.code

    @property
    def is_up(self) -> bool:
        return self.state in ("starting", "running", "draining")

    @property
    def consumers(self) -> tuple[ShardConsumer, ...]:
        """Of the shards that it has."""
        return tuple(self.worker._shards or ())

    @property
    def leases(self) -> set[str]:
        """Keys of the tenures that this worker holds."""
        return set(self.worker._loop.leases.held) if hasattr(self.worker, "_loop") else set()

    def start(self) -> None:
        self._main = spawn_as(self.name, self._run())

    def abort(self) -> None:
        """End what a dead process left behind, once it thaws."""
        self._main.cancel()

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
        if self.outcome is Outcome.BATCH_TIMED_OUT:
            if self._around.draw.policy.setting("on_timeout") != "restart" or not judge.calls.has_overdue(self.name):
                judge.breach(f"{self.name} ended for a call that does not end, and there was none")
            self._loop.freeze(self.name)  # the process has ended, and with it what runs in it
        self.state = "gone"
        judge.note(f"{self.name} is gone ({self.outcome})")
        self._check_end(judge)

    def _check_end(self, judge: StreamJudge) -> None:
        """Whoever left cleanly left no task, and no processor that was not told of its end."""
        left = [task for task in self._loop.tasks_of(self.name) if task is not asyncio.current_task()]
        if left and not (self._threads.busy or self._around.draw.code.stubborn):
            judge.breach(f"{self.name} left {len(left)} tasks behind: {left[:3]}")
        untold = sum(code.is_initialized and not code.was_told for code in self._made)
        if untold and self.outcome is Outcome.CLEAN:
            judge.breach(f"{self.name} left without a word to {untold} processors")
