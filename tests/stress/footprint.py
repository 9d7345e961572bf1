"""What this process has besides its code: tasks, threads, open files and sockets, child processes (Linux)."""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from consumer.clock import SystemClock

__all__ = ["Footprint", "settled"]

_CLOCK: Final = SystemClock()
_LOOK_SECONDS: Final = 0.01


@dataclass(frozen=True, slots=True)
class Footprint:
    """One look. Sockets and files are told by their descriptor and what the kernel says it is."""

    tasks: frozenset[asyncio.Task[Any]]
    threads: frozenset[threading.Thread]
    files: frozenset[tuple[int, str]]
    children: frozenset[int]

    @classmethod
    def now(cls) -> Footprint:
        """Of the running loop and of the whole process."""
        files, children = set(), set()
        for name in os.listdir("/proc/self/fd"):
            with suppress(FileNotFoundError):  # the one that was open for the listing
                files.add((int(name), os.readlink(f"/proc/self/fd/{name}")))
        for thread in os.listdir("/proc/self/task"):
            with suppress(FileNotFoundError):  # a thread that has just ended
                children |= {int(pid) for pid in Path(f"/proc/self/task/{thread}/children").read_text().split()}
        return cls(
            frozenset(task for task in asyncio.all_tasks() if not task.done()),
            frozenset(threading.enumerate()),
            frozenset(files),
            frozenset(children),
        )

    def left(self, before: Footprint) -> list[str]:
        """What is here and was not there ``before``, for people."""
        return [
            *(f"task {task.get_name()}: {task.get_coro()}" for task in self.tasks - before.tasks),
            *(f"thread {thread.name}" for thread in self.threads - before.threads),
            *(f"file {number}: {what}" for number, what in sorted(self.files - before.files)),
            *(f"process {pid}" for pid in sorted(self.children - before.children)),
        ]


async def settled(before: Footprint, within_seconds: float = 5.0) -> list[str]:
    """What is left of all that began after ``before``; what only needs a moment to go is given it."""
    deadline = _CLOCK.monotonic() + within_seconds
    while (left := Footprint.now().left(before)) and _CLOCK.monotonic() < deadline:
        await _CLOCK.sleep(_LOOK_SECONDS)
    return left
