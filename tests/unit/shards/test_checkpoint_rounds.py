"""Checkpoints of many shards at one tick: one crossing for all, and what befalls one is no other's affair."""

from __future__ import annotations

import asyncio
import contextvars
import random

import pytest

from consumer.errors import LeaseLost, LeaseStoreError
from consumer.processor import RecordProcessor
from consumer.shards.checkpoint_rounds import CheckpointRounds
from consumer.testing.virtual_time import VirtualClock
from lease_store.checkpoint import Checkpoint
from tests.unit.shards.shard_fakes import FakeSource, FakeTenure, Stage, at, records, virtual

TEN = [f"s{number}" for number in range(10)]


class Table:
    """What stores many; each call is kept with its time, and each shard's answer is a test's to set."""

    def __init__(self):
        self.calls = []
        self.errors = {}
        self.fails = None
        self.seconds = 0.5

    async def store_many(self, wanted, told):
        self.calls.append(
            (asyncio.get_running_loop().time(), [(tenure.lease.key, str(place)) for tenure, place in wanted])
        )
        await asyncio.sleep(self.seconds)
        if self.fails:
            raise self.fails
        for tenure, _ in wanted:
            told(tenure, self.errors.get(tenure.lease.key))

    def rounds(self, interval_seconds=1.0):
        context = contextvars.copy_context()
        return CheckpointRounds(self.store_many, VirtualClock(), random.Random(1), interval_seconds, context)


def begin(rounds, keys=TEN):
    return {key: asyncio.ensure_future(rounds.store(FakeTenure(key=key), Checkpoint("5"))) for key in keys}


def test_what_is_asked_for_at_one_tick_goes_in_one_call_and_each_hears_of_its_own():
    async def main():
        table = Table()
        table.errors = {"s3": LeaseLost(), "s4": LeaseStoreError()}
        stored = begin(table.rounds())
        await asyncio.wait(stored.values())
        assert [sorted(wanted) for _, wanted in table.calls] == [[(key, "5") for key in TEN]]
        assert {key: type(each.exception()) for key, each in stored.items() if each.exception()} == {
            "s3": LeaseLost,
            "s4": LeaseStoreError,
        }

    virtual(main)


def test_who_has_gone_is_not_written_for_and_holds_up_nobody():
    async def main():
        table = Table()
        stored = begin(table.rounds())
        await asyncio.sleep(0)
        stored["s1"].cancel()
        await at(0.2)
        stored["s2"].cancel()
        await asyncio.wait(stored.values())
        assert len(table.calls[0][1]) == 9
        assert [each.cancelled() for each in stored.values()].count(True) == 2

    virtual(main)


def test_a_call_that_fails_as_a_whole_fails_for_all():
    async def main():
        table = Table()
        table.fails = RuntimeError("The lease loop is not running.")
        stored = begin(table.rounds())
        await asyncio.wait(stored.values())
        assert {type(each.exception()) for each in stored.values()} == {RuntimeError}

    virtual(main)


@pytest.mark.parametrize("interval", [0.2, 1.0, 60.0])
def test_ticks_are_an_interval_apart_and_never_further_away(interval):
    async def main():
        rounds = Table().rounds(interval)
        clock = VirtualClock()
        ticks = []
        for _ in range(100):
            tick = rounds.next_tick()
            assert 0 < tick - clock.monotonic() <= interval + 1e-9
            ticks.append(tick)
            await asyncio.sleep(tick - clock.monotonic() + interval / 3)
        assert ticks == [pytest.approx(ticks[0] + number * interval) for number in range(100)]

    virtual(main, limit_seconds=10_000)


def test_without_an_interval_nothing_waits_for_a_tick():
    async def main():
        assert Table().rounds(0.0).next_tick() == VirtualClock().monotonic()

    virtual(main)


def test_a_round_that_is_under_way_when_all_ends_leaves_no_task():
    async def main():
        table = Table()
        table.seconds = 100.0
        rounds = table.rounds()
        stored = begin(rounds)
        await at(1)
        rounds.close()
        await at(2)
        assert not rounds._rounds
        assert all(each.cancelled() for each in stored.values()), "nobody waits for what will not come"

    virtual(main)


class Paced(RecordProcessor):
    async def process_records(self, records, checkpointer):
        await asyncio.sleep(0.1)


def test_shards_that_were_busy_at_different_moments_store_at_the_same_ticks():
    """Sixty-four single writes a second cost a third of a whole consumer's time."""

    async def main():
        first = Stage(FakeTenure(key="first"), FakeSource(*(records(n) for n in range(1, 90))), Paced)
        later = Stage(FakeTenure(key="later"), FakeSource(*(records(n) for n in range(1, 90))), Paced)
        first.consumer.begin()
        await at(0.35)
        later.consumer.begin()
        await at(7)
        ticks = [round(when, 3) for when, _ in first.rounds[1:]]  # from the second on: both were quiet before
        assert len(ticks) >= 5
        assert [round(when, 3) for when, _ in later.rounds[1:]][:5] == ticks[:5]
        for stage in (first, later):
            stage.tenure.ask("drain")
            await stage.ended
            assert stage.tenure.stored[-1][1] != stage.rounds[-1][1], "a drain does not wait for a tick"

    virtual(main)
