"""A virtual loop on which whole workers can be frozen, put to sleep or killed, and on which a seed is a promise.

Their callbacks are set aside; their clocks run on. Tasks and futures are numbered, so that sets of them have the same
order in every process.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import itertools
from collections.abc import Callable, Coroutine
from typing import Any, Final

from consumer.testing.virtual_time import Stalled, VirtualClock, VirtualTimeLoop

__all__ = ["WORKER", "SimClock", "SimLoop", "context_of", "spawn_as"]

WORKER: Final[contextvars.ContextVar[str]] = contextvars.ContextVar("worker", default="")
_MOST_STEPS_AT_ONE_INSTANT: Final = 50_000


def context_of(name: str) -> contextvars.Context:
    """A context in which everything belongs to worker ``name`` (empty: to the world, which nothing freezes)."""
    context = contextvars.Context()
    context.run(WORKER.set, name)
    return context


def spawn_as(name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Run ``work`` as worker ``name``; what it starts belongs to it too."""
    return asyncio.get_running_loop().create_task(work, context=context_of(name))


class _Task(asyncio.Task[Any]):
    """Hashed by its number: by its address, a set's order would change from process to process, and with it a seed."""

    def __init__(self, number: int, owner: str, *rest: Any, **named: Any) -> None:
        self.number = number  # first: asyncio puts the task into sets while it is made
        self.owner = owner
        super().__init__(*rest, **named)

    def __hash__(self) -> int:
        return self.number


class _Future(asyncio.Future[Any]):
    """As ``_Task``."""

    def __init__(self, number: int, loop: asyncio.AbstractEventLoop) -> None:
        self.number = number
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self.number


class SimLoop(VirtualTimeLoop):
    """Callbacks of a frozen worker wait until it thaws, those of a killed one for ever: no clean-up code runs in it."""

    def __init__(self, seed: int, *, limit_seconds: float) -> None:
        super().__init__(seed, limit_seconds=limit_seconds)
        self._aside: dict[str, list[Any]] = {}
        self._last_instant = 0.0
        self._steps_before = 0
        self._numbers = itertools.count(1)
        factory: Any = self._make_task  # typeshed does not know the context that asyncio hands over
        self.set_task_factory(factory)

    def create_future(self) -> asyncio.Future[Any]:
        return _Future(next(self._numbers), self)

    def _make_task(self, loop: Any, work: Coroutine[Any, Any, Any], context: Any = None) -> asyncio.Task[Any]:
        owner = WORKER.get() if context is None else context.get(WORKER, "")
        return _Task(next(self._numbers), owner, work, loop=loop, context=context)

    def tasks_of(self, name: str) -> list[asyncio.Task[Any]]:
        """Tasks of a worker that have not ended."""
        own = [task for task in asyncio.all_tasks(self) if isinstance(task, _Task) and task.owner == name]
        return sorted(own, key=lambda task: task.number)

    def freeze(self, name: str) -> None:
        """Set aside all that ``name`` would do from now on; its timers run on, as after a SIGSTOP."""
        self._aside.setdefault(name, [])

    def hold_timers(self, name: str, seconds: float) -> None:
        """As on a machine that sleeps so long: its loop's timers stand still with it, whatever its clock says."""
        scheduled = self._scheduled  # type: ignore[attr-defined]
        for handle in scheduled:
            if handle._context.get(WORKER, "") == name:
                handle._when += seconds
        heapq.heapify(scheduled)

    def thaw(self, name: str) -> None:
        """Let ``name`` go on with what was set aside."""
        self._ready.extend(self._aside.pop(name, []))  # type: ignore[attr-defined]

    def thaw_all(self) -> None:
        for name in list(self._aside):
            self.thaw(name)

    def _run_once(self) -> None:
        self._set_aside()
        super()._run_once()
        if self._now != self._last_instant:
            self._last_instant, self._steps_before = self._now, self.steps
        elif self.steps - self._steps_before > _MOST_STEPS_AT_ONE_INSTANT:
            raise Stalled(f"A hot loop: {_MOST_STEPS_AT_ONE_INSTANT} steps at virtual second {self._now:.3f}.")

    def _jump(self) -> None:
        while not self._ready:  # type: ignore[attr-defined]
            super()._jump()
            self._set_aside()

    def _set_aside(self) -> None:
        if not self._aside:
            return
        ready = self._ready  # type: ignore[attr-defined]
        for _ in range(len(ready)):
            handle = ready.popleft()
            self._aside.get(handle._context.get(WORKER, ""), ready).append(handle)


class SimClock(VirtualClock):
    """Rounds every wait up by a nanosecond: under drift, a wait for ``due - now`` must not end just before ``due``.

    ``slept_seconds``: how long its machine has slept so far, for a test that asks what a clock that sleeps with it
    would do.
    """

    def __init__(self, *, skew_seconds: float = 0.0, rate: float = 1.0) -> None:
        super().__init__(skew_seconds=skew_seconds, rate=rate)
        self.slept_seconds = 0.0

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds + 1e-9 if seconds > 0 else seconds)

    def timeout(self, seconds: float | None) -> asyncio.Timeout:
        return super().timeout(None if seconds is None else seconds + 1e-9)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return super().call_later(seconds + 1e-9, callback)
