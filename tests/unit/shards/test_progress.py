"""What hangs is told once, in time, by one timer for all shards; what goes on is not told at all."""

from __future__ import annotations

import asyncio

import pytest

from consumer.hooks import Stuck
from consumer.shards.progress import Progress, StuckWatch
from consumer.testing.virtual_time import VirtualClock
from tests.unit.shards.shard_fakes import at, virtual


def watched(facts, stuck_after_seconds=60.0):
    return StuckWatch(VirtualClock(), facts.append, stuck_after_seconds)


def timers():
    return [each for each in asyncio.get_running_loop()._scheduled if not each._cancelled]


def test_each_stage_that_lasts_is_told_once_and_no_more_than_a_twentieth_late():
    async def main():
        facts = []
        watch = watched(facts)
        first, second = Progress("s1", watch), Progress("s2", watch)
        first.begin("reading")
        await at(20)
        first.begin("checkpointing")
        second.begin("reading")
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
        progress = Progress("s1", watched(facts))
        for _ in range(10):
            progress.begin("reading")
            await asyncio.sleep(50)
            progress.begin("reading")  # a further attempt is none of its own
            progress.end("reading")
        assert facts == []
        for _ in range(2):
            progress.begin("reading")
            await asyncio.sleep(100)
            progress.end("reading")
        assert [type(fact) for fact in facts] == [Stuck, Stuck]
        assert progress.oldest_seconds() == progress.seconds("reading") == 0.0

    virtual(main)


def test_ten_thousand_shards_have_one_timer_and_idle_ones_none():
    async def main():
        facts = []
        watch = watched(facts)
        shards = [Progress(f"s{number}", watch) for number in range(10_000)]
        for shard in shards:
            shard.begin("reading")
        assert len(timers()) == 1
        for shard in shards:
            shard.end("reading")
        await asyncio.sleep(10)
        assert timers() == []
        assert facts == []

    virtual(main)


@pytest.mark.parametrize("end", ["end_all", "close"])
def test_a_shard_that_is_given_up_is_watched_no_longer(end):
    async def main():
        facts = []
        watch = watched(facts)
        progress = Progress("s1", watch)
        progress.begin("reading")
        progress.end_all() if end == "end_all" else watch.close()
        await asyncio.sleep(1_000)
        assert facts == []
        assert timers() == []

    virtual(main)
