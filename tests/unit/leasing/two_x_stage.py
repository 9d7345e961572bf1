"""A table that KCL 2.x workers and ours share, in virtual time: whole lease loops beside hand-written KCLs."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any
from zlib import crc32

from consumer.config import InitialPosition
from consumer.errors import LeaseLost
from consumer.hooks import Fact, Hooks, LeaseTaken, TenureEnded
from consumer.leasing.adopted import AdoptedLeases
from consumer.leasing.held_lease import HeldLease
from consumer.leasing.lease_loop import LeaseLoop, LeaseSettings
from consumer.leasing.names import seems_ours
from consumer.leasing.table_mode import Coordination
from consumer.leasing.tenure import StopReason
from consumer.operate.cpu import CpuReader
from consumer.testing.virtual_time import VirtualClock, run_virtual
from lease_store import verbs
from lease_store.checkpoint import Checkpoint
from lease_store.lease import Lease
from lease_store.memory import MemoryLeaseStore
from tests.unit.leasing.kcl_2x import Kcl2x

__all__ = ["Python", "Shared", "in_shared_table"]

BASE = "clicks"


class Python:
    """One worker of ours, its user code reduced to a batch of ``batch_seconds`` that is always under way.

    Its name gets a nonce, as every name of ours has one.
    """

    def __init__(
        self,
        name: str,
        shared: Shared,
        batch_seconds: float,
        coordination: Coordination,
        *,
        cpu: CpuReader | None = None,
        read_units: float = 50.0,
        **settings: Any,
    ) -> None:
        self.name = f"{name}-{crc32(name.encode()):010x}"
        self.batch_seconds = batch_seconds
        self.facts: list[Fact] = []
        self._shared = shared
        self._reasons: dict[HeldLease, StopReason | None] = {}
        start = InitialPosition("TRIM_HORIZON")
        self.loop = LeaseLoop(
            AdoptedLeases(shared.store, f"{BASE}@1", start, shared.clock.wall),
            LeaseSettings(self.name, BASE, 10.0, 30.0, read_units, coordination=coordination, **settings),
            self,
            clock=shared.clock,
            random=random.Random(name),
            hooks=Hooks([self.facts.append]),
            cpu=cpu,
        )

    @property
    def held(self) -> list[str]:
        return sorted(self.loop.leases.held)

    def ends(self) -> Counter[str]:
        """How many tenures ended, by reason."""
        return Counter(fact.reason for fact in self.facts if isinstance(fact, TenureEnded))

    def takes(self) -> int:
        return sum(isinstance(fact, LeaseTaken) for fact in self.facts)

    async def run(self) -> None:
        await self.loop.start()
        await self.loop.run()

    def tenure_began(self, held: HeldLease) -> None: ...

    def stop_changed(self, held: HeldLease, reason: StopReason | None) -> None:
        is_stopping = held in self._reasons
        self._reasons[held] = reason
        if not is_stopping:
            self._shared.begin(self._stop(held))

    async def _stop(self, held: HeldLease) -> None:
        """The batch under way ends; then the checkpoint is stored and the lease let go, if it is still to go."""
        await self._shared.clock.sleep(self.batch_seconds)
        if self._reasons[held] is not None:
            try:
                await held.checkpoint(Checkpoint(str(held.lease.counter + 1)))
                await self.loop.let_go(held, shutdown_called=True)
            except LeaseLost:
                pass  # as for user code: its last batch comes again elsewhere
            await self.loop.consumer_stopped(held)
        del self._reasons[held]


class Shared:
    """A table, its clock, and who works in it."""

    def __init__(self, seed: int) -> None:
        self.clock = VirtualClock()
        self.store = MemoryLeaseStore()
        self.random = random.Random(seed)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._rest: set[asyncio.Task[None]] = set()

    def begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._rest.add(task)
        task.add_done_callback(self._rest.discard)
        return task

    def make(self, count: int, **fields: Any) -> None:
        """Leases as a KCL 2.7.2 makes them: without an entity type, and without anything of ours."""
        for number in range(count):
            fields = {"entity_type": None, **fields}
            self.store.apply(verbs.create(Lease(key=f"shard-{number:02d}", hash_range=("0", "1"), **fields)))

    def java(self, name: str, **fields: Any) -> Kcl2x:
        worker = Kcl2x(name, self.store, self.clock, random.Random(self.random.random()), **fields)
        self.enter(name, worker.run())
        return worker

    def enter(self, name: str, life: Coroutine[Any, Any, None]) -> None:
        """A worker works until it is killed by its name; whatever ends it earlier fails the test."""
        self._tasks[name] = self.begin(life)

    def python(
        self, name: str, *, batch_seconds: float = 0.1, coordination: Coordination = "auto", **fields: Any
    ) -> Python:
        worker = Python(name, self, batch_seconds, coordination, **fields)
        self.enter(name, worker.run())
        return worker

    def kill(self, name: str) -> None:
        self._tasks.pop(self.known_as(name)).cancel()

    def row(self, key: str) -> Lease:
        return next(lease for lease in self.store.rows().leases if lease.key == key)

    def loads(self) -> dict[str, int]:
        """Unfinished leases by owner, ours without their nonce; "" for nobody."""
        return dict(Counter(self.owner(lease) for lease in self.store.rows().leases if not lease.is_finished))

    def owner(self, lease: Lease) -> str:
        """By the name that it has here."""
        return self.known_as(lease.owner or "")

    @staticmethod
    def known_as(worker_id: str) -> str:
        """Without the nonce."""
        return worker_id.rpartition("-")[0] if seems_ours(worker_id) else worker_id

    async def until(self, holds: Callable[[], bool], *, within: float, every: float = 0.1) -> float:
        """The seconds until ``holds``. Raises where that takes longer than ``within``."""
        began = self.clock.monotonic()
        while not holds():
            self.check()
            if self.clock.monotonic() > began + within:
                raise AssertionError(f"not within {within} s: {self.loads()}")
            await self.clock.sleep(every)
        return self.clock.monotonic() - began

    async def stays(self, holds: Callable[[], bool], *, seconds: float, every: float = 0.1) -> None:
        until = self.clock.monotonic() + seconds
        while self.clock.monotonic() < until:
            self.check()
            assert holds(), self.loads()
            await self.clock.sleep(every)

    def check(self) -> None:
        """A worker that ended by itself fails the test, with what ended it."""
        for name, task in self._tasks.items():
            if task.done():
                raise AssertionError(f"{name} ended") from task.exception()

    async def end(self) -> None:
        self.check()
        for task in [*self._tasks.values(), *self._rest]:
            task.cancel()
        await asyncio.gather(*self._tasks.values(), *self._rest, return_exceptions=True)


def in_shared_table(test: Callable[[Shared], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test in virtual time, with a table of its own."""

    def run() -> None:
        async def main() -> None:
            shared = Shared(seed=7)
            await test(shared)
            await shared.end()

        run_virtual(main(), limit_seconds=20_000)

    run.__name__, run.__doc__, run.__module__ = test.__name__, test.__doc__, test.__module__
    return run
