"""Contenders in turns: one reads, all others stand still; nine rounds and more of it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.benchmarks.contenders.counting import Slots
from tests.benchmarks.contenders.registry import Contender, Course, Places
from tests.benchmarks.processes import Canned, Child, free_port, progress
from tests.benchmarks.reckoning import Turn
from tests.benchmarks.worker_page import WorkerPage

__all__ = ["Inexact", "Pace", "Race"]

_LOOK_SECONDS: Final = 0.001
_PAGE_SECONDS: Final = 20.0  # the slowest takes a fifth of a second
_TRIES_A_TURN: Final = 4


class Inexact(Exception):
    """A record was lost, doubled or swapped: the run counts for nothing."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long and how often. ``settle_seconds`` is what a contender may take to get going again in its turn."""

    rounds: int = 9
    window_seconds: float = 1.5
    settle_seconds: float = 0.4


@dataclass(frozen=True, slots=True)
class _Edge:
    records: int
    cpu_seconds: float
    at: float


class _Runner:
    """A contender's process with its counts."""

    def __init__(self, contender: Contender, course: Course, canned: Canned, ministack_url: str, folder: Path) -> None:
        self.contender = contender
        counter = folder / f"{contender.name}.counts"
        self.slots = Slots.create(counter, course.stream.shards)
        places = Places(canned.url, ministack_url, counter, free_port())
        command, environment = contender.command(course, places), contender.environment(course, places)
        self.child = Child(contender.name, command, environment, folder)
        self.page = WorkerPage(places.http_port) if contender.data_path else None

    def until_begun(self) -> None:
        """Until every shard was read. Raises RuntimeError or TimeoutError with its last words where that fails."""
        deadline = time.monotonic() + self.contender.start_seconds
        while unread := self.slots.unread():
            self.child.check()
            if time.monotonic() > deadline:
                waited = f"{unread} shards were not read in {self.contender.start_seconds:g} s"
                raise TimeoutError(f"{self.child.name}: {waited}.\n{self.child.last_words()}")
            time.sleep(0.02)

    def warm(self) -> None:
        """Let it read on: a compiler at run time needs work, not time. A busy machine gives it five times as long."""
        until = self.child.cpu_seconds() + self.contender.warm_cpu_seconds
        deadline = time.monotonic() + 5 * self.contender.warm_cpu_seconds
        while self.child.cpu_seconds() < until and time.monotonic() < deadline:
            time.sleep(0.02)

    def edge(self) -> _Edge:
        """The instant at which its count moves: CPU time is read between two pages, not within one."""
        before, deadline = self.slots.total(), time.monotonic() + _PAGE_SECONDS
        while self.slots.total() == before:
            self.check()
            if time.monotonic() > deadline:
                self.child.check()
                raise TimeoutError(f"{self.child.name}: no record in {_PAGE_SECONDS:g} s.\n{self.child.last_words()}")
            time.sleep(_LOOK_SECONDS)
        return _Edge(self.slots.total(), self.child.cpu_seconds(), time.monotonic())

    def check(self) -> None:
        """Raises Inexact with what it was that came out of order."""
        if wrong := self.slots.wrong():
            raise Inexact(f"{self.child.name}: shards {wrong[:5]} are inexact.\n{self.child.last_words()}")


@dataclass(slots=True)
class Race:
    """Contenders on one course. ``with Race(...)`` starts them; all are gone afterwards."""

    course: Course
    contenders: Sequence[Contender]
    canned: Canned
    ministack_url: str
    folder: Path
    pace: Pace
    turns: dict[str, list[Turn]] = field(default_factory=lambda: defaultdict(list))
    rejected: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    left: dict[str, str] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)
    _runners: list[_Runner] = field(default_factory=list)

    def __enter__(self) -> Race:
        with ExitStack() as starting:
            for contender in self.contenders:
                progress(f"  {contender.name} starts")
                runner = _Runner(contender, self.course, self.canned, self.ministack_url, self.folder)
                starting.enter_context(runner.child)
                runner.until_begun()
                runner.warm()
                runner.child.stop()
                self._runners.append(runner)
            self._stack = starting.pop_all()
        return self

    def __exit__(self, *reason: object) -> None:
        self._stack.close()

    def run(self) -> None:
        """All rounds; ``turns`` holds the valid ones. Raises Inexact, RuntimeError, TimeoutError.

        A worker of ours that is inexact ends the race. Another contender leaves it, with the turns it has had: the KCL
        repeats records, as it may, where being stopped has cost it a lease.
        """
        for number in range(self.pace.rounds):
            for runner in tuple(self._runners):
                try:
                    self._turn(runner)
                except Inexact as error:
                    if runner.contender.data_path or not self.turns[runner.contender.name]:
                        raise
                    self._leave(runner, f"left in round {number + 1} with {error}")
            lasts = {name: turns[-1] for name, turns in self.turns.items()}
            costs = "  ".join(f"{name} {turn.microseconds:.2f}" for name, turn in lasts.items())
            idle = min(turn.server_idle_share for turn in lasts.values())
            progress(f"  round {number + 1} of {self.pace.rounds}, us a record: {costs}; server idle >= {idle:.0%}")

    def _leave(self, runner: _Runner, why: str) -> None:
        progress(f"  {runner.contender.name} {why}")
        self.left[runner.contender.name] = why.splitlines()[0]
        self._runners.remove(runner)
        runner.child.end()

    def _turn(self, runner: _Runner) -> None:
        """A valid turn; what the server limited is made again."""
        name = runner.contender.name
        for _ in range(_TRIES_A_TURN):
            turn = self._window(runner)
            runner.check()
            if turn.is_valid:
                self.turns[name].append(turn)
                return
            self.rejected[name] += 1
            progress(f"  {name}: rejected, the server was idle for {turn.server_idle_share:.0%} only")
        raise RuntimeError(f"{name}: the server was the limit {_TRIES_A_TURN} times; the machine is too busy for this.")

    def _window(self, runner: _Runner) -> Turn:
        runner.child.go_on()
        factor = runner.contender.turn_factor
        time.sleep(self.pace.settle_seconds * factor)
        runner.edge()
        before, first = self.canned.counts(), runner.edge()
        time.sleep(self.pace.window_seconds * factor)
        after, last = self.canned.counts(), runner.edge()
        if runner.page is not None and runner.contender.data_path is not None:
            runner.page.check(runner.contender.data_path)
        runner.child.stop()
        passed = {key: after[key] - before[key] for key in ("seconds", "cpu_seconds", "waiting_seconds")}
        return Turn(
            records=last.records - first.records,
            cpu_seconds=last.cpu_seconds - first.cpu_seconds,
            wall_seconds=last.at - first.at,
            server_idle_share=1.0 - (passed["cpu_seconds"] + passed["waiting_seconds"]) / passed["seconds"],
            lease_writes=after["lease_writes"] - before["lease_writes"],
        )
