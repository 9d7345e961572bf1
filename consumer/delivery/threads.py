"""Where ``def`` user code runs: a bounded pool of daemon threads of our own, and its stand-in for virtual time.

Never the loop's default executor: its threads are joined when the interpreter ends, so that one handler which sleeps
for ever would keep a stopped worker alive.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from consumer.delivery.outcome import Outcome, captured

__all__ = ["DaemonThreads", "InlineThreads", "UserThreads"]

_log = logging.getLogger("leasehold.delivery")

T = TypeVar("T")


class UserThreads(Protocol):
    """Runs blocking calls off the loop."""

    @property
    def busy(self) -> int:
        """Calls running now."""
        ...

    @property
    def waiting(self) -> int:
        """Calls that wait for a free thread."""
        ...

    async def run(self, call: Callable[[], T]) -> Outcome[T]:
        """Run ``call`` in a thread; whatever it raises is a value.

        Ends, by return or by cancellation, only when ``call`` has ended or will never begin.
        """
        ...


class _Job:
    """One call on its way through the pool."""

    __slots__ = ("_waiter", "call", "loop", "outcome")

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call
        self.loop = asyncio.get_running_loop()
        self.outcome: Outcome[Any] | None = None
        """Set on the loop, once no thread is at it any more."""
        self._waiter: asyncio.Future[None] | None = None

    async def change(self) -> None:
        """Wait for the outcome; cancelled or not, it may be waited for again."""
        self._waiter = self.loop.create_future()
        await self._waiter

    def deliver(self, outcome: Outcome[Any]) -> None:
        try:
            self.loop.call_soon_threadsafe(self._end, outcome)
        except RuntimeError:
            # The loop is closed: the worker is gone, nobody waits for this call any more.
            return

    def _end(self, outcome: Outcome[Any]) -> None:
        self.outcome = outcome
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class DaemonThreads:
    """At most ``limit`` daemon threads, started when first needed; calls wait in order while all are busy.

    The queue needs no bound of its own: each shard has at most one call in flight.
    """

    def __init__(self, limit: int, *, name: str = "leasehold-user") -> None:
        if limit < 1:
            raise ValueError(f"limit={limit}: a pool needs at least one thread.")
        self._limit = limit
        self._name = name
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._threads = 0
        self._idle = 0
        self._busy = 0
        self._closed = False

    @property
    def busy(self) -> int:
        return self._busy

    @property
    def waiting(self) -> int:
        return len(self._jobs)

    async def run(self, call: Callable[[], T]) -> Outcome[T]:
        job = _Job(_in_context(call))
        self._submit(job)
        cancelled: asyncio.CancelledError | None = None
        while job.outcome is None:
            try:
                await job.change()
            except asyncio.CancelledError as error:
                if self._withdraw(job):
                    raise
                # Threads can't be interrupted, and whoever cancels us must be able to rely on "no user code runs".
                cancelled = error
        if cancelled is not None:
            raise cancelled
        return job.outcome

    def close(self) -> None:
        """Let idle threads end; running calls are left alone (daemon threads hold no process).

        Later calls raise RuntimeError.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _submit(self, job: _Job) -> None:
        with self._changed:
            if self._closed:
                raise RuntimeError("The pool for user code is closed.")
            self._jobs.append(job)
            # Not against zero: an idle thread that was notified and has not woken yet is spoken for.
            if len(self._jobs) > self._idle and self._threads < self._limit:
                self._start_thread(job)
            self._changed.notify()

    def _start_thread(self, job: _Job) -> None:
        try:
            threading.Thread(target=self._work, name=f"{self._name}-{self._threads + 1}", daemon=True).start()
        except RuntimeError as error:  # a container's limit of processes, say
            if self._threads == 0:
                self._jobs.remove(job)  # or it would run once there is a thread, with nobody waiting for it
                raise
            self._limit = self._threads
            _log.warning("User code shares %d threads from now on; no further one can be had: %s", self._limit, error)
        else:
            self._threads += 1

    def _withdraw(self, job: _Job) -> bool:
        with self._changed:
            if job not in self._jobs:
                return False
            self._jobs.remove(job)
            return True

    def _work(self) -> None:
        while (job := self._next()) is not None:
            outcome = captured(job.call)
            with self._changed:
                self._busy -= 1
            job.deliver(outcome)
            del job, outcome  # an idle thread must not keep the last batch alive

    def _next(self) -> _Job | None:
        with self._changed:
            self._idle += 1
            while not self._jobs and not self._closed:
                self._changed.wait()
            self._idle -= 1
            if not self._jobs:
                self._threads -= 1
                return None
            self._busy += 1
            return self._jobs.popleft()


class InlineThreads:
    """Runs calls on the loop itself, one step later: for virtual time, where foreign threads have no place."""

    def __init__(self) -> None:
        self._waiting = 0

    @property
    def busy(self) -> int:
        return 0

    @property
    def waiting(self) -> int:
        return self._waiting

    async def run(self, call: Callable[[], T]) -> Outcome[T]:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Outcome[T]] = loop.create_future()
        self._waiting += 1
        context = contextvars.copy_context()

        def step() -> None:
            if not done.cancelled():
                done.set_result(captured(call))

        handle = loop.call_soon(step, context=context)
        try:
            return await done
        finally:
            self._waiting -= 1
            handle.cancel()


def _in_context(call: Callable[[], T]) -> Callable[[], T]:
    context = contextvars.copy_context()
    return lambda: context.run(call)
