"""One seed of any world, played to its end: what came of it, and how to see it again."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from tests.simulation.fleet.draw import drawn_with_policy
from tests.simulation.fleet.world import FleetReport, run_fleet_seed
from tests.simulation.leases.world import run_seed
from tests.simulation.mixed.world import run_mixed_seed

__all__ = ["WORLDS", "Outcome", "play", "replay_of"]

_STEPS_TOLD: Final = 30


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one seed. ``counts`` are sums worth telling, ``rest_seconds`` is virtual, ``draw`` as it prints."""

    world: str
    seed: int
    violations: tuple[str, ...]
    digest: str
    draw: str
    last_steps: tuple[str, ...]
    rest_seconds: float
    counts: Mapping[str, int]
    cpu_seconds: float = 0.0

    @property
    def is_red(self) -> bool:
        return bool(self.violations)

    def told(self) -> str:
        """The whole of it for a reader of a red seed: what broke, how it came to that, and how to see it again."""
        what = "; ".join(self.violations) or "no violation"
        head = f"seed {self.seed} of the world of {self.world}: {what}"
        return "\n".join((head, f"trace hash {self.digest}", *self.last_steps, f"replay: {replay_of(self)}"))


def replay_of(outcome: Outcome) -> str:
    """The command that plays this seed again and prints all of its steps."""
    return f"python -m tests.simulation --world {outcome.world} --seed {outcome.seed}"


def _play_leases(seed: int, steps: int) -> Outcome:
    report = run_seed(seed)
    counts = {"tenures": report.tenures, "records": report.records}
    last = report.last_steps[-steps:]
    draw, rest = str(report.draw), report.settled_after_seconds
    return Outcome("leases", seed, report.violations, report.digest, draw, last, rest, counts)


def _play_fleet(seed: int, steps: int) -> Outcome:
    return _of_fleet("fleet", run_fleet_seed(seed), steps)


def _play_policies(seed: int, steps: int) -> Outcome:
    return _of_fleet("policies", run_fleet_seed(seed, drawn_with_policy(seed)), steps)


def _of_fleet(world: str, report: FleetReport, steps: int) -> Outcome:
    written, delivered, again = report.counts
    counts = {"written": written, "delivered": delivered, "again": again, "gaps": report.gaps}
    last = report.last_steps[-steps:]
    draw, rest = str(report.draw), report.settled_after_seconds
    return Outcome(world, report.seed, report.violations, report.digest, draw, last, rest, counts)


def _play_mixed(seed: int, steps: int) -> Outcome:
    report = run_mixed_seed(seed)
    counts = {"tenures": report.tenures, "records": report.records}
    last = report.last_steps[-steps:]
    draw, rest = str(report.draw), report.settled_after_seconds
    return Outcome("mixed", seed, report.violations, report.digest, draw, last, rest, counts)


WORLDS: Final[Mapping[str, Callable[[int, int], Outcome]]] = {
    "leases": _play_leases,
    "fleet": _play_fleet,
    "policies": _play_policies,
    "mixed": _play_mixed,
}


def play(world: str, seed: int, *, steps: int = _STEPS_TOLD) -> Outcome:
    """Play one seed of a world, with its last ``steps``; a world that fails itself is as red as a broken promise."""
    was_disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    began = time.process_time()
    try:
        outcome = WORLDS[world](seed, steps)
    except Exception:
        trouble = f"the world itself failed: {traceback.format_exc()}"
        outcome = Outcome(world, seed, (trouble,), "none", "", (), 0.0, {})
    finally:
        logging.disable(was_disabled)
    return replace(outcome, cpu_seconds=time.process_time() - began)
