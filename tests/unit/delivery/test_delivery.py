"""Failures of records, policy by policy: what is done, what waits, what becomes a dead letter, what is stored."""

from __future__ import annotations

import asyncio

import pytest

from consumer.errors import DeadLetterStoreUnavailable
from consumer.hooks import KeyParked, KeyResumed, RecordsGivenUp, SinkDown, SinkUp
from consumer.shards.lifecycle import Event
from consumer.testing import MemoryDeadLetters
from tests.unit.delivery.delivery_stage import Sink, letters_of, pages, play
from tests.unit.shards.shard_fakes import stored

ALL = [(number, f"k{number % 10}") for number in range(1, 101)]


@pytest.mark.parametrize("how", ["return", "batch", "fail"])
def test_what_failed_by_itself_waits_with_its_key_and_the_rest_is_done_once(how):
    sink = Sink(25, how=how)
    stage = play(sink, pages(ALL), seconds=60)
    assert sorted(sink.effects) == [number for number in range(1, 101) if number != 25], "each once"
    assert {tuple(numbers) for _, numbers in sink.calls[1:]} == {(25,)}, "what follows it under its key waits for it"
    assert stored(stage)[-1] == "24"
    assert [fact.parked for fact in stage.of(KeyParked)] == [1]


def test_a_record_that_fails_for_a_while_holds_up_its_own_key_alone():
    sink = Sink(25, how="fail")
    calls = []
    sink.down = lambda: calls.append(1) or (len(calls) > 4 and sink.bad.clear())
    stage = play(sink, pages(ALL, [(101, "k5"), (102, "k6")]), seconds=600)
    assert stage.ended_by is Event.END_STORED
    of_key = [number for number in sink.effects if (number % 10 == 5 and number >= 25) or number == 101]
    assert list(dict.fromkeys(reversed(of_key))) == [101, 95, 85, 75, 65, 55, 45, 35, 25], (
        "the last effects are in order"
    )
    assert stage.of(KeyResumed)
    assert sorted(set(sink.effects)) == list(range(1, 103))


def test_without_a_store_a_plain_raise_is_tried_for_ever_and_nothing_passes_it():
    sink = Sink(5)
    stage = play(sink, pages(ALL[:10], ALL[10:20]), seconds=3600, batch_size=10)
    assert set(sink.effects) == {1, 2, 3, 4}
    assert len(sink.calls) > 30
    assert stored(stage) == []


def test_c01_with_a_store_the_poison_alone_becomes_a_dead_letter_and_all_else_is_done():
    sink, store = Sink(37), MemoryDeadLetters()
    stage = play(sink, pages(ALL), dead_letters=store, max_attempts=3)
    assert stage.ended_by is Event.END_STORED
    assert set(sink.effects) == {*range(1, 101)} - {37}
    assert letters_of(store) == [(37, "attempts_exhausted")]
    assert [(fact.count, fact.fate) for fact in stage.of(RecordsGivenUp)] == [(1, "dead_letter")]


def test_a_bisected_batch_runs_no_half_again_that_succeeded():
    sink, store = Sink(37), MemoryDeadLetters()
    stage = play(sink, pages(ALL), dead_letters=store, max_attempts=2, bisect=True)
    assert stage.ended_by is Event.END_STORED
    tried = [number for _, numbers in sink.calls for number in numbers]
    assert len(tried) <= 100 * 8
    done = [tuple(numbers) for _, numbers in sink.calls if 37 not in numbers]
    assert sorted(number for numbers in done for number in numbers) == [n for n in range(1, 101) if n != 37]
    assert letters_of(store) == [(37, "attempts_exhausted")]


def test_the_checkpoint_waits_for_the_store():
    down = [True]

    def refuse(letters):
        if down[0] and letters:
            raise DeadLetterStoreUnavailable("down")

    sink, store = Sink(37, how="fail"), MemoryDeadLetters(before_put=refuse)
    stage = play(sink, pages(ALL), dead_letters=store, max_attempts=2, seconds=300)
    assert stored(stage)[-1] == "36"
    assert set(sink.effects) >= {38, 100}
    assert letters_of(store) == []


@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_a_sink_that_is_down_for_ten_minutes_makes_no_dead_letter(lanes, batch_size):
    sink, store = Sink(), MemoryDeadLetters()
    sink.down = lambda: asyncio.get_running_loop().time() < 600
    stage = play(sink, pages(ALL), dead_letters=store, seconds=3000, lanes=lanes, batch_size=batch_size)
    assert letters_of(store) == []
    assert stage.ended_by is Event.END_STORED
    assert set(sink.effects) == set(range(1, 101))
    assert len(stage.of(SinkDown)) == len(stage.of(SinkUp)) >= 1


@pytest.mark.parametrize(("minutes", "settings"), [(20, {}), (240, {}), (20, {"bisect": True}), (55, {"bisect": True})])
def test_nor_does_one_that_is_down_for_longer_than_a_lone_failure_may_wait(minutes, settings):
    sink, store = Sink(), MemoryDeadLetters()
    sink.down = lambda: asyncio.get_running_loop().time() < minutes * 60
    ahead = [(number, f"k{number}") for number in range(1, 21)]
    stage = play(sink, pages(ahead), dead_letters=store, seconds=minutes * 60 + 3600, batch_size=5, **settings)
    assert letters_of(store) == []
    assert stage.ended_by is Event.END_STORED


def test_nor_one_that_goes_down_after_a_record_has_failed_beside_others():
    """Whose failure was its own: but it does not fail as it did then."""
    now, store = asyncio.get_running_loop, MemoryDeadLetters()
    sink = Sink(5, how="return")
    sink.down = lambda: bool(sink.calls[1:]) and now().time() < 600 and not sink.bad.clear()
    play(sink, pages([(number, f"k{number}") for number in range(1, 11)], ends=False), dead_letters=store, seconds=1000)
    assert letters_of(store) == []
    assert set(sink.effects) == set(range(1, 11))


@pytest.mark.parametrize("how", ["raise", "fail"])
@pytest.mark.parametrize(("lanes", "bad"), [(1, 3), (4, 40)])
def test_bad_records_with_nobody_beside_them_do_not_hold_up_a_shards_end_for_hours(how, lanes, bad):
    """Three or more that fail in a row look like a sink that is down; an hour later there is still nobody else."""
    numbers = range(1, bad + 1)
    sink, store = Sink(*numbers, how=how), MemoryDeadLetters()
    script = pages([(number, f"k{number}") for number in numbers])
    stage = play(sink, script, dead_letters=store, seconds=2 * 3600, lanes=lanes, bisect=True)
    assert [number for number, _ in letters_of(store)] == list(numbers)
    assert stage.ended_by is Event.END_STORED


def test_a_sink_that_is_down_does_not_kill_the_only_record_there_is():
    sink, store = Sink(), MemoryDeadLetters()
    sink.down = lambda: asyncio.get_running_loop().time() < 600
    stage = play(sink, pages([(1, "a")]), dead_letters=store, seconds=3000)
    assert letters_of(store) == []
    assert stage.ended_by is Event.END_STORED


def test_lanes_keep_the_order_of_each_key_and_end_together():
    sink = Sink(seconds=0.01)
    stage = play(sink, pages(ALL, [(number, f"k{number % 10}") for number in range(101, 201)]), lanes=4, batch_size=3)
    assert stage.ended_by is Event.END_STORED
    assert len(sink.effects) == 200
    for digit in range(10):
        of_key = [number for number in sink.effects if number % 10 == digit]
        assert of_key == sorted(of_key)
    assert all(told == ["initialize", "shard_ended"] for told in sink.told.values())
    assert sorted(sink.told) == [0, 1, 2, 3]
    assert stored(stage)[-1] == "200"


def test_dropping_is_done_only_where_it_is_said_by_name():
    sink = Sink(37)
    stage = play(sink, pages(ALL), on_give_up="drop", max_attempts=2)
    assert stage.ended_by is Event.END_STORED
    assert set(sink.effects) == {*range(1, 101)} - {37}
    assert [(fact.count, fact.fate) for fact in stage.of(RecordsGivenUp)] == [(1, "dropped")]


def test_no_payload_is_logged(caplog):
    sink, store = Sink(37, how="fail"), MemoryDeadLetters()
    play(sink, pages(ALL), dead_letters=store, max_attempts=2)
    play(Sink(5), pages(ALL), dead_letters=store, max_attempts=2)
    assert "secret" not in caplog.text
    assert "ValueError" in caplog.text
