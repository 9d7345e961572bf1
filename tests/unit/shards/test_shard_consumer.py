"""One shard consumer from parents to end, against a scripted tenure and stream, in virtual time."""

from __future__ import annotations

import asyncio
import logging

import pytest

from consumer.delivery.threads import InlineThreads
from consumer.errors import LeaseLost, LeaseStoreError, StreamUnavailable
from consumer.hooks import BatchFailed, BatchProcessed, ShardEnded, Stuck
from consumer.processor import RecordProcessor
from consumer.shards.lifecycle import Event
from consumer.streams.source import Shard
from lease_store.checkpoint import Checkpoint
from tests.unit.shards.shard_fakes import FakeSource, FakeTenure, Stage, at, numbers, page, records, virtual

CHILD = Shard("child-1", ("shard-1",))


class Recorder(RecordProcessor):
    """Keeps what it is told, in order."""

    def __init__(self) -> None:
        self.log: list[object] = []

    async def initialize(self, shard):
        self.log.append(("initialize", shard.shard_id, str(shard.checkpoint), shard.fencing_token))

    async def process_records(self, records, checkpointer):
        self.log.append(numbers(records))

    async def lease_lost(self):
        self.log.append("lease_lost")

    async def shard_ended(self, checkpointer):
        self.log.append("shard_ended")
        await checkpointer.checkpoint()

    async def shutdown_requested(self, checkpointer):
        self.log.append("shutdown_requested")

    @property
    def seen(self) -> list[int]:
        return [number for entry in self.log if isinstance(entry, list) for number in entry]


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


def test_batches_are_cut_at_max_records_and_stay_in_order():
    async def main():
        user = Recorder()
        stage = Stage(
            FakeTenure(),
            FakeSource(page(records(*range(1, 8)), last=True, children=(CHILD,))),
            lambda: user,
            max_records=3,
        )
        await stage.start()
        assert [entry for entry in user.log if isinstance(entry, list)] == [[1, 2, 3], [4, 5, 6], [7]]

    virtual(main)


def test_nothing_begins_before_the_parents_are_done_and_waiting_shows():
    async def main():
        user = Recorder()
        tenure = FakeTenure(parents=("p",))
        tenure.parents.clear()
        tenure.parent_errors.append(LeaseStoreError())
        stage = Stage(tenure, FakeSource(records(1)), lambda: user)
        task = stage.start()
        await at(100)
        assert user.log == []
        assert stage.source.opened == []
        assert stage.consumer.status().stage == "waiting_for_parents"
        assert [fact.stage for fact in stage.of(Stuck)] == ["waiting_for_parents"], "once, however long it lasts"
        tenure.parents.set()
        await at(101)
        assert user.seen == [1]
        tenure.ask("drain")
        assert await task is Event.LET_GO

    virtual(main)


def test_a_hand_off_while_waiting_for_parents_lets_go_at_once_without_shutdown():
    async def main():
        tenure = FakeTenure(parents=("p",))
        tenure.parents.clear()
        stage = Stage(tenure, FakeSource(), Recorder)
        task = stage.start()
        await at(1)
        tenure.ask("hand_off")
        assert await task is Event.LET_GO
        assert asyncio.get_running_loop().time() == 1.0
        assert tenure.calls == [("let_go", False)]

    virtual(main)


def test_a_hand_off_taken_back_while_waiting_for_parents_goes_on_waiting():
    async def main():
        user = Recorder()
        tenure = FakeTenure(parents=("p",))
        tenure.parents.clear()
        tenure.let_go_answers.append(False)
        stage = Stage(tenure, FakeSource(records(1)), lambda: user)
        task = stage.start()
        await at(1)
        tenure.ask("hand_off")
        await at(2)
        assert not task.done()
        tenure.parents.set()
        await at(3)
        assert user.seen == [1]
        tenure.ask("lost")
        await task

    virtual(main)


def test_a_drain_lets_the_batch_end_then_tells_stores_and_lets_go_in_this_order():
    class Slow(Recorder):
        async def process_records(self, records, checkpointer):
            await asyncio.sleep(5)
            await super().process_records(records, checkpointer)

    async def main():
        user = Slow()
        tenure = FakeTenure()
        stage = Stage(tenure, FakeSource(records(1, 2), records(3, 4)), lambda: user)
        task = stage.start()
        await at(1)
        tenure.ask("drain")
        await at(4)
        assert tenure.calls == []
        assert await task is Event.LET_GO
        assert asyncio.get_running_loop().time() == pytest.approx(5.0)
        assert user.log[1:] == [[1, 2], "shutdown_requested"]
        assert tenure.calls == [("checkpoint", "2"), ("let_go", True)]

    virtual(main)


def test_a_hand_off_taken_back_in_mid_batch_resumes_without_a_repeat():
    class Slow(Recorder):
        async def process_records(self, records, checkpointer):
            await asyncio.sleep(5)
            await super().process_records(records, checkpointer)

    async def main():
        user = Slow()
        tenure = FakeTenure()
        stage = Stage(tenure, FakeSource(records(1, 2), records(3), records(4)), lambda: user)
        task = stage.start()
        await at(1)
        tenure.ask("hand_off")
        await at(3)
        tenure.ask(None)
        await at(20)
        assert user.seen == [1, 2, 3, 4]
        assert "shutdown_requested" not in user.log
        assert len(stage.source.opened) == 1, "the iterator was kept"
        tenure.ask("drain")
        await task

    virtual(main)


def test_a_stop_pauses_reading():
    class Slow(Recorder):
        async def process_records(self, records, checkpointer):
            await asyncio.sleep(50)

    async def main():
        tenure = FakeTenure()
        stage = Stage(tenure, FakeSource(records(1)), Slow)
        task = stage.start()
        await at(5)
        tenure.ask("hand_off")
        await at(10)
        reads = len(stage.source.reads)
        await at(40)
        assert len(stage.source.reads) == reads
        await task

    virtual(main)


@pytest.mark.parametrize("failing", ["constructor", "initialize"])
@pytest.mark.parametrize(("reason", "event"), [("drain", Event.LET_GO), ("lost", Event.LEASE_LOST)])
def test_a_stop_before_the_processor_is_ready_tells_it_nothing(failing, reason, event):
    told = []

    class Broken(Recorder):
        def __init__(self):
            super().__init__()
            self.log = told
            if failing == "constructor":
                raise ValueError

        async def initialize(self, shard):
            raise ValueError

    async def main():
        tenure = FakeTenure()
        task = Stage(tenure, FakeSource(records(1)), Broken).start()
        await at(30)
        tenure.ask(reason)
        assert await task is event
        assert asyncio.get_running_loop().time() == 30.0
        assert tenure.calls == ([("let_go", False)] if reason == "drain" else [])
        assert told == []

    virtual(main)


def test_a_hand_off_taken_back_during_initialize_goes_on_with_the_same_processor():
    made = []

    class Late(Recorder):
        def __init__(self):
            super().__init__()
            made.append(self)

        async def initialize(self, shard):
            if asyncio.get_running_loop().time() < 20:
                raise ValueError

    async def main():
        tenure = FakeTenure()
        tenure.let_go_answers.append(False)
        task = Stage(tenure, FakeSource(records(1)), Late, retry_limit_seconds=2.0).start()
        await at(10)
        tenure.ask("hand_off")
        await at(30)
        assert len(made) == 1
        assert made[0].seen == [1]
        tenure.ask("drain")
        await task

    virtual(main)


def test_a_shard_end_given_up_for_a_drain_is_not_marked_by_a_later_checkpoint():
    class User(Recorder):
        async def shard_ended(self, checkpointer):
            raise ValueError

        async def shutdown_requested(self, checkpointer):
            await checkpointer.checkpoint()

    async def main():
        tenure = FakeTenure()
        stage = Stage(tenure, FakeSource(page(records(1), last=True)), User, checkpointing="manual")
        task = stage.start()
        await at(5)
        tenure.ask("drain")
        assert await task is Event.LET_GO
        assert tenure.calls == [("checkpoint", "1"), ("let_go", True)]

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


def test_a_failing_batch_is_not_retried_during_a_hand_off_and_the_lease_leaves_at_its_watermark():
    class Failing(Recorder):
        async def process_records(self, records, checkpointer):
            self.log.append(numbers(records))
            if "2" in [record.sequence_number for record in records]:
                raise ValueError

        async def shutdown_requested(self, checkpointer):
            await checkpointer.checkpoint()

    async def main(checkpointing):
        user = Failing()
        tenure = FakeTenure()
        stage = Stage(tenure, FakeSource(records(1), records(2)), lambda: user, checkpointing=checkpointing)
        task = stage.start()
        await at(30)
        before = user.seen.count(2)
        tenure.ask("hand_off")
        assert await task is Event.LET_GO
        assert asyncio.get_running_loop().time() == pytest.approx(30.0)
        assert user.seen.count(2) == before
        assert [call for call in tenure.calls if call[0] == "checkpoint"] == [("checkpoint", "1")]

    virtual(lambda: main("automatic"))
    virtual(lambda: main("manual"))


def test_a_tenure_is_over_after_shutdown_was_called_even_where_the_hand_off_was_taken_back():
    async def main():
        user = Recorder()
        tenure = FakeTenure()
        tenure.let_go_answers.append(False)
        task = Stage(tenure, FakeSource(records(1)), lambda: user).start()
        await at(1)
        tenure.ask("hand_off")
        assert await task is Event.LET_GO
        assert user.log[1:] == [[1], "shutdown_requested"]

    virtual(main)


def test_letting_go_is_tried_again_when_the_table_fails():
    async def main():
        tenure = FakeTenure()
        errors = [LeaseStoreError(), LeaseStoreError()]
        let_go = tenure.let_go

        async def failing(*, shutdown_called):
            if errors:
                raise errors.pop()
            return await let_go(shutdown_called=shutdown_called)

        tenure.let_go = failing
        task = Stage(tenure, FakeSource(records(1)), Recorder).start()
        await at(1)
        tenure.ask("drain")
        assert await task is Event.LET_GO
        assert tenure.calls[-1] == ("let_go", True)

    virtual(main)


def test_a_lost_lease_is_told_and_nothing_is_stored():
    class Slow(Recorder):
        async def process_records(self, records, checkpointer):
            await asyncio.sleep(5)
            await super().process_records(records, checkpointer)

    async def main():
        user = Slow()
        tenure = FakeTenure()
        stage = Stage(tenure, FakeSource(records(1), records(2)), lambda: user)
        task = stage.start()
        await at(1)
        tenure.ask("lost")
        await at(4)
        assert not task.done(), "user code still runs"
        assert stage.consumer.user_code_running
        assert await task is Event.LOSS_TOLD
        assert user.log[1:] == [[1], "lease_lost"]
        assert tenure.calls == []

    virtual(main)


def test_lease_lost_that_raises_is_tried_three_times():
    class Failing(Recorder):
        async def lease_lost(self):
            await super().lease_lost()
            raise SystemExit(3)

    async def main():
        user = Failing()
        tenure = FakeTenure()
        task = Stage(tenure, FakeSource(), lambda: user).start()
        await at(1)
        tenure.ask("lost")
        assert await task is Event.LOSS_TOLD
        assert user.log.count("lease_lost") == 3

    virtual(main)


def test_a_lease_lost_refusal_of_a_checkpoint_ends_the_tenure_before_the_tenure_says_so():
    async def main():
        user = Recorder()
        tenure = FakeTenure()
        tenure.checkpoint_errors.append(LeaseLost())
        assert await Stage(tenure, FakeSource(records(1)), lambda: user).start() is Event.LOSS_TOLD
        assert user.log[-1] == "lease_lost"

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


def test_an_empty_shard_ends():
    async def main():
        user = Recorder()
        stage = Stage(FakeTenure(), FakeSource(page(last=True)), lambda: user)
        stage.source.child_answers.append((CHILD,))
        assert await stage.start() is Event.END_STORED
        assert user.log[1:] == ["shard_ended"]
        assert stage.tenure.calls == [("end_shard", ("child-1",))]

    virtual(main)


def test_children_that_are_shown_late_are_waited_for():
    async def main():
        stage = Stage(FakeTenure(), FakeSource(page(records(1), last=True)), Recorder)
        stage.source.child_answers.extend([(), StreamUnavailable(), (), (CHILD,)])
        await stage.start()
        assert stage.tenure.children == (CHILD,)
        assert len(stage.source.child_calls) == 4

    virtual(main)


def test_a_question_for_children_that_hangs_is_asked_again():
    async def main():
        stage = Stage(FakeTenure(), FakeSource(page(records(1), last=True)), Recorder, child_wait_seconds=60.0)
        ask = stage.source.children

        async def hang_once(stream, shard_id):
            stage.source.children = ask
            await asyncio.Event().wait()

        stage.source.children = hang_once
        stage.source.child_answers.append((CHILD,))
        await stage.start()
        assert stage.tenure.children == (CHILD,)

    virtual(main)


def test_a_shard_whose_children_never_show_ends_without_after_the_wait(caplog):
    async def main():
        stage = Stage(FakeTenure(), FakeSource(page(records(1), last=True)), Recorder, child_wait_seconds=15.0)
        assert await stage.start() is Event.END_STORED
        assert stage.tenure.children == ()
        assert 15.0 <= asyncio.get_running_loop().time() < 16.0

    virtual(main)
    assert "the lineage audit" in caplog.text


def test_a_drain_while_children_are_awaited_leaves_the_end_to_the_next_owner():
    async def main():
        user = Recorder()
        stage = Stage(FakeTenure(), FakeSource(page(records(1), last=True)), lambda: user)
        task = stage.start()
        await at(5)
        stage.tenure.ask("drain")
        assert await task is Event.LET_GO
        assert stage.tenure.calls == [("checkpoint", "1"), ("let_go", True)]
        assert user.log.count("shard_ended") == 1
        assert "shutdown_requested" not in user.log

    virtual(main)


def test_a_shard_end_that_can_not_be_stored_is_tried_until_it_stands():
    async def main():
        stage = Stage(FakeTenure(), FakeSource(page(records(1), last=True, children=(CHILD,))), Recorder)
        stage.tenure.end_errors.extend([LeaseStoreError()] * 20)
        assert await stage.start() is Event.END_STORED
        assert stage.tenure.calls[-1] == ("end_shard", ("child-1",))

    virtual(main)


def test_a_lease_lost_at_the_shard_end_is_no_success():
    async def main():
        stage = Stage(FakeTenure(), FakeSource(page(records(1), last=True, children=(CHILD,))), Recorder)
        stage.tenure.end_errors.append(LeaseLost())
        assert await stage.start() is Event.LOSS_TOLD
        assert stage.of(ShardEnded) == []

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
