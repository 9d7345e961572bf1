"""The judgement of the lease table's history is judged itself: doctored histories, each wrong in one way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from lease_store.checkpoint import Checkpoint
from lease_store.lease import Lease
from tests.integration.table_history import Stored, by_row, early_ends, wrong_writes

Entry = tuple[str, int, str | None, str | None, str]
"""(by, counter, owner, checkpoint owner, checkpoint)"""

SOUND: Sequence[Entry] = (
    ("ada", 0, "ada", None, "TRIM_HORIZON"),
    ("ada", 1, "ada", None, "10"),
    ("bob", 1, "bob", "ada", "10"),  # starts a hand-off
    ("ada", 2, "bob", "ada", "11"),
    ("ada", 3, "bob", None, "11"),
    ("bob", 4, "bob", None, "11"),
    ("bob", 5, None, None, "12"),  # releases
    ("ada", 6, "ada", None, "12"),  # at once: nobody owned it
    ("ada", 7, "ada", None, "SHARD_END"),
)


def rows(*entries: Entry, key: str = "s1", apart_seconds: float = 1.0) -> list[Stored]:
    """A history with a write every ``apart_seconds``."""
    return [
        Stored(
            by,
            Lease(
                key=key,
                counter=counter,
                owner=owner and f"{owner}-f00",
                checkpoint_owner=pending and f"{pending}-f00",
                checkpoint=Checkpoint(place),
            ),
            place_in_time * apart_seconds,
            place_in_time * apart_seconds + 0.01,
        )
        for place_in_time, (by, counter, owner, pending, place) in enumerate(entries)
    ]


def test_a_history_of_takes_renewals_and_hand_offs_is_sound() -> None:
    assert wrong_writes(rows(*SOUND), failover_seconds=2.0) == []


OWNED: Entry = ("ada", 7, "ada", None, "11")
PENDING: Entry = ("bob", 7, "bob", "ada", "11")


@pytest.mark.parametrize(
    ("before", "after", "wrong"),
    [
        (OWNED, ("ada", 8, "ada", None, "10"), "checkpoint 10 after 11"),
        (OWNED, ("ada", 9, "ada", None, "11"), "follows counter 7"),
        (OWNED, ("bob", 8, "ada", None, "12"), "owned by ada-f00"),
        (OWNED, ("bob", 7, "cleo", "ada", "11"), "hands the lease of ada-f00 to cleo-f00"),
        (PENDING, ("bob", 8, "bob", "ada", "12"), "owned by ada-f00"),
        (("ada", 7, "ada", None, "SHARD_END"), ("ada", 8, "ada", None, "SHARD_END"), "written after SHARD_END"),
        (OWNED, ("bob", 8, "bob", None, "11"), "taken from ada-f00 after a silence of 1.00 s"),
        (PENDING, ("bob", 8, "bob", None, "11"), "taken from ada-f00 after a silence of 1.00 s"),
        (PENDING, ("bob", 8, None, None, "11"), "taken from ada-f00 after a silence of 1.00 s"),
        (PENDING, ("cleo", 8, None, None, "11"), "owned by ada-f00"),
    ],
    ids=[
        "a checkpoint that goes back",
        "a write that nobody saw",
        "a zombie's write",
        "a hand-off by a third worker",
        "a receiver that writes before the owner has let go",
        "a renewal of what has ended",
        "a take from a live owner",
        "a take by a receiver that did not wait",
        "a receiver that passes on what its owner has not let go",
        "a hand-off ended by a third worker",
    ],
)
def test_what_must_not_stand_in_a_history_is_found(before: Entry, after: Entry, wrong: str) -> None:
    (found,) = wrong_writes(rows(before, after), failover_seconds=2.0)
    assert wrong in found


@pytest.mark.parametrize("to", [None, "cleo"])
def test_a_hand_off_that_a_dead_owner_left_pending_may_be_passed_on(to: str | None) -> None:
    assert wrong_writes(rows(PENDING, ("bob", 8, to, None, "11"), apart_seconds=2.0), failover_seconds=2.0) == []


def test_the_start_of_a_hand_off_is_no_sign_of_life() -> None:
    taken: Entry = ("cleo", 8, "cleo", None, "11")
    assert wrong_writes(rows(OWNED, PENDING, taken, apart_seconds=1.0), failover_seconds=2.0) == []
    assert len(wrong_writes(rows(OWNED, PENDING, taken, apart_seconds=0.9), failover_seconds=2.0)) == 1


def test_a_row_made_anew_is_another_row_and_writes_are_ordered_by_what_the_table_saw() -> None:
    first = rows(*SOUND)
    again = [replace(each, lease=replace(each.lease, created_at="2")) for each in rows(*SOUND[:2])]
    assert list(by_row([*again, *reversed(first)]).values()) == [again, first]


def test_a_shard_that_ends_before_its_children_have_rows_is_found() -> None:
    end = rows(*SOUND)
    end[-1] = replace(end[-1], lease=replace(end[-1].lease, children=("s2",)))
    child = rows(("ada", 0, "ada", None, "TRIM_HORIZON"), key="s2")
    late = [replace(child[0], asked_at=end[-1].asked_at + 0.1)]
    assert early_ends({"s1": end, "s2": child}) == []
    for wrong in ({"s1": end}, {"s1": end, "s2": late}):
        assert early_ends(wrong) == ["s1 ended by ada before the row of s2"]
