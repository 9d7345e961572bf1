"""From records that were read to records that are done: filter, batching, lanes, retry, bisect, dead letter.

The order stands here: ``_feed`` filters and shares out, to one lane or to many; a ``Lane`` cuts batches, tries them,
takes them apart, parks what fails by itself; ``GivingUp`` writes dead letters. ``Books`` holds what is done, and moves
the watermark.
"""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from consumer.dead_letters.letter import Reason
from consumer.delivery.batching import Run
from consumer.delivery.books import Books
from consumer.delivery.giving_up import GivingUp, Leaving
from consumer.delivery.ground import Code, Ground, Inflow, Policy
from consumer.delivery.lane import Lane
from consumer.failures import Failure
from consumer.hooks import RecordsFiltered, RecordsUnjudged
from lease_store.checkpoint import Checkpoint

__all__ = ["Delivery"]

_log = logging.getLogger("leasehold.delivery")
_MOST_LEAVING = 1000


class Delivery(ABC):
    """One shard's delivery, for as long as it has something to do; ``codes`` are its processors, one a lane.

    ``run`` returns when nothing is left to do, or, once what runs has ended, when a stop is asked for; run again, it
    goes on where it was. It is to be closed in the end.
    """

    def __init__(
        self, policy: Policy, ground: Ground, inflow: Inflow, codes: Sequence[Code], place: Checkpoint
    ) -> None:
        self._policy = policy
        self._ground = ground
        self._inflow = inflow
        self._books = Books(policy, ground, inflow, place)
        self._giving_up = GivingUp(policy, ground, gone=self._gone, back=self._back)
        self._lanes = [
            Lane(
                number,
                code=code,
                policy=policy,
                ground=ground,
                books=self._books,
                giving_up=self._giving_up,
                feed=self._feed,
            )
            for number, code in enumerate(codes)
        ]

    @property
    def is_idle(self) -> bool:
        """Whether nothing that was taken is left."""
        return not self._giving_up.pending and not any(lane.has_work for lane in self._lanes)

    @property
    def place(self) -> Checkpoint:
        """Everything up to it is done, as far as user code that checkpoints by itself has said so."""
        return self._books.ledger.place

    @property
    def parked_keys(self) -> int:
        """Keys that wait because a record of theirs failed."""
        return len(self._books.lot)

    @property
    def failing_since(self) -> float | None:
        """When what fails first failed (monotonic), None where nothing does."""
        since = [lane.failing_since for lane in self._lanes if lane.failing_since is not None]
        if self._books.lot:
            since.append(self._books.lot.oldest_since())
        return min(since, default=None)

    @property
    def oldest_at(self) -> float | None:
        """When the oldest record arose that is not done (epoch seconds), None where nothing is open or nobody knows."""
        waiting = [lane.oldest_at for lane in self._lanes]
        waiting += [record.timestamp for record in self._books.lot.first_records()]
        return min((at for at in waiting if at is not None), default=None)

    @abstractmethod
    def claim(self, number: int, place: Checkpoint) -> Checkpoint:
        """User code of lane ``number`` says that all it was given up to ``place`` is done: what may be stored now."""

    @abstractmethod
    async def run(self) -> None:
        """Deliver what is there."""

    async def close(self) -> None:
        """Nothing is tried or given up any more; what was not done comes again to the next owner."""
        for lane in self._lanes:
            lane.close()
        await self._giving_up.close()

    # -- filter, and share out

    @abstractmethod
    def _room(self) -> int:
        """How many records may be taken now at most, where there is room for any (``_has_room``)."""

    @abstractmethod
    def _share_out(self, run: Run) -> None:
        """Put ``run``, which is not empty, where it waits."""

    @abstractmethod
    def _lane_of(self, key: str) -> Lane:
        """The lane of a key's records."""

    def _feed(self) -> None:
        """Take what was read, as far as there is room for it."""
        while (most := self._room()) and self._has_room():
            taken = self._inflow.take(most)
            if taken is None:
                return
            run = self._sift(self._books.admit(taken, self._policy.clock.monotonic()))
            if run.records:
                self._detach(run)
                self._share_out(run)

    def _has_room(self) -> bool:
        return self._books.may_admit() and self._giving_up.pending < _MOST_LEAVING

    def _detach(self, run: Run) -> None:
        """What waits for others does so for as long as many pages take to come: it must not keep its own."""
        if self._policy.batch.window_seconds > 0:
            for record in run.records:
                record.detach()
            self._books.release_pages(run.indexes)

    def _sift(self, run: Run) -> Run:
        """What of ``run`` is to be delivered; the rest is done now, or on its way to the dead letters."""
        if self._policy.screen is None:
            return run
        sifted = self._policy.screen.sift(run.records)
        if sifted.doubtful:
            self._tell_doubtful(run, sifted.doubtful, sifted.unjudged)
        if len(sifted.kept) == len(run):
            return run
        self._books.remember(run)
        kept = sifted.kept
        if self._policy.held is None:
            self._giving_up.add(
                [
                    Leaving(run.indexes[at], run.records[at], Reason.UNDECODABLE, failure=failure)
                    for at, failure in sorted(sifted.unjudged.items())
                ]
            )
        else:  # whose letter holds its key, and must not overtake what waits under it
            kept = sorted({*kept, *sifted.unjudged})
            self._books.unjudged.update({run.indexes[at]: failure for at, failure in sifted.unjudged.items()})
        elsewhere = {*kept, *sifted.unjudged}
        filtered = [index for at, index in enumerate(run.indexes) if at not in elsewhere]
        if filtered:
            self._policy.hooks(RecordsFiltered(self._ground.shard_id, len(filtered)))
            self._books.done(filtered)
        return run.only(kept)

    def _tell_doubtful(self, run: Run, doubtful: Mapping[int, Failure], unjudged: object) -> None:
        first = min(doubtful)
        kind = doubtful[first].kind
        _log.warning(
            "Shard %s: filter or lane_key can't judge %d records, the first %s: %s, at %s. They are %s.",
            self._ground.shard_id,
            len(doubtful),
            run.records[first].sequence_number,
            kind,
            doubtful[first].where,
            "on their way to the dead letters" if unjudged else "delivered, in lanes by their own keys",
        )
        self._policy.hooks(RecordsUnjudged(self._ground.shard_id, len(doubtful), kind))

    def _gone(self, leaving: Sequence[Leaving]) -> None:
        """Records have left: they are done, and keys that were parked for them go on."""
        self._books.done(sorted(each.index for each in leaving))
        for each in leaving:
            parked = self._books.lot.keys.get(self._policy.key_of(each.record))
            if parked is not None and parked.is_leaving and parked.items[0][0] == each.index:
                self._lane_of(parked.key).resume(parked)

    def _back(self, leaving: Sequence[Leaving]) -> None:
        """Records of one key that are to be delivered after all, before whatever else of it waits."""
        records, indexes = [each.record for each in leaving], [each.index for each in leaving]
        lane = self._lane_of(self._policy.key_of(records[0]))
        lane.queue.put_first(Run(records, indexes, None, -math.inf))
        self._ground.notify()
