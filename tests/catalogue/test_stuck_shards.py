"""Catalogue, stuck shards: where a shard ends its children go on, whatever listings, table and user code do."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from consumer.hooks import CheckpointFailed, GapFound, Stuck
from consumer.testing.faults import Fault
from consumer.testing.stream_rules import Staleness
from lease_store.errors import LeaseTableThrottled
from tests.catalogue.recorder import Batch, Recorder
from tests.catalogue.stage import LONG, Group, Stage, staged

BOTH = pytest.mark.parametrize("source", ["dynamodb:orders", "kinesis:clicks"])


def began(group: Group, shard_id: str) -> float:
    """When user code first heard of a shard."""
    return next(call.at for call in group.calls if call.shard_id == shard_id and call.name == "initialize")


def ended(group: Group, shard_id: str) -> float:
    """When a shard's end was stored."""
    return next(write.at for write in group.writes if write.verb == "end_shard" and write.key == shard_id)


# -- children that a listing does not show


@pytest.mark.parametrize("calls", [0, 1, 2, 5, 10])
@staged()
async def test_c25_a_child_missing_from_the_first_listings_is_read_within_two_polls(stage: Stage, calls: int) -> None:
    """A shard's end asks again after at most 5 s; the audit, which takes over after 15 s, after 30 s."""
    group = stage.group()
    await group.start()
    await stage.advance(5.0)
    stage.plan.staleness = Staleness(child_late_calls=calls)
    (parent,) = stage.open_shards()
    stage.stream().lineage.rotate()
    wanted = stage.put("k", 3)
    (child,) = stage.open_shards()
    shard = stage.stream().lineage.shards[child]
    asked: list[float] = []
    for _ in range(1200):
        if shard.times_listed > len(asked):
            asked.append(stage.now)
        if set(wanted) <= set(group.times()):
            break
        await stage.advance(0.05)
    appeared = asked[calls]
    poll = 5.0 if appeared - asked[0] < 15.0 else 30.0 * 1.1
    assert began(group, child) - appeared <= 2 * poll
    assert sorted(group.times()) == wanted
    assert ended(group, parent) <= began(group, child)


@pytest.mark.parametrize("seconds", [10.0, 40.0, 90.0])
@staged(shards=2)
async def test_c25_children_that_appear_after_their_parents_end_are_found_by_the_audit(
    stage: Stage, seconds: float
) -> None:
    group = stage.group()
    await group.start()
    await stage.advance(5.0)
    stage.plan.staleness = Staleness(child_late_seconds=seconds)
    stage.stream().lineage.rotate()
    appears = stage.now + seconds
    stage.put_each(keys=8)
    await group.until_given(seconds + 70.0)
    assert max(began(group, child) for child in stage.open_shards()) - appears <= 2 * 33.0


@pytest.mark.parametrize("seed", range(3))
@BOTH
def test_c28_random_sublists_of_the_graph_end_nothing_and_the_fleet_converges(source: str, seed: int) -> None:
    @staged(source=source, shards=3)
    async def play(stage: Stage) -> None:
        dice = random.Random(seed)
        log = stage.stream()
        whole = log.listing
        group = stage.group(failover_seconds=3.0)
        for _ in range(2):
            await group.start()
        await stage.advance(5.0)

        def sublist(*rest: Any) -> list[Any]:
            return [shard for shard in whole(*rest) if dice.random() < 0.5]

        log.listing = sublist  # type: ignore[method-assign]
        for _ in range(8):
            stage.put_each(keys=8)
            log.lineage.rotate() if dice.random() < 0.5 else log.lineage.split()
            stage.put_each(keys=8)
            await stage.advance(dice.uniform(0.0, 15.0))
        log.listing = whole  # type: ignore[method-assign]
        await group.until_given(150.0)
        await stage.until(
            lambda: {each.key for each in group.leases().values() if not each.is_finished} == set(stage.open_shards()),
            "one row for each open shard",
            90.0,
        )
        assert not [gap for member in group.members for gap in member.told(GapFound)]

    play()


# -- many shards, many ends


@staged(source="dynamodb:clicks", shards=340, latency_seconds=0.05)
async def test_c27_a_stream_of_340_shards_grows_to_435_and_every_one_is_read(stage: Stage) -> None:
    stage.put_each(keys=700)
    group = stage.group(idle_wait_seconds=20.0, checkpoint_interval_seconds=5.0)
    await group.start()
    await group.until_given(60.0)
    for _ in range(95):
        stage.stream().lineage.split()
    stage.put_each(keys=1000)
    await group.until_given(60.0)
    assert len(stage.open_shards()) == 435
    await stage.until(
        lambda: (
            {each.key for each in group.leases().values() if each.owner and not each.is_finished}
            == set(stage.open_shards())
        ),
        "435 shards owned",
    )
    assert not group.repeated()


@staged(shards=2, rotate_every_seconds=25.0)
async def test_c29_twenty_four_rotations_leave_no_shard_behind(stage: Stage) -> None:
    """Six days of a DynamoDB stream's rotations, one after the other."""
    group = stage.group(**{**LONG, "idle_wait_seconds": 5.0})
    for _ in range(2):
        await group.start()
    while stage.stream().lineage.rotations < 48:
        stage.put_each(keys=4)
        await stage.advance(4.0)
        assert not list(group.judge.missing(older_than=10.0))
    await group.until_given()
    assert not group.repeated()
    assert len({each.shard_id for each in group.given}) >= 48


@staged(shards=4)
async def test_c30_two_tables_that_rotate_in_one_second_have_no_spike_of_lag(stage: Stage) -> None:
    """One app reads one stream, so these are two apps side by side."""
    stage.open("dynamodb:payments", shards=4)
    groups = [stage.group(), stage.group("dynamodb:payments")]
    for group in groups:
        await group.start()
    await stage.advance(10.0)
    for _ in range(3):
        for group in groups:
            stage.stream(group.source).lineage.rotate()
            stage.put_each(keys=12, source=group.source)
        await stage.advance(3.0)
        assert [len(group.missing()) for group in groups] == [0, 0]
        await stage.advance(5.0)
    for group in groups:
        (member,) = group.members
        assert all((shard.lag_seconds or 0.0) < 2.0 for shard in member.worker.status().shards)
        assert not group.repeated()


# -- the last steps of a shard


@pytest.mark.parametrize("records", [0, 5])
@pytest.mark.parametrize("times", [1, 2])
@BOTH
def test_c31_a_shard_ends_whose_last_record_was_checkpointed_before(source: str, records: int, times: int) -> None:
    """By hand: the last record, then the end, or the end twice; an empty shard has nothing but its end."""

    class Code(Recorder):
        async def shard_ended(self, checkpointer: Any) -> None:
            for _ in range(times):
                await checkpointer.checkpoint()

    async def work(batch: Batch) -> None:
        batch.done(*batch.serials)
        await batch.checkpointer.checkpoint(batch.records[-1])

    @staged(source=source)
    async def play(stage: Stage) -> None:
        stage.put("k", records)
        (parent,) = stage.open_shards()
        group = stage.group(checkpointing="manual")
        await group.start(processor=lambda group, name: Code(group, name, work))
        await stage.advance(5.0)
        stage.stream().lineage.rotate()
        stage.put("k", 2)
        await stage.until(lambda: group.lease(parent).is_finished, "SHARD_END is stored", 10.0)
        await group.until_given(5.0)
        assert not group.repeated()

    play()


@BOTH
def test_c32_the_end_of_a_shard_waits_for_a_handler_that_is_behind(source: str) -> None:
    """30 s a batch, one fails at first: the end is stored after the last success, and no child starts before."""

    @staged(source=source)
    async def play(stage: Stage) -> None:
        stage.put("k", 9)
        (parent,) = stage.open_shards()
        stage.stream().lineage.rotate()
        stage.put("k", 3)
        finished: list[float] = []
        attempts = 0

        async def work(batch: Batch) -> None:
            nonlocal attempts
            attempts += batch.shard_id == parent
            await asyncio.sleep(30.0)
            if attempts == 3:
                raise ValueError
            if batch.shard_id == parent:
                finished.append(stage.now)

        group = stage.group(batch_size=3)
        await group.start(work=work)
        await group.until_given(200.0)
        (child,) = stage.open_shards()
        assert len(finished) == 3
        assert finished[-1] <= ended(group, parent) <= began(group, child)
        assert ended(group, parent) - finished[-1] < 2.0

    play()


@pytest.mark.parametrize("records", ["none", "one", "old ones only"])
@BOTH
def test_c33_a_parent_with_nothing_to_checkpoint_ends_before_its_children_start(source: str, records: str) -> None:
    @staged(source=source, retention_seconds=3600.0)
    async def play(stage: Stage) -> None:
        stage.put("k", 0 if records == "none" else 1)
        if records == "old ones only":
            await stage.advance(3000.0)
        (parent,) = stage.open_shards()
        stage.stream().lineage.split()
        if records == "old ones only":
            await stage.advance(1000.0)
        wanted = stage.put_each(keys=8)
        group = stage.group()
        await group.start()
        await group.until_given(10.0)
        assert group.lease(parent).is_finished
        children = stage.open_shards()
        assert all(began(group, child) >= ended(group, parent) for child in children)
        assert sorted(each.serial for each in group.given if each.shard_id != parent) == wanted
        assert len([each for each in group.given if each.shard_id == parent]) == (records == "one")
        await stage.advance(2.0)
        assert all(group.lease(child).checkpoint.is_number for child in children)

    play()


# -- what hangs


@pytest.mark.parametrize("stuck", ["processing", "reading", "checkpointing"])
@staged()
async def test_c26_what_hangs_is_named_with_its_shard_within_a_minute_while_lag_rises(stage: Stage, stuck: str) -> None:
    (shard_id,) = stage.open_shards()
    hangs = False

    async def work(_: Batch) -> None:
        if hangs and stuck == "processing":
            await asyncio.sleep(1e6)

    group = stage.group()
    member = await group.start(work=work)
    stage.put("k")
    await group.until_given()
    await stage.advance(5.0)
    hangs = True
    if stuck == "reading":
        stage.plan.arm(Fault.delay(1e6, "GetRecords", times=None))
    if stuck == "checkpointing":
        member.store.refusal = lambda write: LeaseTableThrottled() if write.verb == "set_checkpoint" else None
    lags = []
    for _ in range(63):
        stage.put("k")
        await stage.advance(1.0)
        lags.append(member.worker.status().shards[0].lag_seconds or 0.0)
    assert {(fact.shard_id, fact.stage) for fact in member.told(Stuck)} == {(shard_id, stuck)}
    assert any(shard_id in problem for problem in member.worker.status().problems)
    if stuck == "checkpointing":
        assert member.told(CheckpointFailed)
        assert max(lags) < 2.0, "delivery goes on"
    else:
        assert lags == pytest.approx(range(1, 64), abs=2.0), "it rises from the first second on"
