"""Rules of a table that only Leasehold's workers use: no leader, each takes and asks for what is its own by plan."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from functools import partial

from consumer.hooks import Planned
from consumer.leasing.assignment import HandOff, plan
from consumer.leasing.rules import Means
from consumer.leasing.taking import Taking

__all__ = ["PeerRules"]


class PeerRules:
    """``Rules`` among peers: every worker makes the same plan and carries out its own part of it."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._leases = means.leases
        self._taking = Taking(means)
        self._lacking = self._may_ask = 0
        self._asking: set[str] = set()
        self._is_over = False

    def is_describer(self) -> bool:
        """Whether I am the live worker with the smallest id; two at once do no harm."""
        return self._leases.is_first()

    def forget_all_but(self, keys: AbstractSet[str]) -> None:
        self._taking.forget_all_but(keys)

    async def run(self) -> None:
        """Peers need nothing but looks."""

    def stop(self) -> None:
        """What was asked for may still come, and nothing more is asked for or taken."""
        self._is_over = True
        self._taking.stop()

    def follow(self) -> None:
        """Ask for what should be mine, for no more than at the look before, and keep what need not leave any more.

        While a fleet changes, looks show states through which it only passes: leases moved for these would move back.
        """
        leases = self._leases
        made = plan(leases.view(self._taking.coming()))
        lacking = len(self._asking) + sum(move.worker_id == leases.me for move in (*made.hand_offs, *made.later))
        self._may_ask = max(0, min(lacking, self._lacking) - len(self._asking))
        self._lacking = lacking
        leases.hooks(Planned("", self._ask_for(made.hand_offs)))
        for key in made.take_backs:
            if key in leases.held:
                keep = partial(self._means.owner.keep, leases.held[key])
                self._means.spawn(self._means.writes.run_alone("keep", key, keep))

    def _ask_for(self, hand_offs: Sequence[HandOff]) -> int:
        """How many are asked for now."""
        mine = [move.key for move in hand_offs if move.worker_id == self._leases.me][: self._may_ask]
        self._may_ask -= len(mine)
        self._asking.update(mine)
        for key in mine:
            self._means.spawn(self._ask(key))
        return len(mine)

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
            self._ask_for(plan(leases.view(self._taking.coming())).hand_offs)

    def apply_takes(self) -> float | None:
        """Start taking what is free and mine by plan, or anybody's by now; returns when to look again."""
        leases = self._leases
        if leases.draining or self._is_over:
            return None
        now = leases.clock.monotonic()
        open_at = self._taking.open_at()
        free = [key for key, when in open_at.items() if when <= now]
        for key in free:
            del open_at[key]
        return min([*open_at.values(), *self._taking.take_or_wait(free)], default=None)
