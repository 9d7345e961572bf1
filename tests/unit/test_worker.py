"""A whole worker in virtual time: what ends it, and that nothing ends it silently."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import Any

import pytest

from consumer.clock import SystemClock
from consumer.errors import ConfigError, InvalidRow, LeaseTableConflict
from consumer.hooks import TenureEnded
from consumer.processor import RecordProcessor
from consumer.testing.memory_source import MemoryRecordSource
from consumer.worker import Outcome, Worker
from lease_store.checkpoint import AT_TIMESTAMP
from lease_store.verbs import create
from tests.unit.worker_stage import Stage, staged


@staged
async def test_it_reads_drains_and_leaves_no_row_that_names_it(stage: Stage) -> None:
    async with stage.worker(stage.reader) as worker:
        run = asyncio.ensure_future(worker.run())
        await stage.seen.wait()
        worker.stop()
        assert await run is Outcome.CLEAN
    rows = stage.table.rows()
    assert [lease.owner for lease in rows.leases] == [None]
    assert all(lease.checkpoint.is_number for lease in rows.leases)
    assert rows.workers == ()


@staged
async def test_a_row_that_cannot_be_opened_ends_the_worker_in_place_of_a_shard_that_nobody_reads(stage: Stage) -> None:
    async with stage.worker(stage.reader) as worker:
        run = asyncio.ensure_future(worker.run())
        await stage.seen.wait()
        worker.stop()
        await run
    (lease,) = stage.table.rows().leases
    stage.table.put_item({**(stage.table.get(lease.key) or {}), "checkpoint": {"S": AT_TIMESTAMP.sequence_number}})
    async with stage.worker(stage.reader) as worker:
        with pytest.raises(InvalidRow, match=lease.key):
            await worker.run()


@staged
async def test_a_factory_that_makes_no_processor_ends_the_worker_with_a_sentence(stage: Stage) -> None:
    async with stage.worker(lambda: None) as worker:  # type: ignore[arg-type,return-value]
        with pytest.raises(ConfigError, match="of type NoneType, which is not a RecordProcessor"):
            await worker.run()


@staged
async def test_what_ends_the_lease_loop_during_a_drain_is_said_and_not_taken_for_a_slow_drain(stage: Stage) -> None:
    async with stage.worker(stage.blocker, drain_timeout_seconds=600) as worker:
        run = asyncio.ensure_future(worker.run())
        await stage.blocked.wait()
        worker.stop()
        await stage.clock.sleep(1.0)
        (lease,) = stage.table.rows().leases
        stage.table.apply(create(replace(lease, key="shard-of-another", app="billing")))
        with pytest.raises(LeaseTableConflict, match="shard-of-another"):
            await run


@staged
async def test_a_drain_ends_at_its_deadline_while_user_code_hangs(stage: Stage) -> None:
    async with stage.worker(stage.blocker) as worker:
        run = asyncio.ensure_future(worker.run())
        await stage.blocked.wait()
        begun = stage.clock.monotonic()
        worker.stop()
        assert await run is Outcome.DRAIN_TIMED_OUT
        assert stage.clock.monotonic() - begun == pytest.approx(25.0, abs=0.5)
    assert not [fact for fact in stage.facts if isinstance(fact, TenureEnded) and fact.reason == "released"]


@staged
async def test_a_worker_row_that_stays_behind_does_not_spoil_a_clean_drain(stage: Stage) -> None:
    async with stage.worker(stage.reader) as worker:
        run = asyncio.ensure_future(worker.run())
        await stage.seen.wait()
        stage.table.throttles_deletes = True
        worker.stop()
        assert await run is Outcome.CLEAN
    assert [row.draining for row in stage.table.rows().workers] == [True]


async def test_its_threads_end_with_it() -> None:
    stage = Stage(SystemClock())
    loop, seen = asyncio.get_running_loop(), asyncio.Event()

    class Reader(RecordProcessor):
        def process_records(self, records: Any, checkpointer: Any) -> None:
            loop.call_soon_threadsafe(seen.set)

    source = MemoryRecordSource(stage.log, "dynamodb:orders", clock=stage.clock)
    async with Worker(source, stage.table, Reader, replace(stage.config, failover_seconds=1.0)) as worker:
        run = asyncio.ensure_future(worker.run())
        await seen.wait()
        ours = [thread for thread in threading.enumerate() if thread.name.startswith("leasehold")]
        assert len(ours) >= 2  # the leases', and one for user code or two: the second batch may come at once
        worker.stop()
        assert await run is Outcome.CLEAN
    for thread in ours:
        await asyncio.to_thread(thread.join, 10)
        assert not thread.is_alive()


class Busy:
    async def read(self) -> float | None:
        return 42.5


@pytest.mark.parametrize("metrics", ["auto", "none"])
def test_its_row_says_how_busy_it_is_and_a_leases_row_what_its_shard_carries(metrics: str) -> None:
    @staged
    async def play(stage: Stage) -> None:
        async with stage.worker(stage.reader, cpu=Busy(), worker_metrics=metrics) as worker:
            run = asyncio.ensure_future(worker.run())
            await stage.seen.wait()
            await stage.clock.sleep(10.0)
            (lease,) = stage.table.rows().leases
            assert lease.throughput_kbps is not None
            assert lease.throughput_kbps > 0
            item = stage.table.get(worker.worker_id)
            assert item is not None
            assert item["sts"] == {"M": {"C": {"L": [{"N": "42.5"}]}} if metrics == "auto" else {}}
            assert item["opr"] == {"M": {"C": {"L": [{"N": "100"}]}} if metrics == "auto" else {}}
            assert item["sup"] == {"N": "1"}
            assert item["slu"] == item["lut"]
            worker.stop()
            await run

    play()
