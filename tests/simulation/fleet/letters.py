"""The fleet's store for dead letters: slow, refusing and forgetful as drawn, and watched by the judge."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from consumer.clock import Clock
from consumer.dead_letters.letter import DeadLetter, Identity
from consumer.errors import DeadLetterError
from consumer.testing.memory_dead_letters import MemoryDeadLetters
from tests.simulation.fleet.policy import PolicyDraw

__all__ = ["DoorToLetters", "Letters"]

_SLOWEST_SECONDS = 0.2


class Letters(MemoryDeadLetters):
    """One store for the whole fleet. ``is_calm``: from now on it answers whatever it is asked."""

    def __init__(self, policy: PolicyDraw) -> None:
        super().__init__()
        self.policy = policy
        self.is_calm = False


class DoorToLetters(MemoryDeadLetters):
    """One worker's way to the store. ``begins`` is told of each write, ``acknowledged`` of each that was answered."""

    def __init__(
        self,
        store: Letters,
        clock: Clock,
        draw: random.Random,
        begins: Callable[[Sequence[DeadLetter]], None],
        acknowledged: Callable[..., None],
    ) -> None:
        super().__init__()
        self.envelopes = store.envelopes
        self._store = store
        self._clock = clock
        self._draw = draw
        self._begins = begins
        self._acknowledged = acknowledged

    async def put(self, letters: Sequence[DeadLetter]) -> None:
        self._begins(letters)
        policy = self._store.policy
        await self._clock.sleep(self._draw.uniform(0.0, _SLOWEST_SECONDS))
        if self._goes_wrong(policy.refused):
            raise DeadLetterError("The store refuses, as drawn.")
        await super().put(letters)
        await self._clock.sleep(self._draw.uniform(0.0, _SLOWEST_SECONDS))
        if self._goes_wrong(policy.lost_reply):
            raise DeadLetterError("The reply is lost, as drawn.")
        self._acknowledged(letters, is_read=False)

    async def find(self, identity: Identity) -> DeadLetter | None:
        """What is read back is as good as acknowledged."""
        found = await super().find(identity)
        if found is not None:
            self._acknowledged((found,), is_read=True)
        return found

    def _goes_wrong(self, odds: float) -> bool:
        return self._draw.random() < odds and not self._store.is_calm
