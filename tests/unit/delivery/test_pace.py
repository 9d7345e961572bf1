"""Pace: never more than the rate and a second's worth, never much less, in the order of asking."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.config import InitialPosition, WorkerConfig
from consumer.delivery.pace import Pace
from consumer.testing.virtual_time import VirtualClock, run_virtual

CONFIG = WorkerConfig(app="orders", initial_position=InitialPosition("LATEST"))
LEAST_PAUSE_SECONDS = 0.001


@dataclass(frozen=True)
class Asked:
    """One batch: asked for at an instant, given up ``patience_seconds`` later where it has not gone by then."""

    at: float
    records: int
    size_bytes: int
    patience_seconds: float | None


@dataclass(frozen=True)
class Went:
    """Batch ``number`` (in the order of asking) went at an instant."""

    number: int
    at: float
    records: int
    size_bytes: int


def deliver(asked: list[Asked], *, records: float | None, size: float | None, seed: int | None = None) -> list[Went]:
    """What went and when, of batches asked for in the list's order."""
    went: list[Went] = []

    async def main() -> None:
        clock, loop = VirtualClock(), asyncio.get_running_loop()
        pace = Pace(clock, records_per_second=records, bytes_per_second=size)

        async def one(number: int, batch: Asked) -> None:
            try:
                async with asyncio.timeout(batch.patience_seconds):
                    await pace.turn(batch.records, batch.size_bytes)
            except TimeoutError:
                return
            went.append(Went(number, loop.time(), batch.records, batch.size_bytes))

        async with asyncio.TaskGroup() as group:
            for number, batch in enumerate(asked):
                if batch.at > loop.time():
                    await asyncio.sleep(batch.at - loop.time())
                group.create_task(one(number, batch))
                await asyncio.sleep(0)

    run_virtual(main(), seed=seed)
    return went


batches = st.lists(
    st.builds(
        Asked,
        at=st.floats(0, 20),
        records=st.integers(0, 50),
        size_bytes=st.integers(0, 5000),
        patience_seconds=st.none() | st.floats(0.01, 10),
    ),
    min_size=1,
    max_size=25,
).map(lambda found: sorted(found, key=lambda each: each.at))
rates = st.sampled_from([0.5, 1.0, 7.3, 20.0, 1000.0])


@given(batches, rates, rates)
def test_within_any_time_no_more_goes_than_the_rate_and_a_burst(asked: list[Asked], records: float, kilobytes: float):
    went = deliver(asked, records=records, size=kilobytes * 100)
    for rate, weights in (
        (records, [each.records for each in went]),
        (kilobytes * 100, [each.size_bytes for each in went]),
    ):
        for first in range(len(went)):
            for last in range(first, len(went)):
                seconds = went[last].at - went[first].at
                some = weights[first : last + 1]
                # Where a single batch is more than a second's worth, it is the burst.
                assert sum(some) <= rate * seconds + max(rate, *some) + 1e-6


@given(batches, rates)
def test_turns_are_taken_in_the_order_of_asking_and_none_is_lost(asked: list[Asked], records: float):
    went = deliver(asked, records=records, size=None)
    numbers = [each.number for each in went]
    assert numbers == sorted(numbers)
    assert {number for number, each in enumerate(asked) if each.patience_seconds is None} <= set(numbers)


@given(batches, rates)
def test_nobody_waits_for_longer_than_what_went_before_has_cost(asked: list[Asked], records: float):
    for each in (went := deliver(asked, records=records, size=None)):
        before = sum(other.records for other in went if other.number < each.number)
        pauses = LEAST_PAUSE_SECONDS * len(asked)
        # Had all before it come at the instant of its asking, and were the saved second gone.
        assert each.at <= asked[each.number].at + (before + min(each.records, records)) / records + pauses


def test_a_batch_larger_than_a_seconds_worth_goes_at_once_and_is_paid_for_afterwards():
    asked = [Asked(0, 1000, 0, None), Asked(0, 1, 0, None), Asked(0, 100, 0, None)]
    assert [each.at for each in deliver(asked, records=100.0, size=None)] == pytest.approx([0.0, 9.01, 10.0], abs=0.02)


def test_who_gives_up_while_waiting_costs_the_next_one_nothing():
    asked = [Asked(0, 100, 0, None), Asked(0, 100, 0, 0.5), Asked(0, 50, 0, None)]
    went = deliver(asked, records=100.0, size=None)
    assert [(each.number, each.at) for each in went] == [(0, 0.0), (2, pytest.approx(0.5, abs=0.01))]


def test_the_slower_of_the_two_limits_decides():
    asked = [Asked(0, 10, 1000, None), Asked(0, 10, 1000, None)]
    assert deliver(asked, records=10.0, size=100_000.0)[1].at == pytest.approx(1.0, abs=0.01)
    assert deliver(asked, records=1000.0, size=500.0)[1].at == pytest.approx(2.0, abs=0.01)


def test_a_quiet_minute_saves_up_no_more_than_a_second():
    asked = [Asked(60, 100, 0, None), Asked(60, 100, 0, None)]
    assert [each.at for each in deliver(asked, records=100.0, size=None)] == pytest.approx([60.0, 61.0], abs=0.01)


def test_where_no_pace_is_set_there_is_nothing_to_ask():
    async def main() -> None:
        clock = VirtualClock()
        assert Pace.of(CONFIG, clock) is None
        assert Pace.of(replace(CONFIG, max_records_per_second=5.0), clock) is not None
        assert Pace.of(replace(CONFIG, max_bytes_per_second=5.0), clock) is not None

    run_virtual(main())
