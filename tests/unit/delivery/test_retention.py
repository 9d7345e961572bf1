"""Half of retention: a parked record is saved before the stream loses it, or its shard waits and says so."""

from __future__ import annotations

import asyncio

import pytest

from consumer.errors import DeadLetterError
from consumer.shards.lifecycle import Event
from consumer.testing import MemoryDeadLetters
from consumer.testing.virtual_time import VirtualClock, run_virtual
from tests.unit.delivery.delivery_stage import Sink, kinesis, letters_of, play
from tests.unit.shards.shard_fakes import page

HOUR = 3600.0


def script(born):
    return [
        page([kinesis(number, f"k{number}", timestamp=born) for number in (1, 2, 3)]),
        page([kinesis(number, f"k{number}", timestamp=born) for number in (4, 5)], last=True, children=()),
    ]


def wall_at_start():
    return run_virtual(_wall())


async def _wall():
    return VirtualClock().wall() - asyncio.get_running_loop().time()


@pytest.mark.parametrize("how", ["fail", "raise"])
def test_what_fails_becomes_a_dead_letter_at_half_of_retention_however_many_attempts_are_left(how):
    sink, store = Sink(2, how=how), MemoryDeadLetters()
    born = wall_at_start()
    stage = play(sink, script(born), dead_letters=store, max_attempts=10_000, seconds=12 * HOUR + 120)
    assert letters_of(store) == [(2, "retention_half_gone")]
    assert stage.ended_by is Event.END_STORED


def test_a_record_that_was_old_when_it_first_failed_has_its_tries_all_the_same():
    sink, store = Sink(2, how="fail"), MemoryDeadLetters()
    born = wall_at_start() - 20 * HOUR
    play(sink, script(born), dead_letters=store, max_attempts=10_000, seconds=800)
    assert letters_of(store) == []


def test_an_outage_where_a_worker_lags_makes_no_letters_of_what_was_old_before():
    sink, store = Sink(down=lambda: asyncio.get_running_loop().time() < 2 * HOUR), MemoryDeadLetters()
    stage = play(sink, script(wall_at_start() - 13 * HOUR), dead_letters=store, max_attempts=10_000, seconds=4 * HOUR)
    assert letters_of(store) == []
    assert sorted(sink.effects) == [1, 2, 3, 4, 5]
    assert stage.ended_by is Event.END_STORED


def test_what_was_old_when_it_failed_first_is_saved_at_half_of_what_was_left():
    sink, store = Sink(2, how="raise"), MemoryDeadLetters()
    born = wall_at_start() - 20 * HOUR
    play(sink, script(born), dead_letters=store, max_attempts=10_000, seconds=2 * HOUR - 60)
    assert letters_of(store) == []
    play(sink, script(born), dead_letters=store, max_attempts=10_000, seconds=2 * HOUR + 120)
    assert letters_of(store) == [(2, "retention_half_gone")]


def test_what_leaves_does_not_keep_others_from_finding_the_sink_up():
    """Its letter is refused for as long as one looks; it had its place among those that probe."""

    def refuse(_):
        raise DeadLetterError

    now = asyncio.get_running_loop
    sink = Sink(down=lambda: now().time() < 0.4 * HOUR)
    start = wall_at_start()
    old = [kinesis(number, f"k{number}", timestamp=start - 23.5 * HOUR) for number in (1, 2, 3)]
    young = [kinesis(number, f"k{number}", timestamp=start) for number in range(4, 41)]
    play(
        sink,
        [page([*old, *young])],
        dead_letters=MemoryDeadLetters(before_put=refuse),
        lanes=4,
        batch_size=1,
        seconds=0.5 * HOUR,
    )
    assert sink.effects, "nobody probes"


def test_without_a_store_the_shard_waits_and_says_so(caplog):
    sink = Sink(2, how="fail")
    born = wall_at_start() - 13 * HOUR
    stage = play(sink, [script(born)[0], *script(born)[1:]], seconds=600, batch_size=3)
    assert sorted(set(sink.effects)) == [1, 3], "nothing more is ahead of it"
    assert "for half of its retention of 24 h" in caplog.text
    assert stage.ended_by is None


def test_lag_and_what_is_left_of_retention_count_from_the_record_that_waits():
    seen = []
    born = wall_at_start()
    play(Sink(2, how="fail"), script(born), seconds=HOUR, check=lambda stage: seen.append(stage.consumer.status()))
    assert abs(seen[0].lag_seconds - HOUR) < 5
    assert abs(seen[0].retention_left_seconds - 23 * HOUR) < 5
    assert seen[0].stage == "parked_at_end"
    assert seen[0].parked_keys == 1
