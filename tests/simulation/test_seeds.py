"""Drawn seeds of each world, some of them played again in another process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.simulation.seeds import play

SEEDS = {"leases": 200, "fleet": 100, "policies": 30, "mixed": 15}
FIRST = {"leases": 15, "fleet": 15, "policies": 4, "mixed": 5}
REPLAYED = [(world, seed) for world, seeds in FIRST.items() for seed in range(seeds)]
AT_ONCE = 10
GROUPS = [
    (world, first, min(first + AT_ONCE, seeds))
    for world, seeds in SEEDS.items()
    for first in range(FIRST[world], seeds, AT_ONCE)
]


def digests_of(seeds: list[tuple[str, int]]) -> list[str]:
    """Play each to its end; a red one fails the test with all that its reader needs."""
    outcomes = [play(world, seed) for world, seed in seeds]
    red = [outcome for outcome in outcomes if outcome.is_red]
    if red:
        pytest.fail("\n\n".join(outcome.told() for outcome in red), pytrace=False)
    assert sum(sum(outcome.counts.values()) for outcome in outcomes) > 100, "nothing happened in these worlds"
    return [f"{each.world} {each.seed} {each.digest}" for each in outcomes]


@pytest.mark.parametrize(("world", "first", "end"), GROUPS)
def test_no_promise_breaks(world: str, first: int, end: int) -> None:
    digests_of([(world, seed) for seed in range(first, end)])


@pytest.mark.timeout(600)
def test_seeds_replay_in_a_new_process_under_another_hash_seed() -> None:
    """Catches a decision that iterates a set, reads a clock or draws from a source that no seed governs."""
    code = f"from tests.simulation.seeds import play\nfor each in {REPLAYED}: print(*each, play(*each).digest)"
    # Strings hash otherwise under it than under any that this process may have.
    environment = {**os.environ, "PYTHONHASHSEED": "4712" if os.environ.get("PYTHONHASHSEED") == "4711" else "4711"}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True) as other:
        here = digests_of(REPLAYED)
        there, _ = other.communicate()
    assert there.splitlines() == here
