"""Worlds of leases that were once red; drawn ones are played by ``tests/simulation/test_seeds.py``.

A seed means another world once the draw has changed, so each of these brings along what made it red. Other findings of
earlier draws are kept where they can be told in a few calls: a lease that went and came back while a finish was
unsettled, a take and an end that look like a renewal (``tests/unit/leasing/test_held_lease.py``), a full worker that a
dead owner handed to (``test_leases.py``), a takeover later than promised, limits (``tests/simulation/directed``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.simulation.leases.draw import Work, drawn
from tests.simulation.leases.world import run_seed
from tests.simulation.network import Calm, Network

pytestmark = pytest.mark.usefixtures("nothing_logged")

LATE_AND_LOSSY = Network(0.001, 0.05, 0.3, 1.5, 0.05, 0.3, 0.05, 0.2, 1.0)
TWICE = Network(0.001, 0.03, 0.0, 1.0, 0.0, 0.0, 0.0, 0.5, 0.0, 0.0, 1.0, {"read.refused": 0.5, "read.cut": 0.3})
SHORT_SHARDS = Work(0.05, 0.0, 1.0, 0.5, 0.2, 6.0)


@dataclass(frozen=True)
class Once:
    """What was found, by which seed, in a world with which changes."""

    found: str
    seed: int
    changes: dict[str, Any]


ONCE_RED = (
    Once(
        "a finish that was carried twice was taken for one never applied: two workers trusted one lease",
        0,
        {"network": TWICE, "workers": 3, "keys": 8, "happenings": ("start", "drain", "drain")},
    ),
    Once(
        "a lease that moved while its take waited for its turn was taken: two workers trusted one lease",
        11,
        {
            "network": LATE_AND_LOSSY,
            "work": replace(SHORT_SHARDS, records=20.0),
            "workers": 3,
            "keys": 30,
            "happenings": ("freeze", "freeze", "suspend", "start"),
            "failover": 1.0,
        },
    ),
    Once(
        "a child's row that was made twice began a second tenure beside the first",
        8,
        {"network": LATE_AND_LOSSY, "work": SHORT_SHARDS, "workers": 3, "keys": 4, "failover": 5.0},
    ),
    Once(
        "a dead owner's new child was left alone like one that nobody ever had: taken over later than promised",
        43103,
        {
            "faults": "none",
            "network": Calm(usual_seconds=0.03),
            "work": Work(0.3, 0.0, 0.0, 1.0, 0.5, 20.0),
            "workers": 4,
            "keys": 8,
            "happenings": ("start", "nothing", "crash"),
            "phase": 60.0,
            "pause": 3.0,
            "stagger": 0.0,
            "failover": 10.0,
        },
    ),
    Once(
        "a leaving worker counted on one place of its peer for three leases: two were passed on to nobody",
        400893,
        {
            "faults": "none",
            "network": Calm(usual_seconds=0.03),
            "work": Work(0.05, 0.0, 45.0, 0.0, 0.5, 20.0, obeys=True),
            "workers": 2,
            "keys": 8,
            "max_leases": 6,
            "happenings": ("start", "nothing", "drain", "restart"),
            "hand_off_timeout": 30.0,
            "drain_timeout": 10.0,
            "phase": 26.0,
            "pause": 3.0,
            "stagger": 2.0,
            "skew": 500.0,
            "failover": 2.0,
            "safety_only": False,
        },
    ),
)


@pytest.mark.parametrize("once", ONCE_RED, ids=lambda once: once.found.partition(":")[0].replace(" ", "_"))
def test_what_was_once_red_stays_green(once: Once) -> None:
    same = {"faults": "heavy", "max_leases": None, "drift": 0.005, "safety_only": True}
    report = run_seed(once.seed, replace(drawn(once.seed), **(same | once.changes)))
    if report.violations:
        pytest.fail("\n".join((once.found, *report.violations, *report.last_steps[-30:])), pytrace=False)


AS_DRAWN = {
    403239: "a receiver that filled up by a split, taken for one chosen wrongly (the judge)",
    403359: "a receiver that filled up by a take, taken for one chosen wrongly (the judge)",
    406544: "two leases that were let go at once counted on one place",
    406590: "two leases that were let go at once counted on one place, and were read by nobody for 4.6 s",
    406650: "leases that waited for a place among full workers, taken for a fleet that does not rest (the judge)",
}


@pytest.mark.parametrize("seed", AS_DRAWN)
def test_a_seed_that_was_once_red_stays_green(seed: int) -> None:
    report = run_seed(seed, drawn(seed))
    if report.violations:
        pytest.fail("\n".join((AS_DRAWN[seed], *report.violations, *report.last_steps[-30:])), pytrace=False)
