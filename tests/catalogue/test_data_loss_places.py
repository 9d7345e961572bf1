"""Catalogue, data loss: where reading begins and goes on, after starts, ends of shards, outages and restored tables."""

from __future__ import annotations

import asyncio
import random

import pytest

from consumer.config import InitialPosition
from consumer.hooks import GapFound
from consumer.operate.prometheus import PrometheusHook
from consumer.testing.faults import Fault
from consumer.testing.stream_rules import Staleness
from consumer.worker import Outcome
from lease_store.item import to_item
from tests.catalogue.recorder import Batch
from tests.catalogue.stage import LONG, Stage, staged

LATEST = InitialPosition("LATEST")
DAY = 24.0


async def long_ago(stage: Stage) -> list[int]:
    """Records from before the group's time, far enough from its first second for no doubt."""
    serials = stage.put_each(keys=8, times=3)
    await stage.advance(60.0)
    return serials


# -- LATEST


@pytest.mark.parametrize("source", ["dynamodb:orders", "kinesis:clicks"])
def test_c04_a_group_that_starts_at_latest_loses_no_write_at_rotations(source: str) -> None:
    """Six rotations; writes go on in the gap between a shard's close and the discovery of its child."""

    @staged(source=source, shards=2)
    async def play(stage: Stage) -> None:
        before = await long_ago(stage)
        stage.plan.staleness = Staleness(child_late_seconds=20.0)
        group = stage.group(initial_position=LATEST)
        await group.start()
        await stage.advance(5.0)
        for _ in range(6):
            stage.put_each(keys=8)
            stage.stream().lineage.rotate()
            for _ in range(6):
                stage.put_each(keys=8)
                await stage.advance(10.0)
        await group.until_given()
        assert set(group.times()) == {each for each in range(24 + 6 * 7 * 8) if each not in before}
        assert not group.repeated()

    play()


@pytest.mark.parametrize("delay", [0.0, 1.0, 12.0, 30.0, 60.0])
@staged()
async def test_c05_a_group_that_starts_at_latest_loses_nothing_of_a_child_found_late(
    stage: Stage, delay: float
) -> None:
    await long_ago(stage)
    stage.plan.staleness = Staleness(child_late_seconds=delay, end_late_seconds=delay)
    group = stage.group(initial_position=LATEST)
    await group.start()
    await stage.advance(5.0)
    stage.stream().lineage.split()
    wanted = stage.put_each(keys=16)
    assert {stage.written(serial).place[1] for serial in wanted} == set(stage.open_shards())
    await group.until_given(delay + 45.0)
    assert sorted(group.times()) == wanted
    assert not group.repeated()


@pytest.mark.parametrize("seed", range(4))
@staged(shards=2)
async def test_c08_the_start_position_counts_once_in_the_life_of_a_group(stage: Stage, seed: int) -> None:
    """Restarts, deploys with other options, rotations in between, at random times: LATEST never skips again."""
    dice = random.Random(seed)
    before = await long_ago(stage)
    group = stage.group(initial_position=LATEST)
    member = await group.start()
    await stage.advance(3.0)
    for turn in range(6):
        if turn > 0:  # the first time nothing was checkpointed yet
            stage.put_each(keys=8)
        await stage.advance(dice.uniform(0.0, 30.0))
        if dice.random() < 0.5:
            member.kill()
        else:
            assert await member.drain() is Outcome.CLEAN
        stage.put_each(keys=8)
        if dice.random() < 0.5:
            stage.stream().lineage.rotate()
            stage.put_each(keys=8)
        await stage.advance(dice.uniform(0.0, 3600.0))
        now = InitialPosition("AT_TIMESTAMP", stage.clock.wall())
        member = await group.start(
            initial_position=dice.choice((LATEST, now, InitialPosition("TRIM_HORIZON"))),
            batch_size=dice.choice((1, 1000)),
            checkpointing="automatic",
            failover_seconds=dice.choice((3.0, 10.0)),
        )
    await group.until_given()
    assert not set(group.times()) & set(before), "nothing from before the start"


@staged()
async def test_a_start_at_an_instant_holds_where_the_service_does_not_know_at_timestamp(stage: Stage) -> None:
    """Reading begins at the horizon then, and what is older is dropped: also by who takes over before a checkpoint."""
    stage.plan.arm(Fault.refuse_at_timestamp())
    await long_ago(stage)
    group = stage.group(initial_position=InitialPosition("AT_TIMESTAMP", stage.clock.wall()), failover_seconds=3.0)
    first = await group.start()
    await stage.advance(3.0)
    first.kill()
    wanted = stage.put_each(keys=8)
    await group.start()
    await group.until_given()
    assert sorted(group.times()) == wanted


# -- ends of shards


@pytest.mark.parametrize("source", ["dynamodb:orders", "kinesis:clicks"])
@pytest.mark.parametrize("empty_last_page", [False, True])
@pytest.mark.parametrize("count", [1, 3])
def test_c06_the_final_page_of_a_closed_shard_is_delivered(source: str, empty_last_page: bool, count: int) -> None:
    """The page with the shard's only records is the one that names no next iterator."""

    @staged(source=source, empty_last_page=empty_last_page)
    async def play(stage: Stage) -> None:
        wanted = stage.put("k", count)
        (parent,) = stage.open_shards()
        stage.stream().lineage.rotate()
        group = stage.group()
        await group.start()
        await stage.until(lambda: parent in group.leases() and group.lease(parent).is_finished, "the parent ends")
        assert [each.serial for each in group.given] == wanted

    play()


# -- outages longer than the stream keeps records


@pytest.mark.parametrize("policy", ["skip", "stop"])
@staged()
async def test_c09_after_25_hours_down_the_gap_is_told_counted_and_treated_as_asked(
    stage: Stage, caplog: pytest.LogCaptureFixture, policy: str
) -> None:
    first = stage.put("k", 5)
    group = stage.group(**LONG, on_trimmed=policy)
    member = await group.start()
    await group.until_given()
    assert await member.drain() is Outcome.CLEAN
    lost = stage.put("k", 5)
    await stage.advance(hours=DAY + 1)
    kept = stage.put("k", 5)
    member = await group.start()
    metrics = PrometheusHook()
    await stage.advance(60.0)
    (gap,) = member.told(GapFound)
    metrics(gap)
    outcome = "stopped" if policy == "stop" else "skipped"
    assert metrics.registry.get_sample_value("leasehold_gaps_total", {"outcome": outcome}) == 1
    assert gap.from_position == str(stage.written(first[-1]).sequence)
    assert (gap.to_position, gap.stopped) == ("TRIM_HORIZON", policy == "stop")
    assert not set(lost) & set(group.times())
    assert [each.serial for each in group.given] == (first + kept if policy == "skip" else first)
    told = [each.getMessage() for each in caplog.records if gap.shard_id in each.getMessage()]
    assert f"records after {gap.from_position} were trimmed" in told[0]
    assert policy == "stop" or f"goes on at {stage.written(kept[0]).sequence}" in told[1]
    problems = member.worker.status().problems
    assert [gap.shard_id in each and "--on-trimmed skip" in each for each in problems] == [True] * (policy == "stop")
    assert member.held == {gap.shard_id}
    await member.drain()
    row = group.lease(gap.shard_id)
    assert row.checkpoint.sequence_number == str(stage.written((kept if policy == "skip" else first)[-1]).sequence)


@pytest.mark.parametrize("hours", [30.0, 48.0])
@staged(shards=2)
async def test_c12_a_lease_table_restored_from_two_days_ago_is_a_gap_and_never_ready_and_dead(
    stage: Stage, hours: float
) -> None:
    """Meanwhile the shards of the old checkpoints rotated away: their rows name what no service knows any more."""
    stage.put_each(keys=8)
    group = stage.group(**LONG)
    member = await group.start()
    await group.until_given()
    assert await member.drain() is Outcome.CLEAN
    backup = [dict(to_item(lease)) for lease in group.leases().values()]
    for _ in range(int(hours // 4)):
        await stage.advance(hours=4)
        stage.stream().lineage.rotate()
        stage.put_each(keys=8)
    member = await group.start()
    await stage.advance(120.0)
    assert await member.drain() is Outcome.CLEAN
    await stage.advance(hours=hours - 4 * (hours // 4) + 1)
    seen = len(group.given)

    restored = stage.group(**LONG, app="app1")
    for row in backup:
        restored.judge.table.put_item(row)
    kept = stage.put_each(keys=8)
    member = await restored.start("restored")
    await stage.until(lambda: set(kept) <= set(restored.times()), "what is written now is read", 180.0)
    gaps = member.told(GapFound)
    assert {each.shard_id for each in gaps} >= {row["leaseKey"]["S"] for row in backup}
    assert not any(gap.stopped for gap in gaps)
    still_there = {record.sequence for _, record in stage.stream().records()}
    given = {stage.written(serial).sequence for serial in restored.times()}
    assert given == still_there, "all that the stream still has"
    assert not member.worker.status().problems
    assert len(group.given) == seen


@staged(source="kinesis:clicks", shards=2, retention_seconds=14 * DAY * 3600.0)
async def test_c18_a_group_that_was_off_for_eight_days_resumes_exactly(stage: Stage) -> None:
    stage.put_each(keys=8, times=3)
    group = stage.group(**LONG)
    member = await group.start()
    await group.until_given()
    assert await member.drain() is Outcome.CLEAN
    rows = group.leases()
    stage.put_each(keys=8, times=3)
    stage.stream().lineage.rotate()
    stage.put_each(keys=8, times=3)
    await stage.advance(hours=8 * DAY)
    assert group.leases() == rows
    assert not any("ttl" in name.lower() or "expir" in name.lower() for row in rows.values() for name in to_item(row))
    member = await group.start()
    await group.until_given(120.0)
    assert not group.repeated()
    assert not member.told(GapFound)


# -- backfill, as far as it is built: TRIM_HORIZON


@pytest.mark.parametrize("step", range(12))
@staged()
async def test_c10_a_kill_between_read_and_handler_skips_nothing_of_a_backlog(stage: Stage, step: int) -> None:
    """Killed as the ``step``-th batch of the backlog reaches user code, then again in the middle of one."""
    wanted = stage.put("k", 60)
    group = stage.group(failover_seconds=3.0, batch_size=5, checkpoint_interval_seconds=0.0)
    batches = 0

    async def work(batch: Batch) -> None:
        nonlocal batches
        batches += 1
        if batches in (step + 1, step + 3):
            next(each for each in group.members if each.name == batch.worker).kill()
        await asyncio.sleep(0.3)

    for _ in range(3):
        await group.start(work=work)
        await stage.until(lambda: not (group.members[-1].is_up and group.missing()), "the kill")
    await group.until_given()
    assert sorted(group.times()) == wanted
    assert len(group.repeated()) <= 2 * 2 * 5, "a kill repeats the batch in hand and what the last checkpoint missed"
