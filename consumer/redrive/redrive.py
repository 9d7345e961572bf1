"""A redrive: letters of a store run through a processor once more, key by key, each removed once it is done.

The stream is never asked: it may have lost the records, or be gone. What fails is kept, and with it what follows under
the same key. Nothing here knows a command; ``leasehold dlq redrive`` is one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterable, Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from consumer.clock import Clock
from consumer.dead_letters.letter import DeadLetter
from consumer.dead_letters.store import DeadLetterStore, Unreadable
from consumer.delivery.attempts import DEFAULT_ATTEMPTS, RetryRules
from consumer.delivery.batching import BatchRules
from consumer.delivery.breaker import Breaker
from consumer.delivery.ground import Policy
from consumer.delivery.parking import ParkingBounds
from consumer.delivery.policy import retries_of
from consumer.delivery.threads import UserThreads
from consumer.delivery.time_limit import Overdue
from consumer.errors import DeadLetterUnreadable
from consumer.failures import Failure
from consumer.processor import ProcessorFactory
from consumer.redrive.claim import Claim
from consumer.redrive.in_hand import Calls, InHand, unheard
from consumer.redrive.processors import Processors
from lease_store.uninterrupted import uninterrupted

__all__ = ["MOVED_ON", "Kept", "Redrive", "RedriveRules", "Tally"]

MOVED_ON: Final = "later records of its key may have been delivered since"

_BEHIND: Final = "one before it under its key is kept"
_MOST_BYTES: Final = 6 * 1024 * 1024
_FAILURES_IN_A_ROW: Final = 10
_NO_BOUND: Final = 10**9


@dataclass(frozen=True, slots=True)
class Kept:
    """A letter that stays where it is: ``why`` in a few words, ``failure`` where user code raised.

    None of it is payload, but for ``failure.message``.
    """

    letter: DeadLetter
    why: str
    failure: Failure | None = None


@dataclass(slots=True)
class Tally:
    """What a redrive has come to so far. ``kept`` counts letters by why they were kept."""

    redriven: int = 0
    kept: Counter[str] = field(default_factory=Counter)
    unreadable: int = 0
    given_up: bool = False
    """Whether the rest was not tried, since nothing succeeded any more."""

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left of what was to be redriven."""
        return not (self.kept or self.unreadable or self.given_up)


@dataclass(frozen=True, slots=True, kw_only=True)
class RedriveRules:
    """What settings of the same names are to a worker.

    ``even_if_newer``: also letters of keys that were not held, whose later records have been delivered since, most
    likely (nothing but the stream's shards knew of each).
    """

    batch_size: int = 1000
    max_attempts: int = DEFAULT_ATTEMPTS
    retry_limit_seconds: float = 60.0
    batch_timeout_seconds: float | None = None
    even_if_newer: bool = False


class Redrive:
    """Takes letters in key order to processors, one for each shard, as a worker would make them.

    A letter that fails is tried again as a worker would (``max_attempts``, the processor's ``retries``, RetryAfter),
    and then stays. ``on_kept`` hears of each that does, ``progress`` of each step, ``overdue`` of calls that nothing
    can end. Raises ConfigError where ``retries`` is none.
    """

    def __init__(
        self,
        store: DeadLetterStore,
        factory: ProcessorFactory,
        threads: UserThreads,
        *,
        clock: Clock,
        random: Random,
        worker_id: str,
        rules: RedriveRules = RedriveRules(),
        overdue: Overdue | None = None,
        on_kept: Callable[[Kept], None] = lambda kept: None,
        progress: Callable[[Tally], None] = lambda tally: None,
    ) -> None:
        self._store = store
        self._rules = rules
        self._on_kept = on_kept
        self._progress = progress
        self._claim = Claim(store, clock, worker_id)
        self._processors = Processors(factory, threads, worker_id)
        self._calls = Calls(self._processors, threads, clock, rules.batch_timeout_seconds, overdue)
        self._policy = _policy(rules, factory, clock, random, worker_id)
        self._failed_key: tuple[str, str] | None = None
        self._failures_in_a_row = 0
        self.tally = Tally()

    async def run(self, letters: AsyncIterable[DeadLetter | Unreadable]) -> Tally:
        """Until ``letters`` end, or ten keys in a row have failed: then whatever they need is not there.

        Raises DeadLetterError where the store fails, or another redrive has its letters (``Claim``); what was done
        until then is gone from it.
        """
        async with self._claim.held():
            return await self._run(letters)

    async def _run(self, letters: AsyncIterable[DeadLetter | Unreadable]) -> Tally:
        batch: list[DeadLetter] = []
        try:
            async for letter in letters:
                if isinstance(letter, Unreadable):
                    self.tally.unreadable += 1
                    continue
                if batch and not self._belongs(letter, batch):
                    await self._deliver(batch)
                    batch = []
                    if self._failures_in_a_row >= _FAILURES_IN_A_ROW:
                        self.tally.given_up = True
                        return self.tally
                batch.append(letter)
            if batch:
                await self._deliver(batch)
        finally:
            await self._processors.close()
        return self.tally

    def _belongs(self, letter: DeadLetter, batch: list[DeadLetter]) -> bool:
        """A batch is of one key and one shard: what fails in it is known to hold back nothing else."""
        same = _key_of(letter) == _key_of(batch[0]) and letter.shard_id == batch[0].shard_id
        size = sum(len(each.payload or "") for each in batch) + len(letter.payload or "")
        return same and len(batch) < self._rules.batch_size and size <= _MOST_BYTES

    async def _deliver(self, letters: list[DeadLetter]) -> None:
        self._claim.check()
        key = _key_of(letters[0])
        if key == self._failed_key:
            self._keep(letters, _BEHIND)
        elif not self._rules.even_if_newer and not all(letter.key_is_held for letter in letters):
            self._keep(letters, MOVED_ON)
            self._failed_key = key
        elif not await self._try(letters):
            self._failed_key = key
            self._failures_in_a_row += 1
        else:
            self._failures_in_a_row = 0
        self._progress(self.tally)

    async def _try(self, letters: list[DeadLetter]) -> bool:
        """Whether all of them are done; what is done is removed, what is not is kept."""
        try:
            whole = [await self._store.whole(letter) for letter in letters]
            records = [letter.record() for letter in whole]
        except DeadLetterUnreadable as error:
            self._keep(letters, "the body of one can't be read", Failure.of(error))
            return False
        hand = InHand(letters, records, self._calls, self._remove)
        await hand.run(self._policy)
        left = hand.left
        self._keep(left[:1], "it failed", hand.failure)
        self._keep(left[1:], _BEHIND)
        return not left

    async def _remove(self, letters: Sequence[DeadLetter]) -> None:
        for letter in letters:
            await uninterrupted(self._remove_one(letter))  # who interrupts is to find gone what is counted
        self._progress(self.tally)

    async def _remove_one(self, letter: DeadLetter) -> None:
        await self._store.remove(letter.identity)
        self.tally.redriven += 1

    def _keep(self, letters: Sequence[DeadLetter], why: str, failure: Failure | None = None) -> None:
        for letter in letters:
            self.tally.kept[why] += 1
            self._on_kept(Kept(letter, why, failure))


def _policy(rules: RedriveRules, factory: ProcessorFactory, clock: Clock, random: Random, worker_id: str) -> Policy:
    """One key at a time: every failure is its own, and nothing waits for it but what is behind it.

    What is given up goes nowhere (``drops``): its letter is there.
    """
    return Policy(
        app="",
        worker_id=worker_id,
        clock=clock,
        random=random,
        hooks=unheard,
        breaker=Breaker(0, clock, random, unheard),
        retry=RetryRules(
            gives_up=True,
            max_attempts=rules.max_attempts,
            limit_seconds=rules.retry_limit_seconds,
            by_class=retries_of(factory),
        ),
        batch=BatchRules(rules.batch_size),
        parking=ParkingBounds(keys=1, size_bytes=_NO_BOUND, ahead_records=_NO_BOUND, ahead_seconds=_NO_BOUND),
        bisect=True,
        drops=True,
    )


def _key_of(letter: DeadLetter) -> tuple[str, str]:
    return letter.stream, letter.identity.digest
