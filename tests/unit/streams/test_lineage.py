"""The family tree: times in ids, entries that say one thing twice, loops."""

from __future__ import annotations

from itertools import permutations

import pytest

from consumer.streams.lineage import Lineage, merged, shard_created_at
from consumer.streams.source import Shard
from lease_store.lease import Lease


@pytest.mark.parametrize(
    ("shard_id", "created_at"),
    [
        ("shardId-00000001763600000123-0a1b2c3d", 1_763_600_000.123),
        ("shardId-00000001763600000123", None),
        ("shardId-00000001763600000123-", None),
        ("shardId-000000000001", None),
        ("shardId-00000000000000000000-00000000", None),
        ("shardId-99999999999999999999-00000000", None),
        ("shardId-0000000176360000012x-0a1b2c3d", None),
        ("shardId-٠٠٠٠٠٠٠١٧٦٣٦٠٠٠٠٠١٢٣-0a1b2c3d", None),
        ("shard-00000001763600000123-0a1b2c3d", None),
        ("", None),
    ],
)
def test_only_an_id_that_looks_like_a_time_is_one(shard_id: str, created_at: float | None) -> None:
    assert shard_created_at(shard_id) == created_at


def test_entries_of_one_id_add_up_whatever_their_order() -> None:
    entries = (
        Shard("a", ("p",), is_open=True, created_at=5.0),
        Shard("a", ("q",), is_open=False, hash_range=("0", "1")),
        Shard("a", is_open=True, created_at=4.0),
    )
    expected = Shard("a", ("p", "q"), False, ("0", "1"), 5.0)
    for order in permutations(entries):
        assert merged(order) == {"a": expected}


def test_rows_know_parents_and_children_that_no_listing_shows_any_more() -> None:
    rows = [Lease(key="b", parents=("a",)), Lease(key="c", children=("d",))]
    lineage = Lineage([Shard("c", ("b",))], rows)
    assert lineage.order == ("a", "b", "c", "d")
    assert lineage.descendants(["a"]) == {"b", "c", "d"}
    assert lineage.looped == frozenset()


def test_edges_of_a_loop_are_dropped_and_the_others_stay() -> None:
    listing = [Shard("x", ("y",)), Shard("y", ("x", "root")), Shard("leaf", ("x",)), Shard("self", ("self",))]
    lineage = Lineage(listing, ())
    assert lineage.looped == {"x", "y", "self"}
    assert lineage.parents == {"leaf": ("x",), "root": (), "self": (), "x": (), "y": ("root",)}
    assert lineage.order.index("x") < lineage.order.index("leaf")


def test_a_lineage_of_years_is_no_deeper_than_the_stack() -> None:
    chain = [Shard(f"{number:06d}", (f"{number - 1:06d}",)) for number in range(1, 20_000)]
    lineage = Lineage(reversed(chain), ())
    assert len(lineage.order) == 20_000
    assert lineage.order[0] == "000000"
    assert len(lineage.descendants(["000000"])) == 19_999
