"""``--processes 2`` against one process on two cores, with a processor that takes 20 microseconds of CPU a record.

What is compared is records a second by the clock, in turns: the processors of who has no turn sleep. (Stopping the
processes would leave stopped ones behind should the driver be killed: a supervisor's children end by themselves.)
The canned server needs a share of the same two cores, which is told along with the figures; so is what either form
takes of CPU a record, which no other load of the machine changes.
"""

from __future__ import annotations

import os
import signal
import statistics
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.contenders.counting import COUNTER, Slots
from tests.benchmarks.processes import Canned, progress
from tests.benchmarks.results import goal_row
from tests.benchmarks.scale.processors import PAUSE
from tests.benchmarks.scale.stage import Stage, Worker

__all__ = ["measure"]

_SHARDS: Final = 16
_ROUNDS: Final = 9
_WINDOW_SECONDS: Final = 4.0
_SETTLE_SECONDS: Final = 1.0
_START_SECONDS: Final = 90.0
_BALANCED_SECONDS: Final = 15.0
_GOAL: Final = 1.7
# A lease lost for want of CPU on a busy machine would be a repeat, and the run would count for nothing.
_FLAGS: Final = ("--failover-seconds", "60")


@dataclass(frozen=True, slots=True)
class _Turn:
    records_a_second: float
    microseconds_a_record: float
    server_share: float


class _Side:
    """A worker, of however many processes, with its counts. It rests while ``pause`` exists."""

    def __init__(self, canned: Canned, worker: Worker, slots: Slots, pause: Path) -> None:
        self._canned = canned
        self._worker = worker
        self._slots = slots
        self._pause = pause

    def until_balanced(self) -> None:
        """Until all leases are held and shared out. Raises TimeoutError, RuntimeError; it rests then."""
        deadline = time.monotonic() + _START_SECONDS
        while not self._slots.total() or self._worker.metric("leasehold_leases_held") < _SHARDS:
            self._worker.check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self._worker.name}: not all leases are held.\n{self._worker.last_words()}")
            time.sleep(0.1)
        time.sleep(_BALANCED_SECONDS)
        self._pause.touch()

    def turn(self) -> _Turn:
        """Records, CPU time of all processes and the server's, over one window."""
        self._pause.unlink()
        time.sleep(_SETTLE_SECONDS)
        before, began = self._look(), time.monotonic()
        time.sleep(_WINDOW_SECONDS)
        after, seconds = self._look(), time.monotonic() - began
        self._pause.touch()
        time.sleep(_SETTLE_SECONDS)
        self._worker.check()
        if wrong := self._slots.wrong():
            raise RuntimeError(f"{self._worker.name}: shards {wrong[:5]} came wrong.\n{self._worker.last_words()}")
        records, used, served = (late - early for early, late in zip(before, after, strict=True))
        return _Turn(records / seconds, 1e6 * used / records, served / seconds)

    def _look(self) -> tuple[float, float, float]:
        used = sum(_cpu_seconds(pid) for pid in _session(self._worker.pid))
        return self._slots.total(), used, self._canned.counts()["cpu_seconds"]


def measure() -> dict[str, Any]:
    """Nine rounds; the ratio is the median of the rounds' ratios."""
    with ExitStack() as stack:
        stage = Stage(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="leasehold-benchmark-"))))
        sides = {count: _side(stage, stack, count) for count in (1, 2)}
        turns: dict[int, list[_Turn]] = {count: [] for count in sides}
        for number in range(_ROUNDS):
            for count, side in sides.items():
                turns[count].append(side.turn())
            told = ", ".join(f"{count}: {each[-1].records_a_second:,.0f} records/s" for count, each in turns.items())
            progress(f"  round {number + 1} of {_ROUNDS}: {told}, load average {os.getloadavg()[0]:.1f}")
    ratios = [two.records_a_second / one.records_a_second for one, two in zip(turns[1], turns[2], strict=True)]
    figures: dict[str, Any] = {
        "ratio": round(statistics.median(ratios), 2),
        "ratios": [round(each, 2) for each in ratios],
    }
    for count, name in ((1, "one_process"), (2, "two_processes")):
        figures |= {
            f"{name}_records_a_second": round(statistics.median(turn.records_a_second for turn in turns[count])),
            f"{name}_cpu_microseconds_a_record": round(
                statistics.median(turn.microseconds_a_record for turn in turns[count]), 2
            ),
            f"{name}_server_share_of_a_core": round(statistics.median(turn.server_share for turn in turns[count]), 3),
        }
    title = "2 processes against 1 on two cores, 20 us of processing a record: records a second"
    return {"figures": figures, "goals": [goal_row(title, figures["ratio"], _GOAL, "x", at_least=True)]}


def _side(stage: Stage, stack: ExitStack, count: int) -> _Side:
    """A worker of ``count`` processes; with one there is no supervisor."""
    counter, pause = (stage.folder / f"processes-{count}.{suffix}" for suffix in ("counts", "pause"))
    slots = Slots.create(counter, _SHARDS)
    flags = _FLAGS if count == 1 else (*_FLAGS, "--processes", str(count))
    canned, worker = stack.enter_context(
        stage.serving(
            f"processes-{count}",
            f"busy-{_SHARDS}",
            *flags,
            processor="tests.benchmarks.scale.processors:Burning",
            environment={COUNTER: str(counter), PAUSE: str(pause)},
        )
    )
    # The supervisor first, or it would start others in the place of its children.
    stack.callback(_kill_session, worker.pid)
    side = _Side(canned, worker, slots, pause)
    side.until_balanced()
    return side


def _session(leader: int) -> list[int]:
    """Every process of the session that a process leads: itself and all that descend from it."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                fields = (path / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended meanwhile
            if int(fields[3]) == leader and fields[0] != "Z":
                found.append(int(path.name))
    return found


def _cpu_seconds(pid: int) -> float:
    return time.clock_gettime((~pid << 3) | 2)  # see Child.cpu_seconds


def _kill_session(leader: int) -> None:
    for pid in sorted(_session(leader), key=lambda each: each != leader):
        os.kill(pid, signal.SIGKILL)
