"""The pool of daemon threads: bounded, in order, never in anybody's way, never outliving what its caller may assume."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import subprocess
import sys
import threading
import weakref

import pytest

from consumer.delivery.outcome import Raised, Returned
from consumer.delivery.threads import DaemonThreads, InlineThreads, _Job
from consumer.testing.virtual_time import run_virtual


class Sleeper:
    """A call that blocks its thread until released."""

    def __init__(self):
        self.loop = asyncio.get_running_loop()
        self.entered = asyncio.Event()
        self.release = threading.Event()
        self.ended = False

    def __call__(self):
        self.loop.call_soon_threadsafe(self.entered.set)
        assert self.release.wait(20)
        self.ended = True
        return "slept"


@pytest.fixture
def pool():
    threads = DaemonThreads(3)
    yield threads
    threads.close()


async def test_calls_run_in_daemon_threads_and_return(pool):
    outcome = await pool.run(threading.current_thread)
    assert isinstance(outcome, Returned)
    assert outcome.value.daemon
    assert outcome.value.name.startswith("leasehold-user")


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, asyncio.CancelledError, StopIteration, GeneratorExit])
async def test_whatever_is_raised_is_a_value_and_the_thread_lives_on(pool, error):
    def call():
        raise error

    for _ in range(4):
        outcome = await pool.run(call)
        assert isinstance(outcome, Raised)
        assert isinstance(outcome.error, error)
    assert pool.busy == 0


async def test_sleepers_block_nobody_until_the_pool_is_full_and_then_waiting_shows(pool):
    async with asyncio.timeout(20):
        sleepers = [Sleeper() for _ in range(3)]
        tasks = []
        for index, sleeper in enumerate(sleepers):
            assert await pool.run(lambda index=index: index) == Returned(index)
            tasks.append(asyncio.create_task(pool.run(sleeper)))
            await sleeper.entered.wait()
        assert (pool.busy, pool.waiting) == (3, 0)
        late = [asyncio.create_task(pool.run(lambda n=n: n)) for n in range(5)]
        await asyncio.sleep(0)
        assert (pool.busy, pool.waiting) == (3, 5)
        sleepers[1].release.set()
        assert [await task for task in late] == [Returned(n) for n in range(5)]
        for sleeper in sleepers:
            sleeper.release.set()
        assert [await task for task in tasks] == [Returned("slept")] * 3
        assert (pool.busy, pool.waiting) == (0, 0)


async def test_two_calls_at_once_do_not_share_the_one_idle_thread(pool):
    async with asyncio.timeout(20):
        await pool.run(lambda: None)
        sleepers = [Sleeper(), Sleeper()]
        with pool._changed:
            # Waiting lends the lock to the thread on its way to idleness; after that it can't wake before both are in.
            assert _became_idle(pool)
            for sleeper in sleepers:
                pool._submit(_Job(sleeper))
        for sleeper in sleepers:
            await sleeper.entered.wait()
        for sleeper in sleepers:
            sleeper.release.set()


def _became_idle(pool):
    for _ in range(1_000):
        pool._changed.wait(0.01)
        if pool._idle == 1:
            return True
    return False


async def test_a_cancelled_call_ends_only_when_its_thread_is_done_with_it(pool):
    async with asyncio.timeout(20):
        sleeper = Sleeper()
        task = asyncio.create_task(pool.run(sleeper))
        await sleeper.entered.wait()
        for _ in range(10):
            task.cancel()
            await asyncio.sleep(0)
        assert not task.done()
        sleeper.release.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert sleeper.ended


async def test_a_call_cancelled_while_it_waits_for_a_thread_never_begins():
    pool = DaemonThreads(1)
    async with asyncio.timeout(20):
        sleeper = Sleeper()
        first = asyncio.create_task(pool.run(sleeper))
        await sleeper.entered.wait()
        begun = []
        second = asyncio.create_task(pool.run(lambda: begun.append(1)))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert pool.waiting == 0
        sleeper.release.set()
        await first
        await pool.run(lambda: None)
        assert begun == []
    pool.close()


async def test_an_idle_thread_holds_nothing_of_its_last_call(pool):
    class Payload:
        def __call__(self):
            return None

    call = Payload()
    gone = weakref.ref(call)
    await pool.run(call)
    del call
    with pool._changed:
        assert _became_idle(pool)
    gc.collect()
    assert gone() is None


async def test_context_variables_reach_the_thread(pool):
    variable = contextvars.ContextVar("variable", default="outside")
    variable.set("inside")
    assert await pool.run(variable.get) == Returned("inside")


async def test_a_closed_pool_refuses_and_its_idle_threads_end():
    pool = DaemonThreads(2)
    thread = (await pool.run(threading.current_thread)).value
    pool.close()
    await asyncio.to_thread(thread.join, 10)
    assert not thread.is_alive()
    with pytest.raises(RuntimeError, match="closed"):
        await pool.run(lambda: None)


def test_a_pool_needs_a_thread():
    with pytest.raises(ValueError, match="limit=0"):
        DaemonThreads(0)


def test_a_thread_that_never_returns_does_not_keep_the_process():
    program = """
import asyncio, threading
from consumer.delivery.threads import DaemonThreads

async def main():
    loop, entered = asyncio.get_running_loop(), asyncio.Event()
    def sleep():
        loop.call_soon_threadsafe(entered.set)
        threading.Event().wait()
    task = loop.create_task(DaemonThreads(2).run(sleep))
    await entered.wait()
    loop.stop()

loop = asyncio.new_event_loop()
task = loop.create_task(main())
loop.run_forever()
print("out")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "out\n"


def test_inline_calls_run_one_step_later_and_may_raise_anything():
    async def main():
        threads = InlineThreads()
        assert await threads.run(lambda: 5) == Returned(5)

        def leave():
            raise SystemExit(2)

        assert isinstance((await threads.run(leave)).error, SystemExit)
        begun = []
        task = asyncio.create_task(threads.run(lambda: begun.append(1)))
        await asyncio.sleep(0)
        assert threads.waiting == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(1)
        assert (begun, threads.waiting) == ([], 0)

    run_virtual(main())


async def test_where_no_further_thread_can_be_had_calls_wait_for_those_there_are(pool, monkeypatch, caplog):
    first = Sleeper()
    running = asyncio.ensure_future(pool.run(first))
    await first.entered.wait()

    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    second = asyncio.ensure_future(pool.run(lambda: "second"))
    third = asyncio.ensure_future(pool.run(lambda: "third"))
    await asyncio.sleep(0)
    assert pool.waiting == 2
    assert [record.getMessage().partition(" from")[0] for record in caplog.records] == ["User code shares 1 threads"]
    first.release.set()
    assert await running == Returned("slept")
    assert [await second, await third] == [Returned("second"), Returned("third")]


async def test_without_any_thread_the_call_fails_and_never_runs(pool, monkeypatch):
    ran = []

    def refuse(self):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="new thread"):
            await pool.run(lambda: ran.append("first"))
    assert await pool.run(lambda: "second") == Returned("second")
    assert ran == []
