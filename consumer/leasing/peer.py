"""Rules of a table that only Leasehold's workers use: no leader, each takes and asks for what is its own by plan."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Final

from consumer.leasing.assignment import HandOff, plan
from consumer.leasing.rules import Means
from consumer.leasing.timing import grace_seconds

__all__ = ["PeerRules"]

_FEW: Final = 4
_MANY: Final = 100
_FORMING_GRACE_SECONDS: Final = 3.0
_NEW_SECONDS: Final = 2.0
_FORMING_SECONDS: Final = 15.0


class PeerRules:
    """``Rules`` among peers: every worker makes the same plan and carries out its own part of it."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._leases = means.leases
        self._taking: set[str] = set()
        self._grace: dict[str, float] = {}
        self._lacking = self._may_ask = 0
        self._asking: set[str] = set()
        self._began_at = means.leases.clock.monotonic()
        self._is_over = False

    def is_describer(self) -> bool:
        """Whether I am the live worker with the smallest id; two at once do no harm."""
        return self._leases.is_first()

    def forget_all_but(self, keys: AbstractSet[str]) -> None:
        for key in self._grace.keys() - keys:
            del self._grace[key]

    async def run(self) -> None:
        """Peers need nothing but looks."""

    async def leave(self) -> None:
        """What was asked for may still come, and nothing more is asked for or taken."""
        self._is_over = True

    def follow(self) -> None:
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
                keep = partial(self._means.owner.keep, leases.held[key])
                self._means.spawn(self._means.writes.run(key, keep))

    def _ask_for(self, hand_offs: Sequence[HandOff]) -> None:
        mine = [move.key for move in hand_offs if move.worker_id == self._leases.me][: self._may_ask]
        self._may_ask -= len(mine)
        self._asking.update(mine)
        for key in mine:
            self._means.spawn(self._ask(key))

    async def _ask(self, key: str) -> None:
        """Ask for a lease and, once it has come, for the next: few are asked for at once, and looks may be far apart.

        Where it does not come, the last look no longer holds, and the next one decides: no refusal leads to another.
        """
        leases = self._leases
        try:
            if not self._is_over:
                await self._means.receiver.ask(key)
        finally:
            self._asking.discard(key)
        if key in leases.held and self._may_ask and not (leases.draining or self._is_over):
            self._ask_for(plan(leases.view(self._taking)).hand_offs)

    def apply_takes(self) -> float | None:
        """Start taking what is free and mine by plan, or anybody's by now; returns when to look again."""
        leases = self._leases
        if leases.draining or self._is_over:
            return None
        now = leases.clock.monotonic()
        free_at = leases.takeable()
        open_at = {
            key: max(when, self._means.writes.not_before(key))
            for key, when in free_at.items()
            if key not in self._taking
        }
        free = [key for key, when in open_at.items() if when <= now]
        for key in free:
            del open_at[key]
        return min([*open_at.values(), *self._take_or_wait(free, now)], default=None)

    def _take_or_wait(self, free: Sequence[str], now: float) -> list[float]:
        """Start taking of ``free`` what I may take now; returns from when on I may take the rest."""
        leases, period = self._leases, self._means.scan_period_seconds()
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
                    self._means.spawn(self._take(key))
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
        async def take() -> None:
            if not self._is_over:  # the mode may have ended while this waited for its turn
                await self._leases.take(key)

        try:
            await self._means.writes.run(key, take)
        finally:
            self._taking.discard(key)
