"""A supervisor of real processes that die, hang, do not listen, or are left alone: in the end none of them is there."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from itertools import count
from pathlib import Path
from random import Random
from typing import Final

import pytest

from consumer.clock import SystemClock
from consumer.exit_codes import CLEAN, DRAIN_TIMED_OUT
from consumer.testing import tether
from tests.stress.footprint import Footprint, settled
from tests.stress.stepping import cancelled_at
from tests.stress.tiny_processes import DEAF, HANGS_AT_START, INTERRUPTED, OBEDIENT, TinyProcesses, child

pytestmark = pytest.mark.timeout(60)

CLOCK: Final = SystemClock()
# A supervisor in a process of its own that says when it has begun; what it runs is the product's.
_SUPERVISOR: Final = """
import asyncio, sys
from consumer.clock import SystemClock
from tests.stress.tiny_processes import TinyProcesses
async def main():
    print("begins", flush=True)
    await TinyProcesses(*sys.argv[1:], clock=SystemClock()).supervisor.run()
asyncio.run(main())
"""


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_processes_killed_again_and_again_are_replaced_and_drain_in_the_end():
    before = Footprint.now()
    processes = TinyProcesses(OBEDIENT, OBEDIENT, OBEDIENT, clock=CLOCK)
    running = asyncio.create_task(processes.supervisor.run())
    random = Random(1)
    for times in (1, 2):
        await processes.at_work(times)
        for view in processes.supervisor.view():
            assert view.pid is not None
            os.kill(view.pid, random.choice((signal.SIGKILL, signal.SIGTERM, signal.SIGABRT)))
    await processes.at_work(3)
    assert len([pid for pid in processes.pids if is_there(pid)]) == 3
    processes.supervisor.drain()
    assert await running == CLEAN
    assert processes.supervisor.restarts == 6
    assert await settled(before) == []


async def test_a_process_that_ignores_what_it_is_told_and_every_signal_is_killed():
    before = Footprint.now()
    processes = TinyProcesses(OBEDIENT, DEAF, clock=CLOCK, drain_timeout_seconds=0.0)
    running = asyncio.create_task(processes.supervisor.run())
    await processes.at_work()
    (deaf,) = [view.pid for view in processes.supervisor.view() if view.number == 2]
    assert deaf is not None
    os.kill(deaf, signal.SIGTERM)
    processes.supervisor.drain()
    processes.supervisor.leave()  # the second signal
    began = CLOCK.monotonic()
    assert await running == DRAIN_TIMED_OUT
    assert CLOCK.monotonic() - began < 3.0
    assert await settled(before) == []


async def test_a_stop_while_processes_start_ends_those_that_hear_nothing_yet():
    before = Footprint.now()
    processes = TinyProcesses(OBEDIENT, HANGS_AT_START, clock=CLOCK)
    running = asyncio.create_task(processes.supervisor.run())
    while len(processes.pids) < 2:
        await CLOCK.sleep(0.001)
    processes.supervisor.drain()
    processes.supervisor.leave()
    assert await running == DRAIN_TIMED_OUT
    assert await settled(before) == []


async def test_a_ctrl_c_is_held_back_from_a_process_until_it_can_hear_it():
    before = Footprint.now()
    children = await asyncio.gather(*(child(number, INTERRUPTED, lambda told: None, CLOCK) for number in range(3)))
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
    assert await asyncio.gather(*(each.ended() for each in children)) == [0] * 3
    assert await settled(before) == []


async def test_a_supervisor_that_breaks_at_any_await_leaves_its_processes_to_drain():
    for place in count():
        before = Footprint.now()
        processes = TinyProcesses(OBEDIENT, OBEDIENT, clock=CLOCK)
        asyncio.get_running_loop().call_later(0.2, processes.supervisor.drain)
        reached = await cancelled_at(processes.supervisor.run(), place)
        assert await settled(before) == [], f"cancelled at await {place}"
        if not reached:
            return


async def test_a_supervisor_killed_at_any_moment_leaves_no_process():
    for moment in range(6):
        before = Footprint.now()
        supervisor = await asyncio.create_subprocess_exec(
            *tether.command(sys.executable, "-c", _SUPERVISOR, *[OBEDIENT] * 3),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        assert supervisor.stdout is not None
        assert await supervisor.stdout.readline() == b"begins\n"
        await CLOCK.sleep(0.02 * moment)
        supervisor.kill()
        async with CLOCK.timeout(10.0):  # its processes have its output as well, which ends with the last of them
            assert await supervisor.stdout.read() == b""
        await supervisor.wait()
        assert await settled(before) == []
