"""Delivery in the order of each key: a shard's records shared out to lanes, each with a processor of its own."""

from __future__ import annotations

import asyncio
from typing import Final

from consumer.delivery.batching import Run
from consumer.delivery.delivery import Delivery
from consumer.delivery.lane import Lane
from consumer.delivery.lanes import lanes_of
from lease_store.checkpoint import Checkpoint
from lease_store.uninterrupted import uninterrupted

__all__ = ["ManyLanes"]

_UNCLAIMED: Final = "waiting_for_checkpoints"


class ManyLanes(Delivery):
    """A task for each lane that has work, for as long as it has."""

    def claim(self, number: int, place: Checkpoint) -> Checkpoint:
        """See ``Delivery``: what one lane says says nothing of the others."""
        self._lanes[number].claims.claim(place)
        self._show_unclaimed()
        return self.place

    async def run(self) -> None:
        """See ``Delivery``."""
        tasks: dict[Lane, asyncio.Task[None]] = {}
        try:
            while not self._ground.must_stop():
                self._giving_up.check()
                self._feed()
                self._show_unclaimed()
                for lane in self._lanes:
                    if lane.has_work and lane not in tasks:
                        task = asyncio.get_running_loop().create_task(lane.run(), name=f"{self._ground.shard_id} lane")
                        task.add_done_callback(lambda _: self._ground.notify())
                        tasks[lane] = task
                if not tasks and not self._giving_up.pending:
                    return
                await self._ground.until(lambda: self._is_changed(tasks))
                for lane, task in tuple(tasks.items()):
                    if task.done():
                        task.result()
                        del tasks[lane]
            if tasks:
                await asyncio.wait(tasks.values())
            for task in tasks.values():
                task.result()
        finally:
            for task in tasks.values():
                task.cancel()
            if tasks:  # a second cancellation must not leave user code behind
                await uninterrupted(asyncio.wait(tasks.values()))

    async def close(self) -> None:
        """See ``Delivery``."""
        self._ground.end_stage(_UNCLAIMED)
        await super().close()

    def _is_changed(self, tasks: dict[Lane, asyncio.Task[None]]) -> bool:
        if self._ground.must_stop():
            return True
        self._feed()
        ended = any(task.done() for task in tasks.values())
        begun = any(lane.has_work and lane not in tasks for lane in self._lanes)
        return ended or begun or not (tasks or self._giving_up.pending)

    def _show_unclaimed(self) -> None:
        """Say so while so much waits for user code's word that a takeover would repeat more than was asked for.

        It goes on getting batches, one at a time: it may give its word with any of them.
        """
        if not self._policy.is_manual:
            return
        if sum(len(lane.claims) for lane in self._lanes) >= self._policy.parking.ahead_records:
            self._ground.begin_stage(_UNCLAIMED)
        else:
            self._ground.end_stage(_UNCLAIMED)

    def _room(self) -> int:
        room = self._policy.parking.ahead_records - self._books.ledger.ahead
        if room > 0:
            return room
        # Where all that is open waits for user code to say that it is done, it may say so with what comes next.
        return self._policy.batch.most_records if self._policy.is_manual and self.is_idle else 0

    def _share_out(self, run: Run) -> None:
        shares: list[list[int]] = [[] for _ in self._lanes]
        for at, number in enumerate(lanes_of(self._policy.keys_of(run.records), len(shares))):
            shares[number].append(at)
        for lane, positions in zip(self._lanes, shares, strict=True):
            if positions:
                lane.queue.add(run.only(positions))

    def _lane_of(self, key: str) -> Lane:
        (number,) = lanes_of((key,), len(self._lanes))
        return self._lanes[number]
