"""A simulated loop that knows whose each task is, and on which sets of tasks have the same order in every process."""

from __future__ import annotations

import asyncio
import itertools
import weakref
from collections.abc import Coroutine
from typing import Any

from tests.simulation.loop import WORKER, SimLoop

__all__ = ["FleetLoop"]


class _Task(asyncio.Task[Any]):
    """Hashed by its number: by its address, a set's order would change from process to process, and with it a seed."""

    def __init__(self, number: int, *rest: Any, **named: Any) -> None:
        self.number = number  # first: asyncio puts the task into sets while it is made
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


class FleetLoop(SimLoop):
    """Finds tasks that a worker left behind."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, limit_seconds=30 * 86_400.0)
        self._numbers = itertools.count(1)
        self._owner: weakref.WeakKeyDictionary[asyncio.Task[Any], str] = weakref.WeakKeyDictionary()
        factory: Any = self._make_task  # typeshed does not know the context that asyncio hands over
        self.set_task_factory(factory)

    def create_future(self) -> asyncio.Future[Any]:
        return _Future(next(self._numbers), self)

    def _make_task(self, loop: Any, work: Coroutine[Any, Any, Any], context: Any = None) -> asyncio.Task[Any]:
        task = _Task(next(self._numbers), work, loop=loop, context=context)
        self._owner[task] = WORKER.get() if context is None else context.get(WORKER, "")
        return task

    def tasks_of(self, name: str) -> list[asyncio.Task[Any]]:
        """Tasks of a worker that have not ended."""
        return [task for task, owner in list(self._owner.items()) if owner == name and not task.done()]
