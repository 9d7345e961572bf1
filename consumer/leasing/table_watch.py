"""Looking at the table and acting on it: scan at intervals, take what expired at once, follow what rows ask."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from consumer.errors import LeaseTableConflict
from consumer.hooks import WorkersSeen
from consumer.leasing.guarded_writes import GuardedWrites
from consumer.leasing.handoff import OwnerSide, ReceiverSide, settle_mine
from consumer.leasing.leases import Leases
from consumer.leasing.mode_watch import ModeWatch
from consumer.leasing.names import seems_ours
from consumer.leasing.observation import Peer
from consumer.leasing.own_row import OwnRow
from consumer.leasing.rules import Means, Rules
from consumer.leasing.table_check import conflict_in
from consumer.leasing.table_mode import Coordination
from consumer.leasing.timing import row_period_seconds, scan_period_seconds
from consumer.leasing.waiting import wait_for
from consumer.retry import Backoff
from lease_store.errors import LeaseStoreError, LeaseTableUnavailable
from lease_store.lease import Lease, TableScan

__all__ = ["TableWatch"]

_log = logging.getLogger("leasehold.leasing")

_LONGEST_SCAN_SECONDS: Final = 60.0
_STALE_FAILOVERS: Final = 10
_STALE_SECONDS: Final = 60.0
_STALE_BESIDE_KCL_FAILOVERS: Final = 2
_TOLD_EVERY_SECONDS: Final = 60.0
# A plan takes 2 us a row: a fifteenth of the loop's time at most goes into plans.
_REST_SECONDS_A_ROW: Final = 3e-5


class TableWatch:
    """One worker's eye on the lease table. ``spawn`` starts a task on the lease loop."""

    def __init__(
        self,
        leases: Leases,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        owner: OwnerSide,
        *,
        stream_base: str,
        read_units_per_second: float,
        app: str | None = None,
        coordination: Coordination = "auto",
        own_row: OwnRow | None = None,
    ) -> None:
        self._leases = leases
        self._spawn = spawn
        self._stream_base = stream_base
        self._app = app
        self._own_row = own_row
        self._read_units_per_second = read_units_per_second
        self.writes = GuardedWrites(leases)
        self._receiver = ReceiverSide(leases)
        self._means = Means(
            leases,
            self.writes,
            owner,
            self._receiver,
            spawn,
            lambda: self.scan_period_seconds,
            lambda: self.row_period_seconds,
            self.look_now,
            self.follow_row,
        )
        self._mode = ModeWatch(self._means, coordination)
        self._told: frozenset[tuple[str, str]] = frozenset()
        self._rows = 0
        self._named_as_ours: frozenset[str] = frozenset()
        self._workers: WorkersSeen | None = None
        self._look = asyncio.Event()
        self._look_ended_at = self._sweep_at = -math.inf

    @property
    def rules(self) -> Rules:
        """The rules of the table's mode."""
        return self._mode.rules

    async def obey_forever(self) -> None:
        """Run the rules in force, whatever they do besides looks."""
        await self._mode.run()

    @property
    def scan_period_seconds(self) -> float:
        """How long this worker waits between scans now; no KCL scans often enough to be reckoned with."""
        return scan_period_seconds(self._rows, self._ours, self._read_units_per_second)

    @property
    def row_period_seconds(self) -> float:
        """How long it waits between reads of one row, the leader's lock, say."""
        return row_period_seconds(self._ours, self._read_units_per_second)

    @property
    def _ours(self) -> int:
        """How many workers of ours look at the table; where they have no rows, they are told by their names."""
        leases = self._leases
        ours = {worker.worker_id for worker in leases.workers() if not leases.is_kcl(worker.worker_id)}
        return len(ours) if leases.table.publishes else len(ours | self._named_as_ours)

    @property
    def pause_seconds(self) -> float:
        """How long until the next scan: the period, but while it depends on peers unknown to live, no longer than F.

        Killed workers leave their rows; who starts can't tell these from the living, and a fleet of the dead would keep
        it from looking for a minute. The look after F tells.
        """
        leases = self._leases
        alive = leases.peers.alive(leases.witnessed_until, leases.timing.failover_seconds)
        known = 1 + sum(peer.has_moved and not peer.is_kcl for peer in alive)
        for_sure = scan_period_seconds(self._rows, known, self._read_units_per_second)
        return min(self.scan_period_seconds, max(leases.timing.failover_seconds, for_sure))

    async def scan_forever(self) -> None:
        """Scan and follow at intervals."""
        leases = self._leases
        backoff = Backoff(leases.random, 0.5, 10.0)
        while True:
            try:
                await self.look()
                await self._sweep()
            except LeaseStoreError as error:
                _log.warning("Could not scan lease table %s, trying again: %s", leases.store.name, error)
                await leases.clock.sleep(backoff.next_seconds())
                continue
            backoff.reset()
            self._look.clear()
            pause = self.pause_seconds * leases.random.uniform(0.9, 1.0)
            # A look out of turn takes the place of the one that was due: the budget is for both.
            while not self._look.is_set() and (left := self._look_ended_at + pause - leases.clock.monotonic()) > 0:
                await wait_for(self._look, left, leases.clock)

    async def look(self) -> None:
        """Scan and follow now; the next scan of ``scan_forever`` comes a whole pause later. Raises as ``scan``."""
        self._follow_rows((await self.scan()).leases)
        self._look_ended_at = self._leases.clock.monotonic()

    def look_now(self) -> None:
        """Begin the next scan before its time, though at most one a second."""
        if self._leases.clock.monotonic() >= self._leases.looked_at + 1.0:
            self._look.set()

    async def take_forever(self) -> None:
        """Wake at the earliest expiry and take at once, without waiting for a scan.

        Each time is a plan of all rows: where many come free one after another, several are planned for at once.
        """
        leases = self._leases
        while True:
            leases.moved.clear()
            due = self.rules.apply_takes()
            await wait_for(
                leases.moved, None if due is None else max(0.0, due - leases.clock.monotonic()), leases.clock
            )
            await leases.clock.sleep(_REST_SECONDS_A_ROW * len(leases.observations))

    async def scan(self) -> TableScan:
        """Look at the whole table once and note what moved. Raises LeaseStoreError, LeaseTableConflict."""
        leases = self._leases
        began = leases.clock.monotonic()
        try:
            async with leases.clock.timeout(_LONGEST_SCAN_SECONDS):
                scan, legacy = await leases.store.scan(), await leases.store.legacy()
        except TimeoutError:
            raise LeaseTableUnavailable(
                f"A scan of the lease table took more than {_LONGEST_SCAN_SECONDS:g} s."
            ) from None
        self._check(scan)
        self._mode.judge(scan, legacy)
        scan = replace(scan, leases=tuple(leases.believed(lease) for lease in scan.leases))
        now = leases.clock.monotonic()
        leases.peers.see_scan(leases.table.layout.workers, now)
        moved = leases.observations.see_scan(scan.leases, now, began=began)
        leases.note_moved(moved, now)
        leases.share_rows()
        self._tell_workers()
        if self._own_row is not None:
            self._own_row.look(scan, legacy)
        owners = {lease.owner for lease in scan.leases if lease.owner is not None and not lease.is_finished}
        self._named_as_ours = frozenset(filter(seems_ours, owners))
        self._rows = len(scan.leases) + len(leases.table.layout.workers)
        self.writes.forget_all_but(present := {lease.key for lease in scan.leases})
        self.rules.forget_all_but(present)
        leases.looked_at = max(leases.looked_at, began)
        leases.moved.set()
        if any(lease.is_finished for lease in moved):
            leases.tell_finished()
        await self._mode.check_movers(moved, scan)
        return scan

    def _tell_workers(self) -> None:
        leases = self._leases
        kcl = sum(leases.is_kcl(worker.worker_id) for worker in leases.workers())
        seen = WorkersSeen("", len(leases.workers()) - kcl, kcl)
        if seen != self._workers:
            self._workers = seen
            leases.hooks(seen)

    def _check(self, scan: TableScan) -> None:
        table = self._leases.store.name
        conflict = conflict_in(scan, table=table, stream_base=self._stream_base, app=self._app)
        if conflict is not None:
            raise LeaseTableConflict(conflict)
        for key, reason in sorted(frozenset(scan.unreadable) - self._told):
            _log.warning("Row %r of lease table %s is left alone: %s", key, table, reason)
        self._told = frozenset(scan.unreadable)

    async def _sweep(self) -> None:
        """Delete rows of workers that died long ago: every start of a worker leaves one, if it did not drain."""
        leases = self._leases
        now = leases.clock.monotonic()
        if now < self._sweep_at:
            return
        for peer in leases.peers:
            if peer.is_kcl:
                continue  # a KCL's leader deletes those, after a day
            if self._is_stale(peer, now):
                try:
                    await leases.delete_worker(peer.row)
                except LeaseStoreError as error:
                    self._sweep_at = now + _TOLD_EVERY_SECONDS
                    _log.warning(
                        "The row of worker %s, which died, could not be deleted from lease table %s and is left for a "
                        "minute; no lease depends on it: %s",
                        peer.row.worker_id,
                        leases.store.name,
                        error,
                    )
                    return

    def _is_stale(self, peer: Peer, now: float) -> bool:
        """Whether I delete the row of a worker that died: soon, whoever I am, where it keeps a KCL from its work."""
        failover = peer.row.failover_seconds or 0.0
        if self._misleads_a_kcl():
            return now >= peer.moved_at + _STALE_BESIDE_KCL_FAILOVERS * max(
                failover, self._leases.timing.failover_seconds
            )
        return now >= peer.moved_at + max(_STALE_SECONDS, _STALE_FAILOVERS * failover) and self.rules.is_describer()

    def _misleads_a_kcl(self) -> bool:
        """Whether a dead worker's row does harm: a KCL 2.x stops at it, a KCL 3.x that leads goes by it for a minute.

        Seen with KCL 3.5.1: a lease went to and fro between two dead workers, with each run, until both rows were old.
        """
        leases = self._leases
        return not leases.table.publishes or any(leases.is_kcl(worker.worker_id) for worker in leases.workers())

    async def follow_row(self, key: str) -> None:
        """Read one row and do what it asks of me, without waiting for the next look. Raises LeaseStoreError."""
        if await self._leases.read(key) is not None:
            self._follow(key)

    def _follow_rows(self, rows: Sequence[Lease]) -> None:
        """What rows ask of me: settle what names me, receive what comes, learn of moves early; then the plan."""
        self._receiver.settle({row.key for row in rows if self._follow(row.key)})
        if not self._leases.draining:
            self.rules.follow()

    def _follow(self, key: str) -> bool:
        """What one row asks of me; whether a hand-off of it to me is under way."""
        leases = self._leases
        # A scan may go back: what is known since decides, or every late scan would bring reads and refusals.
        observation = leases.observations.get(key)
        if observation is None or observation.lease.is_finished:
            return False
        row, held = observation.lease, leases.held.get(key)
        if held is not None:
            is_asked_for = row.is_pending and not held.lease.is_pending and row.counter >= held.lease.counter
            # Taken from me by a KCL 2.x, which asks nobody: the sooner it is noticed, the less is processed twice.
            is_taken = row.actual_owner != leases.me and row.counter > held.lease.counter
            if is_asked_for or is_taken:
                self._spawn(self.writes.run_alone("renew", key, held.renew))
        elif row.actual_owner == leases.me or (row.owner == leases.me and leases.draining):
            self._spawn(self.writes.run_alone("settle", key, partial(settle_mine, leases, key)))
        elif row.is_pending and row.owner == leases.me:
            if self._receiver.wants(key):
                self._spawn(self._receiver.poll(key))
            return True
        return False
