"""A coroutine cancelled at its n-th await, in the way in which asyncio cancels tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any

__all__ = ["cancelled_at"]


class _Counted:
    """Awaits ``work`` and cancels the task that does so when ``work`` waits for the ``place``-th time, from 0 on."""

    def __init__(self, work: Coroutine[Any, Any, Any], place: int) -> None:
        self.reached = False
        self._work = work
        self._place = place

    def __await__(self) -> Generator[Any, Any, Any]:
        send: Any = self._work.send
        given: Any = None
        waits = 0
        while True:
            try:
                waited = send(given)
            except StopIteration as end:
                return end.value
            if waits == self._place:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
                self.reached = True
            waits += 1
            try:
                given, send = (yield waited), self._work.send
            except BaseException as error:
                given, send = error, self._work.throw


async def cancelled_at(work: Coroutine[Any, Any, Any], place: int) -> bool:
    """Run ``work`` in a task of its own and cancel it at that await; False where it ended before it came so far.

    Raises what ``work`` raises other than its cancellation.
    """
    counted = _Counted(work, place)

    async def run() -> None:
        await counted

    task = asyncio.ensure_future(run())
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()
    return counted.reached
