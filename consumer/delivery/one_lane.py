"""Delivery in a shard's own order: whole pages, through one processor."""

from __future__ import annotations

from consumer.delivery.batching import Run
from consumer.delivery.delivery import Delivery
from consumer.delivery.lane import Lane
from lease_store.checkpoint import Checkpoint

__all__ = ["OneLane"]


class OneLane(Delivery):
    """No task is made for the lane, nothing is copied for it, and no key is looked at."""

    @property
    def _lane(self) -> Lane:
        return self._lanes[0]

    def claim(self, number: int, place: Checkpoint) -> Checkpoint:
        """What returns is done without a claim: one is only held back by what is open besides it."""
        limit = self._lane.claims.limit()
        return place if limit is None else min(place, limit)

    async def run(self) -> None:
        """See ``Delivery``."""
        lane, letters = self._lane, self._giving_up
        while not self._ground.must_stop():
            await lane.run()
            letters.check()
            if not letters.pending:
                return
            await self._ground.until(self._is_changed)

    def _is_changed(self) -> bool:
        if self._ground.must_stop():
            return True
        self._feed()  # what leaves may take long: others come meanwhile
        return self._lane.has_work or not self._giving_up.pending

    def _room(self) -> int:
        # Beside what waits here, only what was filtered or leaves: else a window might be as long as the stream.
        beside = self._books.ledger.ahead - len(self._lane.queue)
        is_far = beside >= self._policy.parking.ahead_records
        return self._policy.batch.most_records if self._lane.wants_more and not is_far else 0

    def _share_out(self, run: Run) -> None:
        self._lane.queue.add(run)

    def _lane_of(self, key: str) -> Lane:
        return self._lane
