"""The loop on which all leasing of a worker lives: it beats, scans, renews, takes what expired, and obeys its plan.

Nothing here runs user code or reads a stream, so that neither can cost a lease. The worker reaches it through
``LeaseSeam.call`` and is reached through ``TenureListener``; of its state other threads read only
``HeldLease.trusted_until``.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from consumer.clock import Clock
from consumer.errors import LeaseLost
from consumer.hooks import Hooks
from consumer.leasing.checkpoints import Checkpoints, Told, Wanted
from consumer.leasing.drain import Drain
from consumer.leasing.handoff import OwnerSide, is_ready, settle_mine
from consumer.leasing.held_lease import HeldLease
from consumer.leasing.leases import Leases, TenureListener
from consumer.leasing.own_row import OwnRow
from consumer.leasing.renewals import Renewals
from consumer.leasing.table_mode import RULES_2X, Coordination
from consumer.leasing.table_watch import TableWatch
from consumer.leasing.tenure import StopReason
from consumer.leasing.timing import LeaseTiming, notice_seconds
from consumer.leasing.waiting import wait_for
from consumer.leasing.worker_metrics import WorkerMetrics
from consumer.operate.cpu import CpuReader
from consumer.streams.incarnations import precedes
from lease_store import verbs
from lease_store.checkpoint import Checkpoint
from lease_store.errors import LeaseStoreError, LeaseTableUnavailable
from lease_store.lease import Lease, TableScan, WorkerRow
from lease_store.store import Applied, LeaseStore, Refused

__all__ = ["LeaseLoop", "LeaseSettings", "TableState"]

_log = logging.getLogger("leasehold.leasing")

# A wave of ends must leave the table's connections to renewals: a call's time-out runs while it waits for one.
_BULK_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class LeaseSettings:
    """What leasing needs to be told; durations in seconds. ``app`` None: whose the rows are is not noted or judged."""

    worker_id: str
    stream_base: str
    failover_seconds: float
    hand_off_timeout_seconds: float
    scan_read_units_per_second: float
    max_leases: int | None = None
    app: str | None = None
    coordination: Coordination = "auto"


@dataclass(frozen=True, slots=True)
class TableState:
    """What is known of the table, for shard sync and status: rows by key, live workers, and whether I describe.

    ``shared``: a KCL works in it, or may have, and cleans up in its own way (see ``streams.shard_graph``).
    """

    leases: tuple[Lease, ...]
    live_workers: int
    is_describer: bool
    draining: bool
    shared: bool = False


class LeaseLoop:
    """One worker's leasing. Every coroutine method runs on the lease loop."""

    def __init__(
        self,
        store: LeaseStore,
        settings: LeaseSettings,
        listener: TenureListener,
        *,
        clock: Clock,
        random: random.Random,
        hooks: Hooks,
        cpu: CpuReader | None = None,
    ) -> None:
        self.leases = Leases(
            store,
            me=settings.worker_id,
            timing=LeaseTiming(settings.failover_seconds),
            clock=clock,
            random=random,
            hooks=hooks,
            listener=self,
            max_leases=settings.max_leases,
        )
        self._store = store
        self._settings = settings
        self._outer = listener
        self._clock = clock
        self._random = random
        self._checkpoints = Checkpoints(self.leases.calls)
        self._renewals = Renewals(self.leases.calls, self.leases.timing, clock, random, self._spawn)
        self.leases.renewals_are_late = self._renewals.are_late
        self._owner = OwnerSide(self.leases, settings.hand_off_timeout_seconds)
        self._metrics = None if cpu is None else WorkerMetrics(cpu, clock, hooks)
        self._own_row = OwnRow(self.leases, self._with_metrics)
        self._watch = TableWatch(
            self.leases,
            self._spawn,
            self._owner,
            stream_base=settings.stream_base,
            read_units_per_second=settings.scan_read_units_per_second,
            app=settings.app,
            coordination=settings.coordination,
            own_row=self._own_row,
        )
        self._look = asyncio.Lock()
        self._drain = Drain(
            self.leases, self._owner, self._spawn, lambda: self._watch.scan_period_seconds, self._watch.look_now
        )
        self._tasks: asyncio.TaskGroup | None = None
        self._early: list[Coroutine[Any, Any, None]] = []
        self._bulk = asyncio.Semaphore(_BULK_AT_ONCE)

    # -- life

    async def look(self) -> TableScan:
        """Look at the table once, before ``start``, and touch nothing. Raises LeaseStoreError, LeaseTableConflict."""
        return await self._watch.scan()

    async def start(self) -> TableScan:
        """Make myself known and look at the table, after a first look.

        Raises LeaseStoreError, LeaseTableConflict; nothing runs yet.
        """
        if self.leases.looked_at == -math.inf:
            await self.look()
        await self._own_row.write()
        return await self._watch.scan()

    async def run(self) -> None:
        """Lease until cancelled. An error out of the ordinary ends it, and with it the worker."""
        async with asyncio.TaskGroup() as self._tasks:
            if self._metrics is not None:
                self._spawn(self._metrics.run())
            self._spawn(self._renewals.run())
            self._spawn(self._own_row.beat_forever())
            self._spawn(self._watch.scan_forever())
            self._spawn(self._watch.take_forever())
            self._spawn(self._watch.obey_forever())
            self._spawn(self._owner.look_at_receivers())
            while self._early:
                self._spawn(self._early.pop(0))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        if self._tasks is None:
            self._early.append(work)  # a tenure that begins before run() is looked after from its first moment
            return
        try:
            self._tasks.create_task(work)
        except RuntimeError:  # the group is shutting down or gone, and leasing with it
            work.close()

    def _with_metrics(self, row: WorkerRow) -> WorkerRow:
        leases = self.leases
        if self._metrics is None:
            return row
        alive = leases.peers.alive(leases.witnessed_until, leases.timing.failover_seconds)
        return self._metrics.filled(row, alive)

    async def drain(self, within_seconds: float) -> None:
        """Hand over or release everything; returns when no row names this worker, however long that takes.

        ``within_seconds``: when the caller will give up, infinity for never.
        """
        self._watch.rules.stop()  # at once, since others wait for what a leader holds
        await self._drain.run(self._own_row.write, within_seconds)

    async def is_named(self) -> bool:
        """Whether a lease is held, or a row that is known here names this worker."""
        return bool(self.leases.held) or self._drain.names_me()

    async def leave(self) -> None:
        """After a complete drain: remove this worker's row, so that peers need not wait for it to go stale."""
        await self._own_row.leave()

    # -- what the worker asks for

    async def checkpoint(self, held: HeldLease, checkpoint: Checkpoint) -> None:
        """Store progress under a tenure. Raises LeaseLost, LeaseStoreError."""
        await held.checkpoint(checkpoint)

    async def checkpoint_many(self, wanted: Sequence[Wanted], told: Told) -> None:
        """Store progress under many tenures at once; ``told`` hears on this loop of each as soon as it is settled.

        It gets the error, which is never raised, or None for what stands.
        """
        await self._checkpoints.store(wanted, told)

    async def let_go(self, held: HeldLease, shutdown_called: bool) -> bool:
        """See ``Tenure.let_go``."""
        return await self._owner.let_go(held, shutdown_called=shutdown_called)

    async def end_shard(self, held: HeldLease, children: Sequence[Lease]) -> None:
        """Create the children's rows, mine where I may own more, then store SHARD_END.

        Raises LeaseLost, LeaseStoreError.
        """
        async with self._bulk:
            for child in children:
                if held.over not in (None, "ended"):
                    raise LeaseLost(f"The lease of {held.key} was lost before its children's rows were written.")
                to = held.hand_off_to
                next_owner = to if to is not None and await is_ready(self.leases, to) else None
                await self.create(child, owner=next_owner or self._may_own_child())
            await held.end_shard(tuple(sorted(child.key for child in children)))

    def _may_own_child(self) -> str | None:
        leases = self.leases
        may_own = not leases.draining and not leases.renewals_are_late() and leases.has_room(leases.claimed())
        return leases.me if may_own else None

    async def create(self, lease: Lease, *, owner: str | None = None) -> None:
        """Make a row if there is none with its key. Raises LeaseStoreError where it may not exist yet."""
        if not await self.leases.create(self._marked(lease, owner)):
            raise _not_made(lease)
        standing = self.leases.current(lease.key)
        if standing is not None and standing.is_finished and precedes(standing.stream, lease.stream):
            await self.replace(standing, lease)  # a recreated Kinesis stream repeats its shard ids

    def _marked(self, lease: Lease, owner: str | None) -> Lease:
        """The row as mine: with this app's name, and a mark that tells it from any other row of its key.

        The mark begins with the wall time in ms.
        """
        mark = f"{int(self._clock.wall() * 1000)}-{self._random.getrandbits(48):012x}"
        rules = RULES_2X if self.leases.table.mode == "2x" else None
        return replace(lease, owner=owner, created_at=mark, app=self._settings.app, rules=rules)

    async def delete(self, lease: Lease) -> None:
        """Remove a finished row; a refusal means that the row moved on, and is fine."""
        await self.leases.write(verbs.delete(lease))

    async def replace(self, old: Lease, new: Lease) -> None:
        """Put the row of the next incarnation over a finished one, or find that somebody else did.

        Raises LeaseStoreError where it may not stand yet.
        """
        result = await self.leases.write(verbs.replace(old, self._marked(new, None)))
        stands = result.lease if isinstance(result, Applied | Refused) else None
        if stands is None or stands.stream != new.stream:
            raise _not_made(new)

    async def consumer_stopped(self, held: HeldLease) -> None:
        """No user code of this tenure runs any more."""
        self.leases.consumer_stopped(held)
        lease = self.leases.current(held.key)
        if lease is not None and lease.actual_owner == self.leases.me and not lease.is_finished:
            self._spawn(self._watch.writes.run(held.key, partial(settle_mine, self.leases, held.key)))

    async def read(self, key: str) -> Lease | None:
        """One row by a consistent read. Raises LeaseStoreError."""
        return await self.leases.read(key)

    async def parents_finished(self, held: HeldLease) -> tuple[str, ...]:
        """Wait until each parent's row is at SHARD_END or is absent by a consistent read; returns the absent ones.

        A recreated Kinesis stream repeats its shard ids: the row of another incarnation counts as absent. Returns
        early, with nothing, when the tenure is over.
        """
        pause, look_at = 0.1, self._clock.monotonic()
        stream = held.first_lease.stream
        absent: list[str] = []
        while held.over is None:
            finished = self.leases.finished  # taken before the look, so that an end in between is not missed
            waiting = [each for each in held.first_lease.parents if not self._is_finished(each, stream)]
            left = look_at - self._clock.monotonic()
            if left > 0 and not set(waiting) <= set(absent):
                # Woken by the end of some other shard: a wave of ends must not become a wave of reads for each of them.
                await wait_for(finished, left, self._clock)
                continue
            absent = await self._absent(waiting, stream)
            if all(self._is_finished(each, stream) or each in absent for each in waiting):
                return tuple(absent)
            pause = min(2.0, 1.5 * pause)
            look_at = self._clock.monotonic() + self._random.uniform(0.8, 1.0) * pause
        return ()

    async def _absent(self, parents: Sequence[str], stream: str | None) -> list[str]:
        """Those without a row in ``stream``; a row held here is known better than any read could tell."""
        absent = []
        for parent in parents:
            try:
                held = self.leases.held.get(parent)
                async with self._bulk:
                    row = held.lease if held is not None else await self.leases.read(parent)
                if row is None or row.stream != stream:
                    absent.append(parent)
            except LeaseStoreError as error:
                _log.info("A shard waits for its parent %s, whose row could not be read: %s", parent, error)
        return absent

    def _is_finished(self, key: str, stream: str | None) -> bool:
        lease = self.leases.current(key)
        return lease is not None and lease.is_finished and lease.stream == stream

    async def state(self) -> TableState:
        """What is known of the table now."""
        workers = self.leases.workers()
        leases = tuple(self.leases.current_leases())
        # By what lasts when every worker and a KCL's rows are gone: what was cleaned up is not to be made again.
        table = self.leases.table
        by_table = table.mode == "2x" or table.layout.client_version is not None
        shared = by_table or any(lease.created_at is None or lease.rules is not None for lease in leases)
        return TableState(leases, len(workers), self._watch.rules.is_describer(), self.leases.draining, shared)

    async def seen_since(self, instant: float) -> TableState:
        """What is known of the table by a look at it that began at ``instant`` (monotonic) or later; raises as it."""
        async with self._look:
            if self.leases.looked_at < instant:
                await self._watch.look()
        return await self.state()

    async def apply_plan(self) -> None:
        """Take what is free now, without waiting for the next scan (rows were just made)."""
        self._watch.rules.apply_takes()

    # -- TenureListener: noticed here first, then passed on

    def tenure_began(self, held: HeldLease) -> None:
        self._renewals.add(held)
        self._outer.tenure_began(held)

    def stop_changed(self, held: HeldLease, reason: StopReason | None) -> None:
        if reason == "hand_off":
            self._spawn(self._owner.watch(held))
            if self.leases.table.mode == "leader":
                self._spawn(self._stop_once_noticed(held))
                return
        self._outer.stop_changed(held, reason)

    async def _stop_once_noticed(self, held: HeldLease) -> None:
        """Who was named by a leader has not asked, and hears of it by its next look: until then the work goes on here.

        A KCL heeds a hand-off only once it is finished.
        """
        to = held.hand_off_to
        if to is not None and not self.leases.is_kcl(to):
            notice = min(notice_seconds(self._watch.scan_period_seconds), self._settings.hand_off_timeout_seconds / 4)
            await wait_for(held.ended, notice, self._clock)
        if held.over is None and held.hand_off_to is not None:
            self._outer.stop_changed(held, "hand_off")


def _not_made(lease: Lease) -> LeaseTableUnavailable:
    return LeaseTableUnavailable(
        f"The row of shard {lease.key} could not be made: its write's reply was lost. It is tried again."
    )
