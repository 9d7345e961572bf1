"""Leaving: every lease goes to a live peer or is released, and the worker when no row names it any more."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Coroutine
from typing import Any, Final

from consumer.errors import LeaseLost
from consumer.leasing.handoff import OwnerSide, choose_receivers, next_owner, settle_mine
from consumer.leasing.held_lease import HeldLease
from consumer.leasing.leases import Leases
from consumer.leasing.timing import notice_seconds
from lease_store.errors import LeaseStoreError

__all__ = ["Drain"]

_log = logging.getLogger("leasehold.leasing")

_STEP_SECONDS: Final = 0.1
_SCANS_AFTER_MARK: Final = 2
_STALE_SCAN_SECONDS: Final = 1.0
_NAMED_PAUSE_SECONDS: Final = 1.0
_MOST_AT_ONCE: Final = 16


class Drain:
    """One worker's leaving.

    ``owner`` takes back what goes to a peer that leaves as well; ``spawn`` starts a task on the lease loop;
    ``scan_period_seconds`` tells how soon peers notice a row; ``look_now`` has the table scanned before its time.
    """

    def __init__(
        self,
        leases: Leases,
        owner: OwnerSide,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        scan_period_seconds: Callable[[], float],
        look_now: Callable[[], None],
    ) -> None:
        self._leases = leases
        self._owner = owner
        self._look_now = look_now
        self._spawn = spawn
        self._scan_period_seconds = scan_period_seconds
        self._leaving: set[HeldLease] = set()
        self._noticed_by: dict[HeldLease, float] = {}
        self._stop_by = math.inf
        self._settling: set[str] = set()
        self._marked_at: float | None = None

    async def run(self, mark: Callable[[], Coroutine[Any, Any, None]], within_seconds: float) -> None:
        """Mark my row as draining, then let everything go; returns when nothing names me, however long that takes.

        ``within_seconds``: when the caller gives up; user code that was offered to a peer is asked to stop when half of
        that has gone by, noticed or not. A table that answers no write holds that up.
        """
        leases = self._leases
        leases.draining = True
        self._stop_by = leases.clock.monotonic() + within_seconds / 2
        while self._marked_at is None:
            try:
                await mark()
                self._marked_at = leases.clock.monotonic()
            except LeaseStoreError as error:
                _log.warning("Could not mark this worker as draining, trying again: %s", error)
                await leases.clock.sleep(_STEP_SECONDS)
        named_until = self._named_until(self._marked_at)
        while not self._is_over(named_until):
            self._start_leaving()
            self._watch_hand_offs()
            self._stop_noticed()
            self._settle_named()
            await leases.clock.sleep(_STEP_SECONDS)
            if leases.looked_at < named_until <= leases.clock.monotonic():
                self._look_now()

    def _named_until(self, marked_at: float) -> float:
        """Until when others may name me who had looked at my row before it was marked; beside a KCL 2.x nobody does."""
        leases = self._leases
        if leases.table.mode == "2x":
            return leases.looked_at
        return marked_at + min(
            # Who names me reads my row first: what was read before the mark is written soon, or never.
            _STALE_SCAN_SECONDS + 2 * leases.timing.call_seconds,
            _SCANS_AFTER_MARK * self._scan_period_seconds(),
        )

    def _is_over(self, named_until: float) -> bool:
        leases = self._leases
        if leases.held or leases.is_acquiring or self.names_me():
            return False
        # Somebody may have named me just before my mark stood: only a look well after it tells.
        return leases.looked_at >= named_until or not self._has_company()

    def names_me(self) -> bool:
        """Whether a row that is known here still names this worker."""
        return bool(self._leases.named())

    def _settle_named(self) -> None:
        """Rows that name me, and that I do not hold, are read again and again: the next scan may be far."""
        for key in self._leases.named():
            if key not in self._leases.held and key not in self._settling and len(self._settling) < _MOST_AT_ONCE:
                self._settling.add(key)
                self._spawn(self._settle(key))

    async def _settle(self, key: str) -> None:
        leases = self._leases
        try:
            await leases.read(key)
            await settle_mine(leases, key)
        except LeaseStoreError as error:
            _log.info("Shard %s still names this worker, which leaves; asked again: %s", key, error)
        await leases.clock.sleep(_NAMED_PAUSE_SECONDS)
        self._settling.discard(key)

    def _has_company(self) -> bool:
        """Whether anybody is there who could name me: a live peer, or the owner of a lease that still moves.

        A peer that drains as well takes nothing on: once a look since my mark shows that it has nothing left to give,
        it names nobody any more.
        """
        leases = self._leases
        if any(
            lease.actual_owner not in (None, leases.me) for lease in leases.current_leases() if not lease.is_finished
        ):
            return True
        has_looked = self._marked_at is not None and leases.looked_at >= self._marked_at
        alive = leases.peers.alive(leases.witnessed_until, leases.timing.failover_seconds)
        return not all(has_looked and peer.row.draining for peer in alive)

    def _start_leaving(self) -> None:
        leases = self._leases
        staying = [held for held in leases.held.values() if held not in self._leaving]
        receivers = choose_receivers(leases, [held.key for held in staying if held.hand_off_to is None])
        leases.naming.update(receivers)  # those that stop at once choose for themselves, and must not count on these
        for held in staying:
            self._leaving.add(held)
            if held.key in receivers:
                self._spawn(self._offer(held, receivers[held.key]))
            else:
                self._stop(held)

    async def _offer(self, held: HeldLease, to: str) -> None:
        """Name the next owner, and process on until it has noticed: its silence is short then."""
        leases = self._leases
        try:
            async with next_owner(leases, held.key, chosen=to) as ready:
                if ready is not None:
                    await held.start_hand_off(ready)
        except LeaseStoreError as error:
            _log.warning("Shard %s could not be offered to %s and will be offered again: %s", held.key, to, error)
        except LeaseLost:
            return  # nothing is left to hand over
        # A KCL heeds a hand-off only once it is finished.
        is_kcl = held.hand_off_to is not None and leases.is_kcl(held.hand_off_to)
        notice = 0.0 if is_kcl else notice_seconds(self._scan_period_seconds())
        self._noticed_by[held] = min(self._stop_by, leases.clock.monotonic() + notice)

    def _watch_hand_offs(self) -> None:
        """Who is named may leave as well, and must not wait for a long batch of mine."""
        for held in self._leases.held.values():
            if held.hand_off_to is not None and not self._owner.watches(held):
                self._spawn(self._owner.watch(held))

    def _stop_noticed(self) -> None:
        """Stop what its next owner polls by now, or finds by a scan, and what was offered in vain."""
        now = self._leases.clock.monotonic()
        for held, noticed_by in list(self._noticed_by.items()):
            if now >= noticed_by or held.hand_off_to is None:
                del self._noticed_by[held]
                self._stop(held)

    def _stop(self, held: HeldLease) -> None:
        # Over a hand-off signal, too: should that hand-off be taken back, the consumer must not go on.
        if held.over is None:
            self._leases.signal(held, "drain")
