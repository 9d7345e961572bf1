"""Waiting for a condition over plain state: one loop, many waiters, no lost wake-up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from consumer.clock import Clock

__all__ = ["Signal"]


class Signal:
    """Who changes a shard's state calls ``notify``; who waits names a condition, checked again after each change.

    State and waiters live on one loop, so that no change falls between a check and the wait.
    """

    __slots__ = ("_clock", "_waiters")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiters: tuple[asyncio.Future[None], ...] = ()

    def notify(self) -> None:
        """Let every waiter look again."""
        waiters, self._waiters = self._waiters, ()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def until(self, condition: Callable[[], object], within_seconds: float | None = None) -> bool:
        """Wait until ``condition()`` holds, at most ``within_seconds``; returns whether it holds."""
        if condition():
            return True
        try:
            async with self._clock.timeout(within_seconds):
                while not condition():
                    await self._change()
        except TimeoutError:
            return bool(condition())
        return True

    async def change(self, within_seconds: float | None = None) -> None:
        """Wait for the next change, at most ``within_seconds``."""
        with suppress(TimeoutError):
            async with self._clock.timeout(within_seconds):
                await self._change()

    async def _change(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters = (*self._waiters, waiter)
        try:
            await waiter
        finally:
            self._waiters = tuple(each for each in self._waiters if each is not waiter)
