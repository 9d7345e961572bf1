"""Threads of virtual time: few, each blocked for as long as its call takes, deaf to every cancellation."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from typing import TypeVar

from consumer.delivery.outcome import Outcome, captured
from lease_store.uninterrupted import uninterrupted

__all__ = ["SimThreads"]

T = TypeVar("T")


class SimThreads:
    """Stands where ``DaemonThreads`` do: a call runs at one instant and then blocks its thread for ``seconds()``.

    What it must not have done before it returns it leaves to ``at_return``.
    """

    def __init__(self, limit: int, sleep: Callable[[float], Awaitable[None]], seconds: Callable[[], float]) -> None:
        self.busy = 0
        self.waiting = 0
        self._free = asyncio.Semaphore(limit)
        self._sleep = sleep
        self._seconds = seconds
        self._last_acts: list[Callable[[], None]] = []

    def at_return(self, act: Callable[[], None]) -> None:
        """For the call that runs now: ``act`` when it returns."""
        self._last_acts.append(act)

    async def run(self, call: Callable[[], T]) -> Outcome[T]:
        context = contextvars.copy_context()
        self.waiting += 1
        try:
            await self._free.acquire()
        finally:
            self.waiting -= 1
        return await uninterrupted(self._block(lambda: context.run(call)))

    async def _block(self, call: Callable[[], T]) -> Outcome[T]:
        self.busy += 1
        try:
            outcome = captured(call)
            acts, self._last_acts = self._last_acts, []
            await self._sleep(self._seconds())
            for act in acts:
                act()
            return outcome
        finally:
            self.busy -= 1
            self._free.release()
