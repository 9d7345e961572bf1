"""A step that must not be left half done is done, and the cancellation is not forgotten."""

from __future__ import annotations

import asyncio

import pytest

from lease_store.uninterrupted import uninterrupted


async def test_a_cancelled_caller_waits_for_the_end_and_is_cancelled_then() -> None:
    may_end, ended = asyncio.Event(), []

    async def work() -> None:
        await may_end.wait()
        ended.append(True)
        raise OSError("nobody is there to hear it")

    caller = asyncio.ensure_future(uninterrupted(work()))
    for _ in range(3):  # a second and a third cancellation change nothing
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.sleep(0)
        assert not caller.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert ended == [True]


async def test_what_comes_of_it_is_the_callers() -> None:
    async def result() -> int:
        await asyncio.sleep(0)
        return 7

    async def failure() -> int:
        raise OSError("seven")

    assert await uninterrupted(result()) == 7
    with pytest.raises(OSError, match="seven"):
        await uninterrupted(failure())


async def test_work_that_is_cancelled_by_somebody_else_cancels() -> None:
    async def work() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    with pytest.raises(asyncio.CancelledError):
        await uninterrupted(work())
