"""Seeds of the lease world that were once red; drawn ones are played by ``tests/simulation/test_seeds.py``."""

from __future__ import annotations

import pytest

from tests.simulation.seeds import play

# A seed means another world once the draw has changed. What the first twelve found is kept by the directed tests of
# tests/unit/leasing and by the mutants.
ONCE_RED = {
    22: "a finish that was carried twice was taken for one never applied: two workers trusted one lease",
}


@pytest.mark.parametrize("seed", ONCE_RED)
def test_a_seed_that_was_once_red_stays_green(seed: int) -> None:
    outcome = play("leases", seed)
    if outcome.is_red:
        pytest.fail(f"{ONCE_RED[seed]}\n{outcome.told()}", pytrace=False)
