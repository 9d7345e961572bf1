"""What follows from the end of a worker process that nobody asked for: pure, so that a night of crashes is a test."""

from __future__ import annotations

import signal
from collections import deque
from dataclasses import dataclass
from typing import Final

from consumer.exit_codes import BAD_CONFIGURATION, BATCH_TIMED_OUT, ERROR

__all__ = ["GiveUp", "Restart", "Restarts", "ended_how"]

FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 30.0
# A crash is an accident; this many of one process within this time are the same accident again. Beyond it the one who
# starts the supervisor (systemd, ECS, a person) is to know, and not a log that repeats itself all night.
LOOP_SECONDS: Final = 300.0
LOOP_DEATHS: Final = 5


@dataclass(frozen=True, slots=True)
class Restart:
    """Start the process again, after a pause."""

    after_seconds: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Drain the other processes and end with ``code``; ``because`` is a sentence without its full stop."""

    code: int
    because: str


class Restarts:
    """Remembers the deaths of ``processes`` worker processes, numbered from 1, and judges each new one."""

    def __init__(self, processes: int) -> None:
        self._processes = processes
        # A shard whose records kill goes from process to process, so that none of them dies often: together they may
        # each die once (somebody killed them all), and then as often as one may.
        self._most_in_all = processes + LOOP_DEATHS - 1
        self._deaths: deque[tuple[float, int]] = deque(maxlen=self._most_in_all)
        self._failed_to_start: set[int] = set()
        self._any_ran = False

    def began_to_work(self) -> None:
        """A process has got through its start."""
        self._any_ran = True

    def died(self, number: int, code: int, at: float) -> Restart | GiveUp:
        """Judge that process ``number`` ended with ``code`` (negative: by that signal) ``at`` a monotonic second."""
        if code == BATCH_TIMED_OUT:
            # It drained what it could and asks for this by its settings, at most once a ``batch_timeout_seconds``.
            return Restart(0.0)
        self._deaths.append((at, number))
        self._failed_to_start.add(number)
        recent = [whose for when, whose in self._deaths if at - when <= LOOP_SECONDS]
        own = recent.count(number)
        if code == BAD_CONFIGURATION:
            return GiveUp(code, f"process {number} refused its configuration (exit code {code}); no restart mends that")
        own_code = code if code > 0 else ERROR
        if not self._any_ran and len(self._failed_to_start) == self._processes:
            return GiveUp(own_code, "not one of the processes got through its start")
        if own >= LOOP_DEATHS:
            because = f"process {number} died {own} times within {LOOP_SECONDS:.0f} s, a crash loop"
        elif len(recent) >= self._most_in_all:
            because = f"the processes died {len(recent)} times within {LOOP_SECONDS:.0f} s, a crash loop in turns"
        else:
            return Restart(min(FIRST_PAUSE_SECONDS * 2 ** (own - 1), LONGEST_PAUSE_SECONDS))
        return GiveUp(own_code, because)


def ended_how(code: int) -> str:
    """An exit code as words: ``exit code 1``, ``killed by SIGKILL``."""
    if code == BATCH_TIMED_OUT:
        return f"exit code {code}, for a call of user code that does not end"
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
