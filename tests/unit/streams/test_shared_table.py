"""A lease table that a KCL works in, too: what it cleaned up is not read again, what it lost is, by example."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal

import pytest

from consumer.config import InitialPosition
from consumer.streams.shard_audit import audit
from consumer.streams.shard_graph import blocking_parents, done_with, leases_to_create, may_start, unlisted_parents
from consumer.streams.source import Shard
from lease_store.checkpoint import AT_TIMESTAMP, LATEST, SHARD_END, TRIM_HORIZON, Checkpoint
from lease_store.item import table_scan
from lease_store.lease import Lease
from tests.golden.recordings import Item, tables
from tests.unit.streams.lineages import BEGUN, HORIZON, LABEL, NEWEST, at

RESHARDED = [(name, items) for name, place, items in tables() if place == "leases" and not name.endswith("workers")]
NOW = 1_800_000_000.0
STARTS = [HORIZON, NEWEST, at(9.0)]


def row(key: str, checkpoint: Checkpoint = TRIM_HORIZON, *parents: str, start_at: float | None = None) -> Lease:
    """A KCL's row: no mark of ours, but for the instant that the first Python owner of a LATEST row writes into it."""
    pin = None if start_at is None else Decimal(str(start_at))
    return Lease(key=key, checkpoint=checkpoint, parents=parents, stream=LABEL, start_at=pin)


def shards(**parents: str) -> tuple[Shard, ...]:
    named = {each for text in parents.values() for each in text.split()}
    return tuple(Shard(name, tuple(text.split()), is_open=name not in named) for name, text in parents.items())


def made(listing: Iterable[Shard], rows: Iterable[Lease], start: InitialPosition = HORIZON) -> dict[str, str]:
    found = leases_to_create(listing, rows, start, LABEL, pin=NOW - 1, server_time=NOW, shared=True)
    return {lease.key: str(lease.checkpoint) for lease in found}


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize(("moment", "items"), RESHARDED)
def test_what_a_real_kcl_deleted_of_finished_shards_is_not_made_anew(
    moment: str, items: list[Item], start: InitialPosition
) -> None:
    rows = [replace(lease, stream=LABEL) for lease in table_scan(items).leases]
    first = {parent for lease in rows for parent in lease.parents} | {lease.key for lease in rows if not lease.parents}
    listing = [Shard(name) for name in sorted(first)]
    listing += [Shard(lease.key, lease.parents, hash_range=lease.hash_range) for lease in rows if lease.parents]
    assert made(listing, rows, start) == {}, moment
    assert audit(listing, rows, LABEL, shared=True) == audit(listing[:1], rows, LABEL)


def test_the_recordings_have_clean_ups_in_them() -> None:
    gone = [
        name
        for name, items in RESHARDED
        if {parent for lease in table_scan(items).leases for parent in lease.parents}
        - {lease.key for lease in table_scan(items).leases}
    ]
    assert any("3.5.1" in name for name in gone)


def test_a_chain_of_which_only_the_last_row_is_left_is_done() -> None:
    listing = shards(a="", b="a", c="b", d="c")
    assert made(listing, [row("d", BEGUN, "c")]) == {}
    assert made(listing, [row("c", SHARD_END, "b")]) == {"d": "TRIM_HORIZON"}, "the child that its end should have made"


@pytest.mark.parametrize("start", STARTS)
def test_a_child_without_a_row_is_read_from_its_beginning_once_the_family_is_the_groups(start: InitialPosition) -> None:
    listing = shards(p="", c1="p", c2="p")
    assert made(listing, [row("p", SHARD_END), row("c1", BEGUN, "p")], start) == {"c2": "TRIM_HORIZON"}
    assert made(listing, [row("p", BEGUN)], start) == {"c1": "TRIM_HORIZON", "c2": "TRIM_HORIZON"}
    assert made(listing, [row("c1", BEGUN, "p"), row("c2", BEGUN, "p")], start) == {}


def test_of_a_half_made_group_at_latest_the_rest_starts_where_it_started_and_what_was_before_is_left_alone() -> None:
    listing = shards(g="", p="g", q="g", c1="p", c2="p", r="q")
    assert made(listing, [row("c1", LATEST, "p")], HORIZON) == {"c2": "LATEST", "r": "LATEST"}
    found = made(listing, [row("c1", BEGUN, "p")], NEWEST)
    assert found == {"c2": "TRIM_HORIZON", "r": "TRIM_HORIZON", "q": "LATEST"}, (
        "q is closed: at LATEST it holds nothing"
    )


def test_a_row_at_latest_lends_the_others_its_instant_where_it_has_one() -> None:
    listing = shards(c1="", c2="")
    found = leases_to_create(listing, [row("c1", LATEST, start_at=50.0)], NEWEST, LABEL, pin=99.0, shared=True)
    assert [(lease.key, lease.checkpoint, lease.start_at) for lease in found] == [("c2", LATEST, Decimal("50.0"))]
    found = leases_to_create(listing, [row("c1", LATEST)], NEWEST, LABEL, pin=99.0, shared=True)
    assert [(lease.key, lease.checkpoint, lease.start_at) for lease in found] == [("c2", LATEST, Decimal("99.0"))]


def test_the_lost_row_of_a_merges_other_parent_is_made_so_that_a_kcl_finds_both() -> None:
    listing = shards(a="", b="a", c="", m="b c")
    rows = [row("c", BEGUN), row("m", TRIM_HORIZON, "b", "c")]
    assert made(listing, rows, HORIZON) == {"a": "TRIM_HORIZON", "b": "TRIM_HORIZON"}
    assert blocking_parents(rows[1], rows, listing, shared=True) == ("b", "c")


def test_the_vectors_of_the_kcls_own_sync_with_what_it_leaves_to_the_end_of_a_shard() -> None:
    listing = shards(s0="", s1="", s2="", s3="", s4="", s5="", s6="s0 s1", s7="s2 s3", s8="s6 s7", s9="s5", s10="s5")
    rows = [row("s4", BEGUN), row("s5", BEGUN), row("s7", BEGUN, "s2", "s3")]
    below = {"s8": "TRIM_HORIZON", "s9": "TRIM_HORIZON", "s10": "TRIM_HORIZON"}
    assert made(listing, rows, NEWEST) == {"s6": "LATEST"} | below
    assert made(listing, rows, HORIZON) == dict.fromkeys(("s0", "s1", "s6"), "TRIM_HORIZON") | below
    assert made(listing, rows, at(9.0)) == dict.fromkeys(("s0", "s1", "s6"), "AT_TIMESTAMP") | below


def test_a_child_starts_although_its_parents_row_was_cleaned_up_or_never_was() -> None:
    listing = shards(p="", c1="p", c2="p")
    child, sibling = row("c1", TRIM_HORIZON, "p"), row("c2", BEGUN, "p")
    assert may_start(child, [child, sibling], listing, shared=True)
    assert not may_start(child, [child, sibling], listing), "where nobody cleans up, its row is still to come"
    alone = [child, row("c2", TRIM_HORIZON, "p")]
    assert may_start(child, alone, listing, start=NEWEST, shared=True), "the group began after it"
    assert not may_start(child, alone, listing, start=HORIZON, shared=True), "nothing of it was read, by all one knows"


def test_a_kcl_at_latest_never_finds_a_word_that_it_has_no_instant_for() -> None:
    """Among ourselves, what may have closed since the group's start is made at AT_TIMESTAMP."""
    listing = shards(z="", q="", r="q")
    assert made(listing, [row("z", LATEST, start_at=NOW - 60)], NEWEST) == {"r": "LATEST", "q": "LATEST"}


@pytest.mark.parametrize("start", [NEWEST, at(9.0)])
def test_what_came_before_a_row_at_which_a_kcls_group_began_is_never_read(start: InitialPosition) -> None:
    word = LATEST if start is NEWEST else AT_TIMESTAMP
    assert made(shards(g="", p="g", c="p"), [row("c", word, "p", start_at=9.0)], start) == {}


def test_a_fleet_of_ours_that_died_while_it_made_its_rows_at_an_instant_finds_the_rest_of_them_to_be_made() -> None:
    ours = replace(row("c", AT_TIMESTAMP, "p", start_at=9.0), created_at="1-x")
    assert made(shards(p="", c="p"), [ours], at(9.0)) == {"p": "AT_TIMESTAMP"}


def test_rows_of_an_adapter_for_descendants_wait_for_their_parents() -> None:
    """Adapter 2.0.1 makes the rows of all open shards at once, and of what lies between them and what it knows."""
    listing = shards(p="", c="p", d="c")
    rows = [row("p", BEGUN), row("c", TRIM_HORIZON, "p"), row("d", TRIM_HORIZON, "c")]
    assert made(listing, rows) == {}
    assert blocking_parents(rows[2], rows, listing, shared=True) == ("c",)
    rows[0] = row("p", SHARD_END)
    assert may_start(rows[1], rows, listing, shared=True)


@pytest.mark.parametrize(
    ("rows", "gone"),
    [
        ((row("p", SHARD_END), row("c1", BEGUN, "p"), row("c2", SHARD_END, "p")), ["p"]),
        ((row("p", SHARD_END), row("c1", BEGUN, "p"), row("c2", LATEST, "p")), ["p"]),
        ((row("p", SHARD_END), row("c1", BEGUN, "p"), row("c2", TRIM_HORIZON, "p")), []),
        ((row("p", SHARD_END), row("c1", BEGUN, "p"), row("c2", AT_TIMESTAMP, "p")), []),
        ((row("p", SHARD_END), row("c1", BEGUN, "p")), []),
        ((row("g", SHARD_END), row("p", SHARD_END, "g"), row("c1", BEGUN, "p"), row("c2", BEGUN, "p")), []),
        ((row("p", BEGUN), row("c1", BEGUN, "p"), row("c2", BEGUN, "p")), []),
    ],
)
def test_a_finished_row_is_done_with_when_the_kcl_would_delete_it(rows: tuple[Lease, ...], gone: list[str]) -> None:
    rows = tuple(replace(each, children=("c1", "c2")) if each.key == "p" else each for each in rows)
    assert [lease.key for lease in done_with(rows, LABEL)] == gone
    assert made(shards(p="", c1="p", c2="p"), [each for each in rows if each.key not in gone]).keys() <= {"c2"}


def test_a_finished_row_that_names_no_children_is_kept_since_nobody_knows_them_all() -> None:
    assert done_with((row("p", SHARD_END), row("c1", BEGUN, "p")), LABEL) == ()


def test_a_row_of_a_parent_that_is_known_by_name_only_has_the_range_that_the_adapter_expects() -> None:
    child = replace(row("c", TRIM_HORIZON, "p"), hash_range=("0", "1"))
    assert [lease.hash_range for lease in unlisted_parents(["p"], child, (), HORIZON)] == [("0", "1")]
    kinesis = replace(child, hash_range=("0", "99"))
    assert [lease.hash_range for lease in unlisted_parents(["p"], kinesis, (), HORIZON)] == [None]
