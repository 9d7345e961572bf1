"""Waiting for an event, but not for ever."""

from __future__ import annotations

import asyncio

from consumer.clock import Clock

__all__ = ["wait_for"]


async def wait_for(event: asyncio.Event, seconds: float | None, clock: Clock) -> bool:
    """Whether ``event`` came within ``seconds`` (None: it is waited for without an end)."""
    try:
        async with clock.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
