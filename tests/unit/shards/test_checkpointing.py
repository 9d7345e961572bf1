"""Checkpoints: coalesced, trailing, flushed, retried; and what manual user code may and may not do."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from consumer.errors import CheckpointBackwards, CheckpointBeyondDelivered, LeaseLost, LeaseStoreError
from consumer.hooks import BatchFailed, CheckpointFailed, CheckpointStored, Stuck
from consumer.processor import RecordProcessor
from consumer.shards.lifecycle import Event
from lease_store.checkpoint import Checkpoint
from tests.unit.shards.shard_fakes import FakeRecord, at, manual, page, records, stored, virtual_stage


class Sink(RecordProcessor):
    async def process_records(self, records, checkpointer):
        pass


class Paced(RecordProcessor):
    """One batch each 0.1 s."""

    async def process_records(self, records, checkpointer):
        await asyncio.sleep(0.1)


def test_checkpoints_are_coalesced_to_one_an_interval_and_the_last_is_stored_too():
    async def act(stage, task):
        await at(10)

    stage = virtual_stage([records(n) for n in range(1, 36)], Paced, act, checkpoint_interval_seconds=1.0)
    times = [when for when, _ in stage.tenure.stored]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert 1.0 - 1e-9 <= gaps[0] < 2.0, "the next one goes at a tick of the worker, an interval later at the earliest"
    assert gaps[1:] == [pytest.approx(1.0)] * len(gaps[1:])
    assert stage.rounds == stage.tenure.stored, "with whatever other shards store"
    assert stage.tenure.stored[0] == (pytest.approx(0.1, abs=0.02), "1"), "a quiet shard's first move is stored at once"
    assert stage.tenure.stored[-1][1] == "35", "and the last one when it falls silent again"
    assert times[-1] < 4.2
    assert [fact.sequence_number for fact in stage.of(CheckpointStored)] == [
        number for _, number in stage.tenure.stored
    ]


def test_a_table_that_fails_each_other_checkpoint_is_told_once_a_minute(caplog):
    """Each success made a new trouble of the next failure, which was told at once."""

    async def act(stage, task):
        for second in range(1, 91):
            await at(second)
            if not stage.tenure.checkpoint_errors:
                stage.tenure.checkpoint_errors.append(LeaseStoreError("scripted"))

    stage = virtual_stage([records(n) for n in range(1, 900)], Paced, act, checkpoint_interval_seconds=1.0)
    assert len(stage.of(CheckpointFailed)) > 60
    told = [line for line in caplog.messages if "was not stored" in line]
    assert len(told) == 2


def test_a_checkpoint_never_passes_a_record_in_flight():
    class Slow(RecordProcessor):
        async def process_records(self, records, checkpointer):
            if records[0].sequence_number == "3":
                await asyncio.sleep(100)

    async def act(stage, task):
        await at(50)
        assert stage.tenure.stored[-1][1] == "2"

    virtual_stage([page(records(1, 2, 3, 4))], Slow, act, batch_size=2)


def test_a_drain_flushes_within_the_interval():
    async def act(stage, task):
        await at(2)
        stage.tenure.ask("drain")
        await task
        assert asyncio.get_running_loop().time() < 2.2

    stage = virtual_stage([records(n) for n in range(1, 100)], Paced, act, checkpoint_interval_seconds=60.0)
    assert [number for _, number in stage.tenure.stored] == ["1", "20"]


def test_a_failing_table_holds_up_no_delivery_and_the_write_is_tried_until_it_stands():
    async def act(stage, task):
        stage.tenure.checkpoint_errors.extend([LeaseStoreError("throttled")] * 10)
        await at(2.5)
        assert stage.consumer.records_processed == 20
        assert stage.tenure.checkpoint_errors, "the table still fails"
        await at(60)
        assert stage.tenure.stored[-1][1] == "20"

    stage = virtual_stage([records(n) for n in range(1, 21)], Paced, act)
    assert len(stage.of(CheckpointFailed)) == 10


def test_a_write_that_failed_is_tried_again_after_its_pause_however_long_the_interval_is():
    async def act(stage, task):
        stage.tenure.checkpoint_errors.extend([LeaseStoreError("throttled")] * 3)
        await at(5)
        assert [number for _, number in stage.tenure.stored] == ["1"]

    virtual_stage([records(1)], Sink, act, checkpoint_interval_seconds=60.0)


def test_only_a_shard_that_has_been_quiet_for_some_ticks_does_not_wait_for_the_next():
    seen = []

    class Noted(Sink):
        async def process_records(self, records, checkpointer):
            seen.append(asyncio.get_running_loop().time())

    async def act(stage, task):
        await at(2.3)
        stage.source.script.append(records(2))
        await at(30)
        stage.source.script.append(records(3))
        await at(60)

    stage = virtual_stage([records(1)], Noted, act, checkpoint_interval_seconds=2.0)
    first, second, third = (when - seen for (when, _), seen in zip(stage.tenure.stored, seen, strict=True))
    assert first < 0.02
    assert second > 0.1, "it has stored a short while ago: with the others, at the tick"
    assert third < 0.02


def test_a_table_that_hangs_holds_up_no_delivery_and_shows_as_stuck():
    async def act(stage, task):
        stage.tenure.checkpoint_gate.clear()
        await at(100)
        assert stage.consumer.records_processed == 20
        assert stage.consumer.status().stuck_seconds > 90
        assert [fact.stage for fact in stage.of(Stuck)] == ["checkpointing"]
        stage.tenure.checkpoint_gate.set()
        await at(102)
        assert stage.consumer.status().stuck_seconds == 0

    virtual_stage([records(n) for n in range(1, 21)], Paced, act)


def test_a_flush_is_bounded_by_trust_and_the_lease_leaves_at_what_is_stored(caplog):
    async def act(stage, task):
        stage.tenure.checkpoint_errors.extend([LeaseStoreError()] * 1_000)
        await at(5)
        stage.tenure.ask("drain")
        await at(9)
        assert not task.done()
        stage.tenure.is_trusted = False
        await at(10)
        assert await task is Event.LET_GO

    stage = virtual_stage([records(1)], Sink, act)
    assert stage.tenure.calls == [("let_go", True)]
    assert "repeats the records after TRIM_HORIZON" in caplog.text.replace("\n", " ")


# Manual mode, awaited


def test_manual_mode_stores_only_what_user_code_stores():
    async def step(batch, checkpointer):
        pass

    stage, _ = manual(step)
    assert stored(stage) == []

    async def half(batch, checkpointer):
        await checkpointer.checkpoint(batch[1])
        assert asyncio.get_running_loop().time() < 0.01, "at once, whatever the interval"

    stage, raised = manual(half, checkpoint_interval_seconds=60.0)
    assert (stored(stage), raised) == (["2"], [])

    async def each(batch, checkpointer):
        for record in batch:
            await checkpointer.checkpoint(record)
        assert asyncio.get_running_loop().time() < 0.01

    stage, raised = manual(each, checkpoint_interval_seconds=60.0)
    assert (stored(stage), raised) == (["1", "2", "3"], [])


def test_without_a_record_everything_delivered_is_stored():
    async def step(batch, checkpointer):
        await checkpointer.checkpoint()

    stage, _ = manual(step)
    assert stored(stage) == ["3"]


def test_a_manual_checkpoint_returns_only_when_stored():
    times = []

    async def step(batch, checkpointer):
        await checkpointer.checkpoint()
        times.append(asyncio.get_running_loop().time())

    async def act(stage, task):
        stage.tenure.checkpoint_gate.clear()
        stage.tenure.checkpoint_errors.append(LeaseStoreError())
        await at(5)
        assert times == []
        stage.tenure.checkpoint_gate.set()
        await at(6)
        assert 5 <= times[0] < 6

    manual(step, act=act)


def test_the_same_place_again_is_no_write():
    async def step(batch, checkpointer):
        await checkpointer.checkpoint(batch[2])
        await checkpointer.checkpoint(batch[2])
        await checkpointer.checkpoint()

    stage, raised = manual(step)
    assert (stored(stage), raised) == (["3"], [])


def test_backwards_is_refused_by_sub_sequence_number_too():
    async def step(batch, checkpointer):
        await checkpointer.checkpoint(batch[1])
        await checkpointer.checkpoint(batch[0])

    stage, raised = manual(step)
    assert [type(error) for error in raised] == [CheckpointBackwards]
    stage, raised = manual(step, [[FakeRecord("9", 0), FakeRecord("9", 1)]])
    assert [type(error) for error in raised] == [CheckpointBackwards]
    assert stored(stage) == ["9/1"]


def test_beyond_what_was_delivered_is_refused():
    async def step(batch, checkpointer):
        await checkpointer.checkpoint(FakeRecord("4"))

    stage, raised = manual(step)
    assert [type(error) for error in raised] == [CheckpointBeyondDelivered]
    assert stored(stage) == []

    async def within(batch, checkpointer):
        await checkpointer.checkpoint(FakeRecord("3", 1))

    _, raised = manual(within)
    assert [type(error) for error in raised] == [CheckpointBeyondDelivered]


def test_after_loss_a_checkpoint_raises_lease_lost():
    async def step(batch, checkpointer):
        await asyncio.sleep(5)
        await checkpointer.checkpoint()

    async def act(stage, task):
        await at(1)
        stage.tenure.ask("lost")
        await task

    stage, raised = manual(step, act=act)
    assert [type(error) for error in raised] == [LeaseLost]
    assert stored(stage) == []


def test_a_checkpoint_under_way_when_the_lease_is_lost_raises_lease_lost():
    async def step(batch, checkpointer):
        await checkpointer.checkpoint()

    async def act(stage, task):
        stage.tenure.checkpoint_gate.clear()
        await at(1)
        stage.tenure.ask("lost")
        stage.tenure.checkpoint_gate.set()
        await task

    _, raised = manual(step, act=act)
    assert [type(error) for error in raised] == [LeaseLost]


def test_a_checkpoint_kept_for_later_raises_lease_lost_once_the_consumer_is_done():
    kept = []

    async def step(batch, checkpointer):
        kept.append(checkpointer)

    async def act(stage, task):
        await at(1)
        stage.tenure.ask("drain")
        await task
        with pytest.raises(LeaseLost):
            await kept[0].checkpoint()

    manual(step, act=act)


def test_forgetting_to_await_stores_all_the_same_before_the_next_batch():
    async def step(batch, checkpointer):
        checkpointer.checkpoint(batch[-1])

    stage, _ = manual(step, [records(1), records(2)])
    assert stored(stage) == ["1", "2"]


def test_an_unawaited_checkpoint_that_fails_fails_the_batch():
    async def step(batch, checkpointer):
        checkpointer.checkpoint(batch[-1])

    async def act(stage, task):
        stage.tenure.checkpoint_errors.append(LeaseLost())
        await task

    stage, _ = manual(step, act=act)
    assert [fact.error for fact in stage.of(BatchFailed)] == ["LeaseLost"]
    assert stage.consumer.records_processed == 0


def test_a_caller_that_gives_up_waiting_neither_breaks_the_write_nor_the_consumer():
    async def step(batch, checkpointer):
        async with asyncio.timeout(1):
            await checkpointer.checkpoint(batch[0])

    async def act(stage, task):
        stage.tenure.checkpoint_gate.clear()
        await at(5)
        stage.tenure.checkpoint_gate.set()
        await at(6)

    stage, raised = manual(step, act=act)
    assert [type(error) for error in raised] == [TimeoutError]
    assert stored(stage) == ["1"]


def test_automatic_progress_never_goes_back_behind_what_is_wanted():
    async def act(stage, task):
        writer = stage.consumer._writer
        writer.advance(Checkpoint("9"))
        writer.advance(Checkpoint("3"))
        assert writer.wanted == Checkpoint("9")
        await at(1)

    assert stored(virtual_stage([], Sink, act)) == ["9"]


def test_a_last_checkpoint_in_shutdown_requested_is_stored_before_the_lease_leaves():
    class User(RecordProcessor):
        async def process_records(self, records, checkpointer):
            pass

        async def shutdown_requested(self, checkpointer):
            checkpointer.checkpoint()

    async def act(stage, task):
        await at(1)
        stage.tenure.ask("drain")
        await task

    stage = virtual_stage([records(1, 2)], User, act, checkpointing="manual")
    assert stage.tenure.calls == [("checkpoint", "2"), ("let_go", True)]
