"""``leasehold run --processes N``: how many that is, each one's command line, and the supervisor from start to exit."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from consumer.cli.settings import MOST_PROCESSES, HttpAddress, Settings, told_flags
from consumer.cli.stops import Stops
from consumer.clock import SystemClock
from consumer.leasing.names import worker_name
from consumer.operate.cpus import Cpus, allowed_cpus
from consumer.operate.supervisor.child_process import ChildProcess
from consumer.operate.supervisor.lifeline import Told
from consumer.operate.supervisor.supervisor import Supervisor

__all__ = ["ProcessCount", "command_of", "process_count", "supervise"]

_log = logging.getLogger("leasehold.supervisor")

# Any free port of loopback: what the supervisor's page shows is asked there, and nobody else need know it.
_OWN_PAGE: Final = "127.0.0.1:0"
_WORKER_NAME_CHARACTERS: Final = 128


@dataclass(frozen=True, slots=True)
class ProcessCount:
    """``count`` worker processes; ``because`` says who decided that, in words that may stand in brackets."""

    count: int
    because: str


def process_count(settings: Settings, cpus: Callable[[], Cpus] = allowed_cpus) -> ProcessCount:
    """What ``--processes`` comes to on this machine; ``auto`` is one for each whole CPU, and one at least."""
    wanted = settings.values["processes"]
    if wanted.value != "auto":
        return ProcessCount(wanted.value, wanted.origin)
    found = cpus()
    count = min(MOST_PROCESSES, max(1, math.floor(found.count)))
    return ProcessCount(count, f"auto: {found.because} {found.count:g} CPU{'' if found.count == 1 else 's'}")


def command_of(number: int, processor: str, flags: Mapping[str, Any], settings: Settings) -> list[str]:
    """The command line of worker process ``number``: this one's flags, with what is the process's own in their place.

    ``flags`` are the texts that were given, by setting. Variables reach the process as they reached this one.
    """
    name, suffix = worker_name(settings.get("worker_id")), f"-{number}"
    own = {"processes": "1", "worker_id": name[: _WORKER_NAME_CHARACTERS - len(suffix)] + suffix}
    if settings.get("http") is not None:
        own["http"] = _OWN_PAGE
    return [*_interpreter(), *("-m", "consumer", "run", processor), *told_flags({**flags, **own})]


def _interpreter() -> list[str]:
    """This interpreter with its own options, and with the working directory on the module path only where it is now."""
    options: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing
    is_safe = not sys.path or sys.path[0] not in ("", os.getcwd())
    return [sys.executable, *options, *(["-P"] if is_safe and "-P" not in options else [])]


def supervise(processor: str, flags: Mapping[str, Any], settings: Settings, processes: ProcessCount) -> int:
    """Keep worker processes until told to stop; the exit code. Raises ConfigError where its page can't be served."""
    commands = [command_of(number, processor, flags, settings) for number in range(1, processes.count + 1)]
    supervisor, code = asyncio.run(_supervise(commands, settings, processes))
    for sentence in supervisor.failure:
        print(f"leasehold: {sentence}", file=sys.stderr)
    return code


async def _supervise(
    commands: Sequence[Sequence[str]], settings: Settings, processes: ProcessCount
) -> tuple[Supervisor, int]:
    clock = SystemClock()

    async def start(number: int, hear: Callable[[Told], None]) -> ChildProcess:
        return await ChildProcess.start(number, commands[number - 1], os.environ, hear, clock)

    drain_timeout_seconds = settings.get("drain_timeout_seconds")
    supervisor = Supervisor(
        processes.count,
        start,
        drain_timeout_seconds=drain_timeout_seconds,
        failover_seconds=settings.get("failover_seconds"),
        clock=clock,
    )
    async with AsyncExitStack() as stack:
        if settings.get("http") is not None:
            await _serve(supervisor, settings.get("http"), stack)
        stops, loop = Stops(), asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, partial(_signalled, number, stops, supervisor, drain_timeout_seconds))
        _log.info("%d worker processes (%s).", processes.count, processes.because)
        return supervisor, await supervisor.run()


async def _serve(supervisor: Supervisor, http: HttpAddress, stack: AsyncExitStack) -> None:
    """The page of all, before anything is started: a port in use is told at once."""
    from consumer.operate.server import listen
    from consumer.operate.supervisor.page import GroupPage, fetching

    page = GroupPage(supervisor, await stack.enter_async_context(fetching()))
    await stack.enter_async_context(listen(http.host, http.port, metrics=page.metrics, health=page.health))


def _signalled(number: int, stops: Stops, supervisor: Supervisor, drain_timeout_seconds: float) -> None:
    name = signal.Signals(number).name
    match stops.heard(number, SystemClock().monotonic()):
        case "drain":
            _log.info("%s: all drain, for up to %g s; a second signal stops at once.", name, drain_timeout_seconds)
            supervisor.drain()
        case "leave":
            _log.error("%s again: all stop at once.", name)
            supervisor.leave()
