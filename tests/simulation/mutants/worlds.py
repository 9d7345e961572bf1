"""One seed of a world under a mutant's mix of faults."""

from __future__ import annotations

from dataclasses import replace

from tests.simulation.fleet.draw import drawn as drawn_fleet
from tests.simulation.fleet.world import run_fleet_seed
from tests.simulation.leases.draw import drawn as drawn_leases
from tests.simulation.leases.world import run_seed
from tests.simulation.mixed.draw import drawn as drawn_mixed
from tests.simulation.mixed.world import run_mixed_seed
from tests.simulation.mutants.mutant import Mutant

__all__ = ["first_violation"]


def first_violation(mutant: Mutant, seed: int) -> str | None:
    """The first breach of ``seed`` in the mutant's world and mix; None where every invariant holds."""
    match mutant.world:
        case "fleet":
            violations = run_fleet_seed(seed, replace(drawn_fleet(seed), **mutant.mix)).violations
        case "mixed":
            violations = run_mixed_seed(seed, replace(drawn_mixed(seed), **mutant.mix)).violations
        case "leases":
            violations = run_seed(seed, replace(drawn_leases(seed), **mutant.mix)).violations
    return next(iter(violations), None)
