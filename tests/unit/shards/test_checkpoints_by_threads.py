"""Manual checkpoints of plain user code: real threads on a real loop, moved by signals only."""

from __future__ import annotations

import asyncio
import threading

import pytest

from consumer.clock import SystemClock
from consumer.delivery.threads import DaemonThreads
from consumer.errors import CheckpointBeyondDelivered, LeaseLost
from consumer.processor import RecordProcessor
from lease_store.checkpoint import Checkpoint
from tests.unit.shards.shard_fakes import FakeRecord, FakeSource, FakeTenure, Stage, records, stored


async def plain(step, act, monkeypatch):
    """Run ``step(records, checkpointer)`` as a plain process_records in a real thread, beside ``act``."""
    monkeypatch.setattr("tests.unit.shards.shard_fakes.VirtualClock", SystemClock)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    results = []

    class User(RecordProcessor):
        def process_records(self, records, checkpointer):
            try:
                results.append(step(records, checkpointer))
            except BaseException as error:
                results.append(error)
            loop.call_soon_threadsafe(ended.set)

    threads = DaemonThreads(2)
    stage = Stage(FakeTenure(), FakeSource(records(1, 2, 3)), User, checkpointing="manual", threads=threads)
    task = stage.start()
    try:
        async with asyncio.timeout(20):
            await act(stage, ended)
            stage.tenure.ask("lost")
            await asyncio.wait({task})
            if not task.cancelled():
                task.result()
    finally:
        threads.close()
    return stage, results


async def test_a_plain_checkpoint_blocks_its_thread_until_stored(monkeypatch):
    entered = threading.Event()

    def step(batch, checkpointer):
        assert threading.current_thread() is not threading.main_thread()
        entered.set()
        checkpointer.checkpoint(batch[1])
        return "returned"

    async def act(stage, ended):
        stage.tenure.checkpoint_gate.clear()
        await asyncio.to_thread(entered.wait, 10)
        assert not ended.is_set()
        stage.tenure.checkpoint_gate.set()
        await ended.wait()

    stage, results = await plain(step, act, monkeypatch)
    assert results == ["returned"]
    assert stored(stage) == ["2"]


async def test_a_plain_checkpoint_raises_in_its_thread(monkeypatch):
    def step(batch, checkpointer):
        checkpointer.checkpoint(FakeRecord("9"))

    async def act(stage, ended):
        await ended.wait()

    _, results = await plain(step, act, monkeypatch)
    assert [type(error) for error in results] == [CheckpointBeyondDelivered]


async def test_a_plain_checkpoint_under_way_when_the_lease_is_lost_raises_and_frees_its_thread(monkeypatch):
    def step(batch, checkpointer):
        checkpointer.checkpoint()

    async def act(stage, ended):
        stage.tenure.checkpoint_gate.clear()
        await stage.tenure.checkpoint_begun.wait()
        stage.tenure.ask("lost")
        stage.tenure.checkpoint_gate.set()
        await ended.wait()

    _, results = await plain(step, act, monkeypatch)
    assert [type(error) for error in results] == [LeaseLost]


@pytest.mark.parametrize("end", [RuntimeError("The lease loop is not running."), asyncio.CancelledError()], ids=repr)
async def test_a_write_that_ends_with_the_lease_loop_frees_the_thread_that_waits_for_it(monkeypatch, end):
    def step(batch, checkpointer):
        checkpointer.checkpoint()

    async def act(stage, ended):
        async def checkpoint(place):
            raise end

        stage.tenure.checkpoint = checkpoint
        await ended.wait()

    with pytest.raises(RuntimeError):
        await plain(step, act, monkeypatch)


async def test_cancelling_waits_for_a_thread_that_waits_for_its_checkpoint(monkeypatch):
    def step(batch, checkpointer):
        checkpointer.checkpoint()
        return "stored"

    async def act(stage, ended):
        stage.tenure.checkpoint_gate.clear()
        await stage.tenure.checkpoint_begun.wait()
        (task,) = [task for task in asyncio.all_tasks() if task.get_name() == "consumer under test"]
        for _ in range(20):
            task.cancel()
            await asyncio.sleep(0)
        assert not task.done()
        stage.tenure.checkpoint_gate.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended.is_set() or not stage.consumer.user_code_running

    stage, results = await plain(step, act, monkeypatch)
    assert results == ["stored"]
    assert Checkpoint("3") == stage.consumer._writer.stored


async def test_a_plain_prepare_blocks_its_thread_until_it_stands_and_so_does_its_commit(monkeypatch):
    def step(batch, checkpointer):
        prepared = checkpointer.prepare(batch[1], state=b"half")
        prepared.commit()
        return prepared.checkpoint

    async def act(stage, ended):
        await ended.wait()
        assert stage.tenure.calls == [("prepare", "2", b"half"), ("checkpoint", "2")]

    _, results = await plain(step, act, monkeypatch)
    assert results == [Checkpoint("2")]
