"""What the worlds call rest, and each way of not being there."""

from __future__ import annotations

import pytest

from lease_store.lease import Lease
from tests.simulation.rest import unrest

ROWS = (Lease(key="k1", owner="a"), Lease(key="k2", owner="a"), Lease(key="k3", owner="b"))
HELD = {"a": ("k1", "k2"), "b": ("k3",)}
UNLIMITED = {"a": None, "b": None}


def test_leases_that_their_owners_hold_are_at_rest_within_one_of_each_other() -> None:
    assert unrest(ROWS, HELD, UNLIMITED) is None


@pytest.mark.parametrize(
    "row",
    [
        Lease(key="k4"),
        Lease(key="k4", owner="a"),
        Lease(key="k4", owner="gone"),
        Lease(key="k1", owner="a", checkpoint_owner="b"),
    ],
    ids=["nobody's", "not held by its owner", "its owner is gone", "on its way"],
)
def test_a_row_that_no_live_worker_holds_is_unrest(row: Lease) -> None:
    assert f"{row.key} is held by no live worker" in str(unrest((*ROWS, row), HELD, UNLIMITED))


def test_two_more_than_another_is_unrest_unless_that_one_is_full() -> None:
    assert "unbalanced" in str(unrest(ROWS[:2], {**HELD, "b": ()}, UNLIMITED))
    assert unrest(ROWS[:2], {**HELD, "b": ()}, {"a": None, "b": 0}) is None
