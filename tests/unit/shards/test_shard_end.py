"""The end of a shard: its children are looked for, user code is told, SHARD_END is stored or left to the next owner."""

from __future__ import annotations

import asyncio

from consumer.errors import LeaseLost, LeaseStoreError, StreamUnavailable
from consumer.hooks import ShardEnded
from consumer.processor import RecordProcessor
from consumer.shards.lifecycle import Event
from tests.unit.shards.shard_fakes import (
    CHILD,
    FakeSource,
    FakeTenure,
    Recorder,
    Stage,
    at,
    page,
    records,
    stored,
    virtual,
    virtual_stage,
)


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


def test_a_shard_end_that_can_not_be_stored_is_tried_until_it_stands():
    async def main():
        stage = Stage(FakeTenure(), FakeSource(page(records(1), last=True, children=(CHILD,))), Recorder)
        stage.tenure.end_errors.extend([LeaseStoreError(), StreamUnavailable()] * 10)
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


def test_shard_ended_without_its_checkpoint_is_called_again_and_the_log_says_why(caplog):
    class User(RecordProcessor):
        calls = 0

        async def process_records(self, records, checkpointer):
            pass

        async def shard_ended(self, checkpointer):
            User.calls += 1
            if User.calls == 3:
                await checkpointer.checkpoint()

    async def act(stage, task):
        assert await task is Event.END_STORED

    stage = virtual_stage([page(records(1), last=True, children=(CHILD,))], User, act, checkpointing="manual")
    assert User.calls == 3
    assert stage.tenure.calls == [("end_shard", ("child-1",))]
    assert "shard_ended returned without calling checkpointer.checkpoint()" in caplog.text.replace("\n", " ")


def test_the_default_shard_ended_checkpoints_in_manual_mode():
    class User(RecordProcessor):
        async def process_records(self, records, checkpointer):
            pass

    async def act(stage, task):
        assert await task is Event.END_STORED

    virtual_stage([page(records(1), last=True, children=(CHILD,))], User, act, checkpointing="manual")


def test_a_record_in_shard_ended_is_a_checkpoint_and_not_the_end():
    class User(RecordProcessor):
        last = None

        async def process_records(self, records, checkpointer):
            User.last = records[-1]

        async def shard_ended(self, checkpointer):
            await checkpointer.checkpoint(User.last)

    async def act(stage, task):
        await at(10)
        assert not task.done()

    stage = virtual_stage([page(records(1), last=True)], User, act, checkpointing="manual")
    assert stored(stage) == ["1"]
