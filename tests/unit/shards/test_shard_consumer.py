"""One shard consumer from parents to end, against a scripted tenure and stream, in virtual time."""

from __future__ import annotations

import asyncio
import logging

import pytest

from consumer.delivery.threads import InlineThreads
from consumer.hooks import BatchFailed, BatchProcessed, ShardEnded, Stuck
from consumer.shards.lifecycle import Event
from consumer.streams.dynamodb_record import DynamoDBRecord
from consumer.streams.kinesis_record import KinesisRecord
from lease_store.checkpoint import Checkpoint
from tests.unit.shards.shard_fakes import (
    CHILD,
    FakeSource,
    FakeTenure,
    Recorder,
    Stage,
    at,
    numbers,
    page,
    records,
    virtual,
)


def test_the_row_to_start_from_is_needed_until_initialize_has_returned():
    async def main():
        started = []

        class Asking(Recorder):
            async def initialize(self, shard):
                started.append(tenure.has_started)
                if len(started) == 1:
                    raise ValueError
                await super().initialize(shard)

        tenure = FakeTenure()
        stage = Stage(tenure, FakeSource(records(1), page(records(2), last=True, children=(CHILD,))), Asking)
        assert await stage.start() is Event.END_STORED
        assert started == [False, False]
        assert tenure.has_started

    virtual(main)


def test_a_whole_life_from_initialize_to_shard_end():
    async def main():
        user = Recorder()
        source = FakeSource(records(1, 2), page(records(3), last=True, children=(CHILD,)))
        stage = Stage(FakeTenure(), source, lambda: user)
        assert await stage.start() is Event.END_STORED
        assert user.log == [("initialize", "shard-1", "TRIM_HORIZON", 7), [1, 2], [3], "shard_ended"]
        assert stage.tenure.calls[-1] == ("end_shard", ("child-1",))
        assert ("checkpoint", "3") in stage.tenure.calls, "everything done is stored before the end"
        assert stage.of(ShardEnded)[0].children == ("child-1",)
        assert [fact.records for fact in stage.of(BatchProcessed)] == [2, 1]
        assert stage.consumer.records_processed == 3

    virtual(main)


def test_batches_are_cut_at_batch_size_and_stay_in_order():
    async def main():
        user = Recorder()
        stage = Stage(
            FakeTenure(),
            FakeSource(page(records(*range(1, 8)), last=True, children=(CHILD,))),
            lambda: user,
            batch_size=3,
        )
        await stage.start()
        assert [entry for entry in user.log if isinstance(entry, list)] == [[1, 2, 3], [4, 5, 6], [7]]

    virtual(main)


def test_what_is_delivered_is_weighed_once_though_user_code_raises():
    class Stumbling(Recorder):
        async def process_records(self, records, checkpointer):
            await super().process_records(records, checkpointer)
            if len(self.log) <= 3:
                raise ValueError

    async def main():
        user = Stumbling()
        tenure = FakeTenure()
        source = FakeSource(page(records(1, 2, 3, size_bytes=1000), last=True, children=(CHILD,)))
        await Stage(tenure, source, lambda: user, batch_size=2).start()
        assert user.log[1:] == [[1, 2], [1, 2], [1, 2], [3], "shard_ended"]
        assert tenure.delivered_bytes == 3000

    virtual(main)


@pytest.mark.parametrize(
    ("record", "size_bytes", "weight"),
    [
        (
            KinesisRecord.from_entry({"SequenceNumber": "1", "Data": b"123", "PartitionKey": "a-long-partition-key"}),
            23,
            3,
        ),
        (
            DynamoDBRecord.from_entry({"eventName": "INSERT", "dynamodb": {"SequenceNumber": "1", "SizeBytes": 59}}),
            59,
            459,
        ),
    ],
    ids=["kinesis", "dynamodb"],
)
def test_what_is_delivered_is_weighed_as_a_java_kcl_does(record, size_bytes, weight):
    """A leader compares our leases with Java's: with small records, other bytes would make ours look much lighter."""

    async def main():
        tenure = FakeTenure()
        stage = Stage(tenure, FakeSource(page([record], last=True, children=(CHILD,))), Recorder)
        await stage.start()
        assert tenure.delivered_bytes == weight
        assert stage.of(BatchProcessed)[0].size_bytes == size_bytes

    virtual(main)


def test_the_status_tells_of_the_last_record():
    async def main():
        stage = Stage(FakeTenure(), FakeSource(records(1, timestamp=1_799_999_990.0)), Recorder)
        assert stage.consumer.status().last_record_at is None
        task = stage.start()
        await at(1)
        status = stage.consumer.status()
        assert (status.stage, status.last_record_at, status.lag_seconds) == ("reading", 1_799_999_990.0, 0.0)
        stage.tenure.ask("lost")
        await task

    virtual(main)


def test_no_batch_begins_without_trust_and_delivery_goes_on_when_it_returns():
    async def main():
        user = Recorder()
        tenure = FakeTenure()
        stage = Stage(tenure, FakeSource(records(1)), lambda: user)
        task = stage.start()
        await at(1)
        tenure.is_trusted = False
        stage.source.script.append(records(2))
        await at(100)
        assert user.seen == [1]
        tenure.is_trusted = True
        await at(101)
        assert user.seen == [1, 2]
        tenure.is_trusted = False
        stage.source.script.append(records(3))
        await at(103)
        tenure.ask("lost")
        assert await task is Event.LOSS_TOLD
        assert user.seen == [1, 2]

    virtual(main)


class LateThreads(InlineThreads):
    """Every thread is busy for 50 s with other shards."""

    async def run(self, call):
        await asyncio.sleep(50)
        return await super().run(call)


def test_a_batch_that_waited_for_a_thread_longer_than_its_lease_was_trusted_does_not_begin():
    """Fleet seed 78: one thread, many shards; what waits in the pool's queue was trusted when it entered it."""

    async def main():
        class Plain(Recorder):
            def process_records(self, records, checkpointer):
                self.log.append(numbers(records))

        user = Plain()
        tenure = FakeTenure()
        stage = Stage(tenure, FakeSource(records(1)), lambda: user, threads=LateThreads())
        task = stage.start()
        await at(70)  # the constructor is through, the batch waits for its thread
        tenure.is_trusted = False
        await at(190)
        assert user.seen == []
        assert stage.of(BatchFailed) == []
        tenure.is_trusted = True
        await at(250)
        assert user.seen == [1]
        tenure.ask("lost")
        await task

    virtual(main)


ERRORS = [ValueError, SystemExit, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit, StopIteration, TimeoutError]


CALLBACKS = ["constructor", "initialize", "process_records", "shard_ended", "shutdown_requested"]


@pytest.mark.parametrize(
    ("callback", "style", "error"),
    [
        (callback, style, error)
        for callback in CALLBACKS
        for style in ("def", "async def")
        for error in ERRORS
        # A constructor is plain, and a coroutine can't raise StopIteration.
        if style == "def" or (callback != "constructor" and error is not StopIteration)
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_whatever_user_code_raises_is_a_failure_that_is_retried(callback, style, error):
    made = []

    class Raising(Recorder):
        left = 2

        def __init__(self):
            super().__init__()
            self.stumble("constructor")
            made.append(self)

        @classmethod
        def stumble(cls, name):
            if name == callback and cls.left:
                cls.left -= 1
                raise error

    def make(name):
        async def asynchronous(self, *args):
            self.stumble(name)
            await getattr(Recorder, name)(self, *args)

        def plain(self, *args):
            self.stumble(name)
            return getattr(Recorder, name)(self, *args)

        return plain if style == "def" else asynchronous

    for name in ("initialize", "process_records", "shard_ended", "shutdown_requested"):
        setattr(Raising, name, make(name))

    async def main():
        tenure = FakeTenure()
        end = callback == "shard_ended"
        source = FakeSource(page(records(1), last=end, children=(CHILD,) if end else None))
        stage = Stage(tenure, source, Raising)
        task = stage.start()
        await at(5)
        if not end:
            assert callback == "shutdown_requested" or made[0].seen == [1]
            tenure.ask("drain")
        assert await task is (Event.END_STORED if end else Event.LET_GO)
        failures = stage.of(BatchFailed)
        assert [(fact.error, fact.attempt) for fact in failures] == [(error.__name__, 1), (error.__name__, 2)]
        assert made[0].seen == [1]
        assert ("checkpoint", "1") in tenure.calls

    virtual(main)


def test_a_batch_that_always_raises_is_retried_for_ever_within_the_limit_and_passes_no_checkpoint(caplog):
    class Failing(Recorder):
        async def process_records(self, records, checkpointer):
            await super().process_records(records, checkpointer)
            raise KeyError("alice@example.com")

    async def main():
        user = Failing()
        tenure = FakeTenure()
        stage = Stage(tenure, FakeSource(records(7, 8)), lambda: user, retry_limit_seconds=60.0)
        task = stage.start()
        await at(1_800)
        status = stage.consumer.status()
        assert 1_790 < status.oldest_failing_batch_seconds <= 1_800
        assert status.stuck_seconds > 1_790
        assert len(stage.of(BatchFailed)) > 30, "pauses are at most 60 s"
        assert max(fact.retry_in_seconds for fact in stage.of(BatchFailed)) <= 60.0
        assert [fact.stage for fact in stage.of(Stuck)] == ["processing"]
        assert tenure.calls == []
        assert set(map(tuple, user.log[1:])) == {(7, 8)}
        tenure.ask("drain")
        await task
        assert tenure.calls == [("let_go", True)]

    with caplog.at_level(logging.WARNING):
        virtual(main)
    assert "alice" not in caplog.text
    assert "process_records for records 7 to 8 raised KeyError (attempt 1)" in caplog.text
    assert "in process_records" in caplog.text


def test_a_slow_handler_loses_nothing_and_is_called_stuck_once():
    class Slow(Recorder):
        async def process_records(self, records, checkpointer):
            await asyncio.sleep(600)
            await super().process_records(records, checkpointer)

    async def main():
        user = Slow()
        tenure = FakeTenure()
        stage = Stage(tenure, FakeSource(*(records(n) for n in range(1, 6))), lambda: user)
        task = stage.start()
        await at(500)
        assert stage.consumer.status().stuck_seconds == pytest.approx(500)
        await at(3_100)
        assert user.seen == [1, 2, 3, 4, 5]
        assert [fact.stage for fact in stage.of(Stuck)] == ["processing"] * 5
        assert stage.consumer.status().stuck_seconds == 0
        tenure.ask("drain")
        await task

    virtual(main)


def test_a_resumed_tenure_starts_after_its_checkpoint():
    async def main():
        user = Recorder()
        stage = Stage(FakeTenure(checkpoint=Checkpoint("41")), FakeSource(records(42)), lambda: user)
        task = stage.start()
        await at(1)
        assert user.log == [("initialize", "shard-1", "41", 7), [42]]
        assert stage.source.opened[0].kind == "AFTER_SEQUENCE_NUMBER"
        assert stage.source.opened[0].sequence_number == "41"
        stage.tenure.ask("lost")
        await task

    virtual(main)


@pytest.mark.parametrize("seed", range(40))
def test_cancelling_at_any_moment_leaves_no_task_and_no_user_code_behind(seed):
    class Slow(Recorder):
        running = 0

        async def process_records(self, records, checkpointer):
            Slow.running += 1
            try:
                try:
                    await asyncio.sleep(0.3)
                finally:
                    await asyncio.sleep(0.1)  # user code that takes its time to end
            finally:
                Slow.running -= 1

    async def main():
        tenure = FakeTenure()
        if seed % 4 == 0:
            tenure.parents.clear()
        if seed % 4 == 1:
            tenure.checkpoint_gate.clear()
        script = [records(1), records(2), page(records(3), last=True)]
        stage = Stage(tenure, FakeSource(*script), Slow, checkpoint_interval_seconds=0.1)
        task = stage.start()
        await at(0.05 * seed)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert Slow.running == 0
        assert not stage.consumer.user_code_running

    virtual(main, seed=seed)
