"""Runs a mutant through seeds of its world until an invariant breaks, and its mix without it for control."""

from __future__ import annotations

import time
from collections.abc import Iterable

from tests.simulation.mutants.findings import Finding
from tests.simulation.mutants.invariants import short_form
from tests.simulation.mutants.mutant import MOST_SEEDS, Mutant, switched_off
from tests.simulation.mutants.worlds import first_violation

__all__ = ["control", "hunt"]


def hunt(mutant: Mutant, *, seeds: Iterable[int] = range(MOST_SEEDS), to_the_end: bool = False) -> Finding:
    """Try ``seeds`` in turn until one catches ``mutant``, or all of them ``to_the_end``."""
    began, calls, tried, caught = time.process_time(), 0, 0, 0
    first: tuple[int, str] | None = None
    for seed in seeds:
        tried += 1
        with switched_off(mutant) as made:
            found = first_violation(mutant, seed)
        calls += made.count
        if found is not None:
            caught += 1
            first = first or (tried, found)
            if not to_the_end:
                break
    after, violation = first or (None, "")
    spent = time.process_time() - began
    short = short_form(violation)
    return Finding(mutant.name, mutant.rule, mutant.world, after, short, violation, calls, tried, caught, spent)


def control(mutant: Mutant, *, seeds: Iterable[int]) -> list[str]:
    """What breaks in the mutant's mix with the safeguard in place: nothing, or the mix proves nothing."""
    found = ((seed, first_violation(mutant, seed)) for seed in seeds)
    return [f"seed {seed}: {violation}" for seed, violation in found if violation is not None]
