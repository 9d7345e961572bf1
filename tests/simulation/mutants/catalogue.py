"""Every mutant there is."""

from __future__ import annotations

from typing import Final

from tests.simulation.mutants import batches, coexistence, delivery, lineage, policies, settings, takeovers, tenures
from tests.simulation.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

MUTANTS: Final[tuple[Mutant, ...]] = tuple(
    each
    for module in (tenures, batches, takeovers, delivery, policies, settings, lineage, coexistence)
    for each in vars(module).values()
    if isinstance(each, Mutant)
)
