"""Keys that wait: how many, how much and how far ahead others may go, and what waits for them at a shard's end."""

from __future__ import annotations

import pytest

from consumer.shards.lifecycle import Event
from consumer.testing import MemoryDeadLetters
from tests.unit.delivery.delivery_stage import Sink, letters_of, pages, play
from tests.unit.shards.shard_fakes import stored

TWENTY = [(number, f"k{number}") for number in range(1, 21)]


def tried(bad, *, seconds=600.0, bad_for=None, call_seconds=0.0, **settings):
    """Numbers of the records that were tried at all while ``bad`` fail by themselves; then the stage."""
    sink = Sink(*bad, how="fail", seconds=call_seconds)
    if bad_for is not None:
        sink.down = lambda: len(sink.calls) > bad_for and sink.bad.clear()
    stage = play(sink, pages(TWENTY), seconds=seconds, batch_size=1, breaker_batches=0, **settings)
    return sorted({number for _, numbers in sink.calls for number in numbers}), stage


@pytest.mark.parametrize(
    ("bad", "settings", "last"),
    [
        ((1, 2, 3), {"max_parked_keys": 3}, 20),
        ((1, 2, 3), {"max_parked_keys": 2}, 3),  # one more than may wait: now the shard does
        ((2,), {"max_parked_keys": 0}, 2),
        ((1, 2, 3), {"max_parked_bytes": 2048}, 2),
        ((1,), {"max_ahead_records": 10}, 10),
    ],
    ids=str,
)
def test_c20_others_go_on_within_bounds_and_beyond_them_the_shard_waits(bad, settings, last):
    seen, stage = tried(bad, **settings)
    assert seen == list(range(1, last + 1))
    assert stage.ended_by is None
    assert stored(stage) == [str(number) for number in range(1, bad[0])][-1:]


@pytest.mark.parametrize(("settings", "last"), [({"lanes": 4}, 20), ({"bisect": True}, 20), ({}, 7)], ids=str)
def test_with_lanes_or_bisect_what_raises_alone_parks_its_key(settings, last):
    sink = Sink(7)
    play(sink, pages(TWENTY), batch_size=1, breaker_batches=0, **settings)
    assert sorted(sink.effects) == [number for number in range(1, last + 1) if number != 7]


@pytest.mark.parametrize("how", ["raise", "fail"])
@pytest.mark.parametrize("settings", [{"max_parked_keys": 10}, {"max_parked_keys": 10, "lanes": 4}], ids=str)
def test_more_bad_keys_than_may_wait_do_not_hold_up_the_good_ones_where_there_is_a_store(how, settings):
    """One good record for each bad one that is tried: else nobody could tell bad records from a sink that is down."""
    bad = range(5, 501, 5)
    sink, store = Sink(*bad, how=how), MemoryDeadLetters()
    script = pages(*([(number, f"k{number}") for number in range(at, at + 100)] for at in range(1, 501, 100)))
    stage = play(sink, script, dead_letters=store, seconds=2 * 3600, batch_size=10, bisect=True, **settings)
    assert {number for number, _ in letters_of(store)} == set(bad)
    good_at = [at for at, numbers in sink.calls if not sink.bad.issuperset(numbers)]
    assert max(good_at) < 120.0
    assert stage.ended_by is Event.END_STORED


def test_nor_do_they_go_on_for_longer_than_is_said():
    seen, _ = tried((1,), call_seconds=1.0, max_ahead_seconds=5)
    assert 3 <= len(seen) <= 7


@pytest.mark.parametrize("lanes", [2, 16])
def test_all_lanes_together_go_no_further_than_one_would(lanes):
    seen, _ = tried((1,), lanes=lanes, max_ahead_records=10)
    assert seen == list(range(1, 11))


@pytest.mark.parametrize("settings", [{"max_parked_keys": 0}, {"max_ahead_records": 5}, {"max_parked_bytes": 1}])
def test_a_shard_that_waited_goes_on_once_the_record_succeeds(settings):
    seen, stage = tried((1, 2), bad_for=12, **settings)
    assert seen == list(range(1, 21))
    assert stage.ended_by is Event.END_STORED


def test_the_end_of_a_shard_waits_for_its_parked_keys():
    stages = []
    sink = Sink(7, how="fail")
    stage = play(sink, pages(TWENTY), check=lambda stage: stages.append(stage.consumer.status()))
    assert stage.ended_by is None, "its children may not begin"
    assert sorted(sink.effects) == [number for number in range(1, 21) if number != 7]
    assert stored(stage)[-1] == "6"
    assert (stages[0].stage, stages[0].parked_keys) == ("parked_at_end", 1)


def test_what_is_filtered_out_above_records_that_wait_for_their_window_is_bounded_too():
    """All of it is read again after a takeover, and its places are remembered: the batch rather goes early."""
    sink, judged = Sink(), []

    def is_wanted(record):
        judged.append(int(record.sequence_number))
        return judged[-1] == 1

    seen_at_call = []
    sink.down = lambda: seen_at_call.append(len(judged))
    sink.processor.filter = is_wanted
    script = pages([(number, f"k{number}") for number in range(1, 501)])
    stage = play(sink, script, batch_size=10, batch_window_seconds=60.0, max_ahead_records=20)
    assert [numbers for _, numbers in sink.calls] == [[1]]
    assert sink.calls[0][0] < 1.0
    assert seen_at_call[0] <= 20 + 10
    assert stage.ended_by is Event.END_STORED
