"""What is known of one shard's records: which are done, which still need their pages, which wait parked."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from typing import Final

from consumer.delivery.attempts import Attempts
from consumer.delivery.batching import Run
from consumer.delivery.ground import Ground, Inflow, Policy, Taken
from consumer.delivery.ledger import Ledger, Prefix
from consumer.delivery.parking import ParkedKey, ParkingLot, Room
from consumer.failures import Failure
from consumer.hooks import KeyParked, KeyResumed
from consumer.record import Record
from lease_store.checkpoint import Checkpoint

__all__ = ["Books"]

_log = logging.getLogger("leasehold.delivery")
_STAGE: Final = "parked"
_TOLD_EVERY_SECONDS: Final = 60.0


class Books:
    """One tenure's accounts, for all lanes of its shard; everything that becomes done is entered here."""

    def __init__(self, policy: Policy, ground: Ground, inflow: Inflow, place: Checkpoint) -> None:
        self._policy = policy
        self._ground = ground
        self._inflow = inflow
        self._pages_released = Prefix()
        self._told_at = -math.inf
        self.unjudged: dict[int, Failure] = {}
        """What the filter can't judge, and is to leave when it is its turn, by index; with held keys only."""
        self.owes_sample = False
        """Whether it is the turn of a sample, by whichever lane has one."""
        overlapping = policy.lanes > 1 or policy.batch.window_seconds > 0 or policy.batch.most_bytes is not None
        self.ledger = Ledger(place, overlapping=overlapping)
        self.lot = ParkingLot(policy.parking)

    def admit(self, taken: Taken, now: float) -> Run:
        """Number what was just taken; the oldest of it follows all that was taken before."""
        return Run(taken.records, self.ledger.admit(taken.records), taken.millis_behind_latest, now)

    @property
    def may_grow(self) -> bool:
        """Whether more may come before something of what is there is done."""
        return not (self._inflow.is_at_end or self.is_far_ahead)

    @property
    def is_far_ahead(self) -> bool:
        """Whether as much as may be lies between the first record that is not done and the head."""
        return self.ledger.ahead >= self._policy.parking.ahead_records

    def room(self) -> Room:
        """For records that are not parked. Where nothing is proved by samples, or follows from it, there are none."""
        if not self.lot:
            return Room.PLENTY
        now = self._policy.clock.monotonic()
        room = self.lot.room(now)
        is_of_use = self._policy.retry.gives_up or self._policy.breaker.is_open
        if self._must_wait(now) or (room is Room.SAMPLE and not is_of_use):
            return Room.NONE
        return room

    def parked_was_tried(self) -> None:
        """So a sample of the others may be, too."""
        self.owes_sample = True
        if self.room() is Room.SAMPLE:
            self._ground.notify()

    def may_admit(self) -> bool:
        """Whether more may be taken: what was taken already counts, done or not, from the first that is not."""
        return not (self.lot and self.is_far_ahead) and self.room() is not Room.NONE

    def _must_wait(self, now: float) -> bool:
        """Whether the stream soon has a parked record no more, and there is no store that would keep it."""
        policy = self._policy
        if policy.retry.gives_up or not any(map(policy.is_half_gone, self.lot.first_records())):
            return False
        if now >= self._told_at + _TOLD_EVERY_SECONDS:
            self._told_at = now
            _log.error(
                "Shard %s: a record that fails has been in the stream for half of its retention of %.0f h, and there "
                "is no store for dead letters: the shard waits, so that nothing more is ahead of it. Mend what fails, "
                "or name a store with --dead-letters and start again, before the stream has lost the record.",
                self._ground.shard_id,
                policy.retention_seconds / 3600,
            )
        return True

    def done(self, indexes: Sequence[int]) -> None:
        """Records came to their end, whichever it was."""
        if not indexes:
            return
        self.release_pages(indexes)
        if self.ledger.done(indexes):
            self._ground.advance(self.ledger.place)

    def release_pages(self, indexes: Sequence[int]) -> None:
        """Records need their pages no longer: they are done, or own what they hold."""
        count = self._pages_released.add(indexes)
        if count:
            self._inflow.done_with(count)

    def remember(self, run: Run) -> None:
        """``run`` is not going to be done as one: each of its records has a place of its own."""
        self.ledger.remember(run.records)

    def park(self, key: str, items: Iterable[tuple[int, Record]], attempts: Attempts) -> ParkedKey:
        """A key's record failed: it waits, with all of the key that came after it."""
        if not self.lot:
            self._ground.begin_stage(_STAGE)
        parked = self.lot.park(key, attempts, self._policy.clock.monotonic())
        for index, record in items:
            self.follow(parked, index, record)
        self._policy.hooks(KeyParked(self._ground.shard_id, len(self.lot)))
        return parked

    def follow(self, parked: ParkedKey, index: int, record: Record) -> None:
        """One more record of a parked key, which outlives its batch and must not keep its page."""
        record.detach()
        record.clear_failure()
        self.lot.add(parked, index, record)
        self.release_pages((index,))

    def resume(self, parked: ParkedKey) -> Run | None:
        """A parked key's first record came to its end: what follows it, to be delivered before all else of the key."""
        self.lot.leave(parked)
        seconds = self._policy.clock.monotonic() - parked.since
        self._policy.hooks(KeyResumed(self._ground.shard_id, len(self.lot), seconds))
        if not self.lot:
            self._ground.end_stage(_STAGE)
        self._ground.notify()
        return parked.rest()
