"""A machine whose processes end as a test tells them, and a supervisor of them, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from consumer.operate.supervisor.lifeline import Asked, AtWork, Failed, Told
from consumer.operate.supervisor.supervisor import Supervisor
from consumer.testing.virtual_time import VirtualClock, run_virtual

__all__ = ["DRAIN_SECONDS", "FakeProcess", "Machine", "play", "supervisor_of"]

DRAIN_SECONDS: Final = 25.0


class FakeProcess:
    """A process that does what ``obeys`` says of requests, and ends when the test says so."""

    def __init__(self, number: int, pid: int, hear: Callable[[Told], None], obeys: dict[Asked, int]) -> None:
        self.number = number
        self.pid = pid
        self.hear = hear
        self.asked: list[Asked] = []
        self._obeys = obeys
        self._code: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def ask(self, request: Asked) -> None:
        self.asked.append(request)
        if request in self._obeys:
            self.end(self._obeys[request])

    def kill(self) -> None:
        self.end(-9)

    def end(self, code: int) -> None:
        if not self._code.done():
            self._code.set_result(code)

    async def ended(self) -> int:
        return await self._code


class Machine:
    """Starts processes; each is at work after a second, unless ``at_start`` has an exit code for it."""

    def __init__(self) -> None:
        self.started: list[FakeProcess] = []
        self.at_start: dict[int, int] = {}
        self.obeys: dict[Asked, int] = {"drain": 0, "leave": 4}
        self.refuses: list[OSError] = []
        self.sentences: tuple[str, ...] = ()
        self.clock = VirtualClock()

    async def start(self, number: int, hear: Callable[[Told], None]) -> FakeProcess:
        if self.refuses:
            raise self.refuses.pop()
        process = FakeProcess(number, 100 + len(self.started), hear, self.obeys)
        self.started.append(process)
        asyncio.get_running_loop().call_later(1.0, self._begin, process)
        return process

    def _begin(self, process: FakeProcess) -> None:
        if process.number in self.at_start:
            if self.sentences:
                process.hear(Failed(self.sentences))
            process.end(self.at_start[process.number])
        elif not process._code.done():
            process.hear(AtWork(f"host-{process.number}", 9000 + process.number))

    def newest(self, number: int) -> FakeProcess:
        return [each for each in self.started if each.number == number][-1]


def supervisor_of(machine: Machine, processes: int) -> Supervisor:
    """One that keeps ``processes`` of this machine's."""
    return Supervisor(
        processes, machine.start, drain_timeout_seconds=DRAIN_SECONDS, failover_seconds=10.0, clock=machine.clock
    )


def play(scene: Callable[[Machine, Supervisor], Coroutine[Any, Any, Any]], processes: int = 2, **made: Any) -> int:
    """The exit code of a supervisor to which ``scene`` happens."""

    async def run() -> int:
        machine = Machine()
        for name, value in made.items():
            setattr(machine, name, value)
        supervisor = supervisor_of(machine, processes)
        running = asyncio.create_task(supervisor.run())
        await scene(machine, supervisor)
        return await running

    return run_virtual(run())
