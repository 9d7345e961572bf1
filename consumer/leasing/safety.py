"""What followers take by themselves: a lease that has stood still for long while nobody led."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from collections.abc import Set as AbstractSet
from typing import Final

from consumer.leasing.assignment import PlanView
from consumer.leasing.lock import SeenLock, is_gone
from consumer.leasing.rules import Means
from consumer.leasing.taking import Taking

__all__ = ["SafetyTakes"]

_FAILOVERS: Final = 3
_TAKES_A_LOOK: Final = 16


class SafetyTakes:
    """A follower's takes, by the plan for workers of ours: no KCL takes anything by itself."""

    def __init__(self, means: Means) -> None:
        self._leases = means.leases
        self._taking = Taking(means)
        self._left, self._counted_at = _TAKES_A_LOOK, -math.inf

    def stop(self) -> None:
        """Nothing more is taken."""
        self._taking.stop()

    def forget_all_but(self, keys: AbstractSet[str]) -> None:
        self._taking.forget_all_but(keys)

    def apply(self, lock: SeenLock, expect: Callable[[Collection[str]], None]) -> float | None:
        """Take what stood still for 3 failover times while nobody led; when to be asked again, by my clock.

        ``expect`` is told what a leader of ours, if there is one, is about to give away.
        """
        now = self._leases.clock.monotonic()
        open_at = self._taking.open_at()
        if lock.lock is None or not self._leases.is_kcl(lock.lock.owner):
            expect([key for key, when in open_at.items() if when <= now])
        safe_at = {key: self._safe_at(key, when) for key, when in open_at.items()}
        due = [key for key, when in safe_at.items() if when <= now]
        later = [when for when in (*open_at.values(), *safe_at.values()) if now < when < math.inf]
        if due and self._nobody_leads(lock, now):
            later += self._taking.take_or_wait(self._few(due), self._view_of_ours())
        return min(later, default=None)

    def _safe_at(self, key: str, free_at: float) -> float:
        """When a lease may be taken without a leader; infinity where only the next look can tell."""
        leases = self._leases
        failover = leases.timing.failover_seconds
        owned = leases.observations[key].lease.actual_owner is not None
        at = free_at + (_FAILOVERS - (1 if owned else 0)) * failover
        return at if at <= leases.looked_at + leases.timing.look_seconds else math.inf

    def _nobody_leads(self, lock: SeenLock, now: float) -> bool:
        sign_at = None if lock.lock is None else self._leases.last_sign_of(lock.lock.owner)
        return is_gone(lock, now, sign_at=sign_at, failover_seconds=self._leases.timing.failover_seconds)

    def _few(self, keys: list[str]) -> list[str]:
        """No more than some after each look: should a leader live after all, it must not find everything moved."""
        if self._leases.looked_at != self._counted_at:
            self._left, self._counted_at = _TAKES_A_LOOK, self._leases.looked_at
        chosen = keys[: self._left]
        self._left -= len(chosen)
        return chosen

    def _view_of_ours(self) -> PlanView:
        view = self._leases.view(self._taking.coming())
        return PlanView(view.leases, [each for each in view.workers if not self._leases.is_kcl(each.worker_id)])
