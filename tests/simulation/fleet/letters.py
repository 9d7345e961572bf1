"""The fleet's store for dead letters: slow, refusing and forgetful as drawn, and watched by the judge."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from consumer.clock import Clock
from consumer.dead_letters.letter import DeadLetter, Identity
from consumer.errors import DeadLetterError
from consumer.testing.memory_dead_letters import MemoryDeadLetters
from tests.simulation.fleet.judge import StreamJudge
from tests.simulation.fleet.policy import PolicyDraw
from tests.simulation.fleet.written import Tenure

__all__ = ["DoorToLetters", "Letters"]

_SLOWEST_SECONDS = 0.2
_QUICKEST_SECONDS = 0.01


class Letters(MemoryDeadLetters):
    """One store for the whole fleet, whose every write and removal the judge sees. ``is_calm``: it refuses no more."""

    def __init__(self, policy: PolicyDraw, judge: StreamJudge) -> None:
        super().__init__()
        self.policy = policy
        self.is_calm = False
        self.judge = judge

    async def put(self, letters: Sequence[DeadLetter]) -> None:
        await super().put(letters)
        for each in letters:
            self.judge.note(f"the store has {each.identity}, {each.reason}")
            self.judge.accounts.letters.stored(self.judge.record_of(each.identity), each)

    async def remove(self, identity: Identity) -> None:
        await super().remove(identity)
        self.judge.note(f"the store has {identity} no more")
        if (record := self.judge.record_of(identity)) is not None:
            self.judge.accounts.letters.removed(record)


class DoorToLetters(Letters):
    """One worker's way to the store, or an operator's. ``may_begin`` is told of each write."""

    def __init__(
        self,
        store: Letters,
        worker: str,
        *,
        clock: Clock,
        draw: random.Random,
        may_begin: Callable[[Sequence[DeadLetter]], None] = lambda _: None,
    ) -> None:
        super().__init__(store.policy, store.judge)
        self.envelopes = store.envelopes
        self._store = store
        self._worker = worker
        self._clock = clock
        self._draw = draw
        self._may_begin = may_begin

    async def put(self, letters: Sequence[DeadLetter]) -> None:
        self._may_begin(letters)
        self.judge.accounts.letters.begins(letters)
        policy = self._store.policy
        await self._journey()
        if self._goes_wrong(policy.refused):
            raise DeadLetterError("The store refuses, as drawn.")
        await super().put(letters)
        await self._journey()
        if self._goes_wrong(policy.lost_reply):
            raise DeadLetterError("The reply is lost, as drawn.")
        for each in letters:
            self._acknowledged(each, self.judge.tenure_of(self._worker, each.shard_id))

    async def find(self, identity: Identity) -> DeadLetter | None:
        """What is read back is as good as acknowledged."""
        await self._glance()
        found = await super().find(identity)
        if found is not None:
            self._acknowledged(found, None)
        return found

    async def held_keys(self, stream: str) -> frozenset[str]:
        await self._glance()
        found = await super().held_keys(stream)
        await self._glance()
        return found

    async def holds(self, stream: str, digest: str) -> bool:
        await self._glance()
        return digest in await super().held_keys(stream)

    async def remove(self, identity: Identity) -> None:
        await self._glance()
        await super().remove(identity)

    async def _journey(self) -> None:
        await self._clock.sleep(self._draw.uniform(0.0, _SLOWEST_SECONDS))

    async def _glance(self) -> None:
        """Many a letter is asked for, or removed, one after another."""
        await self._clock.sleep(self._draw.uniform(0.0, _QUICKEST_SECONDS))

    def _acknowledged(self, letter: DeadLetter, tenure: Tenure | None) -> None:
        record = self.judge.record_of(letter.identity)
        self.judge.accounts.letters.acknowledged(self._worker, tenure, record, letter)

    def _goes_wrong(self, odds: float) -> bool:
        return self._draw.random() < odds and not self._store.is_calm
