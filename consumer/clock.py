"""The only module that reads a clock: everything else is given one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """Time as one worker sees it; a simulated fleet gives each worker a clock of its own, skewed and drifting."""

    def monotonic(self) -> float:
        """Seconds since some start, never going back, running on while the machine sleeps; safe in every thread."""
        ...

    def wall(self) -> float:
        """Seconds since the epoch: only for what a row or a record carries, never to judge a peer."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Give way for ``seconds`` (0 yields once)."""
        ...

    def timeout(self, seconds: float | None) -> asyncio.Timeout:
        """An async context that raises TimeoutError after ``seconds`` (None: never)."""
        ...

    def call_later(self, seconds: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Call ``callback`` on the running loop after ``seconds``; for what is too much to be a task each."""
        ...


# A monotonic clock that sleeps with the machine would let a suspended worker go on trusting a lease that others took
# over long ago. Where a kernel has no other (macOS's monotonic clock stops, too) this is a documented limit.
_BOOTTIME: Final[int | None] = getattr(time, "CLOCK_BOOTTIME", None)


class SystemClock:
    """The machine's clocks: CLOCK_BOOTTIME where there is one, so that a suspended machine loses its trust."""

    def monotonic(self) -> float:
        return time.monotonic() if _BOOTTIME is None else time.clock_gettime(_BOOTTIME)

    def wall(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def timeout(self, seconds: float | None) -> asyncio.Timeout:
        return asyncio.timeout(seconds)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, callback)
