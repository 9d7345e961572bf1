"""The only bridge between the worker's loop and the lease loop: calls one way, events the other."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Protocol, TypeVar

from lease_store.uninterrupted import uninterrupted

__all__ = ["LeaseSeam", "LeasesInThread", "LeasesInline"]

T = TypeVar("T")


class LeaseSeam(Protocol):
    """Runs the lease loop somewhere and carries calls to it."""

    async def start(self, opened: AbstractAsyncContextManager[None]) -> None:
        """Make the lease loop's place ready and enter ``opened`` (the lease store's connections) there."""
        ...

    async def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run ``work`` on the lease loop. The caller's cancellation does not cancel it: a write must learn its fate."""
        ...

    def run(self, work: Coroutine[Any, Any, None]) -> asyncio.Future[None]:
        """Start ``work`` on the lease loop, until ``stop``; the future, on the worker's loop, ends when it does."""
        ...

    def post(self, event: Callable[..., None], *args: Any) -> None:
        """From the lease loop: call ``event`` on the worker's loop, in order."""
        ...

    async def stop(self) -> None:
        """End what runs, leave ``opened``, give the place up. May be called twice, and before ``start``."""
        ...


class LeasesInline:
    """The lease loop on the worker's own loop: for virtual time, where nothing blocks."""

    def __init__(self) -> None:
        self._opened: AbstractAsyncContextManager[None] | None = None
        self._calls: set[asyncio.Task[Any]] = set()
        self._running: asyncio.Task[None] | None = None
        self._events: deque[Callable[[], None]] = deque()

    async def start(self, opened: AbstractAsyncContextManager[None]) -> None:
        await opened.__aenter__()
        self._opened = opened

    async def call(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.ensure_future(work)
        self._calls.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._calls.discard(task)
        _look_at(task)

    def run(self, work: Coroutine[Any, Any, None]) -> asyncio.Future[None]:
        self._running = asyncio.ensure_future(work)
        return self._running

    def post(self, event: Callable[..., None], *args: Any) -> None:
        # A simulated loop draws the order of its callbacks; the order of events is this seam's own promise.
        self._events.append(partial(event, *args))
        asyncio.get_running_loop().call_soon(self._deliver)

    def _deliver(self) -> None:
        self._events.popleft()()

    async def stop(self) -> None:
        tasks = [*self._calls, *([self._running] if self._running else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.__aexit__(None, None, None)


class LeasesInThread:
    """The lease loop in a daemon thread of its own: no user code, however long it blocks, can cost a lease."""

    def __init__(self) -> None:
        self._inline = LeasesInline()
        self._worker_loop: asyncio.AbstractEventLoop | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    async def start(self, opened: AbstractAsyncContextManager[None]) -> None:
        self._worker_loop = asyncio.get_running_loop()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="leasehold-leases", daemon=True)
        self._thread.start()
        try:
            await self.call(self._inline.start(opened))
        except BaseException:
            await self.stop()  # who tries again starts another thread
            raise

    async def call(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            work.close()
            raise RuntimeError("The lease loop is not running.")
        # Through the inline seam, which knows what is under way: ``stop`` ends it, and its caller hears of that.
        call = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._inline.call(work), self._loop))
        call.add_done_callback(_look_at)
        return await asyncio.shield(call)

    def run(self, work: Coroutine[Any, Any, None]) -> asyncio.Future[None]:
        if self._loop is None:
            work.close()
            raise RuntimeError("The lease loop is not running.")

        async def started() -> None:
            await self._inline.run(work)

        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(started(), self._loop))

    def post(self, event: Callable[..., None], *args: Any) -> None:
        loop = self._worker_loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(event, *args)

    async def stop(self) -> None:
        loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is not None and thread is not None:
            await uninterrupted(self._end(loop, thread))

    async def _end(self, loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
        try:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._inline.stop(), loop))
        finally:
            loop.call_soon_threadsafe(loop.stop)
            await asyncio.get_running_loop().run_in_executor(None, thread.join)
            loop.close()


def _look_at(call: asyncio.Future[Any]) -> None:
    """Of a caller that was cancelled meanwhile nobody asks how its call ended, and asyncio would complain of that."""
    if not call.cancelled():
        call.exception()
