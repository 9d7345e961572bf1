"""A worker's pace, as its shards live with it: it holds for all, is no sign of being stuck, and holds up no stop."""

from __future__ import annotations

import asyncio
from typing import Any

from consumer.hooks import Stuck
from consumer.shards.lifecycle import Event
from tests.unit.shards.shard_fakes import FakeSource, FakeTenure, Recorder, Stage, numbers, page, records, virtual


class Timed(Recorder):
    """Notes when each batch came."""

    def __init__(self) -> None:
        super().__init__()
        self.came: list[tuple[float, list[int]]] = []

    async def process_records(self, batch: Any, checkpointer: Any) -> None:
        self.came.append((round(asyncio.get_running_loop().time()), numbers(batch)))


class FailsOnce(Timed):
    """Raises on its first call."""

    async def process_records(self, batch: Any, checkpointer: Any) -> None:
        await super().process_records(batch, checkpointer)
        if len(self.came) == 1:
            raise ValueError


def test_batches_come_at_the_pace_and_waiting_for_it_is_not_being_stuck():
    async def main() -> None:
        user = Timed()
        source = FakeSource(records(1, 2), records(3, 4), page(records(5), last=True))
        stage = Stage(FakeTenure(), source, lambda: user, max_records_per_second=0.01, batch_size=2)
        running = stage.start()
        await asyncio.sleep(150.0)
        assert stage.consumer.status().stuck_seconds == 0.0
        assert await running is Event.END_STORED
        # Two records and a second's worth; what is saved up never exceeds that, so that each pays for itself.
        assert user.came == [(0, [1, 2]), (200, [3, 4]), (400, [5])]
        assert stage.of(Stuck) == []

    virtual(main)


def test_each_try_counts_and_a_batch_that_fails_and_waits_is_still_stuck():
    async def main() -> None:
        user = FailsOnce()
        source = FakeSource(page(records(1, 2), last=True))
        stage = Stage(FakeTenure(), source, lambda: user, max_records_per_second=0.01)
        assert await stage.start() is Event.END_STORED
        assert user.came == [(0, [1, 2]), (200, [1, 2])]
        assert [fact.stage for fact in stage.of(Stuck)] == ["processing"]

    virtual(main)


def test_a_stop_does_not_wait_for_the_pace():
    async def main() -> None:
        user = Timed()
        source = FakeSource(records(1, 2), records(3, 4))
        stage = Stage(FakeTenure(), source, lambda: user, max_records_per_second=0.01)
        running = stage.start()
        await asyncio.sleep(50.0)
        stage.tenure.request_stop("drain")
        assert await running is Event.LET_GO
        assert asyncio.get_running_loop().time() < 51.0
        assert user.came == [(0, [1, 2])]

    virtual(main)
