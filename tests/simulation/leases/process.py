"""Simulated workers: the real lease loop, and a small consumer that plays the shards' part."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections.abc import Callable, Collection, Coroutine
from functools import partial
from typing import Any, Protocol, TypeVar

from consumer.errors import LeaseLost
from consumer.hooks import Fact, Hooks
from consumer.leasing.held_lease import HeldLease
from consumer.leasing.lease_loop import LeaseLoop, LeaseSettings
from consumer.leasing.seam import LeasesInline
from consumer.leasing.tenure import StopReason
from consumer.leasing.waiting import wait_for
from lease_store.checkpoint import Checkpoint
from lease_store.errors import LeaseStoreError
from lease_store.lease import Lease
from lease_store.store import LeaseStore
from tests.simulation.leases.draw import Work
from tests.simulation.leases.shards import children_of
from tests.simulation.loop import SimClock, context_of, spawn_as
from tests.simulation.network import Network
from tests.simulation.store import SimStore, SimTable

__all__ = ["Around", "SimWorker", "Witness"]

T = TypeVar("T")


class Witness(Protocol):
    """Who is told what happens, to judge it."""

    def began(self, worker: SimWorker, held: HeldLease) -> None: ...
    def slice_began(self, worker: SimWorker, held: HeldLease, record: int) -> None: ...
    def slice_ended(self, worker: SimWorker, held: HeldLease, record: int, *, returned: bool) -> None: ...
    def fact(self, worker: SimWorker, fact: Fact) -> None: ...
    def failed(self, worker: SimWorker, what: str) -> None: ...
    def left(self, worker: SimWorker) -> None: ...


class Around(Protocol):
    """What a worker finds in its world; network and work change when the faults stop."""

    table: SimTable
    witness: Witness

    def network_of(self, worker: SimWorker) -> Network: ...
    def work(self) -> Work: ...
    def records_in(self, key: str) -> int | None:
        """How many records the shard has; None while it is open."""
        ...

    def rows(self) -> tuple[Lease, ...]:
        """Rows that every worker makes at its start."""
        ...

    def timed_out(self, worker: SimWorker) -> None:
        """The worker's drain took too long: its process ends as it stands."""
        ...


class _Seam(LeasesInline):
    """Two loops in one: calls run as the lease loop's and events as the worker's, so that either can stand still."""

    def __init__(self, worker: SimWorker) -> None:
        super().__init__()
        self._name = worker.name
        self._code = context_of(worker.code)

    async def call(self, work: Coroutine[Any, Any, T]) -> T:
        result: T = await super().call(spawn_as(self._name, work))  # type: ignore[arg-type]  # a task is awaited as well
        return result

    def run(self, work: Coroutine[Any, Any, None]) -> asyncio.Future[None]:
        self._running = spawn_as(self._name, work)
        return self._running

    def post(self, event: Callable[..., None], *args: Any) -> None:
        self._events.append(partial(event, *args))
        asyncio.get_running_loop().call_soon(self._deliver, context=self._code)

    @property
    def backlog(self) -> tuple[int, int]:
        """Calls under way and events not delivered."""
        return len(self._calls), len(self._events)


class SimWorker:
    """One worker process: a lease loop, its consumers, a clock of its own.

    ``name`` is the whole worker id, ``code`` the name under which user code and its loop run. A directed test may put
    another ``store_type`` between it and the table.
    """

    store_type: type[SimStore] = SimStore

    def __init__(
        self, host: str, settings: LeaseSettings, around: Around, *, clock: SimClock, draw: random.Random
    ) -> None:
        self.host = host
        self.name = settings.worker_id
        self.code = f"{self.name}.code"
        self.clock = clock
        self.settings = settings
        self.around = around
        self.witness = around.witness
        self.store = self.store_type(
            around.table, self.name, clock, lambda: around.network_of(self), random.Random(draw.random())
        )
        self.state = "starting"
        self.frozen = False
        self.blocked = False
        self.cut_off = False
        self.drain_timeout: float | None = None
        self.tenures: dict[str, HeldLease] = {}
        self.draw = random.Random(draw.random())
        self.loop = LeaseLoop(
            self.leasing_store(),
            settings,
            self,
            clock=clock,
            random=random.Random(draw.random()),
            hooks=Hooks([lambda fact: self.witness.fact(self, fact)]),
        )
        self.seam = _Seam(self)
        self.consumers: dict[HeldLease, Consumer] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._leave = asyncio.Event()

    record_bytes = 0
    """What a record weighs; without weight all shards are alike."""
    starts_at_stored = True
    """Whether each tenure surely begins at the stored checkpoint."""

    @property
    def sure_slice_seconds(self) -> float:
        """How long a slice begun under trust may be to overlap with no other owner's: the margin, less 1 % of F."""
        return self.loop.leases.timing.margin_seconds - 0.01 * self.settings.failover_seconds

    def leasing_store(self) -> LeaseStore:
        """What the lease loop writes to."""
        return self.store

    @property
    def held_keys(self) -> Collection[str]:
        """Leases that it holds."""
        return self.loop.leases.held.keys()

    @property
    def is_up(self) -> bool:
        return self.state in ("starting", "running", "draining")

    @property
    def is_troubled(self) -> bool:
        """Whether it lives and something keeps it from working now."""
        return self.is_up and (self.frozen or self.blocked or self.cut_off)

    def trusts(self, held: HeldLease) -> bool:
        """Whether this worker, by its own clock, trusts a tenure of its own now."""
        return self.is_up and held.over is None and self.clock.monotonic() < held.trusted_until

    def start(self) -> None:
        self._main = spawn_as(self.code, self._run())

    def drain(self, timeout_seconds: float | None = None) -> None:
        if self.state in ("starting", "running"):
            self.state = "draining"
            self.drain_timeout = timeout_seconds
            self._leave.set()

    async def _run(self) -> None:
        await self.seam.start(self.store.open())
        while True:
            try:
                await self.seam.call(self.loop.start())
                break
            except LeaseStoreError:
                await self.clock.sleep(0.3)
        running = self.seam.run(self.loop.run())
        if self.state == "starting":
            self.state = "running"
        making = asyncio.ensure_future(self._make_rows())
        leaving = asyncio.ensure_future(self._leave.wait())
        await asyncio.wait({running, leaving}, return_when=asyncio.FIRST_COMPLETED)
        making.cancel()
        try:
            async with self.clock.timeout(self.drain_timeout):
                await self._leave_cleanly(running)
        except TimeoutError:
            self.around.timed_out(self)

    async def _leave_cleanly(self, running: asyncio.Future[None]) -> None:
        if not running.done():
            drained = asyncio.ensure_future(self.ask(partial(self.loop.drain, self.drain_timeout or math.inf)))
            await asyncio.wait({running, drained}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            self.witness.failed(self, f"the lease loop ended: {running.exception()!r}")
            return
        while self.consumers:  # user code of tenures that expired may still run
            await self.clock.sleep(0.05)
        self.state = "drained"
        with contextlib.suppress(LeaseStoreError):
            await self.seam.call(self.loop.leave())
        await self.seam.stop()
        await self.seam.stop()
        self.state = "gone"
        self.witness.left(self)

    async def ask(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """A call of the lease loop, made when its task first runs: the world may end before that."""
        return await self.seam.call(work())

    async def _make_rows(self) -> None:
        for row in self.around.rows():
            while True:
                try:
                    await self.seam.call(self.loop.create(row))
                    break
                except LeaseStoreError:
                    await self.clock.sleep(0.2)
        await self.seam.call(self.loop.apply_plan())

    # -- TenureListener, on the lease loop
    def tenure_began(self, held: HeldLease) -> None:
        self.tenures[held.key] = held
        self.witness.began(self, held)
        self.seam.post(self._began, held)

    def stop_changed(self, held: HeldLease, reason: StopReason | None) -> None:
        self.seam.post(self._stop_changed, held, reason)

    # -- on the worker's loop
    def _began(self, held: HeldLease) -> None:
        consumer = self.consumers[held] = Consumer(self, held)
        task = asyncio.ensure_future(self._consume(consumer, held))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _stop_changed(self, held: HeldLease, reason: StopReason | None) -> None:
        if (consumer := self.consumers.get(held)) is not None:
            consumer.request_stop(reason)

    async def _consume(self, consumer: Consumer, held: HeldLease) -> None:
        try:
            await consumer.run()
        except Exception as error:
            self.witness.failed(self, f"consumer of {held.key} died: {error!r}")
        del self.consumers[held]
        await self.seam.call(self.loop.consumer_stopped(held))


class Consumer:
    """Runs slices of user code of one tenure while it is trusted, checkpoints now and then, obeys stops.

    A slice is one record; the records of a shard are 1, 2, 3 and so on.
    """

    def __init__(self, worker: SimWorker, held: HeldLease) -> None:
        self._worker = worker
        self._held = held
        self._draw = worker.draw
        self._stop: StopReason | None = None
        self._is_lost = asyncio.Event()
        checkpoint = held.first_lease.checkpoint
        self._done = int(checkpoint.sequence_number) if checkpoint.is_number else 0
        self._stored = self._done
        self._parents: asyncio.Future[tuple[str, ...]] | None = None

    def request_stop(self, reason: StopReason | None) -> None:
        if self._stop != "lost":
            self._stop = reason
        if reason == "lost":
            self._is_lost.set()

    async def run(self) -> None:
        held, worker = self._held, self._worker
        if held.first_lease.parents:
            self._parents = asyncio.ensure_future(worker.ask(partial(worker.loop.parents_finished, held)))
        while self._stop != "lost" and held.over is None:
            try:
                if await self._step():
                    return
            except LeaseLost:
                return
            except LeaseStoreError:
                await worker.clock.sleep(0.1)

    async def _step(self) -> bool:
        held, worker, work = self._held, self._worker, self._worker.around.work()
        if self._stop is not None:
            return await self._let_go(work)
        waits = self._parents is not None and not self._parents.done()
        if waits or worker.clock.monotonic() >= held.trusted_until:
            await worker.clock.sleep(0.05)
            return False
        last = worker.around.records_in(held.key)
        if last is not None and self._done >= last:
            await worker.seam.call(worker.loop.end_shard(held, children_of(held.key)))
            return True
        await self._slice(work)
        if self._draw.random() < work.checkpoint:
            await self._checkpoint()
        await worker.clock.sleep(self._draw.uniform(0.0, 0.3))
        return False

    async def _let_go(self, work: Work) -> bool:
        worker, held = self._worker, self._held
        if self._done > self._stored:
            with contextlib.suppress(LeaseStoreError):  # else the lease leaves at its watermark
                await self._checkpoint()
        called = self._draw.random() < work.shutdown_called
        over = await worker.seam.call(worker.loop.let_go(held, called))
        if called and not over:
            worker.witness.failed(worker, f"let_go of {held.key} went on after shutdown_requested")
        return over

    async def _slice(self, work: Work) -> None:
        worker, held, record = self._worker, self._held, self._done + 1
        longest = work.long_seconds if self._draw.random() < work.long else work.usual_seconds
        seconds, raises = self._draw.uniform(0.0, longest), self._draw.random() < work.raises
        worker.witness.slice_began(worker, held, record)
        if work.obeys:
            cancelled = await wait_for(self._is_lost, seconds, worker.clock)
        else:
            cancelled = await worker.clock.sleep(seconds)
        returned = not raises and not cancelled
        held.throughput.delivered_bytes += worker.record_bytes
        worker.witness.slice_ended(worker, held, record, returned=returned)
        self._done += returned

    async def _checkpoint(self) -> None:
        done = self._done
        if done > 0:
            await self._worker.seam.call(self._worker.loop.checkpoint(self._held, Checkpoint(str(done))))
            self._stored = max(self._stored, done)
