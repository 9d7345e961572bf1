"""One listing for everybody who waits for children: a wave of ending shards must not become a wave of calls."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from consumer.errors import StreamUnavailable
from consumer.streams.source import ShardListing

__all__ = ["JointListing"]

Start = Callable[[Coroutine[Any, Any, ShardListing]], "asyncio.Task[ShardListing]"]
Turn = Callable[[], Awaitable[None]]


class JointListing:
    """Listings by ARN, each shared by all who asked before it began: whoever asks later may need what it can't show.

    ``start`` runs one beside its askers, who may be cancelled without taking it along. ``turn`` returns when a call may
    be made: whoever asks until then is answered by the same listing. Each loop has listings of its own.
    """

    def __init__(self, list_shards: Callable[[str], Awaitable[ShardListing]], start: Start, turn: Turn) -> None:
        self._list_shards = list_shards
        self._turn = turn
        self._start = start
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Queue]] = (
            weakref.WeakKeyDictionary()
        )

    async def get(self, arn: str) -> ShardListing:
        """A listing that began after this call. Raises StreamError."""
        queues = self._loops.setdefault(asyncio.get_running_loop(), {})
        queue = queues.setdefault(arn, _Queue())
        if queue.coming is None:
            queue.coming = self._start(self._next(queue, arn))
        task = queue.coming
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            asker = asyncio.current_task()
            if task.cancelled() and asker is not None and not asker.cancelling():
                raise StreamUnavailable(f"The listing of {arn} was given up because the source was closed.") from None
            raise

    async def _next(self, queue: _Queue, arn: str) -> ShardListing:
        """Wait for the listing under way and for a turn, and become it."""
        if queue.running is not None:
            await asyncio.wait([queue.running])
        await self._turn()
        queue.running, queue.coming = queue.coming, None
        return await self._list_shards(arn)


class _Queue:
    """The listing under way, and the one that everybody who asks now will get."""

    __slots__ = ("coming", "running")

    def __init__(self) -> None:
        self.running: asyncio.Task[ShardListing] | None = None
        self.coming: asyncio.Task[ShardListing] | None = None
