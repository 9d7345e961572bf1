"""What lives inside a worker, cancelled at each await of its whole life, in virtual time: no task may be left."""

from __future__ import annotations

import asyncio
from itertools import count
from random import Random
from typing import Any

from consumer.config import InitialPosition, WorkerConfig
from consumer.delivery.threads import InlineThreads
from consumer.hooks import BatchProcessed, Fact
from consumer.leasing.seam import LeasesInline
from consumer.processor import RecordProcessor
from consumer.shards.budget import ByteBudget
from consumer.testing.memory_source import MemoryRecordSource
from consumer.testing.shard_log import ShardLog
from consumer.testing.virtual_time import VirtualClock
from consumer.worker import Worker
from lease_store.memory import MemoryLeaseStore
from tests.stress.stepping import cancelled_at
from tests.unit.shards.shard_fakes import FakeSource, FakeTenure, Stage, page, records, virtual

MOST_AWAITS = 400
MOST_STEPS = 2_000


class Reader(RecordProcessor):
    """Half of its callbacks are coroutines, so that user code is awaited, too."""

    async def process_records(self, records: Any, checkpointer: Any) -> None:
        for _ in records:
            await VirtualClock().sleep(0)


def test_a_shards_consumer_abandoned_at_each_step_leaves_no_task_and_no_budget_taken() -> None:
    """It has a task only now and then, so that it is the loop's steps that are counted, and not a task's awaits."""

    async def life(place: int) -> bool:
        budget = ByteBudget(10_000)
        source = FakeSource(*(records(number, number + 1) for number in range(1, 9, 2)), page(records(9), last=True))
        stage = Stage(FakeTenure(), source, Reader, budget=budget, batch_size=1)
        steps = count()

        def step() -> None:
            if next(steps) == place:
                stage.consumer.abandon()

        loop: Any = asyncio.get_running_loop()
        loop.on_step = step
        stage.consumer.begin()
        await asyncio.wait({stage.ended})
        loop.on_step = None
        assert budget.used_bytes == 0
        assert stage.ended.cancelled() or stage.tenure.children is not None
        await asyncio.sleep(0)
        assert stage.wheel.under_way == 0
        return stage.ended.cancelled()

    places = next(place for place in count() if not virtual(lambda place=place: life(place)))
    assert 50 < places < MOST_STEPS


def test_a_worker_cancelled_at_each_await_of_its_life_leaves_no_task() -> None:
    async def life(place: int) -> bool:
        clock = VirtualClock()
        log = ShardLog(clock.wall)
        log.create_table("orders", shard_count=2)
        for number in range(10):
            log.put_item("orders", new_image={"pk": f"k{number}"})

        def hear(fact: Fact) -> None:
            if isinstance(fact, BatchProcessed):
                worker.stop()

        worker = Worker(
            MemoryRecordSource(log, "dynamodb:orders", clock=clock),
            MemoryLeaseStore(),
            Reader,
            WorkerConfig(app="stress", initial_position=InitialPosition("TRIM_HORIZON")),
            clock=clock,
            random=Random(1),
            hooks=[hear],
            seam=LeasesInline(),
            threads=InlineThreads(),
        )

        async def whole() -> None:
            async with worker:
                await worker.run()

        return await cancelled_at(whole(), place)

    places = next(place for place in count() if not virtual(lambda place=place: life(place)))
    assert 10 < places < MOST_AWAITS
