"""One shard's delivery in one tenure: its processors, one a lane, and what stands between them and its records."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from consumer.delivery.delivery import Delivery
from consumer.delivery.ground import Policy
from consumer.delivery.many_lanes import ManyLanes
from consumer.delivery.one_lane import OneLane
from consumer.delivery.reading import Busy, UnknownFailed
from consumer.delivery.telling import tell_failed
from consumer.shards.reader import ShardReader
from consumer.shards.standing import Part, Standing
from consumer.shards.user_code import UserCode
from consumer.shards.watermark import CheckpointWriter
from lease_store.checkpoint import Checkpoint

__all__ = ["ShardDelivery"]


class ShardDelivery(Part):
    """What a shard consumer asks of user code, over all lanes; the ground that ``Delivery`` stands on.

    A shard that rests has no ``Delivery``: all that it would know is the place that was reached.
    """

    __slots__ = ("_codes", "_delivery", "_knows_held", "_reader", "_writer")

    def __init__(self, standing: Standing, reader: ShardReader, writer: CheckpointWriter) -> None:
        super().__init__(standing)
        self._reader = reader
        self._writer = writer
        self._delivery: Delivery | None = None
        self._knows_held = False
        self._codes = tuple(UserCode(lane, standing, writer, self) for lane in range(self.lanes))

    # -- what the consumer asks

    @property
    def is_running(self) -> bool:
        """Whether user code runs, or waits for a thread, at this moment."""
        return any(code.is_running for code in self._codes)

    @property
    def failing_since(self) -> float | None:
        """When what fails first failed (monotonic), None where nothing does."""
        since = [code.failing_since for code in self._codes if code.failing_since is not None]
        if self._delivery is not None and self._delivery.failing_since is not None:
            since.append(self._delivery.failing_since)
        return min(since, default=None)

    @property
    def parked_keys(self) -> int:
        """Keys that wait because a record of theirs failed."""
        return 0 if self._delivery is None else self._delivery.parked_keys

    @property
    def oldest_at(self) -> float | None:
        """When the oldest record arose that was taken and is not done (epoch seconds)."""
        return None if self._delivery is None else self._delivery.oldest_at

    @property
    def records_processed(self) -> int:
        """Records whose ``process_records`` returned in this tenure."""
        return sum(code.records_processed for code in self._codes)

    @property
    def last_record_at(self) -> float | None:
        """When the youngest record arose that was processed (epoch seconds)."""
        return max((code.last_record_at for code in self._codes if code.last_record_at is not None), default=None)

    @property
    def has_work(self) -> bool:
        """Whether there is anything to deliver, or to wait for."""
        return (self._delivery is not None and not self._delivery.is_idle) or self._reader.has_untaken

    def rest(self) -> None:
        """Nothing is to be called for now."""
        for code in self._codes:
            code.rest()

    async def deliver(self) -> None:
        """Deliver what was read, until nothing of it is left or a stop is asked for."""
        policy = self._standing.shared.policy
        if self._delivery is None:
            if not self._knows_held and not await self._learn_held(policy):
                return
            way = OneLane if self.lanes == 1 else ManyLanes
            self._delivery = way(policy, self, self._reader, self._codes, self._writer.wanted)
        await self._delivery.run()
        # What user code has not claimed yet is known to the delivery alone.
        if self._delivery.is_idle and (not policy.is_manual or self._delivery.place <= self._writer.wanted):
            self._delivery = None

    async def _learn_held(self, policy: Policy) -> bool:
        """See which keys have dead letters, those of the parents' last records included; False where a stop comes."""
        if policy.held is not None:
            now = self._standing.shared.clock.monotonic()
            self._knows_held = await self._standing.unless_stopped(policy.held.listed_since(self.stream, now))
        else:
            self._knows_held = True
        return self._knows_held

    async def deliver_nothing(self, millis_behind_latest: int | None) -> None:
        """Call every lane's processor with no records; where it raises there is nothing to try again."""
        with self._standing.stage("processing"):
            readings = await self._each(code.process((), millis_behind_latest) for code in self._codes)
        for reading in readings:
            if isinstance(reading, UnknownFailed | Busy):
                tell_failed(
                    self._standing.shared.hooks,
                    self.shard_id,
                    "process_records_empty",
                    about=None,
                    error=reading.error,
                    failure=reading.failure,
                    attempt=1,
                    pause_seconds=0.0,
                    what_next="it had no records, and is called again after the next read that finds none",
                )

    async def close(self) -> None:
        """Nothing is delivered any more."""
        if self._delivery is not None:
            await self._delivery.close()
            self._standing.end_stage("parked")

    async def initialize(self) -> bool:
        """Make and initialize what is not yet; False where that was given up."""
        with self._standing.stage("processing"):
            return all(await self._each(code.initialize() for code in self._codes))

    async def end(self) -> bool:
        """Tell of the shard's end, once; False where that was given up."""
        with self._standing.stage("processing"):
            return all(await self._each(code.end() for code in self._codes))

    async def shut_down(self) -> None:
        """Tell that the lease is about to leave."""
        await self._each(code.shut_down() for code in self._codes)

    async def lose(self) -> None:
        """Tell that the lease is lost."""
        await self._each(code.lose() for code in self._codes)

    async def _each(self, calls: Iterable[Coroutine[Any, Any, Any]]) -> list[Any]:
        """All lanes at once; no user code runs any more when this returns or raises."""
        if len(self._codes) == 1:
            return [await call for call in calls]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(call) for call in calls]
        except BaseExceptionGroup as errors:  # as with one lane: whoever hears of it wants the error and no group
            raise errors.exceptions[0] from None
        return [task.result() for task in tasks]

    # -- how far checkpoints may go (``checkpointer.Reach``)

    @property
    def lanes(self) -> int:
        return self._standing.shared.config.lanes

    def claim(self, lane: int, place: Checkpoint) -> Checkpoint:
        """See ``checkpointer.Reach``."""
        return place if self._delivery is None else self._delivery.claim(lane, place)

    # -- what delivery stands on (``delivery.ground.Ground``)

    @property
    def shard_id(self) -> str:
        return self._standing.shard_id

    @property
    def stream(self) -> str:
        return self._standing.stream.label

    @property
    def stream_arn(self) -> str:
        return self._standing.stream.arn

    def must_stop(self) -> bool:
        return self._standing.must_stop()

    async def trusted(self) -> bool:
        return await self._standing.trusted(self._standing.must_stop)

    def notify(self) -> None:
        self._standing.notify()

    async def until(self, condition: Callable[[], object], within_seconds: float | None = None) -> bool:
        return await self._standing.until(condition, within_seconds)

    async def change(self, within_seconds: float | None = None) -> None:
        await self._standing.change(within_seconds)

    def begin_stage(self, stage: str) -> None:
        self._standing.begin_stage(stage)

    def end_stage(self, stage: str) -> None:
        self._standing.end_stage(stage)

    def advance(self, place: Checkpoint) -> None:
        if not self._standing.shared.policy.is_manual:
            self._writer.advance(place)
