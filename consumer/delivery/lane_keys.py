"""A lane's keys: which wait parked, which follow a dead letter, and which records are given up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from consumer.dead_letters.letter import Reason
from consumer.delivery.attempts import Attempts
from consumer.delivery.batching import Run
from consumer.delivery.books import Books
from consumer.delivery.breaker import Unit
from consumer.delivery.giving_up import GivingUp, Leaving
from consumer.delivery.ground import Ground, Policy
from consumer.delivery.parking import ParkedKey
from consumer.record import Record

__all__ = ["LaneKeys", "unit_of"]

_LONE_TOGETHER: Final = 4  # as long as one that is alone waits, so many times: several are rather a sink that is down


def unit_of(shard_id: str, run: Run) -> Unit:
    """What the breaker knows ``run`` by."""
    first = run.records[0]
    return (shard_id, first.sequence_number, first.sub_sequence_number)


class LaneKeys:
    """What of a lane's records is not to be tried now, or not any more."""

    __slots__ = ("_books", "_giving_up", "_ground", "_policy", "parked")

    def __init__(self, policy: Policy, ground: Ground, books: Books, giving_up: GivingUp) -> None:
        self._policy = policy
        self._ground = ground
        self._books = books
        self._giving_up = giving_up
        self.parked: dict[str, ParkedKey] = {}

    def park(self, key: str, items: Iterable[tuple[int, Record]], attempts: Attempts) -> None:
        """A record of ``key`` failed by itself: it waits, with what follows it."""
        self.parked[key] = self._books.park(key, items, attempts)

    def resume(self, parked: ParkedKey) -> Run | None:
        """The first record of a parked key came to its end: what follows it is next."""
        self._policy.breaker.forget(self._unit(parked))
        del self.parked[parked.key]
        return self._books.resume(parked)

    def to_begin(self, run: Run) -> tuple[Run | None, Run | None]:
        """What of a batch is to be tried, and what of it has to wait until that was; None where nothing is.

        Not what belongs to parked keys, nor what follows a dead letter of its key. What the filter can't judge leaves
        by itself, once all before it was tried.
        """
        unjudged = self._books.unjudged
        at = next((at for at, index in enumerate(run.indexes) if index in unjudged), None) if unjudged else None
        if at is None:
            return self._without_its_keys(run), None
        if at > 0:
            return self._without_its_keys(run.part(0, at)), run.part(at, len(run))
        left = self.without_parked(run.part(0, 1))
        if left is not None:
            index = left.indexes[0]
            self._giving_up.add([Leaving(index, left.records[0], Reason.UNDECODABLE, failure=unjudged.pop(index))])
        return None, run.part(1, len(run)) if len(run) > 1 else None

    def _without_its_keys(self, run: Run) -> Run | None:
        """``run`` without what goes where others of its key have gone; None where nothing is left."""
        held = self._policy.held
        stream = self._ground.stream
        following = [at for at, record in enumerate(run.records) if held.holds(stream, record)] if held else []
        left = self._without_followers(run, following) if following else run
        return None if left is None else self.without_parked(left)

    def give_up_what_may_be(self) -> None:
        """Send parked records on their way out whose failure is their own, and whose attempts or time are over."""
        self._giving_up.check()
        for parked in self.parked.values():
            if not parked.is_leaving and (reason := self._reason_to_give_up(parked)) is not None:
                parked.is_leaving = True
                self._policy.breaker.forget(self._unit(parked))
                index, record = parked.items[0]
                self._giving_up.add([Leaving(index, record, reason, parked.attempts)])

    def without_parked(self, run: Run) -> Run | None:
        """``run`` without what belongs to parked keys, which follows those; None where nothing is left."""
        if not self.parked:
            return run
        kept = []
        for at, record in enumerate(run.records):
            parked = self.parked.get(self._policy.key_of(record))
            if parked is None:
                kept.append(at)
            else:
                self._books.follow(parked, run.indexes[at], record)
        if len(kept) == len(run):
            return run
        return run.only(kept) if kept else None

    def _without_followers(self, run: Run, positions: Sequence[int]) -> Run | None:
        """``run`` without the records at ``positions``, which follow a dead letter; None where nothing is left."""
        self._books.remember(run)
        self._giving_up.add([Leaving(run.indexes[at], run.records[at], Reason.KEY_HELD) for at in positions])
        kept = sorted(set(range(len(run))) - set(positions))
        return run.only(kept) if kept else None

    def _unit(self, parked: ParkedKey) -> Unit:
        return unit_of(self._ground.shard_id, parked.first())

    def _reason_to_give_up(self, parked: ParkedKey) -> Reason | None:
        """Only what is the record's own fault: the sink was up when it failed (``Breaker.is_own``)."""
        policy, attempts = self._policy, parked.attempts
        record = parked.items[0][1]
        held = policy.held
        if not policy.retry.gives_up or (held is not None and not held.may_add(self._ground.stream, record)):
            return None
        now = policy.clock.monotonic()
        has_waited = now - (attempts.first_failed_at or 0.0) >= policy.lone_failure_seconds
        if has_waited and policy.must_be_saved(record, attempts):
            return Reason.RETENTION_HALF_GONE  # whoever's fault it is: soon the stream has it no more
        if policy.breaker.is_open:
            # Nothing but records that have failed alone has been there to try for so long: nobody can prove anything.
            is_lone = has_waited and not policy.breaker.has_others(_LONE_TOGETHER * policy.lone_failure_seconds)
            tries = attempts.made
        else:
            is_lone = attempts.alone_since is not None and now - attempts.alone_since >= policy.lone_failure_seconds
            tries = attempts.count if is_lone else attempts.own
        is_too_old = policy.retry.is_too_old(record.timestamp, policy.clock.wall())
        if not is_too_old and tries < policy.retry.most_attempts(attempts.rule):
            return None
        is_own = is_lone or policy.breaker.is_own(self._unit(parked), attempts)
        if not is_own:
            return None
        return Reason.RECORD_AGE_EXCEEDED if is_too_old else Reason.ATTEMPTS_EXHAUSTED
