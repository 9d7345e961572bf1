"""The bridge to the lease loop's thread: what a failed start and a stop in the middle of a call leave behind."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from consumer.leasing.seam import LeasesInThread

THREAD = "leasehold-leases"


def lease_threads() -> int:
    return sum(thread.name == THREAD for thread in threading.enumerate())


@asynccontextmanager
async def unreachable() -> AsyncIterator[None]:
    raise OSError("the table can't be reached")
    yield


@asynccontextmanager
async def connections(log: list[str]) -> AsyncIterator[None]:
    log.append(f"opened in {threading.current_thread().name}")
    try:
        yield
    finally:
        log.append(f"closed in {threading.current_thread().name}")


async def test_a_start_that_fails_and_is_tried_again_leaves_no_thread_behind() -> None:
    before = lease_threads()
    seam = LeasesInThread()
    for _ in range(3):
        with pytest.raises(OSError, match="can't be reached"):
            await seam.start(unreachable())
    assert lease_threads() == before
    log: list[str] = []
    await seam.start(connections(log))
    assert lease_threads() == before + 1
    await seam.stop()
    assert lease_threads() == before
    assert log == [f"opened in {THREAD}", f"closed in {THREAD}"]


async def test_a_start_that_is_cancelled_leaves_no_thread_behind() -> None:
    before, begun = lease_threads(), threading.Event()

    @asynccontextmanager
    async def slow() -> AsyncIterator[None]:
        begun.set()
        await asyncio.Event().wait()
        yield

    start = asyncio.ensure_future(LeasesInThread().start(slow()))
    await asyncio.to_thread(begun.wait, 10)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert lease_threads() == before


async def test_whoever_waits_for_a_call_hears_of_the_stop() -> None:
    seam, begun = LeasesInThread(), threading.Event()
    await seam.start(connections([]))

    async def endless() -> None:
        begun.set()
        await asyncio.Event().wait()

    call = asyncio.ensure_future(seam.call(endless()))
    await asyncio.to_thread(begun.wait, 10)
    await seam.stop()
    done, _ = await asyncio.wait([call], timeout=10)
    assert done == {call}
    assert call.cancelled()


async def outlived(seam: LeasesInThread, error: Exception | None = None) -> None:
    """A call whose caller is cancelled in the middle of it; only then it ends, or raises ``error``."""
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    async def write() -> None:
        begun.set()
        await asyncio.to_thread(may_end.wait, 10)
        ended.set()
        if error is not None:
            raise error

    call = asyncio.ensure_future(seam.call(write()))
    await asyncio.to_thread(begun.wait, 10)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert not ended.is_set()
    may_end.set()
    assert await asyncio.to_thread(ended.wait, 10)


async def test_a_caller_that_is_cancelled_does_not_take_the_write_along() -> None:
    seam = LeasesInThread()
    await seam.start(connections([]))
    await outlived(seam)
    await seam.stop()


async def test_what_a_call_raises_after_its_caller_was_cancelled_is_nobodys_traceback() -> None:
    seam = LeasesInThread()
    await seam.start(connections([]))
    complaints: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["message"]))
    await outlived(seam, OSError("the lease was lost meanwhile"))
    # Round trips later than the error: by then this loop has been told of it.
    for _ in range(3):
        await seam.call(asyncio.sleep(0))
    await seam.stop()
    gc.collect()
    assert complaints == []


async def test_stopping_twice_or_before_the_start_is_legal_and_calls_say_that_nothing_runs() -> None:
    seam = LeasesInThread()
    await seam.stop()
    await seam.start(connections([]))
    await seam.stop()
    await seam.stop()
    with pytest.raises(RuntimeError, match="not running"):
        await seam.call(asyncio.sleep(0))
