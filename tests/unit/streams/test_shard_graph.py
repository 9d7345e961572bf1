"""The shard graph: its rules, each by example."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal

import pytest

from consumer.streams.incarnations import old_stream_drained
from consumer.streams.shard_audit import audit
from consumer.streams.shard_graph import (
    blocking_parents,
    child_leases,
    deletable,
    leases_to_create,
    may_start,
    pin_for,
    replaceable,
)
from consumer.streams.source import Shard
from lease_store.checkpoint import AT_TIMESTAMP, LATEST, SHARD_END, TRIM_HORIZON, Checkpoint
from lease_store.lease import Lease
from tests.unit.streams.lineages import BEGUN, BIRTH, HORIZON, LABEL, NEWEST, OLD_LABEL, Stream, at


def row(
    key: str, checkpoint: Checkpoint = TRIM_HORIZON, *parents: str, start_at: float | None = None, label: str = LABEL
) -> Lease:
    pin = None if start_at is None else Decimal(str(start_at))
    return Lease(key=key, checkpoint=checkpoint, parents=tuple(sorted(parents)), stream=label, start_at=pin)


def shards(**parents: str) -> tuple[Shard, ...]:
    """``shards(a="", b="a", c="a b")``; a shard that is nobody's parent is open."""
    named = {each for text in parents.values() for each in text.split()}
    return tuple(Shard(name, tuple(text.split()), is_open=name not in named) for name, text in parents.items())


def words(leases: Iterable[Lease]) -> dict[str, str]:
    return {lease.key: str(lease.checkpoint) for lease in leases}


def test_trim_horizon_gives_every_listed_shard_a_row_parents_first() -> None:
    made = leases_to_create(shards(d="b c", b="a", c="a", a=""), (), HORIZON, LABEL)
    assert [lease.key for lease in made] == ["a", "b", "c", "d"]
    assert set(words(made).values()) == {"TRIM_HORIZON"}
    assert made[3] == Lease(key="d", parents=("b", "c"), stream=LABEL)


def test_latest_gives_the_leaves_a_row_with_the_pin_a_closed_leaf_too() -> None:
    listing = (*shards(a="", b="a"), Shard("c", is_open=False))
    made = leases_to_create(listing, (), NEWEST, LABEL, pin=99.0)
    assert words(made) == {"b": "LATEST", "c": "LATEST"}
    assert {lease.start_at for lease in made} == {Decimal("99.0")}


def test_at_timestamp_leaves_out_only_what_closed_well_before() -> None:
    old, middle = Shard("a", created_at=0.0), Shard("b", ("a",), created_at=100.0)
    listing = (old, middle, Shard("c", ("b",), created_at=200.0))
    assert words(leases_to_create(listing, (), at(300.0), LABEL)) == {"c": "AT_TIMESTAMP"}
    assert words(leases_to_create(listing, (), at(230.0), LABEL)) == {"b": "AT_TIMESTAMP", "c": "AT_TIMESTAMP"}
    made = leases_to_create(listing, (), at(150.0), LABEL)
    assert words(made) == {"a": "AT_TIMESTAMP", "b": "AT_TIMESTAMP", "c": "TRIM_HORIZON"}
    assert {lease.start_at for lease in made} == {Decimal("150.0")}


def test_at_timestamp_without_ages_asks_every_listed_shard() -> None:
    assert words(leases_to_create(shards(a="", b="a"), (), at(9.0), LABEL)) == {
        "a": "AT_TIMESTAMP",
        "b": "AT_TIMESTAMP",
    }


@pytest.mark.parametrize("parent", [LATEST, BEGUN, SHARD_END])
def test_a_child_that_appears_later_starts_at_the_horizon_whatever_the_start_was(parent: Checkpoint) -> None:
    made = leases_to_create(shards(a="", b="a"), [row("a", parent, start_at=50.0)], NEWEST, LABEL, pin=99.0)
    assert words(made) == {"b": "TRIM_HORIZON"}
    assert made[0].start_at == 50, "the group's pin is carried on, not the caller's"


def test_a_stranger_younger_than_the_pin_starts_at_the_horizon_an_older_one_at_the_pin() -> None:
    rows = [row("a", BEGUN, start_at=50.0), row("b", LATEST, start_at=48.0)]
    listing = (Shard("a"), Shard("b"), Shard("old", created_at=47.0), Shard("young", created_at=48.0), Shard("unknown"))
    made = leases_to_create(listing, rows, NEWEST, LABEL, pin=99.0)
    assert words(made) == {"young": "TRIM_HORIZON", "old": "LATEST", "unknown": "LATEST"}
    assert {lease.start_at for lease in made} == {Decimal("48.0")}


def test_a_leaf_that_got_no_row_when_the_group_began_is_read_after_what_may_have_closed_since() -> None:
    """Fleet seeds 300101, 311037: the first worker died after one row, and the parents' records since were lost.

    Kinesis does not tell when a shard was born. The rows that are made first, and a crash between, change nothing.
    """
    rows = [row("z", LATEST, start_at=1_000_000)]
    listing = shards(z="", g="", p="g", c="p")
    assert words(leases_to_create(listing, rows, NEWEST, LABEL, server_time=1_000_001.0)) == {"c": "LATEST"}
    while made := leases_to_create(listing, rows, NEWEST, LABEL, server_time=1_000_002.0):
        assert words(made) == dict.fromkeys([lease.key for lease in made], "AT_TIMESTAMP")
        assert made[0].start_at == 1_000_000
        rows.append(made[0])
    assert [lease.key for lease in rows] == ["z", "c", "p", "g"]
    assert blocking_parents(rows[1], rows[:2], listing, start=NEWEST, server_time=1_000_002.0) == ("p",)


def test_a_late_leaf_whose_parent_a_listing_leaves_out_is_made_so_that_the_parent_gets_a_row_once_it_shows() -> None:
    """Fleet seed 305280, with Kinesis at LATEST."""
    rows = [row("z", LATEST, start_at=1_000_000)]
    made = leases_to_create(shards(z="", c="p"), rows, NEWEST, LABEL, server_time=1_000_030.0)
    assert words(made) == {"c": "AT_TIMESTAMP"}
    listing = shards(z="", p="", c="p")
    made = leases_to_create(listing, [*rows, *made], NEWEST, LABEL, server_time=1_000_060.0)
    assert words(made) == {"p": "AT_TIMESTAMP"}


@pytest.mark.parametrize("other", [LATEST, SHARD_END])
def test_a_parent_without_a_row_whose_child_came_after_the_group_began_is_read_before_it(other: Checkpoint) -> None:
    """Fleet seed 305236, with Kinesis at LATEST: a merge between the first row of a group and its second."""
    rows = [row("b", other, start_at=1_000_000), row("m", TRIM_HORIZON, "a", "b", start_at=1_000_000)]
    listing = shards(a="", b="", m="a b")
    assert words(leases_to_create(listing, rows[:1], NEWEST, LABEL)) == {"m": "TRIM_HORIZON", "a": "LATEST"}
    assert words(leases_to_create(listing, rows, NEWEST, LABEL)) == {"a": "LATEST"}
    assert "a" in blocking_parents(rows[1], rows, listing, start=NEWEST)


def test_what_closed_before_the_group_began_gets_no_row_later_on() -> None:
    """The leaf stands for it, from which the instant was taken; or its age says so (DynamoDB)."""
    rows = [row("z", LATEST, start_at=1_000_000), row("c", LATEST, "p", start_at=1_000_000)]
    assert leases_to_create(shards(z="", p="", c="p"), rows, NEWEST, LABEL, server_time=1_003_600.0) == ()
    assert words(leases_to_create(shards(z="", p="", c="p", y=""), rows, NEWEST, LABEL, server_time=1_003_600.0)) == {
        "y": "LATEST"
    }
    aged = (Shard("z"), Shard("p", is_open=False, created_at=900_000.0), Shard("c", ("p",), created_at=990_000.0))
    assert words(leases_to_create(aged, rows[:1], NEWEST, LABEL, server_time=1_003_600.0)) == {"c": "LATEST"}


@pytest.mark.parametrize("stands", [LATEST, BEGUN, SHARD_END])
def test_what_a_leaf_of_the_first_listing_stands_for_gets_no_row_beside_a_late_leaf(stands: Checkpoint) -> None:
    """Fleet seed 400268, with Kinesis at LATEST: it was read after that leaf, out of order.

    Also once the late leaf's row, at AT_TIMESTAMP, is all that still tells how the group began.
    """
    rows = [row("c", stands, "p", start_at=1_000_000)]
    listing = shards(g="", p="g", c="p", q="g", d="q")
    made = leases_to_create(listing, rows, NEWEST, LABEL, server_time=1_000_002.0)
    assert words(made) == {"d": "AT_TIMESTAMP", "q": "AT_TIMESTAMP"}
    again = leases_to_create(listing, [*rows, made[0]], NEWEST, LABEL, server_time=1_000_002.0)
    assert words(again) == {"q": "AT_TIMESTAMP"}
    assert not blocking_parents(rows[0], [*rows, made[0]], listing, start=NEWEST, server_time=1_000_002.0)


def test_the_start_is_used_once_in_a_groups_life() -> None:
    rows = [row("a", SHARD_END)]
    assert words(leases_to_create(shards(a="", z=""), rows, NEWEST, LABEL, pin=99.0)) == {"z": "TRIM_HORIZON"}
    rows = [row("a", LATEST, start_at=5.0)]
    assert words(leases_to_create(shards(a="", z=""), rows, HORIZON, LABEL)) == {"z": "LATEST"}
    assert words(leases_to_create(shards(a="", z=""), [row("a", BEGUN, start_at=5.0)], at(7.0), LABEL)) == {
        "z": "AT_TIMESTAMP"
    }
    rows = [row("a", AT_TIMESTAMP, start_at=5.0), row("b", AT_TIMESTAMP, start_at=4.0)]
    (made,) = leases_to_create(shards(a="", b="", z=""), rows, HORIZON, LABEL)
    assert (made.checkpoint, made.start_at) == (AT_TIMESTAMP, Decimal("4.0")), "the earliest of two starts at once"


def test_an_ancestor_missing_between_two_generations_gets_a_row() -> None:
    rows = [row("a", BEGUN, start_at=5.0), row("c", TRIM_HORIZON, "b", start_at=5.0)]
    listing = shards(a="", b="a", c="b")
    assert words(leases_to_create(listing, rows, NEWEST, LABEL)) == {"b": "TRIM_HORIZON"}
    assert blocking_parents(rows[1], rows, listing) == ("b",), "its row is made first"


def test_latest_without_a_pin_is_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="LATEST"):
        leases_to_create(shards(a=""), (), NEWEST, LABEL)


def test_the_pin_is_the_services_second_less_one() -> None:
    assert pin_for(NEWEST, 1000.9, 5.0) == 999.0
    assert pin_for(NEWEST, None, 7.5) == 6.0
    assert pin_for(at(3.25), 1000.0, 5.0) == 3.25
    assert pin_for(HORIZON, 1000.0, 5.0) is None


def test_rows_of_another_incarnation_do_not_count_and_the_next_one_starts_at_the_horizon() -> None:
    rows = [row("x", BEGUN, label=OLD_LABEL, start_at=5.0)]
    made = leases_to_create(shards(a=""), rows, NEWEST, LABEL, pin=99.0)
    assert words(made) == {"a": "TRIM_HORIZON"}
    assert made[0].start_at is None
    assert not old_stream_drained(rows, LABEL)
    assert not may_start(made[0], rows, shards(a=""))
    rows = [replace(rows[0], checkpoint=SHARD_END), *made]
    assert may_start(made[0], rows, shards(a=""))


def test_the_old_incarnation_does_not_wait_for_the_new_one() -> None:
    rows = [row("x", label=OLD_LABEL), row("a")]
    assert may_start(rows[0], rows, ())
    assert not may_start(rows[1], rows, shards(a=""))


def test_another_stream_of_the_account_is_nobodys_past() -> None:
    foreign = row("x", label=LABEL.replace("orders", "users").replace("2026", "2025"))
    assert old_stream_drained([foreign], LABEL)
    assert words(leases_to_create(shards(a=""), [foreign], NEWEST, LABEL, pin=9.0)) == {"a": "LATEST"}


def test_a_recreated_kinesis_stream_takes_over_its_old_rows_one_by_one() -> None:
    old, new = "arn:aws:kinesis:eu-west-1:1:stream/s@999", "arn:aws:kinesis:eu-west-1:1:stream/s@1000.5"
    rows = [row("a", BEGUN, label=old)]
    assert leases_to_create(shards(a=""), rows, NEWEST, new, pin=9.0) == (), "the key is taken"
    assert replaceable(shards(a=""), rows, NEWEST, new, pin=9.0) == (), "not before the old stream is drained"
    rows = [row("a", SHARD_END, label=old), row("b", BEGUN, label=old)]
    assert replaceable(shards(a=""), rows, NEWEST, new, pin=9.0) == (), "nor before all of it is"
    rows = [row("a", SHARD_END, label=old), row("b", SHARD_END, label=old)]
    ((before, after),) = replaceable(shards(a=""), rows, NEWEST, new, pin=9.0)
    assert before == rows[0]
    assert (after.key, after.stream, after.checkpoint) == ("a", new, TRIM_HORIZON)


def test_children_get_their_rows_from_the_finishing_parent() -> None:
    parent = row("a", BEGUN, start_at=5.0)
    made = child_leases(shards(c="a b", b="a", d=""), parent, [row("b")])
    assert words(made) == {"c": "TRIM_HORIZON", "d": "TRIM_HORIZON"}
    assert [lease.parents for lease in made] == [("a", "b"), ("a",)]
    assert {lease.start_at for lease in made} == {Decimal("5.0")}
    assert child_leases([Shard("a", ("a",))], parent, []) == ()


def test_a_child_waits_for_every_parent() -> None:
    child = row("c", TRIM_HORIZON, "a", "b")
    listing = shards(a="", b="", c="a b")
    assert blocking_parents(child, [row("a"), row("b", BEGUN), child], listing) == ("a", "b")
    assert blocking_parents(child, [row("a", SHARD_END), row("b", BEGUN), child], listing) == ("b",)
    assert may_start(child, [row("a", SHARD_END), row("b", SHARD_END), child], listing)


def test_a_parent_without_a_row_blocks_while_it_is_listed_and_is_gone_when_not() -> None:
    child = row("b", TRIM_HORIZON, "a")
    assert blocking_parents(child, [child], shards(a="", b="a")) == ("a",)
    assert blocking_parents(child, [child], None) == ("a",), "no complete listing yet: nobody knows"
    assert blocking_parents(child, [child], shards(b="a")) == ()


def test_a_leaf_pinned_at_latest_does_not_wait_for_ancestors_that_get_no_row() -> None:
    listing = shards(a="", b="a")
    (leaf,) = leases_to_create(listing, (), NEWEST, LABEL, pin=9.0)
    assert may_start(leaf, [leaf], listing)


def test_what_has_begun_starts_again_and_what_has_ended_does_not() -> None:
    assert may_start(row("b", BEGUN, "a"), [row("a")], None)
    assert not may_start(row("b", SHARD_END), [], ())


def test_parents_of_another_incarnation_do_not_block() -> None:
    child = row("b", TRIM_HORIZON, "a")
    assert blocking_parents(child, [row("a", label=OLD_LABEL), child], shards(b="a")) == ()


def test_a_finished_row_stays_until_nobody_needs_it() -> None:
    parent, child = row("a", SHARD_END), row("b", BEGUN, "a")
    assert deletable([parent, child], shards(b="a"), LABEL) == (parent,)
    assert deletable([parent, child], shards(a="", b="a"), LABEL) == (), "still listed"
    assert deletable([parent, replace(child, checkpoint=TRIM_HORIZON)], shards(b="a"), LABEL) == (), "child not begun"
    assert deletable([parent], shards(b="a"), LABEL) == (), "the last row is the group's memory"
    assert deletable([replace(parent, children=("b",)), row("z")], shards(b="a"), LABEL) == (), "child's row to come"
    assert deletable([replace(parent, children=("b",)), row("z")], (), LABEL) == (replace(parent, children=("b",)),)
    grandchild = row("c", BEGUN, "b")
    family = [parent, replace(child, checkpoint=SHARD_END), grandchild]
    assert deletable(family, shards(c="b"), LABEL) == (parent,), "its child goes when it is gone"
    assert deletable([row("a", BEGUN), child], shards(b="a"), LABEL) == (), "not finished"


def test_a_dynamodb_row_stays_for_the_retention_even_if_a_stale_listing_forgot_its_shard() -> None:
    stream = Stream()
    first = stream.add(float(BIRTH))
    second = stream.add(BIRTH + 3600.0, first)
    rows = [row(first.id, SHARD_END), row(second.id, BEGUN, first.id)]
    assert deletable(rows, [second], LABEL, server_time=BIRTH + 86_400.0) == ()
    assert deletable(rows, [second], LABEL, server_time=BIRTH + 86_401.0) == (rows[0],)


def test_rows_of_the_old_incarnation_go_when_it_is_drained_and_the_new_one_has_begun_its_table() -> None:
    old = [row("x", SHARD_END, label=OLD_LABEL), row("y", SHARD_END, label=OLD_LABEL)]
    assert deletable(old, shards(a=""), LABEL) == ()
    assert deletable([*old, row("a")], shards(a=""), LABEL) == tuple(old)
    assert deletable([old[0], row("y", BEGUN, label=OLD_LABEL), row("a")], shards(a=""), LABEL) == ()


def test_the_audit_says_what_is_odd() -> None:
    listing = (
        *shards(loop1="loop2", loop2="loop1", late="", child="late", done="", heir="done"),
        Shard("twice"),
        Shard("twice"),
        Shard("open"),
        Shard("childless", is_open=False),
    )
    rows = [row("child", BEGUN, "late"), row("open", SHARD_END), row("childless", SHARD_END), row("done", SHARD_END)]
    found = {finding.shard_id: finding.sentence for finding in audit(listing, rows, LABEL)}
    assert set(found) == {"loop1", "loop2", "twice", "late", "open", "childless"}
    assert "open" in found["open"]
    assert "late" in found["late"]
