"""One worker of a large fleet: the real lease loop, and consumers that cost nothing while nothing happens."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Coroutine
from typing import Any, Final

from consumer.errors import LeaseLost
from consumer.hooks import Hooks
from consumer.leasing.held_lease import HeldLease
from consumer.leasing.lease_loop import LeaseLoop, LeaseSettings
from consumer.leasing.tenure import StopReason
from lease_store.errors import LeaseStoreError
from lease_store.lease import Lease, TableScan
from lease_store.store import Refused, WriteResult
from lease_store.verbs import Write
from tests.simulation.loop import SimClock, spawn_as
from tests.simulation.network import Network
from tests.simulation.scale.tally import Tally
from tests.simulation.store import SimStore, SimTable

__all__ = ["ScaleTable", "ScaleWorker"]

_SNAPSHOT_SECONDS: Final = 0.25
_KEPT_SECONDS: Final = 2.0


class ScaleTable(SimTable):
    """A ``SimTable`` whose scans share snapshots, one for each quarter of a second that a scan looks back at."""

    def __init__(self, watcher: Callable[[str, Write, Lease | None, Lease | None], None]) -> None:
        super().__init__(watcher)
        self._snapshots: dict[float, TableScan] = {}

    def scan_as_of(self, lag: Callable[[], float]) -> TableScan:
        """The whole table as it was ``lag()`` seconds ago, or up to a quarter of a second before."""
        now = asyncio.get_running_loop().time()
        at = math.floor((now - lag()) / _SNAPSHOT_SECONDS) * _SNAPSHOT_SECONDS
        if at not in self._snapshots:
            self._snapshots = {since: scan for since, scan in self._snapshots.items() if since >= now - _KEPT_SECONDS}
            self._snapshots[at] = super().scan_as_of(lambda: now - at)
        return self._snapshots[at]


class CountedStore(SimStore):
    """A ``SimStore`` whose calls, refusals and scanned rows are counted for the whole fleet."""

    tally: Tally

    def _count(self, what: str) -> None:
        self.tally.calls[what] += 1

    async def write(self, write: Write, *, timeout_seconds: float) -> WriteResult:
        result = await super().write(write, timeout_seconds=timeout_seconds)
        if isinstance(result, Refused):
            self.tally.refused[write.verb] += 1
        return result

    async def scan(self) -> TableScan:
        scan = await super().scan()
        self.tally.scanned(len(scan.leases) + len(scan.workers))
        return scan


class ScaleWorker:
    """A lease loop whose shards have no records: it lets go when told to, ends shards when told to, and that is all."""

    def __init__(
        self, settings: LeaseSettings, tally: Tally, table: SimTable, *, clock: SimClock, network: Network, seed: str
    ) -> None:
        self.name = settings.worker_id
        store = CountedStore(table, self.name, clock, lambda: network, random.Random(f"{seed}:store"))
        store.tally = tally
        self.loop = LeaseLoop(store, settings, self, clock=clock, random=random.Random(seed), hooks=Hooks(()))
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_splitting = False
        self.failed: BaseException | None = None

    def start(self) -> None:
        self._spawn(self._run())

    def kill(self) -> None:
        """No further step of this worker; calls that are on their way arrive."""
        for task in list(self._tasks):
            task.cancel()

    async def _run(self) -> None:
        while True:
            try:
                await self.loop.start()
                break
            except LeaseStoreError:
                await self._clock.sleep(0.3)
        await self.loop.run()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = spawn_as(self.name, work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.failed = task.exception()

    # -- TenureListener

    def tenure_began(self, held: HeldLease) -> None:
        if held.first_lease.parents:
            self._spawn(self._wait_for_parents(held))
        elif self._is_splitting:
            self._spawn(self._split(held, 0.0))

    def stop_changed(self, held: HeldLease, reason: StopReason | None) -> None:
        if reason is not None:
            self._spawn(self._stop(held))

    async def _wait_for_parents(self, held: HeldLease) -> None:
        await self.loop.parents_finished(held)

    async def _stop(self, held: HeldLease) -> None:
        if held.over is not None or await self.loop.let_go(held, False):
            await self.loop.consumer_stopped(held)

    def split_shards(self, draw: random.Random, within_seconds: float) -> None:
        """Each first shard splits in two, at an instant of its own; one that comes to this worker later, at once."""
        self._is_splitting = True
        for held in list(self.loop.leases.held.values()):
            self._spawn(self._split(held, draw.uniform(0.0, within_seconds)))

    async def _split(self, held: HeldLease, after_seconds: float) -> None:
        await self._clock.sleep(after_seconds)
        lease = held.first_lease
        children = [Lease(key=f"{lease.key}{each}", parents=(lease.key,), stream=lease.stream) for each in "ab"]
        while held.over is None:
            try:
                await self.loop.end_shard(held, children)
            except LeaseLost:
                break
            except LeaseStoreError:
                await self._clock.sleep(0.1)
        await self.loop.consumer_stopped(held)
