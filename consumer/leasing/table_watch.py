"""Looking at the table and acting on it: scan at intervals, take what expired at once, follow what rows ask."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from consumer.errors import LeaseLost, LeaseTableConflict
from consumer.leasing.assignment import HandOff, plan
from consumer.leasing.handoff import OwnerSide, ReceiverSide, settle_mine
from consumer.leasing.leases import Leases
from consumer.leasing.table_check import conflict_in, unknown_movers
from consumer.leasing.timing import grace_seconds, scan_period_seconds
from consumer.leasing.waiting import wait_for
from consumer.retry import Backoff
from lease_store.errors import (
    LeaseStoreError,
    LeaseTableAccessDenied,
    LeaseTableCredentials,
    LeaseTableUnavailable,
)
from lease_store.lease import Lease, TableScan

__all__ = ["TableWatch"]

_log = logging.getLogger("leasehold.leasing")

_FEW: Final = 4
_MANY: Final = 100
_FORMING_GRACE_SECONDS: Final = 3.0
_NEW_SECONDS: Final = 2.0
_FORMING_SECONDS: Final = 15.0
_MOST_WRITES_AT_ONCE: Final = 16
_LONGEST_SCAN_SECONDS: Final = 60.0
_STALE_FAILOVERS: Final = 10
_STALE_SECONDS: Final = 60.0
_SHORTEST_PAUSE_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 5.0
_TOLD_EVERY_SECONDS: Final = 60.0


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
    ) -> None:
        self._leases = leases
        self._spawn = spawn
        self._stream_base = stream_base
        self._app = app
        self._read_units_per_second = read_units_per_second
        self._receiver = ReceiverSide(leases)
        self._owner = owner
        self._writes = asyncio.Semaphore(_MOST_WRITES_AT_ONCE)
        self._not_before: dict[str, float] = {}
        self._troubles: dict[str, _Trouble] = {}
        self._taking: set[str] = set()
        self._grace: dict[str, float] = {}
        self._lacking = self._may_ask = 0
        self._asking: set[str] = set()
        self._began_at = leases.clock.monotonic()
        self._suspects: Mapping[str, str] = {}
        self._told: frozenset[tuple[str, str]] = frozenset()
        self._rows = 0
        self._look = asyncio.Event()
        self._look_ended_at = self._sweep_at = -math.inf

    @property
    def scan_period_seconds(self) -> float:
        """How long this worker waits between scans now."""
        return scan_period_seconds(self._rows, len(self._leases.workers()), self._read_units_per_second)

    @property
    def pause_seconds(self) -> float:
        """How long until the next scan: the period, but while it depends on peers unknown to live, no longer than F.

        Killed workers leave their rows; who starts can't tell these from the living, and a fleet of the dead would keep
        it from looking for a minute. The look after F tells.
        """
        leases = self._leases
        alive = leases.peers.alive(leases.witnessed_until, leases.timing.failover_seconds)
        known = 1 + sum(peer.has_moved for peer in alive)
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
        """Wake at the earliest expiry and take at once, without waiting for a scan."""
        leases = self._leases
        while True:
            leases.moved.clear()
            due = self.apply_takes()
            await wait_for(
                leases.moved, None if due is None else max(0.0, due - leases.clock.monotonic()), leases.clock
            )
            await leases.clock.sleep(0.0)

    async def scan(self) -> TableScan:
        """Look at the whole table once and note what moved. Raises LeaseStoreError, LeaseTableConflict."""
        leases = self._leases
        began = leases.clock.monotonic()
        try:
            async with leases.clock.timeout(_LONGEST_SCAN_SECONDS):
                scan = await leases.store.scan()
        except TimeoutError:
            raise LeaseTableUnavailable(
                f"A scan of the lease table took more than {_LONGEST_SCAN_SECONDS:g} s."
            ) from None
        self._check(scan)
        now = leases.clock.monotonic()
        leases.peers.see_scan(scan.workers, now)
        moved = leases.observations.see_scan(scan.leases, now, began=began)
        for owner in dict.fromkeys(lease.actual_owner for lease in moved):
            leases.peers.see_lease_moved(owner, now)
        self._rows = len(scan.leases) + len(scan.workers)
        self._forget_all_but({lease.key for lease in scan.leases})
        leases.looked_at = max(leases.looked_at, began)
        leases.moved.set()
        if any(lease.is_finished for lease in moved):
            leases.tell_finished()
        await self._check_movers(moved, scan)
        return scan

    def _forget_all_but(self, keys: AbstractSet[str]) -> None:
        """Shards come and go for as long as a worker lives, and what it noted of each must go with it."""
        for noted in (self._not_before, self._grace, self._troubles):
            for key in noted.keys() - keys:
                del noted[key]

    def _check(self, scan: TableScan) -> None:
        table = self._leases.store.name
        conflict = conflict_in(scan, table=table, stream_base=self._stream_base, app=self._app)
        if conflict is not None:
            raise LeaseTableConflict(conflict)
        for key, reason in sorted(frozenset(scan.unreadable) - self._told):
            _log.warning("Row %r of lease table %s is left alone: %s", key, table, reason)
        self._told = frozenset(scan.unreadable)

    async def _check_movers(self, moved: Sequence[Lease], scan: TableScan) -> None:
        """A worker of ours has a row before its first lease; who moves one lease twice without having any is a KCL.

        Once is not enough: a peer may make a row for a worker that has left, or hand one over to it. A scan may be late
        with a worker's row, or show leases of one that has left: only consistent reads convict.
        """
        known = {row.worker_id for row in scan.workers} | {self._leases.me}
        movers = unknown_movers(moved, known)
        repeated = {key: owner for key, owner in movers.items() if self._suspects.get(key) == owner}
        rows = {lease.key for lease in scan.leases}
        before = {key: owner for key, owner in self._suspects.items() if key in rows and owner not in known}
        self._suspects = before | movers
        for key, owner in sorted(repeated.items()):
            if await self._leases.read_worker(owner) is not None:
                continue
            row = await self._leases.read(key)
            # A finished row keeps the owner that ended it, who may have left since.
            if row is not None and not row.is_finished and row.actual_owner == owner:
                raise LeaseTableConflict(
                    f"Lease table {self._leases.store.name} is also written by {owner!r}, which is no Leasehold "
                    "worker (a KCL 2.x?); sharing a table with a KCL is not built yet. Stop it, or give this app a "
                    "lease table of its own with --lease-table."
                )

    async def _sweep(self) -> None:
        """Delete rows of workers that died long ago: every start of a worker leaves one, if it did not drain."""
        leases = self._leases
        now = leases.clock.monotonic()
        if now < self._sweep_at:
            return
        for peer in leases.peers:
            stale = max(_STALE_SECONDS, _STALE_FAILOVERS * (peer.row.failover_seconds or 0.0))
            if now >= peer.moved_at + stale and leases.is_describer():
                try:
                    await leases.store.delete_worker(peer.row)
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

    def _follow_rows(self, rows: Sequence[Lease]) -> None:
        """What rows ask of me: settle what names me, receive what is on its way, learn of hand-offs early, balance."""
        leases = self._leases
        pending_to_me = set()
        for key in [row.key for row in rows]:
            # A scan may go back: what is known since decides, or every late scan would bring reads and refusals.
            observation = leases.observations.get(key)
            if observation is None or observation.lease.is_finished:
                continue
            row, held = observation.lease, leases.held.get(key)
            if held is not None:
                if row.is_pending and not held.lease.is_pending and row.counter >= held.lease.counter:
                    self._spawn(self.guarded(row.key, held.renew))
            elif row.actual_owner == leases.me or (row.owner == leases.me and leases.draining):
                self._spawn(self.guarded(row.key, partial(settle_mine, leases, row.key)))
            elif row.is_pending and row.owner == leases.me:
                pending_to_me.add(row.key)
                if self._receiver.wants(row.key):
                    self._spawn(self._receiver.poll(row.key))
        self._receiver.settle(pending_to_me)
        if not leases.draining:
            self._even_out()

    def _even_out(self) -> None:
        """Ask for what should be mine, for no more than at the look before, and keep what need not leave any more.

        While a fleet changes, looks show states through which it only passes: leases moved for these would move back.
        """
        leases = self._leases
        made = plan(leases.view(self._taking))
        lacking = len(self._asking) + sum(move.worker_id == leases.me for move in (*made.hand_offs, *made.later))
        self._may_ask = max(0, min(lacking, self._lacking) - len(self._asking))
        self._lacking = lacking
        self._ask_for(made.hand_offs)
        for key in made.take_backs:
            if key in leases.held:
                self._spawn(self.guarded(key, partial(self._owner.keep, leases.held[key])))

    def _ask_for(self, hand_offs: Sequence[HandOff]) -> None:
        mine = [move.key for move in hand_offs if move.worker_id == self._leases.me][: self._may_ask]
        self._may_ask -= len(mine)
        self._asking.update(mine)
        for key in mine:
            self._spawn(self._ask(key))

    async def _ask(self, key: str) -> None:
        """Ask for a lease and, once it has come, for the next: few are asked for at once, and looks may be far apart.

        Where it does not come, the last look no longer holds, and the next one decides: no refusal leads to another.
        """
        leases = self._leases
        try:
            await self._receiver.ask(key)
        finally:
            self._asking.discard(key)
        if key in leases.held and self._may_ask and not leases.draining:
            self._ask_for(plan(leases.view(self._taking)).hand_offs)

    def apply_takes(self) -> float | None:
        """Start taking what is free and mine by plan, or anybody's by now; returns when to look again."""
        leases = self._leases
        if leases.draining:
            return None
        now = leases.clock.monotonic()
        free_at = leases.takeable()
        open_at = {
            key: max(when, self._not_before.get(key, 0.0)) for key, when in free_at.items() if key not in self._taking
        }
        free = [key for key, when in open_at.items() if when <= now]
        for key in free:
            del open_at[key]
        return min([*open_at.values(), *self._take_or_wait(free, now)], default=None)

    def _take_or_wait(self, free: Sequence[str], now: float) -> list[float]:
        """Start taking of ``free`` what I may take now; returns from when on I may take the rest."""
        leases, period = self._leases, self.scan_period_seconds
        new = [key for key in free if leases.observations[key].lease.is_new]
        held_back = self._held_back(new, now, period)
        grace: dict[str, float] = {}
        if len(held_back) < len(free) or (free and self._has_few):
            takes = {take.key: take.worker_id for take in plan(leases.view(self._taking)).takes}
            claimed = leases.claimed() | self._taking
            unowned = set(new)
            for key in free:
                is_anothers = takes.get(key) not in (None, leases.me)
                if key in held_back and (is_anothers or not self._has_few):
                    continue  # whose it is by plan may hold back as well: its time is not running yet
                if is_anothers:
                    grace[key] = self._grace.get(key) or now + self._drawn_grace(period, key in unowned)
                    if grace[key] > now:
                        continue
                if leases.may_acquire(key) and leases.has_room(claimed, key):
                    claimed.add(key)
                    self._taking.add(key)
                    self._spawn(self._take(key))
        self._grace = grace
        return [until for until in (*grace.values(), *held_back.values()) if until > now]

    @property
    def _has_few(self) -> bool:
        return len(self._leases.held) + len(self._taking) < _FEW

    def _held_back(self, new: Sequence[str], now: float, period: float) -> dict[str, float]:
        """Until when I leave alone new shards beyond the first few, by key.

        Workers that start together know little of each other: the first would take all and have to hand it on again.
        So they wait until a look shows nobody who has just begun, but not for long. Of few it is not worth the wait.
        """
        leases = self._leases
        if len(new) <= _MANY:
            return {}
        is_forming = now < self._began_at + _NEW_SECONDS or leases.peers.has_new(
            leases.witnessed_until, leases.timing.failover_seconds
        )
        if not is_forming:
            return {}
        patience = max(_FORMING_SECONDS, 3 * period)
        return {key: until for key in new if (until := leases.observations[key].seen_at + patience) > now}

    def _drawn_grace(self, period: float, is_new: bool) -> float:
        """How long a lease is left to the worker whose it is by plan, and which may see so by its next scan only.

        With scans a second apart, a takeover still lies within the failover time + 2 s. Drawn among few instants,
        since each is a look at everything.
        """
        longest = grace_seconds(period) + (_FORMING_GRACE_SECONDS if is_new else 0.0)
        return longest * self._leases.random.randint(12, 18) / 20

    async def _take(self, key: str) -> None:
        try:
            await self.guarded(key, partial(self._leases.take, key))
        finally:
            self._taking.discard(key)

    async def guarded(self, key: str, work: Callable[[], Awaitable[object]]) -> None:
        """Run one write among few at once; what fails is left to the next scan or expiry, after a pause."""
        leases = self._leases
        try:
            async with self._writes:
                await work()
            self._not_before.pop(key, None)
            self._troubles.pop(key, None)
        except LeaseLost:
            return
        except LeaseStoreError as error:
            if isinstance(error, LeaseTableAccessDenied | LeaseTableCredentials) and not leases.has_held:
                raise  # never a lease of its own yet: whoever starts this worker should hear of it
            self._put_off(key, error)
            leases.moved.set()

    def _put_off(self, key: str, error: LeaseStoreError) -> None:
        """Try again later and later; say so once a minute, for a table may refuse for hours."""
        leases = self._leases
        now = leases.clock.monotonic()
        trouble = self._troubles.setdefault(key, _Trouble(Backoff(leases.random, 0.4, _LONGEST_PAUSE_SECONDS)))
        pause = _SHORTEST_PAUSE_SECONDS + trouble.backoff.next_seconds()
        self._not_before[key] = now + pause
        if now - trouble.told_at >= _TOLD_EVERY_SECONDS:
            trouble.told_at = now
            _log.warning("A lease write for shard %s failed and is tried again in %.1f s: %s", key, pause, error)


@dataclass(slots=True)
class _Trouble:
    """Lease writes for one shard that fail one after the other."""

    backoff: Backoff
    told_at: float = -math.inf
