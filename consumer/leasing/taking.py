"""Taking what is free: what is mine by plan at once, anybody's after a grace, and little while a fleet forms."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Final

from consumer.leasing.assignment import PlanView, plan
from consumer.leasing.leases import Leases
from consumer.leasing.rules import Means
from consumer.leasing.timing import grace_seconds

__all__ = ["Taking", "held_back"]

_FEW: Final = 4
_MANY: Final = 100
_FORMING_GRACE_SECONDS: Final = 3.0
_NEW_SECONDS: Final = 2.0
_FORMING_SECONDS: Final = 15.0


class Taking:
    """One worker's takes, for rules in which it takes by itself. ``keys`` are those that are being taken."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._leases = means.leases
        self.keys: set[str] = set()
        self._grace: dict[str, float] = {}
        self._began_at = means.leases.clock.monotonic()
        self._is_over = False

    def stop(self) -> None:
        """Nothing more is taken, not even what waits for its turn."""
        self._is_over = True

    def forget_all_but(self, keys: AbstractSet[str]) -> None:
        for key in self._grace.keys() - keys:
            del self._grace[key]

    def open_at(self) -> dict[str, float]:
        """From when on (my clock) each lease may be taken that is not being taken already, by key."""
        free_at = self._leases.takeable()
        not_before = self._means.writes.not_before
        return {key: max(when, not_before(key)) for key, when in free_at.items() if key not in self.keys}

    def coming(self) -> dict[str, str]:
        """The leases that are being taken, as a plan's view counts them."""
        return dict.fromkeys(self.keys, self._leases.me)

    def take_or_wait(self, free: Sequence[str], view: PlanView | None = None) -> list[float]:
        """Start taking of ``free`` what I may take now; returns from when on I may take the rest.

        ``view`` is what to plan for, by default all that this worker sees.
        """
        leases, period = self._leases, self._means.scan_period_seconds()
        now = leases.clock.monotonic()
        new = [key for key in free if leases.observations[key].lease.is_new]
        waits = held_back(leases, new, period, began_at=self._began_at)
        grace: dict[str, float] = {}
        if len(waits) < len(free) or (free and self._has_few):
            takes = {take.key: take.worker_id for take in plan(view or leases.view(self.coming())).takes}
            claimed = leases.claimed() | self.keys
            unowned = set(new)
            for key in free:
                is_anothers = takes.get(key) not in (None, leases.me)
                if key in waits and (is_anothers or not self._has_few):
                    continue  # whose it is by plan may hold back as well: its time is not running yet
                if is_anothers:
                    grace[key] = self._grace.get(key) or now + self._drawn_grace(period, key in unowned)
                    if grace[key] > now:
                        continue
                if leases.may_acquire(key) and leases.has_room(claimed, key):
                    claimed.add(key)
                    self.keys.add(key)
                    self._means.spawn(self._take(key))
        self._grace = grace
        return [until for until in (*grace.values(), *waits.values()) if until > now]

    @property
    def _has_few(self) -> bool:
        return len(self._leases.held) + len(self.keys) < _FEW

    def _drawn_grace(self, period: float, is_new: bool) -> float:
        """How long a lease is left to the worker whose it is by plan, and which may see so by its next scan only.

        With scans a second apart, a takeover still lies within the failover time + 2 s. Drawn among few instants,
        since each is a look at everything.
        """
        longest = grace_seconds(period) + (_FORMING_GRACE_SECONDS if is_new else 0.0)
        return longest * self._leases.random.randint(12, 18) / 20

    async def _take(self, key: str) -> None:
        try:
            take = partial(self._leases.take, key, lambda: not self._is_over)
            await self._means.writes.run_together(key, take)
        finally:
            self.keys.discard(key)


def held_back(leases: Leases, new: Collection[str], period: float, *, began_at: float) -> dict[str, float]:
    """Until when new shards beyond the first few are left alone, by key; ``began_at`` is when I did, by my clock.

    Workers that start together know little of each other: the first would take all and have to hand it on again. So
    they wait until a look shows nobody who has just begun, but not for long. Of few it is not worth the wait.
    """
    if len(new) <= _MANY:
        return {}
    now = leases.clock.monotonic()
    is_forming = now < began_at + _NEW_SECONDS or leases.peers.has_new(
        leases.witnessed_until, leases.timing.failover_seconds
    )
    if not is_forming:
        return {}
    patience = max(_FORMING_SECONDS, 3 * period)
    return {key: until for key in new if (until := leases.observations[key].seen_at + patience) > now}
