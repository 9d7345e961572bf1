"""The large fleet in small: what must hold at any size, in seconds of CPU."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.simulation.scale.tally import least_moves
from tests.simulation.scale.world import Phase, Scale, run_scale

pytestmark = pytest.mark.usefixtures("nothing_logged")


def test_scans_rarer_than_the_failover_time_cost_no_refused_write_and_few_moves_too_many() -> None:
    """Between two such scans every live lease looked expired: 2 million refused takes an hour, in a fleet at rest."""
    scale = Scale(shards=300, workers=12, lost=2, scan_read_units_per_second=22.0, steady_seconds=60.0)
    figures = run_scale(scale, lambda line: None)
    phases: dict[str, dict[str, Any]] = {phase["name"]: phase for phase in figures["phases"]}
    assert figures["missed"] == []
    assert min(phase["scan_period_seconds"] for phase in phases.values()) > scale.failover_seconds
    after = {name: phase["balanced_after_seconds"] for name, phase in phases.items()}
    assert after["cold start"] <= 20.0
    assert after["loss"] <= 30.0
    # At four leases a look it took 98 s among ten; it asks from its second look on, and for the next as each comes.
    assert phases["joining"]["moves"] == phases["joining"]["least_moves"] == 23
    assert after["joining"] <= 2 * phases["joining"]["scan_period_seconds"] + 10.0
    assert phases["steady"]["moves"] == phases["steady"]["refused_writes"] == 0


def test_each_missed_goal_is_a_sentence() -> None:
    good = Phase("loss", 1000, 1100, 18, 1.0, 60.0, 105, 100, 100, 7, 1.0, 1, 1.0, 1.0)
    assert good.missed == []
    assert replace(good, balanced_after_seconds=60.5, moves=106).missed == [
        "loss: the fleet was balanced after 60.5 s, the goal is 60 s.",
        "loss: 106 moves, the goal is 105 at most.",
    ]
    assert replace(good, balanced_after_seconds=None).missed == [
        "loss: the fleet was not balanced at all, the goal is 60 s."
    ]


def test_the_least_moves_are_those_that_leave_every_load_within_one() -> None:
    assert least_moves({"a": 4, "b": 4}, 0) == 0
    assert least_moves({"a": 5, "b": 3}, 0) == 1
    assert least_moves({"a": 56, "b": 55}, 50) == 50
    assert least_moves({"a": 9, "b": 0, "c": 0}, 0) == 6
