"""A supervisor, its processes and their page, as things that are started and stopped."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack
from typing import Any, Final

from consumer.clock import SystemClock
from consumer.exit_codes import CLEAN
from consumer.operate.server import listen
from consumer.operate.supervisor.child_process import ChildProcess
from consumer.operate.supervisor.page import GroupPage, fetching
from consumer.operate.supervisor.supervisor import ProcessView
from tests.stress.tiny_processes import OBEDIENT, TinyProcesses, child

__all__ = ["OneProcess", "PageOfProcesses", "ProcessesDrained", "ProcessesLeft"]

CLOCK: Final = SystemClock()


class ProcessesLeft:
    """A supervisor and its two processes; the supervisor is cancelled, so that they are left to themselves."""

    def __init__(self) -> None:
        self.processes = TinyProcesses(OBEDIENT, OBEDIENT, clock=CLOCK)
        self.running: asyncio.Task[int] | None = None

    async def start(self) -> None:
        self.running = asyncio.create_task(self.processes.supervisor.run())
        try:
            await self.processes.at_work()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        running, self.running = self.running, None
        if running is not None:
            running.cancel()
            await asyncio.wait([running])


class ProcessesDrained(ProcessesLeft):
    """The same, told to stop, twice."""

    async def stop(self) -> None:
        self.processes.supervisor.drain()
        self.processes.supervisor.drain()
        try:
            if self.running is not None:
                assert await asyncio.shield(self.running) == CLEAN
        finally:
            await super().stop()


class OneProcess:
    """A worker process as its supervisor has it."""

    def __init__(self) -> None:
        self.process: ChildProcess | None = None

    async def start(self) -> None:
        self.process = await child(1, OBEDIENT, lambda told: None, CLOCK)

    async def stop(self) -> None:
        if self.process is not None:
            self.process.ask("leave")
            self.process.kill()
            await self.process.ended()


class PageOfProcesses:
    """The page of a supervisor's, closed while it waits for the page of a process that never answers."""

    def __init__(self) -> None:
        self.stack = AsyncExitStack()
        self.asking: asyncio.Future[Any] | None = None

    async def start(self) -> None:
        try:
            deaf = self.stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            fetch = await self.stack.enter_async_context(fetching())
            supervisor: Any = _OneAtWork(deaf.getsockname()[1])
            page = GroupPage(supervisor, fetch)
            await self.stack.enter_async_context(listen("127.0.0.1", 0, metrics=page.metrics, health=page.health))
            self.asking = asyncio.ensure_future(page.health())
            self.asking.add_done_callback(lambda done: done.cancelled() or done.exception())
            await CLOCK.sleep(0)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        await self.stack.aclose()


class _OneAtWork:
    """What a page asks a supervisor: one process, whose page is at a port."""

    is_draining = False
    restarts = 0

    def __init__(self, port: int) -> None:
        self.port = port

    def view(self) -> tuple[ProcessView, ...]:
        return (ProcessView(1, "at_work", 1, 1, "w", self.port, ""),)
