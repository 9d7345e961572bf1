"""The log line at a change of mode says what was seen and what this worker does from now on."""

from __future__ import annotations

from typing import get_args

import pytest

from consumer.leasing.mode_words import FROM_NOW_ON, changed
from consumer.leasing.table_mode import Mode


def test_every_mode_has_its_words():
    assert set(FROM_NOW_ON) == set(get_args(Mode))


@pytest.mark.parametrize("mode", sorted(FROM_NOW_ON))
def test_the_first_look_names_table_mode_reason_and_what_follows(mode: str):
    line = changed("orders-leases", mode, "the row says so", previous=None)
    assert line.startswith(f"Lease table orders-leases is in mode {mode}, since the row says so: ")
    assert FROM_NOW_ON[mode] in line


def test_a_change_names_both_modes_and_what_is_done_from_now_on():
    line = changed("orders-leases", "leader", "row 'Leader' was made by java-1", previous="peer")
    assert (
        "goes from mode peer to mode leader, since row 'Leader' was made by java-1. From now on whoever holds" in line
    )
    assert "takes and asks for nothing by itself" in line
    assert len(line.splitlines()) == 1
