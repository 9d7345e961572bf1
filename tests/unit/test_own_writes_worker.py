"""A worker whose processor writes to the very table that it reads: it ends, and misses nobody else's change."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from consumer.errors import ViewTypeMismatch
from consumer.own_writes import OwnWrites
from consumer.processor import RecordProcessor
from consumer.record import ViewType
from consumer.worker import Outcome
from tests.unit.worker_stage import Stage, staged


class Table:
    """What is in the table, written through a stage's stream."""

    def __init__(self, stage: Stage) -> None:
        self.item: dict[str, Any] = {"pk": "a", "total": 2}
        self._log = stage.log

    def put(self, **changes: Any) -> None:
        old, self.item = self.item, self.item | changes
        self._log.put_item("orders", old_image=old, new_image=self.item)


@staged
async def test_a_processor_that_writes_what_it_reads_ends_and_misses_nothing(stage: Stage) -> None:
    table, writes = Table(stage), OwnWrites(stage.config.app, clock=stage.clock)
    seen: list[int] = []
    all_seen = asyncio.Event()

    class Counter(RecordProcessor):
        async def process_records(self, records: Any, checkpointer: Any) -> None:
            for record in records:
                seen.append(int(record.new_image["total"]))
                table.put(**writes.item({"counted": len(seen)}))
                if len(seen) == 3:
                    table.put(total=30)
            if 30 in seen:
                all_seen.set()

    async with stage.worker(Counter, skip_own_writes=True) as worker:
        run = asyncio.ensure_future(worker.run())
        await asyncio.sleep(60)
        table.put(total=3)  # leaves the marker of the last own write in the item
        await all_seen.wait()
        await asyncio.sleep(60)
        worker.stop()
        assert await run is Outcome.CLEAN
    assert seen == [1, 2, 3, 30], "own writes came back, or somebody else's did not come"
    last = stage.log.stream("orders").records()[-1][1].sequence
    assert [int(lease.checkpoint.sequence_number) for lease in stage.table.rows().leases] == [last]


@staged
async def test_it_is_refused_where_the_stream_has_no_image_to_judge_by(stage: Stage) -> None:
    stage.log.tables.disable("orders")
    stage.log.tables.enable("orders", ViewType.NEW_IMAGE)
    with pytest.raises(ViewTypeMismatch, match=r"view type NEW_IMAGE\..*skip_own_writes"):
        async with stage.worker(stage.reader, skip_own_writes=True):
            pytest.fail("it started")


@staged
async def test_a_stream_that_comes_back_with_fewer_images_ends_the_worker_with_a_sentence(stage: Stage) -> None:
    async with stage.worker(stage.reader, skip_own_writes=True) as worker:
        run = asyncio.ensure_future(worker.run())
        await stage.seen.wait()
        stage.log.tables.disable("orders")
        stage.log.tables.enable("orders", ViewType.NEW_IMAGE)
        stage.put(3)
        with pytest.raises(ViewTypeMismatch, match=r"view type NEW_IMAGE\..*skip_own_writes"):
            await run
    assert stage.totals == [1, 2], "what can't be judged is neither skipped nor delivered"
