"""Whole workers in the fleet world: drawn seeds, and every seed that was ever red."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.simulation.fleet.world import run_fleet_seed

SEEDS = range(14)
# What each of them found: silent loss behind a trimmed checkpoint (85), in a shard that ended empty (30), in one that
# had not begun (3), beside a lineage with holes (52), with a recreated Kinesis stream (133); a start that found its
# stream re-enabled and said nothing (1010); a deadlock between two incarnations (112).
ONCE_RED = (3, 30, 52, 85, 112, 133, 1010)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("seed", [*SEEDS, *(seed for seed in ONCE_RED if seed not in SEEDS)])
def test_every_record_is_delivered_in_order_and_the_fleet_comes_to_rest(seed: int) -> None:
    report = run_fleet_seed(seed)
    if report.violations:
        steps = "\n".join(report.last_steps[-40:])
        pytest.fail(f"{report.violations[0]}\nreplay: {report.replay}\n{steps}", pytrace=False)
    assert report.counts[0] > 0


def test_a_seed_replays_in_a_new_process_under_another_hash_seed() -> None:
    """Catches a decision that iterates a set."""
    code = (
        "import logging as l; l.disable(50); from tests.simulation.fleet.world import run_fleet_seed as r; "
        "print(r(5).digest)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "4711"}
    out = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == run_fleet_seed(5).digest
