"""Catalogue, latency: no pause at a deploy, none behind a page of big items, and a lag that says the truth."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from itertools import pairwise

import pytest

from consumer.hooks import PageRead
from consumer.testing.stream_rules import DYNAMODB
from consumer.worker import Outcome
from tests.catalogue.recorder import Batch
from tests.catalogue.stage import Group, Stage, staged


async def _keep_writing(stage: Stage, keys: int, every_seconds: float) -> None:
    while True:
        stage.put_each(keys)
        await asyncio.sleep(every_seconds)


@staged(shards=6)
async def test_c72_a_rolling_restart_of_three_workers_pauses_no_shard_for_2_s(stage: Stage) -> None:
    group = stage.group()
    old = [await group.start() for _ in range(3)]
    await group.until_held(2, 2, 2)
    writer = asyncio.ensure_future(_keep_writing(stage, 40, 0.1))
    await stage.advance(5)
    began = stage.now
    for each in old:
        await group.start()
        await group.until_held(1, 1, 2, 2)
        assert await each.drain() is Outcome.CLEAN
        await group.until_held(2, 2, 2)
    await stage.advance(5)
    writer.cancel()
    await group.until_given()
    times = defaultdict(list)
    for each in group.given:
        times[each.shard_id].append(each.at)
    assert sorted(times) == sorted(stage.open_shards())
    pauses = [max(later - earlier for earlier, later in pairwise(at)) for at in times.values()]
    assert stage.now - began > 5.0
    assert max(pauses) < 2.0
    assert not group.repeated()


@staged(latency_seconds=0.05)
async def test_c74_after_a_page_of_two_big_items_the_next_one_is_asked_for_at_once(stage: Stage) -> None:
    group = stage.group()
    member = await group.start()
    stage.put("k", 60, payload="x" * 400_000)
    await group.until_given()
    pages = [fact.records for fact in member.told(PageRead) if fact.records]
    assert pages == [DYNAMODB.page_bytes // 400_000] * 30
    reads = stage.plan.times("GetRecords")
    first = next(i for i, fact in enumerate(member.told(PageRead)) if fact.records)
    assert max(later - earlier for earlier, later in pairwise(reads[first : first + 30])) <= 0.05 + 1e-6


@pytest.mark.parametrize("source", ["dynamodb:lag", "kinesis:lag"])
@staged()
async def test_c91_the_lag_shown_is_within_2_s_of_the_truth_busy_and_idle(stage: Stage, source: str) -> None:
    """Truth: the age of the oldest record that user code is not through with."""
    stage.open(source)
    wrong: list[tuple[float, float, float]] = []
    waiting: dict[int, float] = {}

    def put(times: int) -> None:
        waiting.update({serial: stage.clock.wall() for serial in stage.put("k", times, source=source)})

    async def work(batch: Batch) -> None:
        await asyncio.sleep(0.03 * len(batch.serials))
        for serial in batch.serials:
            del waiting[serial]

    async def watch(group: Group) -> None:
        member = group.members[0]
        while True:
            await asyncio.sleep(0.5)
            (shard,) = member.worker.status().shards or (None,)
            shown = shard.lag_seconds if shard is not None else None
            truth = stage.clock.wall() - min(waiting.values(), default=stage.clock.wall())
            if shown is None or abs(shown - truth) > 2.0:
                wrong.append((stage.now, -1.0 if shown is None else shown, truth))

    put(200)
    await stage.advance(600)
    group = stage.group(source, batch_size=20)
    await group.start(work=work)
    await group.until_held(1)
    await stage.advance(1)
    watcher = asyncio.ensure_future(watch(group))
    await group.until_given()  # 10 min behind
    await stage.advance(60)  # idle
    for _ in range(60):  # busy beyond what it can do
        put(50)
        await stage.advance(1)
    await group.until_given(within_seconds=120.0)
    await stage.advance(60)
    watcher.cancel()
    assert wrong == []
