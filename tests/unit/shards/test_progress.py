"""What hangs is told once, in time, by one timer for all shards; what goes on is not told at all."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from consumer.hooks import Stuck
from consumer.shards.progress import StuckWatch
from consumer.testing.virtual_time import VirtualClock
from tests.unit.shards.shard_fakes import at, virtual


@dataclass(frozen=True)
class Shard:
    shard_id: str


def watched(facts, stuck_after_seconds=60.0):
    return StuckWatch(VirtualClock(), facts.append, stuck_after_seconds)


def timers():
    return [each for each in asyncio.get_running_loop()._scheduled if not each._cancelled]


def test_each_stage_that_lasts_is_told_once_and_no_more_than_a_twentieth_late():
    async def main():
        facts = []
        watch = watched(facts)
        first, second = Shard("s1"), Shard("s2")
        watch.begin(first, "reading")
        await at(20)
        watch.begin(first, "checkpointing")
        watch.begin(second, "reading")
        await at(1_000)
        assert [(fact.shard_id, fact.stage) for fact in facts] == [
            ("s1", "reading"),
            ("s1", "checkpointing"),
            ("s2", "reading"),
        ]
        assert all(60 <= fact.seconds <= 63.1 for fact in facts)

    virtual(main)


def test_what_ends_in_time_is_not_told_and_what_begins_again_is_told_again():
    async def main():
        facts = []
        watch, shard = watched(facts), Shard("s1")
        for _ in range(10):
            watch.begin(shard, "reading")
            await asyncio.sleep(50)
            watch.begin(shard, "reading")  # a further attempt is none of its own
            watch.end(shard, "reading")
        assert facts == []
        for _ in range(2):
            watch.begin(shard, "reading")
            await asyncio.sleep(100)
            watch.end(shard, "reading")
        assert [type(fact) for fact in facts] == [Stuck, Stuck]
        assert watch.oldest_seconds(shard) == watch.seconds(shard, "reading") == 0.0

    virtual(main)


def test_ten_thousand_shards_have_one_timer_and_idle_ones_none():
    async def main():
        facts = []
        watch = watched(facts)
        shards = [Shard(f"s{number}") for number in range(10_000)]
        for shard in shards:
            watch.begin(shard, "reading")
        assert len(timers()) == 1
        for shard in shards:
            watch.end(shard, "reading")
        await asyncio.sleep(10)
        assert timers() == []
        assert facts == []

    virtual(main)


@pytest.mark.parametrize("end", ["end_all", "close"])
def test_a_shard_that_is_given_up_is_watched_no_longer(end):
    async def main():
        facts = []
        watch, shard = watched(facts), Shard("s1")
        watch.begin(shard, "reading")
        watch.end_all(shard) if end == "end_all" else watch.close()
        await asyncio.sleep(1_000)
        assert facts == []
        assert timers() == []

    virtual(main)
