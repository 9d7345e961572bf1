"""Something that happens again and again beside a test."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count

from consumer.clock import Clock
from consumer.leasing.waiting import wait_for

__all__ = ["going_on"]


@asynccontextmanager
async def going_on(step: Callable[[int], object], every_seconds: float, clock: Clock) -> AsyncIterator[None]:
    """``step(0)``, ``step(1)`` and so on, for as long as this is entered; it may be a coroutine function.

    A step on its way is brought to its end: what it writes is known to have come or not. What one raises is raised at
    the exit.
    """
    over = asyncio.Event()

    async def go_on() -> None:
        for place in count():
            made = step(place)
            if inspect.isawaitable(made):
                await made
            if await wait_for(over, every_seconds, clock):
                return

    steps = asyncio.ensure_future(go_on())
    try:
        yield
    finally:
        over.set()
        await steps
