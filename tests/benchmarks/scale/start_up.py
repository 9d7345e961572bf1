"""``leasehold --help`` against an interpreter that does nothing, in turns: CPU time, and the clock's."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.processes import progress
from tests.benchmarks.reckoning import lower_quartile
from tests.benchmarks.results import goal_row

__all__ = ["measure"]

_ROUNDS: Final = 40
_GOAL: Final = 4.0


def measure() -> dict[str, Any]:
    """Forty turns each; compiled files are there from the first, which is not counted."""
    commands = {
        "help": [str(Path(sys.executable).with_name("leasehold")), "--help"],
        "nothing": [sys.executable, "-c", "pass"],
    }
    costs: dict[str, list[tuple[float, float]]] = {name: [_run(command)] for name, command in commands.items()}
    for _ in range(_ROUNDS):
        for name, command in commands.items():
            costs[name].append(_run(command))
    cpu = {name: 1e3 * lower_quartile([each[0] for each in turns[1:]]) for name, turns in costs.items()}
    wall = {name: 1e3 * lower_quartile([each[1] for each in turns[1:]]) for name, turns in costs.items()}
    figures = {
        "help_cpu_milliseconds": round(cpu["help"], 1),
        "nothing_cpu_milliseconds": round(cpu["nothing"], 1),
        "cpu_ratio": round(cpu["help"] / cpu["nothing"], 2),
        "help_wall_milliseconds": round(wall["help"], 1),
        "nothing_wall_milliseconds": round(wall["nothing"], 1),
        "wall_ratio": round(wall["help"] / wall["nothing"], 2),
        "rounds": _ROUNDS,
    }
    progress(f"  {figures}")
    title = "`leasehold --help` against `python -c pass`"
    goals = [
        goal_row(f"{title}: CPU", figures["cpu_ratio"], _GOAL, "x", at_least=False),
        goal_row(f"{title}: the clock", figures["wall_ratio"], _GOAL, "x", at_least=False),
    ]
    return {"figures": figures, "goals": goals}


def _run(command: list[str]) -> tuple[float, float]:
    """CPU and wall seconds of one process. Raises RuntimeError where it fails."""
    began = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with exit code {process.returncode}.")
    return used.ru_utime + used.ru_stime, seconds
