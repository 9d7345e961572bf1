"""The large fleet in small: what must hold at any size, in seconds of CPU."""

from __future__ import annotations

from typing import Any

import pytest

from tests.simulation.scale.tally import least_moves
from tests.simulation.scale.world import Scale, run_scale

pytestmark = pytest.mark.usefixtures("nothing_logged")


def test_scans_rarer_than_the_failover_time_cost_no_refused_write_and_few_moves_too_many() -> None:
    """Between two such scans every live lease looked expired: 2 million refused takes an hour, in a fleet at rest."""
    scale = Scale(shards=300, workers=12, lost=2, scan_read_units_per_second=22.0, steady_seconds=60.0)
    phases: dict[str, dict[str, Any]] = {
        phase["name"]: phase for phase in run_scale(scale, lambda line: None)["phases"]
    }
    assert phases["loss"]["scan_period_seconds"] > scale.failover_seconds
    for name, phase in phases.items():
        assert phase["balanced_after_seconds"] is not None, name
        assert phase["balanced_after_seconds"] <= 90.0, name
        assert phase["moves"] - phase["least_moves"] <= 0.05 * phase["leases"], name
    assert phases["steady"]["moves"] == phases["steady"]["refused_writes"] == 0


def test_the_least_moves_are_those_that_leave_every_load_within_one() -> None:
    assert least_moves({"a": 4, "b": 4}, 0) == 0
    assert least_moves({"a": 5, "b": 3}, 0) == 1
    assert least_moves({"a": 56, "b": 55}, 50) == 50
    assert least_moves({"a": 9, "b": 0, "c": 0}, 0) == 6
