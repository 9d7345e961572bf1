"""Checkpoints in two steps: prepared, and meant only once they are committed."""

from __future__ import annotations

import asyncio
import logging

import pytest

from consumer.errors import CheckpointBackwards, CheckpointBeyondDelivered, CheckpointError, LeaseLost, LeaseStoreError
from consumer.processor import RecordProcessor
from consumer.shards.lifecycle import Event
from lease_store.checkpoint import Checkpoint
from lease_store.item import table_scan
from lease_store.lease import PendingCheckpoint
from tests.golden.recordings import tables
from tests.unit.shards.shard_fakes import FakeRecord, FakeTenure, at, manual, page, records, stored, virtual_stage


def test_what_is_prepared_counts_only_once_it_is_committed():
    async def step(batch, checkpointer):
        prepared = await checkpointer.prepare(batch[1], state=b"half done")
        assert prepared.checkpoint == Checkpoint("2")
        await asyncio.sleep(5)
        await prepared.commit()

    async def act(stage, task):
        await at(4)
        assert stage.tenure.calls == [("prepare", "2", b"half done")]
        await at(6)

    stage, raised = manual(step, act=act, checkpoint_interval_seconds=60.0)
    assert (stored(stage), raised) == (["2"], [])
    assert stage.consumer._writer.stored == Checkpoint("2")


def test_without_a_record_it_is_all_that_was_delivered_and_a_later_one_replaces_it():
    async def step(batch, checkpointer):
        await checkpointer.prepare(batch[0])
        await checkpointer.prepare()

    stage, raised = manual(step)
    assert stage.tenure.calls == [("prepare", "1", None), ("prepare", "3", None)]
    assert (stored(stage), raised) == ([], [])


def test_prepared_without_waiting_it_still_stands_before_the_batch_is_done_and_after_what_was_stored_first():
    async def step(batch, checkpointer):
        checkpointer.checkpoint(batch[0])
        checkpointer.prepare(batch[2])

    stage, raised = manual(step)
    assert stage.tenure.calls == [("checkpoint", "1"), ("prepare", "3", None)]
    assert raised == []


def test_at_the_place_that_is_stored_there_is_nothing_to_prepare():
    async def step(batch, checkpointer):
        await checkpointer.checkpoint(batch[1])
        prepared = await checkpointer.prepare(batch[1], state=b"x")
        await prepared.commit()

    stage, raised = manual(step)
    assert (stage.tenure.calls, raised) == ([("checkpoint", "2")], [])


def test_it_lies_between_what_is_stored_and_what_was_delivered():
    async def step(batch, checkpointer):
        await checkpointer.checkpoint(batch[1])
        for place in (batch[0], FakeRecord("4")):
            try:
                await checkpointer.prepare(place)
            except CheckpointError as error:
                raised.append(error)

    raised: list[Exception] = []
    stage, uncaught = manual(step)
    assert [type(error) for error in raised] == [CheckpointBackwards, CheckpointBeyondDelivered]
    assert (stored(stage), uncaught) == (["2"], [])


def test_a_commit_after_a_later_checkpoint_is_refused():
    async def step(batch, checkpointer):
        prepared = await checkpointer.prepare(batch[0])
        await checkpointer.checkpoint(batch[1])
        await prepared.commit()

    stage, raised = manual(step)
    assert [type(error) for error in raised] == [CheckpointBackwards]
    assert stored(stage) == ["2"]


def test_what_fails_is_tried_again_and_what_is_lost_is_said():
    def throttled() -> FakeTenure:
        tenure = FakeTenure()
        tenure.checkpoint_errors.append(LeaseStoreError("throttled"))
        return tenure

    async def step(batch, checkpointer):
        await checkpointer.prepare(state=b"x")

    stage, raised = manual(step, tenure=throttled)
    assert (stage.tenure.calls, raised) == ([("prepare", "3", b"x")], [])

    async def act(stage, task):
        stage.tenure.checkpoint_gate.clear()
        await at(1)
        stage.tenure.ask("lost")
        stage.tenure.checkpoint_gate.set()
        await at(2)

    stage, raised = manual(step, act=act)
    assert [type(error) for error in raised] == [LeaseLost]


@pytest.mark.parametrize("state", ["text", b"x" * (256 * 1024 + 1)])
def test_a_state_that_no_row_could_hold_is_refused_at_once(state):
    async def step(batch, checkpointer):
        await checkpointer.prepare(state=state)

    stage, raised = manual(step)
    assert "256 KiB" in str(raised[0])
    assert stage.tenure.calls == []


def test_automatic_checkpoints_would_remove_it_so_that_it_is_refused():
    told = []

    class User(RecordProcessor):
        async def process_records(self, records, checkpointer):
            with pytest.raises(CheckpointError, match="--checkpointing manual") as raised:
                await checkpointer.prepare()
            told.append(raised)

    async def act(stage, task):
        await at(5)

    stage = virtual_stage([records(1, 2, 3)], User, act)
    assert told
    assert stored(stage) == ["3"]


def test_the_end_of_a_shard_may_be_prepared_and_is_committed_in_shard_ended():
    late = []

    class User(RecordProcessor):
        async def process_records(self, records, checkpointer):
            pass

        async def shard_ended(self, checkpointer):
            prepared = await checkpointer.prepare(state=b"last")
            late.append(prepared)
            await prepared.commit()

    async def act(stage, task):
        assert await task is Event.END_STORED
        with pytest.raises(CheckpointError, match="only there"):
            await late[0].commit()

    stage = virtual_stage([page(records(1), last=True)], User, act, checkpointing="manual", child_wait_seconds=0.0)
    assert stage.tenure.calls[:1] == [("prepare", "SHARD_END", b"last")]


def test_who_owns_the_shard_next_is_given_what_was_prepared_and_told_when_it_goes(caplog):
    given = []

    class User(RecordProcessor):
        async def initialize(self, shard):
            given.append(shard.pending_checkpoint)

        async def process_records(self, records, checkpointer):
            pass

    async def act(stage, task):
        await at(5)

    pending = PendingCheckpoint(Checkpoint("2", 1), b"half done")
    with caplog.at_level(logging.INFO, "leasehold.shards"):
        virtual_stage([records(1, 2, 3)], User, act, tenure=lambda: FakeTenure(pending_checkpoint=pending))
    assert given == [pending]
    (line,) = [each.getMessage() for each in caplog.records if "prepared and not committed" in each.getMessage()]
    assert "2/1" in line
    assert "half done" not in line


PREPARED = [
    (f"{name} {lease.key}", lease)
    for name, place, items in tables()
    for lease in (table_scan(items).leases if place == "leases" else ())
    if lease.pending_checkpoint is not None
]


@pytest.mark.parametrize(("name", "row"), PREPARED, ids=lambda each: each if isinstance(each, str) else "")
def test_what_a_real_kcl_prepared_is_handed_over(name, row):
    given = []

    class User(RecordProcessor):
        async def initialize(self, shard):
            given.append((shard.checkpoint, shard.pending_checkpoint))

    async def act(stage, task):
        await at(1)

    fields = {"key": row.key, "checkpoint": row.checkpoint, "pending_checkpoint": row.pending_checkpoint}
    virtual_stage([], User, act, tenure=lambda: FakeTenure(**fields))
    ((checkpoint, pending),) = given
    assert (checkpoint.sequence_number, pending.state) == ("TRIM_HORIZON", b"half way"), name
    assert pending.checkpoint.is_number


def test_the_recordings_have_some_of_each_kcl():
    assert {name.split()[0] for name, _ in PREPARED} >= {"kcl-2.7.2", "kcl-3.3.0", "adapter-2.0.1"}
