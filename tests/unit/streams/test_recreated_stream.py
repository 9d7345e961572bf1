"""A Kinesis stream that is deleted and made anew under a worker: ARN and shard ids are the same, the time is not."""

from __future__ import annotations

import asyncio

import pytest

from consumer.errors import ShardNotFound
from consumer.streams.source import Position
from consumer.testing.faults import Fault, FaultPlan
from consumer.testing.memory_source import MemoryRecordSource
from consumer.testing.shard_log import ShardLog
from consumer.testing.virtual_time import VirtualClock, run_virtual


def test_a_late_reply_about_the_old_stream_is_no_proof_that_the_new_one_is_the_old_one() -> None:
    """Fleet seed 2048: a record of the new stream was delivered under a lease of the old one."""

    async def main() -> None:
        clock = VirtualClock()
        log, plan = ShardLog(clock.wall), FaultPlan()
        log.create_stream("s")
        source = MemoryRecordSource(log, "kinesis:s", clock=clock, faults=plan)
        async with source.open():
            old = await source.resolve()
            await asyncio.sleep(20.0)
            plan.arm(Fault.delay(15.0, "DescribeStreamSummary"))
            looks = asyncio.ensure_future(source.resolve())
            await asyncio.sleep(1.0)
            log.kinesis.delete("s")
            await asyncio.sleep(11.0)
            log.create_stream("s")
            assert (await looks).label == old.label
            with pytest.raises(ShardNotFound):
                await source.iterator(old, "shardId-000000000000", Position("TRIM_HORIZON"))

    run_virtual(main())
