"""Real processes of a supervisor's that cost next to nothing: each is what a worker process is to its supervisor."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from typing import Final

from consumer.clock import Clock
from consumer.operate.supervisor.child_process import ChildProcess
from consumer.operate.supervisor.lifeline import Told
from consumer.operate.supervisor.supervisor import Supervisor

__all__ = ["DEAF", "HANGS_AT_START", "INTERRUPTED", "OBEDIENT", "TinyProcesses", "child"]

_LINE: Final = "import os, signal, sys, time; line = int(os.environ['LEASEHOLD_LIFELINE'].partition(':')[2])\n"
_SAYS: Final = """
def say():
    try:
        os.write(line, b'{"told": "at work", "worker_id": "w", "port": null}\\n')
    except OSError:
        sys.exit()  # its supervisor is gone
"""
_READS: Final = """
try:
    os.read(line, 100)
except OSError:
    pass
"""

OBEDIENT: Final = f"{_LINE}{_SAYS}say()\n{_READS}"
"""At work until it is told anything, or its line ends."""
HANGS_AT_START: Final = f"{_LINE}time.sleep(1000)"
"""Reads nothing and says nothing, like a worker that hangs before anything of ours runs."""
INTERRUPTED: Final = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"
"""A Ctrl-C while the interpreter starts."""
DEAF: Final = (
    f"{_LINE}{_SAYS}for each in (signal.SIGTERM, signal.SIGINT): signal.signal(each, signal.SIG_IGN)\n"
    "say()\ntime.sleep(1000)"
)
"""At work, and ignores whatever it is told, and all signals that can be."""


async def child(number: int, script: str, hear: Callable[[Told], None], clock: Clock) -> ChildProcess:
    """A process that runs ``script``, without site packages."""
    return await ChildProcess.start(number, [sys.executable, "-I", "-S", "-c", script], os.environ, hear, clock)


class TinyProcesses:
    """A supervisor of processes that run ``scripts``, one each."""

    def __init__(self, *scripts: str, clock: Clock, drain_timeout_seconds: float = 10.0) -> None:
        self.pids: set[int] = set()
        self._scripts = scripts
        self._clock = clock
        self._said = asyncio.Event()
        self.supervisor = Supervisor(
            len(scripts),
            self._start,
            drain_timeout_seconds=drain_timeout_seconds,
            failover_seconds=1.0,
            clock=clock,
        )

    async def _start(self, number: int, hear: Callable[[Told], None]) -> ChildProcess:
        def heard(told: Told) -> None:
            hear(told)
            self._said.set()

        made = await child(number, self._scripts[number - 1], heard, self._clock)
        self.pids.add(made.pid)
        return made

    async def at_work(self, times: int = 1) -> None:
        """Until each has got through its ``times``-th start."""
        async with self._clock.timeout(10.0):
            while not all(each.state == "at_work" and each.start >= times for each in self.supervisor.view()):
                self._said.clear()
                await self._said.wait()
