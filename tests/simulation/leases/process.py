"""Simulated workers: the real lease loop, and a small consumer that plays the shards' part."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from consumer.errors import LeaseLost
from consumer.hooks import Fact, Hooks
from consumer.leasing.held_lease import HeldLease
from consumer.leasing.lease_loop import LeaseLoop, LeaseSettings
from consumer.leasing.seam import LeasesInline
from consumer.leasing.tenure import StopReason
from lease_store.checkpoint import Checkpoint
from lease_store.errors import LeaseStoreError
from lease_store.lease import Lease
from tests.simulation.loop import SimClock, spawn_as
from tests.simulation.store import Network, SimStore, SimTable

__all__ = ["STREAM", "SimWorker", "Witness", "Work"]

STREAM = "clicks@1"


@dataclass(frozen=True, slots=True)
class Work:
    """What user code is like: usual length of a slice, odds and length of a long one, odds of a checkpoint after it,
    of being told to shut down, and of the shard's end.
    """

    usual_seconds: float
    long: float
    long_seconds: float
    checkpoint: float
    shutdown_called: float
    shard_end: float


class Witness(Protocol):
    """Who is told what happens, to judge it."""

    def began(self, worker: SimWorker, held: HeldLease) -> None: ...
    def slice_began(self, worker: SimWorker, held: HeldLease) -> None: ...
    def slice_ended(self, worker: SimWorker, held: HeldLease) -> None: ...
    def fact(self, worker: SimWorker, fact: Fact) -> None: ...
    def failed(self, worker: SimWorker, what: str) -> None: ...


class SimWorker:
    """One worker process: a lease loop, its consumers, a clock of its own."""

    def __init__(
        self,
        name: str,
        *,
        table: SimTable,
        network: Callable[[], Network],
        work: Callable[[], Work],
        rows: tuple[Lease, ...],
        settings: LeaseSettings,
        clock: SimClock,
        draw: random.Random,
        witness: Witness,
    ) -> None:
        self.name = name
        self.clock = clock
        self.settings = settings
        self.store = SimStore(table, name, clock, network, random.Random(draw.random()))
        self.state = "starting"
        self.frozen = False
        self.tenures: dict[str, HeldLease] = {}
        self.idle_since: dict[str, float] = {}
        self._work = work
        self._rows = rows
        self._draw = random.Random(draw.random())
        self.witness = witness
        self.loop = LeaseLoop(
            self.store,
            settings,
            self,
            clock=clock,
            random=random.Random(draw.random()),
            hooks=Hooks([lambda fact: witness.fact(self, fact)]),
        )
        self._seam = LeasesInline()
        self._consumers: dict[HeldLease, Consumer] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._leave = asyncio.Event()

    @property
    def is_up(self) -> bool:
        return self.state in ("starting", "running", "draining")

    def start(self) -> None:
        self._main = spawn_as(self.name, self._run())

    def drain(self) -> None:
        if self.state in ("starting", "running"):
            self.state = "draining"
            self._leave.set()

    async def _run(self) -> None:
        await self._seam.start(self.store.open())
        while True:
            try:
                await self._seam.call(self.loop.start())
                break
            except LeaseStoreError:
                await self.clock.sleep(0.3)
        running = self._seam.run(self.loop.run())
        if self.state == "starting":
            self.state = "running"
        making = asyncio.ensure_future(self._make_rows())
        leaving = asyncio.ensure_future(self._leave.wait())
        await asyncio.wait({running, leaving}, return_when=asyncio.FIRST_COMPLETED)
        making.cancel()
        if not running.done():
            drained = asyncio.ensure_future(self._seam.call(self.loop.drain()))
            await asyncio.wait({running, drained}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            self.witness.failed(self, f"the lease loop ended: {running.exception()!r}")
            return
        while self._consumers:  # user code of tenures that expired may still run
            await self.clock.sleep(0.05)
        self.state = "drained"
        with contextlib.suppress(LeaseStoreError):
            await self._seam.call(self.loop.leave())
        await self._seam.stop()
        await self._seam.stop()
        self.state = "gone"

    async def _make_rows(self) -> None:
        for row in self._rows:
            while True:
                try:
                    await self._seam.call(self.loop.create(row))
                    break
                except LeaseStoreError:
                    await self.clock.sleep(0.2)
        await self._seam.call(self.loop.apply_plan())

    # -- TenureListener, on the lease loop
    def tenure_began(self, held: HeldLease) -> None:
        self.tenures[held.key] = held
        self.witness.began(self, held)
        self._seam.post(self._began, held)

    def stop_changed(self, held: HeldLease, reason: StopReason | None) -> None:
        self._seam.post(self._stop_changed, held, reason)

    # -- on the worker's loop
    def _began(self, held: HeldLease) -> None:
        consumer = self._consumers[held] = Consumer(self, held, self._seam, self._work, self._draw)
        task = asyncio.ensure_future(self._consume(consumer, held))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _stop_changed(self, held: HeldLease, reason: StopReason | None) -> None:
        if (consumer := self._consumers.get(held)) is not None:
            consumer.request_stop(reason)

    async def _consume(self, consumer: Consumer, held: HeldLease) -> None:
        try:
            await consumer.run()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self.witness.failed(self, f"consumer of {held.key} died: {error!r}")
        del self._consumers[held]
        await self._seam.call(self.loop.consumer_stopped(held))


class Consumer:
    """Runs slices of user code of one tenure while it is trusted, checkpoints now and then, obeys stops."""

    def __init__(
        self, worker: SimWorker, held: HeldLease, seam: LeasesInline, work: Callable[[], Work], draw: random.Random
    ) -> None:
        self._worker = worker
        self._held = held
        self._seam = seam
        self._work = work
        self._draw = draw
        self._stop: StopReason | None = None
        checkpoint = held.first_lease.checkpoint
        self._done = int(checkpoint.sequence_number) if checkpoint.is_number else 0
        self._stored = self._done
        self._parents: asyncio.Future[tuple[str, ...]] | None = None

    def request_stop(self, reason: StopReason | None) -> None:
        if self._stop != "lost":
            self._stop = reason

    async def run(self) -> None:
        held, worker = self._held, self._worker
        if held.first_lease.parents:
            self._parents = asyncio.ensure_future(self._seam.call(worker.loop.parents_finished(held)))
        while self._stop != "lost" and held.over is None:
            try:
                if await self._step():
                    return
            except LeaseLost:
                return
            except LeaseStoreError:
                await worker.clock.sleep(0.1)

    async def _step(self) -> bool:
        held, worker, work = self._held, self._worker, self._work()
        if self._stop is not None:
            if self._done > self._stored:
                with contextlib.suppress(LeaseStoreError):  # else the lease leaves at its watermark
                    await self._checkpoint()
            called = self._draw.random() < work.shutdown_called
            over = await self._seam.call(worker.loop.let_go(held, called))
            if called and not over:
                worker.witness.failed(worker, f"let_go of {held.key} went on after shutdown_requested")
            return over
        waits = self._parents is not None and not self._parents.done()
        if waits or worker.clock.monotonic() >= held.trusted_until:
            await worker.clock.sleep(0.05)
            return False
        await self._slice(work)
        if self._draw.random() < work.shard_end and len(held.key) < 4:
            await self._seam.call(worker.loop.end_shard(held, self._children()))
            return True
        if self._draw.random() < work.checkpoint:
            await self._checkpoint()
        await worker.clock.sleep(self._draw.uniform(0.0, 0.2))
        return False

    async def _slice(self, work: Work) -> None:
        worker, held = self._worker, self._held
        worker.witness.slice_began(worker, held)
        longest = work.long_seconds if self._draw.random() < work.long else work.usual_seconds
        try:
            await worker.clock.sleep(self._draw.uniform(0.0, longest))
        finally:
            worker.witness.slice_ended(worker, held)
        self._done += 1

    async def _checkpoint(self) -> None:
        done = self._done
        await self._seam.call(self._worker.loop.checkpoint(self._held, Checkpoint(str(done))))
        self._stored = max(self._stored, done)

    def _children(self) -> list[Lease]:
        key = self._held.key
        return [Lease(key=key + each, parents=(key,), stream=STREAM) for each in "ab"]
