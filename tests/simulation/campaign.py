"""Many seeds in parallel processes: each red one is told in full as it is found, a table ends the run."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice, zip_longest
from typing import Any, Final

from tests.simulation.seeds import Outcome, play, replay_of

__all__ = ["Campaign", "Tally", "seeds_of"]

_AT_WORK_A_JOB: Final = 3
Task = tuple[str, int]


def seeds_of(count: int, start: int, world: str | None = None) -> list[Task]:
    """``count`` seeds from ``start`` on: of one world, or in turn: half leases, a quarter mixed, an eighth each of the
    fleet and of policies.
    """
    if world is not None:
        return [(world, seed) for seed in range(start, start + count)]
    fleet = [("fleet", start + n) for n in range(count // 8)]
    policies = [("policies", start + n) for n in range(count // 8)]
    mixed = [("mixed", start + n) for n in range(count // 4)]
    leases = [("leases", start + n) for n in range(count - len(fleet) - len(policies) - len(mixed))]
    turns = zip_longest(leases[::4], fleet, leases[1::4], mixed[::2], leases[2::4], policies, leases[3::4], mixed[1::2])
    return [task for turn in turns for task in turn if task is not None]


@dataclass(slots=True)
class Tally:
    """The sums of one world."""

    world: str
    seeds: int = 0
    red: list[int] = field(default_factory=list)
    cpu_seconds: float = 0.0
    worst_cpu_seconds: float = 0.0
    worst_seed: int | None = None
    slowest_to_rest_seconds: float = 0.0
    slowest_seed: int | None = None
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        self.seeds += 1
        self.cpu_seconds += outcome.cpu_seconds
        if outcome.is_red:
            self.red.append(outcome.seed)
        if outcome.cpu_seconds > self.worst_cpu_seconds:
            self.worst_cpu_seconds, self.worst_seed = outcome.cpu_seconds, outcome.seed
        if outcome.rest_seconds > self.slowest_to_rest_seconds and not outcome.is_red:
            self.slowest_to_rest_seconds, self.slowest_seed = outcome.rest_seconds, outcome.seed
        for name, count in outcome.counts.items():
            self.counts[name] = self.counts.get(name, 0) + count

    @property
    def mean_cpu_seconds(self) -> float:
        return self.cpu_seconds / max(1, self.seeds)

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"mean_cpu_seconds": self.mean_cpu_seconds}


class Campaign:
    """Plays seeds; ``tell`` is given a line for people now and then, and every red seed in full.

    May be interrupted: what was done so far stands in ``tallies``, and ``is_complete`` is False.
    """

    def __init__(self, tasks: Sequence[Task], *, jobs: int, tell: Callable[[str], None]) -> None:
        self.tallies: dict[str, Tally] = {}
        self.red: list[Outcome] = []
        self.outcomes: dict[Task, str] = {}
        self.is_complete = False
        self._tasks = tasks
        self._jobs = jobs
        self._tell = tell
        self._began = time.monotonic()
        self._told_at = self._began

    def run(self) -> None:
        """Play all; KeyboardInterrupt ends it early, and cleanly."""
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(self._jobs, mp_context=context) as pool:
            try:
                self._tell(
                    f"{len(self._tasks)} seeds in {self._jobs} processes; Ctrl-C ends early, with what was done."
                )
                for outcome in self._played(pool):
                    self._add(outcome)
                self.is_complete = True
            except KeyboardInterrupt:
                pool.shutdown(cancel_futures=True)
                self._tell("Interrupted.")

    def _played(self, pool: ProcessPoolExecutor) -> Iterator[Outcome]:
        """Outcomes as they come, never more under way than a few for each process."""
        left = iter(self._tasks)
        at_work: dict[Future[Outcome], Task] = {}
        while True:
            for world, seed in islice(left, _AT_WORK_A_JOB * self._jobs - len(at_work)):
                with _uninterrupted():
                    at_work[pool.submit(play, world, seed)] = (world, seed)
            if not at_work:
                return
            done, _ = wait(at_work, return_when=FIRST_COMPLETED)
            for future in done:
                task = at_work.pop(future)
                try:
                    yield future.result()
                except BrokenProcessPool as error:
                    raise RuntimeError(
                        f"A process died while it played {task} or one of {list(at_work.values())}"
                    ) from error

    def _add(self, outcome: Outcome) -> None:
        tally = self.tallies.setdefault(outcome.world, Tally(outcome.world))
        tally.add(outcome)
        self.outcomes[outcome.world, outcome.seed] = outcome.digest
        if outcome.is_red:
            self.red.append(outcome)
            self._tell(outcome.told())
        if time.monotonic() - self._told_at >= (1.0 if sys.stderr.isatty() else 15.0):
            self._told_at = time.monotonic()
            self._tell(self._progress())

    def _progress(self) -> str:
        done, gone = len(self.outcomes), time.monotonic() - self._began
        left = gone / done * (len(self._tasks) - done)
        return f"{done} of {len(self._tasks)} seeds, {len(self.red)} red, {gone:.0f} s gone, about {left:.0f} s left"

    def table(self) -> str:
        """What was done, a row a world, and each red seed with its replay."""
        head = _line("world", "seeds", "red", "CPU s a seed", "worst (seed)", "slowest to rest", "counts")
        rows = [_row(self.tallies[world]) for world in sorted(self.tallies, reverse=True)]
        reds = [f"red: {replay_of(outcome)}" for outcome in sorted(self.red, key=lambda each: (each.world, each.seed))]
        gone = time.monotonic() - self._began
        took = f"{len(self.outcomes)} of {len(self._tasks)} seeds in {gone:.0f} s, {self._jobs} at once"
        return "\n".join((head, *rows, took, *reds))

    def as_json(self) -> dict[str, Any]:
        return {
            "complete": self.is_complete,
            "seconds": round(time.monotonic() - self._began, 1),
            "jobs": self._jobs,
            "worlds": [tally.as_json() for tally in self.tallies.values()],
            "red": [asdict(outcome) for outcome in self.red],
        }


def _row(tally: Tally) -> str:
    return _line(
        tally.world,
        str(tally.seeds),
        str(len(tally.red)),
        f"{tally.mean_cpu_seconds:.2f}",
        f"{tally.worst_cpu_seconds:.2f} ({tally.worst_seed})",
        f"{tally.slowest_to_rest_seconds:.1f} s ({tally.slowest_seed})",
        ", ".join(f"{count} {name}" for name, count in tally.counts.items()),
    )


def _line(*cells: str) -> str:
    world, seeds, red, mean, worst, rest, counts = cells
    return f"{world:8} {seeds:>7} {red:>5} {mean:>13} {worst:>16} {rest:>18}  {counts}"


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Processes that are started meanwhile never hear of Ctrl-C: theirs is to play what is under way to its end."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
