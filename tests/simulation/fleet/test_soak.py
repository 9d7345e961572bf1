"""The soak in small: what ``make soak`` lets run for a virtual week."""

from __future__ import annotations

import pytest

from tests.simulation.fleet.soak import soak


@pytest.mark.usefixtures("nothing_logged")  # what is logged is kept by pytest, and with it the leases that it names
def test_c57_hangs_and_deaths_over_six_rotations_lose_nothing_and_memory_stays_flat() -> None:
    report = soak(1 / 6, rotation_seconds=2400.0)
    assert report.violations == ()
    assert report.days[-1].rotations >= 6
    assert min(report.killed, report.hung_calls, report.long_batches) > 0
