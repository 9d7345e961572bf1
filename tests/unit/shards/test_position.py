"""Pure decisions about reading: where to open, what to drop, how long to pause."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.shards.position import fresh, lag_seconds, pause_seconds, start_position
from consumer.streams.source import Page, Position
from lease_store.checkpoint import AT_TIMESTAMP, LATEST, SHARD_END, TRIM_HORIZON, Checkpoint
from lease_store.errors import InvalidRow
from lease_store.lease import Lease
from tests.unit.shards.shard_fakes import FakeRecord, page, records


def lease(checkpoint, start_at=None):
    return Lease(key="shard-1", checkpoint=checkpoint, start_at=start_at)


@pytest.mark.parametrize(
    ("checkpoint", "start_at", "aggregates", "position"),
    [
        (TRIM_HORIZON, None, False, Position("TRIM_HORIZON")),
        (TRIM_HORIZON, 5, False, Position("TRIM_HORIZON")),
        (LATEST, None, False, Position("LATEST")),
        (LATEST, 5, False, Position("AT_TIMESTAMP", timestamp=5.0)),
        (AT_TIMESTAMP, 5, True, Position("AT_TIMESTAMP", timestamp=5.0)),
        (Checkpoint("9"), 5, False, Position("AFTER_SEQUENCE_NUMBER", "9")),
        (Checkpoint("9", 2), 5, True, Position("AT_SEQUENCE_NUMBER", "9")),
    ],
)
def test_a_shard_is_opened_where_its_row_says(checkpoint, start_at, aggregates, position):
    assert start_position(lease(checkpoint, start_at), aggregates=aggregates) == position


@pytest.mark.parametrize("checkpoint", [SHARD_END, AT_TIMESTAMP])
def test_an_ended_shard_and_an_instant_without_its_time_can_not_be_opened(checkpoint):
    with pytest.raises(InvalidRow, match="shard-1"):
        start_position(lease(checkpoint), aggregates=False)


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 3)), unique=True), st.integers(0, 31), st.integers(0, 3))
def test_fresh_keeps_exactly_what_lies_above_in_order(places, number, sub):
    batch = [FakeRecord(str(n), s) for n, s in sorted(places)]
    kept = fresh(batch, above=Checkpoint(str(number), sub), drop_before=None)
    is_whole = [part for n, part in places if n == number] == [0]  # an aggregate's record that nobody took apart
    assert [(int(r.sequence_number), r.sub_sequence_number) for r in kept] == [
        p for p in sorted(places) if p > (number, sub) or (is_whole and sub > 0 and p == (number, 0))
    ]


@given(st.integers(0, 100), st.booleans(), st.one_of(st.none(), st.integers(0, 1_000)), st.floats(0.25, 60.0))
def test_a_pause_lies_within_its_limits(empty, has_records, behind, idle):
    found = page(records(1) if has_records else (), millis_behind_latest=behind)
    pause = pause_seconds(found, empty_in_a_row=0 if has_records else empty + 1, idle_wait_seconds=idle)
    assert pause == 0 if has_records or behind else 0.25 <= pause <= idle
    if not has_records and behind is None and empty + 1 <= 5:
        assert pause == 0.25


def test_lag_is_never_negative_and_unknown_without_a_time():
    assert lag_seconds(page(records(1, timestamp=50.0)), 40.0) == 0.0
    assert lag_seconds(page(records(1, timestamp=None)), 40.0) is None
    assert lag_seconds(Page((), "next"), 40.0) == 0.0
