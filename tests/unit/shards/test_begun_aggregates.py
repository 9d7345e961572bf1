"""A row that a KCL left in the middle of a KPL aggregate: its rest is not lost, and its checkpoint not set back."""

from __future__ import annotations

import pytest

from consumer.errors import CheckpointBackwards
from consumer.processor import RecordProcessor
from consumer.shards.position import fresh, start_position
from consumer.streams.source import Position
from lease_store.checkpoint import Checkpoint
from lease_store.item import table_scan
from tests.golden.recordings import tables
from tests.unit.shards.shard_fakes import (
    KINESIS,
    FakeRecord,
    FakeTenure,
    Recorder,
    at,
    numbers,
    records,
    stored,
    virtual_stage,
)

MIDDLE = Checkpoint("5", 3)


def in_the_middle() -> FakeTenure:
    return FakeTenure(checkpoint=MIDDLE)


def test_the_record_that_carries_the_aggregate_comes_again_whole_and_the_row_is_not_set_back():
    async def act(stage, task):
        await at(5)
        assert stage.consumer._user._codes[0]._processor.seen == [5, 6]
        assert stage.source.opened[0].kind == "AT_SEQUENCE_NUMBER"

    stage = virtual_stage([records(4, 5, 6)], Recorder, act, tenure=in_the_middle, stream=KINESIS, batch_size=1)
    assert stored(stage) == ["6"], "5 itself lies below the row's 5/3"


def test_a_begun_aggregate_may_be_checkpointed_by_its_record_which_changes_nothing():
    refused = []

    class Careful(RecordProcessor):
        async def process_records(self, records, checkpointer):
            for record in records:
                await checkpointer.checkpoint(record)
            if numbers(records) == [6]:
                with pytest.raises(CheckpointBackwards) as raised:
                    await checkpointer.checkpoint(self.first)
                refused.append(raised)
            else:
                self.first = records[0]

    async def act(stage, task):
        await at(5)

    stage = virtual_stage(
        [records(5, 6)],
        Careful,
        act,
        tenure=in_the_middle,
        stream=KINESIS,
        checkpointing="manual",
        batch_size=1,
    )
    assert stored(stage) == ["6"]
    assert refused, "once a later record is done, the aggregate's is as far back as any other"


LEFT = [
    lease
    for _, place, items in tables()
    for lease in (table_scan(items).leases if place == "leases" else ())
    if lease.checkpoint.sub_sequence_number > 0
]


@pytest.mark.parametrize("row", LEFT, ids=lambda lease: lease.key)
def test_where_a_real_kcl_stopped_inside_an_aggregate_nothing_of_it_is_left_out(row):
    carrier = FakeRecord(row.checkpoint.sequence_number)
    later = FakeRecord(str(int(carrier.sequence_number) + 1))
    assert start_position(row, aggregates=True) == Position("AT_SEQUENCE_NUMBER", carrier.sequence_number)
    assert fresh([carrier, later], above=row.checkpoint, drop_before=None) == [carrier, later]


def test_the_recordings_have_such_rows():
    assert len(LEFT) >= 4
