"""A worker that joins a table which a Java KCL made: its rows go on where they stand, or the table is refused."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from consumer.config import InitialPosition
from consumer.errors import LeaseTableConflict
from lease_store.checkpoint import AT_TIMESTAMP, LATEST, Checkpoint
from lease_store.item import to_item
from lease_store.lease import Lease
from tests.unit.worker_stage import Stage, staged


def put_kcl_row(stage: Stage, **fields: Any) -> Lease:
    """The row of the stream's one shard as KCL 2.7.2 makes it; its worker read the first record, and is dead."""
    shard_id, first = stage.log.stream("orders").records()[0]
    checkpoint = Checkpoint(str(first.sequence))
    made = Lease(key=shard_id, counter=7, owner="java", checkpoint=checkpoint, hash_range=("0", "1"), entity_type=None)
    lease = replace(made, **fields)
    stage.table.put_item(to_item(lease))
    return lease


async def read_until(stage: Stage, total: int, **config: Any) -> list[int]:
    """What a worker reads, from its start to the record that says ``total``."""
    async with stage.worker(stage.reader, **config) as worker:
        run = asyncio.ensure_future(worker.run())
        while total not in stage.totals and not run.done():
            await stage.clock.sleep(0.5)
        worker.stop()
        await run
    return stage.totals


@staged
async def test_a_kcls_row_goes_on_at_its_checkpoint_and_stays_a_kcls_row(stage: Stage) -> None:
    row = put_kcl_row(stage)
    assert await read_until(stage, 2) == [2]
    (after,) = stage.table.rows().leases
    assert after.checkpoint > row.checkpoint
    assert (after.stream, after.created_at, after.app, after.hash_range) == (None, None, None, ("0", "1"))
    assert after.counter > row.counter


@staged
async def test_nothing_is_lost_between_the_first_look_at_a_row_at_latest_and_its_take(stage: Stage) -> None:
    """The KCL's worker died before its first checkpoint; a KCL would skip what came until its lease expired."""
    put_kcl_row(stage, checkpoint=LATEST)
    await stage.clock.sleep(100)
    later = asyncio.get_running_loop().call_later(5.0, stage.put, 3)
    assert await read_until(stage, 3, initial_position=InitialPosition("LATEST")) == [3]
    assert not later.cancelled()


@staged
async def test_at_timestamp_goes_on_at_the_instant_that_both_were_told(stage: Stage) -> None:
    put_kcl_row(stage, checkpoint=AT_TIMESTAMP)
    await stage.clock.sleep(100)
    at = InitialPosition("AT_TIMESTAMP", stage.clock.wall())
    stage.put(3)
    assert await read_until(stage, 3, initial_position=at) == [3]


@staged
async def test_at_timestamp_without_the_instant_is_refused_and_the_table_left_as_it_is(stage: Stage) -> None:
    row = put_kcl_row(stage, checkpoint=AT_TIMESTAMP)
    with pytest.raises(LeaseTableConflict, match="--initial-position AT_TIMESTAMP="):
        async with stage.worker(stage.reader):
            raise AssertionError("it must not start")
    assert (stage.table.rows().leases, stage.table.rows().workers) == ((row,), ())


@staged
async def test_a_table_of_another_stream_is_refused_before_anything_is_written(stage: Stage) -> None:
    other = put_kcl_row(stage, key="shardId-00000001700000000000-deadbeef")
    with pytest.raises(LeaseTableConflict, match="another stream"):
        async with stage.worker(stage.reader):
            raise AssertionError("it must not start")
    assert (stage.table.rows().leases, stage.table.rows().workers) == ((other,), ())
