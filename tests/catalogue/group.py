"""The workers of one app on the catalogue's stage, the way of each to the lease table, and what their code saw."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from consumer.config import InitialPosition, WorkerConfig
from consumer.delivery.threads import InlineThreads
from consumer.hooks import Fact
from consumer.leasing.seam import LeasesInline
from consumer.processor import ProcessorFactory
from consumer.testing.memory_source import MemoryRecordSource
from consumer.worker import Outcome, Worker
from lease_store.errors import LeaseStoreError
from lease_store.lease import Lease, TableScan
from lease_store.store import WriteResult
from lease_store.verbs import Write
from tests.catalogue.recorder import Call, Given, Recorder, Work
from tests.simulation.fleet.judge import StreamJudge
from tests.simulation.fleet.written import Written
from tests.simulation.loop import SimClock, spawn_as
from tests.simulation.network import Calm, Network
from tests.simulation.store import SimStore

if TYPE_CHECKING:
    from tests.catalogue.stage import Stage

__all__ = ["CALM", "LONG", "Group", "Member", "TableWrite"]

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
    write: Write
    before: Lease | None
    after: Lease | None

    @property
    def verb(self) -> str:
        return self.write.verb

    @property
    def key(self) -> str:
        return self.write.key


class _Judge(StreamJudge):
    """Keeps every write, and tells whoever watches them."""

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__(now)
        self.writes: list[TableWrite] = []
        self.watchers: list[Callable[[TableWrite], None]] = []

    def wrote_row(self, worker: str, write: Write, before: Lease | None, after: Lease | None) -> None:
        super().wrote_row(worker, write, before, after)
        applied = TableWrite(asyncio.get_running_loop().time(), worker, write, before, after)
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
        self, name: str, group: Group, source: str, factory: ProcessorFactory, *, config: WorkerConfig, clock: SimClock
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
            stage.log, source, clock=clock, faults=stage.plan, latency_seconds=stage.latency_seconds
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
        """Return once the worker has started, or was killed; raises what kept it from it."""
        waits = asyncio.ensure_future(self._entered.wait())
        await asyncio.wait([self.task, waits], return_when=asyncio.FIRST_COMPLETED)
        waits.cancel()
        if self.task.done():
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
        return set(self.worker._loop.leases.held) if self._entered.is_set() and not self.is_killed else set()

    def told(self, kind: type[F]) -> list[F]:
        """The facts of ``kind``, in order."""
        return [fact for fact in self.facts if isinstance(fact, kind)]

    def kill(self) -> None:
        """As kill -9: not one line of it runs any more, and nothing is cleaned up."""
        self.is_killed = True
        self._entered.set()
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
        source: str = "",
        **config: Any,
    ) -> Member:
        """A worker that has started; raises what kept it from it.

        ``processor`` makes other code than a Recorder; ``source`` names another stream than the group's.
        """
        name = name or f"{self._config['app']}w{len(self.members) + 1}"

        def factory() -> Any:
            return processor(self, name) if processor is not None else Recorder(self, name, work)

        made = WorkerConfig(**{"worker_id": name, **self._config, **config})
        member = Member(name, self, source or self.source, factory, config=made, clock=clock or SimClock())
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
