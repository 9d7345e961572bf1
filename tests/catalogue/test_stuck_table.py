"""Catalogue, stuck shards: what the lease table and the road to it do leaves no shard without a reader."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from consumer.hooks import GapFound, LeaseTaken, ShardEnded
from lease_store.errors import LeaseStoreError, LeaseTableThrottled
from lease_store.verbs import Write
from tests.catalogue.stage import Group, Stage, staged
from tests.simulation.network import Network

CUT_OFF = Network(0.001, 0.02, 0.0, 0.0, lost_request=1.0, lost_reply=0.0, refused=0.0, doubled=0.0, stale_seconds=0.0)

STRANGERS: list[dict[str, Any]] = [
    {"leaseKey": {"S": "stream/other"}, "entityType": {"S": "STREAM_V9"}, "streamName": {"S": "other"}},
    {
        "leaseKey": {"S": "a-later-version"},
        "entityType": {"S": "EPOCH"},
        "deep": {"M": {"list": {"L": [{"NULL": True}]}}},
    },
    {
        "leaseKey": {"S": "bytes"},
        "entityType": {"S": "BLOB"},
        "payload": {"B": b"\x00\xff"},
        "tags": {"SS": ["a", "b"]},
    },
]


@staged()
async def test_c35_rows_and_attributes_of_other_kinds_are_left_as_they_are(stage: Stage) -> None:
    group = stage.group()
    table = group.judge.table
    for stranger in STRANGERS:
        table.put_item(stranger)
    member = await group.start()
    await group.until_held(1)
    (shard,) = stage.open_shards()
    row = table.get(shard)
    assert row is not None
    later = {"aLaterField": {"M": {"deep": {"N": "1"}}}, "anotherOne": {"BS": [b"\x01"]}}
    table.put_item({**row, **later})
    stage.put("k", 20)
    stage.stream().lineage.rotate(shard)
    stage.put("k", 20)
    await group.until_given()
    await stage.advance(60)
    assert await member.drain() is not None
    for stranger in STRANGERS:
        assert table.get(stranger["leaseKey"]["S"]) == stranger
    left = table.get(shard) or {}
    assert group.lease(shard).is_finished
    assert {name: left.get(name) for name in later} == later


@staged(shards=500)
async def test_c38_one_worker_reads_500_shards_within_10_s_though_every_tenth_write_fails(stage: Stage) -> None:
    stage.put_each(2_000)
    group = stage.group()
    writes = 0

    def refusal(write: Write) -> LeaseStoreError | None:
        nonlocal writes
        writes += 1
        return LeaseTableThrottled() if writes % 10 == 0 else None

    began = stage.now
    starting = asyncio.ensure_future(group.start())
    await asyncio.sleep(0)
    group.members[0].store.refusal = refusal
    await starting
    await group.until_held(500, within_seconds=10.0 - (stage.now - began))
    await group.until_given(within_seconds=10.0 - (stage.now - began))
    assert writes > 500
    assert len({fact.shard_id for fact in group.members[0].told(LeaseTaken)}) == 500


@staged()
async def test_c39_a_child_whose_parent_was_trimmed_away_unread_starts_and_the_loss_is_reported(stage: Stage) -> None:
    (parent,) = stage.open_shards()
    group = stage.group(audit_interval_seconds=300.0, idle_wait_seconds=10.0, failover_seconds=60.0)
    first = await group.start()
    stage.put("k", 5)
    await group.until_given()
    await first.drain()
    stage.put("k", 5)  # nobody is there to read these
    stage.stream().lineage.rotate(parent)
    await stage.advance(hours=2)
    kept = stage.put("k", 5)
    await stage.advance(hours=22.5)
    assert parent not in {shard.id for shard in stage.stream().listing()}
    second = await group.start()
    await group.until_given()
    assert set(kept) <= group.times().keys()
    gaps = second.told(GapFound)
    (child,) = stage.open_shards()
    # The child is a day old, too, and nobody can tell whether its first records were trimmed: said as well.
    assert [gap.shard_id for gap in gaps] == [parent, child]
    assert not any(gap.stopped for gap in gaps)
    assert group.lease(parent).is_finished


@staged()
async def test_c39_a_new_group_does_not_wait_for_a_parent_that_is_gone_before_its_time(stage: Stage) -> None:
    (parent,) = stage.open_shards()
    stage.put("k", 5)
    stage.stream().lineage.rotate(parent)
    await stage.advance(hours=25)
    kept = stage.put("k", 5)
    group = stage.group()
    await group.start()
    await stage.until(lambda: set(kept) <= group.times().keys(), "the child's records", within_seconds=10.0)
    assert group.times().keys() == set(kept)


@pytest.mark.parametrize("times", [1, 2, 7, 20])
@staged(source="kinesis:orders")
async def test_c45_an_end_of_shard_whose_write_is_throttled_is_written_again_until_it_stands(
    stage: Stage, times: int
) -> None:
    left = times

    def refusal(write: Write) -> LeaseStoreError | None:
        nonlocal left
        if write.verb != "end_shard" or left == 0:
            return None
        left -= 1
        return LeaseTableThrottled()

    group = stage.group()
    member = await group.start()
    await group.until_held(1)
    member.store.refusal = refusal
    (parent,) = stage.open_shards()
    stage.put("k", 10)
    stage.stream().lineage.rotate(parent)
    stage.put("k", 10)
    await group.until_given(within_seconds=10.0 + 5.0 * times)
    assert left == 0
    assert group.lease(parent).is_finished
    assert [fact.shard_id for fact in member.told(ShardEnded)] == [parent]
    assert [call.shard_id for call in group.calls if call.name == "shard_ended"] == [parent]
    assert not group.repeated()


async def _keep_writing(stage: Stage, keys: int) -> None:
    while True:
        for key in range(keys):
            stage.put(f"k{key}")
        await asyncio.sleep(1.0)


def _is_held_once_each(group: Group, shards: set[str]) -> bool:
    held = [key for member in group.members for key in member.held]
    return sorted(held) == sorted(shards)


@pytest.mark.parametrize("seconds", [1.0, 3.0, 8.0, 11.0, 30.0, 120.0])
@staged(shards=6)
async def test_c47_the_shards_of_a_worker_cut_off_from_the_table_are_read_all_the_time(
    stage: Stage, seconds: float
) -> None:
    group = stage.group()
    members = [await group.start() for _ in range(3)]
    await group.until_held(2, 2, 2)
    writer = asyncio.ensure_future(_keep_writing(stage, 12))
    await stage.advance(10)
    members[1].network = CUT_OFF
    cut_at = stage.now
    await stage.advance(seconds)
    members[1].network = None
    await stage.advance(max(0.0, cut_at + 15.0 - stage.now))
    writer.cancel()
    await group.until_given(within_seconds=5.0)
    waits = {
        each.serial: each.at - (stage.written(each.serial).arrived_at - stage.clock.wall() + stage.now)
        for each in reversed(group.given)
    }
    assert max(waits.values()) < 10.0 + 2.0 + 2.0  # the failover time, the promise's 2 s, and a read or two
    meanwhile = [each.at for each in group.given if each.worker == members[1].name and each.at < cut_at + seconds]
    assert max(meanwhile) < cut_at + 10.0 - 1.0, "it trusts its leases no longer than that, and others have them"
    await group.until_held(2, 2, 2)
    assert _is_held_once_each(group, set(stage.open_shards()))
