"""A shard's consumer that waits for parents, drains, hands off, takes back, or has lost its lease."""

from __future__ import annotations

import asyncio

import pytest

from consumer.errors import LeaseLost, LeaseStoreError
from consumer.hooks import Stuck
from consumer.shards.lifecycle import Event
from tests.unit.shards.shard_fakes import FakeSource, FakeTenure, Recorder, Stage, at, numbers, records, virtual


class SlowRecorder(Recorder):
    """Each batch takes 5 s."""

    async def process_records(self, records, checkpointer):
        await asyncio.sleep(5)
        await super().process_records(records, checkpointer)


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
    async def main():
        user = SlowRecorder()
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
    async def main():
        user = SlowRecorder()
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
    async def main():
        user = SlowRecorder()
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


@pytest.mark.parametrize("part", ["life", "reader"])
def test_a_task_that_others_cancel_ends_the_consumer_loudly(part):
    """User code that cancels every task it finds: the lease would be renewed, and the shard read by nobody."""

    async def main():
        stage = Stage(FakeTenure(), FakeSource(records(1)), SlowRecorder)
        hang = asyncio.Event()
        task = stage.start()
        await at(1)
        if part == "reader":
            stage.source.read = lambda *_: hang.wait()
            await at(20)
        (cancelled,) = [each for each in asyncio.all_tasks() if each.get_name() == f"shard-1 {part}"]
        cancelled.cancel()
        with pytest.raises(RuntimeError, match=f"shard-1 {part}.*not by its worker"):
            await task

    virtual(main)
