"""When a KCL 2.x's taker looks next, by when it was last seen to take."""

from __future__ import annotations

from collections.abc import Mapping

from consumer.leasing.takers import Takers
from lease_store.lease import Lease


def rows(owners: Mapping[str, str | None]) -> list[Lease]:
    return [Lease(key=key, owner=owner) for key, owner in owners.items()]


def test_a_taker_looks_every_two_failover_times_after_it_was_seen_to_take() -> None:
    takers = Takers(10.0)
    takers.see(rows({"a": "me", "b": "java"}), 0.0)
    assert takers.next_look("java", 3.0) == 3.0  # it may have owned that for days
    takers.see(rows({"a": "java", "b": "java"}), 5.0)
    assert takers.next_look("java", 5.0) == 5.0
    assert takers.next_look("java", 6.0) == 25.05
    assert takers.next_look("java", 25.1) == 45.1
    takers.see(rows({"a": "java", "b": "java"}), 30.0)  # nothing was taken, and no look was seen
    assert takers.next_look("java", 31.0) == 45.1


def test_a_row_that_is_new_or_let_go_is_no_take_and_who_owns_nothing_is_forgotten() -> None:
    takers = Takers(10.0)
    takers.see(rows({"a": "java"}), 0.0)
    takers.see(rows({"a": None, "child": "java"}), 5.0)
    assert takers.next_look("java", 6.0) == 6.0
    takers.see(rows({"a": "java", "child": "java"}), 7.0)
    takers.see(rows({"a": None}), 8.0)
    takers.see(rows({"a": None, "child": "java"}), 9.0)
    assert takers.next_look("java", 10.0) == 10.0
