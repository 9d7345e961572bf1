"""Seeds of the fleet world that were once red; drawn ones are played by ``tests/simulation/test_seeds.py``."""

from __future__ import annotations

import pytest

from tests.simulation.seeds import play

ONCE_RED = {
    3: "silent loss in a shard that had not begun",
    30: "silent loss in a shard that ended empty",
    52: "silent loss beside a lineage with holes",
    85: "silent loss behind a trimmed checkpoint",
    112: "a deadlock between two incarnations",
    133: "silent loss with a recreated Kinesis stream",
    1010: "a start that found its stream re-enabled and said nothing",
}


@pytest.mark.parametrize("seed", ONCE_RED)
def test_a_seed_that_was_once_red_stays_green(seed: int) -> None:
    outcome = play("fleet", seed)
    if outcome.is_red:
        pytest.fail(f"{ONCE_RED[seed]}\n{outcome.told()}", pytrace=False)
