"""Leaving: every lease goes to a live peer or is released, and the worker when no row names it any more."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

from consumer.errors import LeaseLost
from consumer.leasing.handoff import choose_receivers
from consumer.leasing.held_lease import HeldLease
from consumer.leasing.leases import Leases
from lease_store.errors import LeaseStoreError

__all__ = ["Drain"]

_log = logging.getLogger("leasehold.leasing")

_STEP_SECONDS: Final = 0.1
_SCANS_AFTER_MARK: Final = 2


class Drain:
    """One worker's leaving.

    ``spawn`` starts a task on the lease loop; ``scan_period_seconds`` tells how soon peers notice a row.
    """

    def __init__(
        self,
        leases: Leases,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        scan_period_seconds: Callable[[], float],
    ) -> None:
        self._leases = leases
        self._spawn = spawn
        self._scan_period_seconds = scan_period_seconds
        self._leaving: set[HeldLease] = set()
        self._marked_at: float | None = None

    async def run(self, mark: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Mark my row as draining, then let everything go; returns when nothing names me, however long that takes."""
        leases = self._leases
        leases.draining = True
        while self._marked_at is None:
            try:
                await mark()
                self._marked_at = leases.clock.monotonic()
            except LeaseStoreError as error:
                _log.warning("Could not mark this worker as draining, trying again: %s", error)
                await leases.clock.sleep(_STEP_SECONDS)
        while not self._is_over():
            self._start_leaving()
            await leases.clock.sleep(_STEP_SECONDS)

    def _is_over(self) -> bool:
        leases = self._leases
        if leases.held or leases.is_acquiring or self._marked_at is None:
            return False
        if any(lease.owner == leases.me and not lease.is_finished for lease in leases.current_leases()):
            return False
        if not self._has_company():
            return True
        # Somebody may have named me just before my mark was seen: only a scan begun well after it tells.
        return leases.looked_at >= self._marked_at + _SCANS_AFTER_MARK * self._scan_period_seconds()

    def _has_company(self) -> bool:
        """Whether anybody is there who could name me: a live peer, or the owner of a lease that still moves."""
        leases = self._leases
        others = any(
            lease.actual_owner not in (None, leases.me) for lease in leases.current_leases() if not lease.is_finished
        )
        return others or bool(leases.peers.alive(leases.witnessed_until, leases.timing.failover_seconds))

    def _start_leaving(self) -> None:
        staying = [held for held in self._leases.held.values() if held not in self._leaving]
        receivers = choose_receivers(self._leases, [held.key for held in staying if held.hand_off_to is None])
        for held in staying:
            self._leaving.add(held)
            self._spawn(self._leave(held, receivers.get(held.key)))

    async def _leave(self, held: HeldLease, receiver: str | None) -> None:
        """Name the receiver, process on until it has noticed (its silence is short then), and stop the consumer."""
        leases = self._leases
        if receiver is not None and held.hand_off_to is None:
            try:
                await held.start_hand_off(receiver)
                async with leases.clock.timeout(1.2 * self._scan_period_seconds() + 0.2):
                    await held.ended.wait()
            except LeaseStoreError as error:
                _log.warning(
                    "Shard %s could not be offered to %s and will be offered again: %s", held.key, receiver, error
                )
            except (LeaseLost, TimeoutError):
                pass  # lost: nothing to hand over; time is up: the receiver polls by now
        # Over a hand-off signal, too: should that hand-off be taken back, the consumer must not go on.
        if held.over is None:
            leases.signal(held, "drain")
