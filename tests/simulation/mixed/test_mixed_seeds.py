"""Seeds of the mixed world that were once red; drawn ones are played by ``tests/simulation/test_seeds.py``."""

from __future__ import annotations

import pytest

from tests.simulation.seeds import play

ONCE_RED = {
    607: "a lease of ours that a Java leader gave to another of ours by a late scan, just after it had been renewed",
    3009: "a lease that a Java leader gave to a dead worker, itself dead and without a lease soon after",
    3064: "a lease of ours robbed by a KCL 2.x, and of that by another of ours, before the first had heard of it",
    5020: "a newcomer that could not take what was let go for it, and for which nothing was let go again",
}


@pytest.mark.parametrize("seed", ONCE_RED)
def test_a_seed_that_was_once_red_stays_green(seed: int) -> None:
    outcome = play("mixed", seed)
    if outcome.is_red:
        pytest.fail(f"{ONCE_RED[seed]}\n{outcome.told()}", pytrace=False)
