"""Catalogue, duplicate floods: what was done and stored is not given again, whoever comes, goes or takes by force."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import pytest

from consumer.hooks import HandOffFinished, LeaseTaken, TenureEnded
from consumer.worker import Outcome
from lease_store.item import to_item
from tests.catalogue.recorder import Batch
from tests.catalogue.stage import Group, Stage, staged
from tests.integration.going_on import going_on


def _written_to(stage: Stage, keys: int) -> AbstractAsyncContextManager[None]:
    """Each key is written to five times a second, for as long as this is entered."""
    return going_on(lambda _: stage.put_each(keys), 0.2, stage.clock)


@staged()
async def test_c59_a_busy_child_that_user_code_never_checkpoints_goes_on_where_it_was_on_another_worker(
    stage: Stage,
) -> None:
    group = stage.group()
    first = await group.start()
    async with _written_to(stage, 8):
        await stage.advance(5)
        stage.stream().lineage.rotate()
        stage.stream().lineage.split(stage.open_shards()[0])
        await stage.advance(20)
        second = await group.start()
        await group.until_held(1, 1)
        await stage.advance(10)
    await group.until_given()
    moved = {fact.shard_id for fact in first.told(HandOffFinished)}
    assert len(moved) == 1
    assert {each.shard_id for each in group.given if each.worker == second.name} == moved
    assert not group.repeated()


@pytest.mark.parametrize("source", ["dynamodb:closing", "kinesis:closing"])
@staged()
async def test_c60_shards_that_had_closed_are_not_read_again_after_a_restart(stage: Stage, source: str) -> None:
    stage.open(source, 2)
    group = stage.group(source)
    first = await group.start()
    for _ in range(3):
        stage.put_each(8, 5, source=source)
        await stage.advance(3)
        stage.stream(source).lineage.rotate()
    await stage.advance(3)
    closed = {lease.key for lease in group.leases().values() if lease.is_finished}
    assert len(closed) == 6
    assert await first.drain() is Outcome.CLEAN
    second = await group.start()
    stage.put_each(8, 5, source=source)
    await group.until_given()
    await stage.advance(40)
    assert not {fact.shard_id for fact in second.told(LeaseTaken)} & closed
    assert not group.repeated()


@staged(shards=4)
async def test_c63_two_workers_with_nothing_but_an_app_and_a_position_share_the_shards(stage: Stage) -> None:
    group = stage.group()
    for _ in range(2):
        await group.start(worker_id=None)
    await group.until_held(2, 2)
    stage.put_each(40, 5)
    await group.until_given()
    await stage.advance(30)
    assert not group.repeated()
    by = {worker: {each.shard_id for each in group.given if each.worker == worker} for worker in _workers(group)}
    assert sorted(len(shards) for shards in by.values()) == [2, 2]


def _workers(group: Group) -> list[str]:
    return [member.name for member in group.members]


@staged()
async def test_c64_whoever_loses_a_lease_by_force_stops_reading_and_calling_within_one_renewal(stage: Stage) -> None:
    """No checkpoint tells it, but its next look at the table, sooner than a renewal; the thief is no live worker."""
    group = stage.group(checkpoint_interval_seconds=3600.0)
    member = await group.start()
    look = 1.2  # a look a second, and the write that it brings
    async with _written_to(stage, 3):
        await stage.advance(12)
        known = len(group.writes)
        await stage.until(lambda: len(group.writes) > known, "a renewal", within_seconds=10.0)
        (row,) = group.leases().values()
        thief = replace(row, owner="thief", counter=row.counter + 1)
        group.judge.table.put_item(to_item(thief))
        at, wall_clock = stage.now, stage.clock.monotonic()
        await stage.advance(9)
        reads = [each - wall_clock for each in stage.plan.times("GetRecords")]
        assert 0.0 < max(each.at for each in group.given) - at <= look
        assert 0.0 < max(reads) <= look
        assert [fact.reason for fact in member.told(TenureEnded)] == ["lost"]
        assert [call.name for call in group.calls if call.at > at] == ["lease_lost"]


@staged(shards=4)
async def test_c65_growing_to_two_workers_and_back_to_one_while_busy_repeats_nothing(stage: Stage) -> None:
    async def work(batch: Batch) -> None:
        await asyncio.sleep(0.05)

    group = stage.group()
    await group.start(work=work)
    async with _written_to(stage, 12):
        for _ in range(3):
            await stage.advance(5)
            second = await group.start(work=work)
            await group.until_held(2, 2)
            await stage.advance(5)
            assert await second.drain() is Outcome.CLEAN
            await group.until_held(4)
    await group.until_given()
    assert len({each.worker for each in group.given}) == 4
    assert not group.repeated()


@staged()
async def test_c66_after_a_crash_between_effect_and_checkpoint_the_next_owner_goes_on_at_once_with_a_higher_token(
    stage: Stage,
) -> None:
    """No idempotency store yet: the effect may come twice, nothing is locked, and the token tells the two apart."""
    effects: list[tuple[str, int]] = []

    def work(batch: Batch) -> None:
        effects.extend((batch.worker, serial) for serial in batch.serials)

    group = stage.group(checkpoint_interval_seconds=3600.0)
    first = await group.start(work=work)
    stage.put("k", 3)
    await group.until_given()  # the first checkpoint is stored at once, the next one in an hour
    await stage.advance(1)
    late = stage.put("k", 3)
    await group.until_given()
    first.kill()
    killed_at = stage.now
    second = await group.start(work=work)
    await stage.until(lambda: (second.name, late[-1]) in effects, "the effects again", within_seconds=12.0)
    assert stage.now - killed_at < 12.0
    told = [call.shard.fencing_token for call in group.calls if call.shard is not None]
    assert told == [write.after.counter for write in group.writes if write.verb == "take" and write.after is not None]
    assert len(told) == 2
    assert told[1] > told[0]
    assert [serial for worker, serial in effects if worker == second.name] == late
