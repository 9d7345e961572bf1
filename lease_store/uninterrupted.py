"""For the few steps of a start or a stop that must not be left half done: a cancellation waits for their end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["uninterrupted"]

T = TypeVar("T")


async def uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` to its end, and only then be cancelled. ``work`` must be sure to end, and soon.

    Returns or raises what ``work`` does; of a caller that was cancelled meanwhile nobody hears it.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        return task.result()
    if not task.cancelled():
        task.exception()  # asked for, or asyncio would complain that nobody did
    raise cancelled
