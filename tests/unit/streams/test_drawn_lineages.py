"""The shard graph's promises by hypothesis: over true lineages, partial listings and garbage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.config import InitialPosition
from consumer.streams.shard_audit import audit
from consumer.streams.shard_graph import deletable, leases_to_create, may_start, replaceable
from consumer.streams.source import Shard
from lease_store.checkpoint import AT_TIMESTAMP, LATEST, SHARD_END, TRIM_HORIZON
from lease_store.lease import Lease
from tests.unit.streams.lineages import (
    BEGUN,
    BIRTH,
    HORIZON,
    LABEL,
    NEWEST,
    OLD_LABEL,
    Stream,
    at,
    garbage,
    streams,
    sublists,
)


def planned(listing: Sequence[Shard], rows: dict[str, Lease], start: InitialPosition, pin: float | None = None) -> None:
    for lease in leases_to_create(listing, rows.values(), start, LABEL, pin=pin):
        assert lease.key not in rows
        rows[lease.key] = lease


@given(st.data(), streams(), st.booleans())
def test_any_first_part_of_a_plan_converges_to_the_same_rows(
    data: st.DataObject, stream: Stream, has_ages: bool
) -> None:
    listing = stream.listing if has_ages else stream.ageless
    pin = data.draw(st.floats(BIRTH - 200, BIRTH + 9000))
    start = data.draw(st.sampled_from([HORIZON, NEWEST, at(pin)]))
    whole = leases_to_create(listing, (), start, LABEL, pin=pin)
    part = whole[: data.draw(st.integers(1, len(whole)))]
    rest = leases_to_create(data.draw(st.permutations(listing)), part, start, LABEL, pin=pin + 5)
    assert {lease.key: lease for lease in (*part, *rest)} == {lease.key: lease for lease in whole}


@given(st.data(), streams())
def test_partial_listings_converge_to_a_row_for_every_shard(data: st.DataObject, stream: Stream) -> None:
    rows: dict[str, Lease] = {}
    for _ in range(data.draw(st.integers(0, 4))):
        planned(data.draw(sublists(stream.listing)), rows, HORIZON)
    planned(stream.listing, rows, HORIZON)
    assert set(rows) == {shard.id for shard in stream.shards}
    assert all(rows[shard.id].parents == shard.parents for shard in stream.shards)
    planned(stream.listing, rows, HORIZON)


@given(st.data(), streams(), st.booleans())
def test_no_record_from_the_pin_on_is_left_out(data: st.DataObject, stream: Stream, is_latest: bool) -> None:
    """Whatever was listed when: a shard that was open at the pin or later has a row and starts at or before it."""
    pin = data.draw(st.floats(BIRTH - 200, BIRTH + 9000))
    start = NEWEST if is_latest else at(pin)
    rows: dict[str, Lease] = {}
    for _ in range(data.draw(st.integers(0, 3))):
        planned(data.draw(sublists(stream.listing)), rows, start, pin)
    planned(stream.listing, rows, start, pin)
    for shard in stream.shards:
        if stream.closed_at.get(shard.id, float("inf")) >= pin:
            assert shard.id in rows
        if shard.id in rows:
            assert rows[shard.id].start_at == Decimal(str(pin))
            assert rows[shard.id].checkpoint in (TRIM_HORIZON, LATEST if is_latest else AT_TIMESTAMP)


@given(streams(), st.floats(BIRTH - 200, BIRTH + 9000))
def test_from_one_listing_nothing_older_than_the_pin_is_read(stream: Stream, pin: float) -> None:
    for start in (NEWEST, at(pin)):
        for lease in leases_to_create(stream.listing, (), start, LABEL, pin=pin):
            created_at = next(shard.created_at for shard in stream.shards if shard.id == lease.key)
            assert created_at is not None
            assert (lease.checkpoint == TRIM_HORIZON) == (created_at >= pin)


def finish_all(
    data: st.DataObject, rows: dict[str, Lease], listings: Sequence[Sequence[Shard]], truth: dict[str, tuple[str, ...]]
) -> None:
    """Read in any allowed order, the listing changing underneath; no child starts before a parent it can see."""
    for turn in range(10 * len(truth) + 10):
        listing = listings[min(turn, len(listings) - 1)]
        planned(listing, rows, HORIZON)
        startable = [key for key in sorted(rows) if may_start(rows[key], rows.values(), listing)]
        if not startable:
            if turn >= len(listings):
                return
            continue
        key = data.draw(st.sampled_from(startable))
        visible = {shard.id for shard in listing} | set(rows)
        for parent in truth[key]:
            assert parent not in visible or rows[parent].is_finished, f"{key} began before {parent}"
        rows[key] = replace(rows[key], checkpoint=SHARD_END)
    raise AssertionError("it never ends")


@settings(max_examples=60)
@given(st.data(), streams())
def test_a_child_never_begins_before_a_parent_that_can_be_seen_and_all_is_read(
    data: st.DataObject, stream: Stream
) -> None:
    listings = [data.draw(sublists(stream.listing)) for _ in range(data.draw(st.integers(0, 3)))]
    rows: dict[str, Lease] = {}
    finish_all(data, rows, [*listings, stream.listing], {shard.id: shard.parents for shard in stream.shards})
    assert set(rows) == {shard.id for shard in stream.shards}
    assert all(lease.is_finished for lease in rows.values())


@settings(max_examples=60)
@given(st.data(), garbage())
def test_garbage_is_survived_and_every_listed_shard_is_read(data: st.DataObject, listing: tuple[Shard, ...]) -> None:
    rows: dict[str, Lease] = {}
    finish_all(data, rows, [listing], {shard.id: () for shard in listing})
    assert set(rows) == {shard.id for shard in listing}
    assert all(lease.is_finished for lease in rows.values())


@given(st.data(), garbage(), garbage(), st.sampled_from([HORIZON, NEWEST, at(float(BIRTH))]))
def test_nothing_raises_on_garbage_and_the_same_input_gives_the_same_answer(
    data: st.DataObject, before: tuple[Shard, ...], after: tuple[Shard, ...], start: InitialPosition
) -> None:
    checkpoints = st.sampled_from([TRIM_HORIZON, LATEST, AT_TIMESTAMP, BEGUN, SHARD_END])
    rows = [
        replace(lease, checkpoint=data.draw(checkpoints), stream=data.draw(st.sampled_from([LABEL, OLD_LABEL, None])))
        for lease in leases_to_create(before, (), start, LABEL, pin=float(BIRTH))
    ]
    shuffled = data.draw(st.permutations(after))
    made = leases_to_create(after, rows, start, LABEL, pin=float(BIRTH))
    assert made == leases_to_create(shuffled, rows[::-1], start, LABEL, pin=float(BIRTH))
    replaceable(after, rows, start, LABEL, pin=float(BIRTH))
    audit(after, rows, LABEL)
    for lease in rows:
        may_start(lease, rows, after)
    gone = deletable(rows, after, LABEL)
    assert all(lease.is_finished for lease in gone)
    if start != HORIZON and not rows:
        assert bool(made) == bool(after), "a loop has no leaf, and is read all the same"


@given(st.data(), streams())
def test_cleaning_up_never_brings_a_shard_back(data: st.DataObject, stream: Stream) -> None:
    """Retention moves on, rows go, and no listing that follows makes a row again."""
    rows: dict[str, Lease] = {}
    planned(stream.listing, rows, HORIZON)
    last = {shard.id for shard in stream.open}
    rows = {key: replace(lease, checkpoint=BEGUN if key in last else SHARD_END) for key, lease in rows.items()}
    trimmed = data.draw(st.integers(0, len(stream.shards)))
    listing = tuple(shard for shard in stream.listing[trimmed:] if True) + tuple(
        shard for shard in stream.listing[:trimmed] if shard.is_open
    )
    for _ in range(len(rows) + 1):
        for lease in deletable(rows.values(), listing, LABEL):
            del rows[lease.key]
        assert leases_to_create(listing, rows.values(), NEWEST, LABEL, pin=0.0) == ()
    assert rows
    assert set(rows) == {shard.id for shard in listing}, "what is no longer listed is gone in the end"
