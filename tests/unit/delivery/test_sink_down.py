"""What records are written to is down for ten minutes: nobody's record becomes a dead letter for it.

A whole worker in virtual time. Whatever the shards, the lanes, the batches, whether calls fail at once or after a
time-out, whether it is down at a stretch or by turns: with a store configured nothing is given up that can be written.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from consumer.hooks import SinkDown, SinkUp
from tests.unit.delivery.whole_worker import Sink, World, play

RECORDS = 200
TEN_MINUTES = 600.0


def by_turns(down: float, up: float) -> Callable[[float], bool]:
    """Down and up, for ten minutes."""
    return lambda now: now < TEN_MINUTES and now % (down + up) < down


def at_a_stretch(now: float) -> bool:
    return now < TEN_MINUTES


def played(sink: Sink, *, keys: int = 20, shards: int = 1, at_once: int = RECORDS, **settings: object) -> World:
    """Two hundred records, and two hours for them; idle polls are few, for they are what virtual time costs.

    ``at_once`` are there from the beginning; the others come one by one, for longer than ten minutes.
    """

    def make() -> World:
        world = World(sink, shards=shards, idle_wait_seconds=10.0, **settings)
        for number in range(at_once):
            world.put(f"key-{number % keys}")
        for number in range(at_once, RECORDS):
            world.put_later((number - at_once + 1) * 1.2 * TEN_MINUTES / (RECORDS - at_once), f"key-{number % keys}")
        return world

    world, ended = play(make, 7200.0)
    assert ended, "it never came to its end"
    return world


@pytest.mark.parametrize(
    ("keys", "shards", "lanes", "batch_size", "slow_seconds"),
    [
        (1, 1, 1, 1, 0.0),
        (1, 1, 1, 100, 30.0),
        (20, 1, 1, 1, 30.0),  # two keys parked, and no third unit: the breaker stays closed
        (20, 1, 1, 100, 0.0),
        (20, 1, 4, 1, 0.0),
        (20, 1, 4, 100, 30.0),
        (20, 3, 1, 100, 30.0),
        (20, 3, 4, 1, 30.0),
        (20, 3, 4, 100, 0.0),
    ],
)
def test_down_for_ten_minutes(keys: int, shards: int, lanes: int, batch_size: int, slow_seconds: float):
    sink = Sink(down=at_a_stretch, slow_seconds=slow_seconds)
    world = played(sink, keys=keys, shards=shards, lanes=lanes, batch_size=batch_size)
    assert world.dead == {}
    assert {number for number, _ in sink.writes} == set(range(RECORDS))


@pytest.mark.parametrize(
    ("how", "bisect", "batch_size"),
    [("raise", False, 1), ("raise", False, 100), ("raise", True, 100), ("names", False, 100), ("fails", False, 100)],
)
def test_a_poison_record_in_that_time_is_the_only_dead_letter(how: str, bisect: bool, batch_size: int):
    sink = Sink(frozenset({77}), how=how, down=at_a_stretch)
    world = played(sink, bisect=bisect, batch_size=batch_size)
    assert world.dead == {77: "attempts_exhausted"}
    assert {number for number, _ in sink.writes} == set(range(RECORDS)) - {77}


@pytest.mark.parametrize(
    ("turns", "shards", "lanes", "batch_size", "bad"),
    [
        ((20.0, 10.0), 1, 1, 100, ()),
        ((20.0, 10.0), 3, 4, 100, (77,)),
        ((5.0, 5.0), 3, 4, 100, (77,)),
        ((0.5, 3.0), 3, 4, 1, (77,)),
        ((40.0, 1.0), 3, 1, 100, ()),
    ],
    ids=str,
)
def test_down_by_turns(turns: tuple[float, float], shards: int, lanes: int, batch_size: int, bad: tuple[int, ...]):
    """While others are tried often enough: who is alone each time that the sink is down can't be told from bad."""
    sink = Sink(frozenset(bad), down=by_turns(*turns))
    world = played(sink, shards=shards, lanes=lanes, batch_size=batch_size, at_once=80)
    assert set(world.dead) == set(bad)


def test_the_worker_says_that_it_is_down_and_asks_it_one_call_at_a_time():
    sink = Sink(down=at_a_stretch, slow_seconds=30.0)
    world = played(sink, shards=4, batch_size=10)
    (opened,), (closed,) = world.of(SinkDown), world.of(SinkUp)
    assert opened.units == 3
    assert closed.seconds == pytest.approx(TEN_MINUTES, abs=120.0)
    probes = [call for call in sink.calls if 120.0 < call.began_at < TEN_MINUTES]
    assert len(probes) > 5
    assert all(one.ended_at <= other.began_at for one, other in pairwise(probes))
    assert len(sink.calls) < 4 + 3 + len(probes) + RECORDS, "a sink that is down is not stormed"


@pytest.mark.parametrize("bisect", [False, True])
@pytest.mark.parametrize(("shards", "batch_size"), [(3, 100), (6, 10)])
def test_shards_that_each_have_a_bad_record_in_hand_are_no_sink_that_is_down(
    bisect: bool, shards: int, batch_size: int
):
    """Every probe would hold one of them, and nobody would ever find the sink up."""
    bad = frozenset(range(0, RECORDS, 9))
    sink = Sink(bad)
    world = played(sink, shards=shards, keys=50, batch_size=batch_size, bisect=bisect)
    assert set(world.dead) == bad
    assert {number for number, _ in sink.writes} == set(range(RECORDS)) - bad
