"""Where the catalogue's failures are played: whole workers, unchanged, in virtual time, judged at every step.

It is the fleet simulation without its dice: its loop, its lease table, its judge. What goes wrong is what a test asks
for: ``stage.plan`` arms faults of the stream, ``group.network`` and ``member.refusal`` those of the table, ``kill`` and
``freeze`` those of a process. Whatever a test asserts besides, the judge's promises hold throughout: no checkpoint goes
back or passes a record that user code is not through with, keys keep their order, no child starts before its parents.
"""

from __future__ import annotations

import asyncio
import inspect
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from consumer.config import InitialPosition, WorkerConfig
from consumer.delivery.threads import InlineThreads
from consumer.hooks import Fact
from consumer.leasing.seam import LeasesInline
from consumer.processor import ProcessorFactory
from consumer.testing.faults import FaultPlan
from consumer.testing.memory_source import MemoryRecordSource
from consumer.testing.shard_log import ShardLog
from consumer.testing.stream_log import StreamLog
from consumer.testing.stream_rules import StreamOptions
from consumer.testing.virtual_time import VirtualClock
from consumer.worker import Outcome, Worker
from lease_store.errors import LeaseStoreError
from lease_store.lease import Lease, TableScan
from lease_store.store import WriteResult
from lease_store.verbs import Write
from tests.catalogue.recorder import Call, Given, Recorder, Work
from tests.simulation.fleet.judge import StreamJudge, Written
from tests.simulation.fleet.loop import FleetLoop
from tests.simulation.loop import SimClock, spawn_as
from tests.simulation.store import Calm, Network, SimStore

__all__ = ["CALM", "LONG", "Group", "Member", "Stage", "TableWrite", "staged"]

F = TypeVar("F", bound=Fact)

TRIM_HORIZON: Final = InitialPosition("TRIM_HORIZON")
CALM: Final = Calm()
LONG: Final = {
    "failover_seconds": 300.0,
    "idle_wait_seconds": 60.0,
    "stuck_after_seconds": 600.0,
    "audit_interval_seconds": 300.0,
}
"""For plays of days: the slow pulse of an idle group."""


@dataclass(frozen=True, slots=True)
class TableWrite:
    """A write that the lease table applied, at a virtual second."""

    at: float
    worker: str
    verb: str
    key: str
    before: Lease | None
    after: Lease | None


class _Judge(StreamJudge):
    """Keeps every write, and tells whoever watches them."""

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__(now)
        self.writes: list[TableWrite] = []
        self.watchers: list[Callable[[TableWrite], None]] = []

    def wrote_row(self, worker: str, write: Write, before: Lease | None, after: Lease | None) -> None:
        super().wrote_row(worker, write, before, after)
        applied = TableWrite(asyncio.get_running_loop().time(), worker, write.verb, write.key, before, after)
        self.writes.append(applied)
        for watcher in self.watchers:
            watcher(applied)


class _Store(SimStore):
    """A way to the table on which single writes can be refused.

    ``refusal`` is asked about each before it leaves.
    """

    refusal: Callable[[Write], LeaseStoreError | None] | None = None

    async def scan(self) -> TableScan:
        if self._network() is not CALM:
            return await super().scan()
        self._count("scan")  # what a worker does most: on a calm network without a task and a time-out of its own
        await self._clock.sleep(0.02)
        return self._table.scan_as_of(lambda: 0.0)

    async def write(self, write: Write, *, timeout_seconds: float) -> WriteResult:
        error = self.refusal(write) if self.refusal is not None else None
        if error is not None:
            self._count(write.verb)
            raise error
        return await super().write(write, timeout_seconds=timeout_seconds)


class Member:
    """One worker process of a group, from its start to its end. ``network`` None: the group's."""

    def __init__(
        self, name: str, group: Group, factory: ProcessorFactory, config: WorkerConfig, clock: SimClock
    ) -> None:
        stage = group.stage
        self.name = name
        self.group = group
        self.clock = clock
        self.facts: list[Fact] = []
        self.network: Network | None = None
        self.outcome: Outcome | None = None
        self.is_killed = False
        self.store = _Store(
            group.judge.table, name, clock, lambda: self.network or group.network, random.Random(f"{name}:network")
        )
        self.source = MemoryRecordSource(
            stage.log, group.source, clock=clock, faults=stage.plan, latency_seconds=stage.latency_seconds
        )
        self.worker = Worker(
            self.source,
            self.store,
            factory,
            config,
            clock=clock,
            random=random.Random(name),
            hooks=[self._note],
            seam=LeasesInline(),
            threads=InlineThreads(),
        )
        self._entered = asyncio.Event()
        self.task = spawn_as(name, self._run())

    def _note(self, fact: Fact) -> None:
        self.facts.append(fact)
        self.group.judge.fact(self.name, fact)

    async def _run(self) -> None:
        async with self.worker as worker:
            self._entered.set()
            self.outcome = await worker.run()

    async def entered(self) -> None:
        """Return once the worker has started; raises what kept it from it."""
        waits = asyncio.ensure_future(self._entered.wait())
        await asyncio.wait([self.task, waits], return_when=asyncio.FIRST_COMPLETED)
        waits.cancel()
        if not self._entered.is_set():
            self.task.result()

    @property
    def id(self) -> str:
        """As rows of the table name it."""
        return self.worker.worker_id

    @property
    def is_up(self) -> bool:
        return not self.is_killed and not self.task.done()

    @property
    def held(self) -> set[str]:
        """Keys of the tenures that it holds."""
        return set(self.worker._loop.leases.held) if self._entered.is_set() else set()

    def told(self, kind: type[F]) -> list[F]:
        """The facts of ``kind``, in order."""
        return [fact for fact in self.facts if isinstance(fact, kind)]

    def kill(self) -> None:
        """As kill -9: not one line of it runs any more, and nothing is cleaned up."""
        self.is_killed = True
        self.group.stage.loop.freeze(self.name)

    def freeze(self, seconds: float) -> None:
        """As SIGSTOP, and SIGCONT after ``seconds``."""
        loop = self.group.stage.loop
        loop.freeze(self.name)
        loop.call_later(seconds, lambda: None if self.is_killed else loop.thaw(self.name))

    async def drain(self, within_seconds: float = 120.0) -> Outcome:
        """As SIGTERM; how it left."""
        self.worker.stop()
        async with asyncio.timeout(within_seconds):
            await self.task
        left = [task for task in self.group.stage.loop.tasks_of(self.name) if not task.done()]
        assert not left, f"{self.name} left {left[:3]}"
        assert self.outcome is not None
        return self.outcome

    async def failure(self, within_seconds: float = 120.0) -> BaseException:
        """The error that ended it, which is expected then."""
        async with asyncio.timeout(within_seconds):
            await asyncio.wait([self.task])
        error = self.task.exception()
        assert error is not None, f"{self.name} ended with {self.outcome}"
        self.group.expected.add(self.name)
        return error


class Group:
    """The workers of one app, their lease table, and what their user code saw of one stream."""

    def __init__(self, stage: Stage, source: str, **config: Any) -> None:
        self.stage = stage
        self.source = source
        self.judge = _Judge(stage.clock.wall)
        self.network = CALM
        self.members: list[Member] = []
        self.expected: set[str] = set()
        self.given: list[Given] = []
        self.calls: list[Call] = []
        self._config = {"app": f"app{len(stage.groups) + 1}", "initial_position": TRIM_HORIZON, **config}

    async def start(
        self,
        name: str = "",
        work: Work | None = None,
        *,
        processor: Callable[[Group, str], Any] | None = None,
        clock: SimClock | None = None,
        **config: Any,
    ) -> Member:
        """A worker that has started; raises what kept it from it. ``processor`` makes other code than a Recorder."""
        name = name or f"{self._config['app']}w{len(self.members) + 1}"

        def factory() -> Any:
            return processor(self, name) if processor is not None else Recorder(self, name, work)

        made = WorkerConfig(**{"worker_id": name, **self._config, **config})
        member = Member(name, self, factory, made, clock or SimClock())
        self.members.append(member)
        try:
            await member.entered()
        except BaseException:
            self.expected.add(name)  # the caller hears of it
            raise
        return member

    @property
    def writes(self) -> list[TableWrite]:
        """Every write that the lease table applied."""
        return self.judge.writes

    def lease(self, shard_id: str) -> Lease:
        """A shard's row now."""
        lease = self.judge.table.lease(shard_id)
        assert lease is not None, f"{shard_id} has no row"
        return lease

    def leases(self) -> dict[str, Lease]:
        """All rows now."""
        return {lease.key: lease for lease in self.judge.table.rows().leases}

    def missing(self) -> list[Written]:
        """Records that user code was not given, and that lie in no reported gap."""
        return list(self.judge.missing())

    def times(self) -> Counter[int]:
        """How often each record was given to user code."""
        return Counter(each.serial for each in self.given)

    def repeated(self) -> dict[int, int]:
        """Records given more than once."""
        return {serial: count for serial, count in self.times().items() if count > 1}

    async def until_given(self, within_seconds: float = 60.0) -> None:
        """Until every record written so far was given to user code, or lies in a reported gap."""
        await self.stage.until(lambda: not self.missing(), "every record given", within_seconds)

    async def until_held(self, *counts: int, within_seconds: float = 120.0) -> None:
        """Until the members that are up hold that many shards each, in any order."""

        def reached() -> bool:
            return sorted(len(each.held) for each in self.members if each.is_up) == sorted(counts)

        await self.stage.until(reached, f"shards held {counts}", within_seconds)


class Stage:
    """Streams, faults and groups in one virtual world. ``latency_seconds`` is what a call to the stream takes."""

    def __init__(self, loop: FleetLoop, options: StreamOptions, latency_seconds: float) -> None:
        self.loop = loop
        self.clock = VirtualClock()
        self.log = ShardLog(self.clock.wall, options=options)
        self.plan = FaultPlan(random.Random(1), now=self.clock.monotonic)
        self.latency_seconds = latency_seconds
        self.groups: list[Group] = []
        self._streams: dict[str, list[StreamLog]] = {}
        self._written: list[tuple[str, Written]] = []

    # -- streams

    def open(self, source: str = "dynamodb:orders", shards: int = 1) -> StreamLog:
        """Create a stream, or switch it on again, and show it to the groups that read it."""
        service, _, name = source.partition(":")
        if service == "kinesis":
            log = self.log.create_stream(name, shards)
        elif name in self.log.tables.tables:
            log = self.log.tables.enable(name, shard_count=shards).log
        else:
            log = self.log.create_table(name, shard_count=shards)
        self._streams.setdefault(source, []).append(log)
        for group in self.groups:
            if group.source == source:
                group.judge.opened(log)
        return log

    def stream(self, source: str = "") -> StreamLog:
        """The present life of a stream (default: of the one that was opened first)."""
        return self._streams[source or next(iter(self._streams))][-1]

    def open_shards(self, source: str = "") -> list[str]:
        """Ids of the shards that take records, by hash range."""
        return [shard.id for shard in self.stream(source).open_shards()]

    def put(self, key: str = "k", times: int = 1, source: str = "", payload: str = "") -> list[int]:
        """Write records of one key; their serial numbers."""
        source = source or next(iter(self._streams))
        service, _, name = source.partition(":")
        serials = range(len(self._written), len(self._written) + times)
        for serial in serials:
            if service == "kinesis":
                record, shard_id = self.log.kinesis.put(name, key, str(serial).encode())
            else:
                image = {"pk": key, "n": serial, **({"payload": payload} if payload else {})}
                record, shard_id = self.log.tables.change(name, new_image=image)
            place = (self.stream(source).incarnation, shard_id)
            made = (serial, key, place, record.sequence, record.arrived_at)
            self._written.append((source, Written(*made)))
            for group in self.groups:
                if group.source == source:
                    group.judge.wrote(Written(*made))
        return list(serials)

    def put_each(self, keys: int, times: int = 1, source: str = "") -> list[int]:
        """Write ``times`` records of each of ``keys`` keys, one key after the other."""
        return [serial for _ in range(times) for key in range(keys) for serial in self.put(f"k{key}", source=source)]

    def written(self, serial: int) -> Written:
        """A record as it was written."""
        return self._written[serial][1]

    # -- groups, time

    def group(self, source: str = "", **config: Any) -> Group:
        """An app with a lease table of its own, which knows all that was written so far."""
        source = source or next(iter(self._streams))
        group = Group(self, source, **config)
        for log in self._streams.get(source, ()):
            group.judge.opened(log)
        for of, record in self._written:
            if of == source:
                group.judge.wrote(Written(record.serial, record.key, record.place, record.sequence, record.arrived_at))
        self.groups.append(group)
        return group

    @property
    def now(self) -> float:
        """Virtual seconds since the play began."""
        return self.loop.time()

    async def advance(self, seconds: float = 0.0, *, hours: float = 0.0) -> None:
        """Let time pass."""
        await asyncio.sleep(seconds + 3600.0 * hours)

    async def until(self, condition: Callable[[], object], what: str, within_seconds: float = 60.0) -> None:
        """Let time pass until ``condition`` holds; a failure says what did not come about, and what happened last."""
        until = self.now + within_seconds
        while not condition():
            if self.now >= until or any(group.judge.violations for group in self.groups):
                last = [step for group in self.groups for step in list(group.judge.last_steps)[-30:]]
                told = [f"not reached within {within_seconds:g} s: {what}", *self.faults(), *last]
                raise AssertionError("\n".join(told))
            await asyncio.sleep(0.1)

    def faults(self) -> list[str]:
        """What must never be: promises broken, workers that ended with an error nobody expected."""
        found = [breach for group in self.groups for breach in group.judge.violations]
        members = [each for group in self.groups for each in group.members if each.name not in group.expected]
        ended = [(each.name, each.task.exception()) for each in members if each.task.done()]
        return found + [f"{name} ended with {error!r}" for name, error in ended if error is not None]

    def close(self) -> None:
        """No judging any more: the loop ends everything now, the killed as well."""
        for group in self.groups:
            group.judge.closed = True
        self.loop.thaw_all()


def staged(
    *,
    source: str = "dynamodb:orders",
    shards: int = 1,
    seed: int = 1,
    latency_seconds: float = 0.005,
    **options: Any,
) -> Callable[[Callable[..., Coroutine[Any, Any, None]]], Callable[..., None]]:
    """A test that takes a ``stage`` first, with one stream open; ``options`` are those of StreamOptions."""

    def decorate(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
        async def play(loop: FleetLoop, arguments: dict[str, Any]) -> None:
            stage = Stage(loop, StreamOptions(**options), latency_seconds)
            stage.open(source, shards)
            try:
                await test(stage, **arguments)
                assert not stage.faults()
            finally:
                stage.close()

        def run(**arguments: Any) -> None:
            loop = FleetLoop(seed)
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.run(play(loop, arguments))

        wanted = list(inspect.signature(test).parameters.values())[1:]
        run.__name__, run.__qualname__, run.__doc__, run.__module__ = (
            test.__name__,
            test.__qualname__,
            test.__doc__,
            test.__module__,
        )
        run.__signature__ = inspect.Signature(wanted)  # type: ignore[attr-defined]  # pytest asks it for fixtures
        return run

    return decorate
