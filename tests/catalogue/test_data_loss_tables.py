"""Catalogue, data loss: whose lease table it is, and whose row; none is read or written on behalf of another."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from consumer.errors import LeaseTableConflict
from consumer.hooks import GapFound
from consumer.worker import Outcome
from lease_store import verbs
from lease_store.checkpoint import SHARD_END
from lease_store.item import to_item
from lease_store.lease import Lease
from lease_store.store import Refused
from lease_store.verbs import Write
from tests.catalogue.stage import Stage, staged


@staged()
async def test_c15_a_table_of_one_stream_is_refused_to_a_reader_of_another(stage: Stage) -> None:
    stage.put("k", 5)
    stage.open("dynamodb:payments")
    group = stage.group()
    member = await group.start()
    await group.until_given()
    rows = group.leases()
    with pytest.raises(LeaseTableConflict, match="belongs to another stream") as refusal:
        await group.start(source="dynamodb:payments")
    for named in ("table/orders/stream", "table/payments", "--lease-table"):
        assert named in str(refusal.value)
    assert {key: row.checkpoint for key, row in group.leases().items()} == {
        key: row.checkpoint for key, row in rows.items()
    }
    assert await member.drain() is Outcome.CLEAN


@pytest.mark.parametrize("source", ["dynamodb:orders", "kinesis:clicks"])
def test_c15_a_recreated_stream_is_read_from_its_start_and_no_old_checkpoint_is_used_in_it(source: str) -> None:
    """A recreated Kinesis stream repeats its name, its ARN and its shard ids."""

    @staged(source=source, transition_seconds=5.0)
    async def play(stage: Stage) -> None:
        await stage.advance(6.0)
        stage.put("k", 5)
        group = stage.group()
        member = await group.start()
        await group.until_given()
        assert await member.drain() is Outcome.CLEAN
        before = stage.stream().incarnation
        if source.startswith("kinesis"):
            stage.log.kinesis.delete("clicks")
            group.judge.deleted.add(before)
        else:
            stage.log.tables.disable("orders")
        await stage.advance(20.0)
        stage.open(source)
        await stage.advance(6.0)
        wanted = stage.put("k", 5)
        member = await group.start()
        await stage.until(lambda: set(wanted) <= set(group.times()), "the new stream is read", 120.0)
        assert [gap for gap in member.told(GapFound) if before in gap.from_position]
        assert not group.repeated()
        assert stage.stream().incarnation in {lease.stream for lease in group.leases().values()}

    play()


@staged()
async def test_c17_a_second_stream_does_not_cost_the_first_its_place(stage: Stage) -> None:
    """One app reads one stream: a second one is refused, or is an app of its own, and the first keeps its place."""
    stage.put("k", 5)
    stage.open("dynamodb:payments")
    stage.put("p", 5, source="dynamodb:payments")
    first = stage.group()
    member = await first.start()
    await first.until_given()
    with pytest.raises(LeaseTableConflict, match="another stream"):
        await first.start(source="dynamodb:payments")
    second = stage.group("dynamodb:payments")
    await second.start()
    await second.until_given()
    member.kill()
    stage.put("k", 5)
    await first.start()
    await first.until_given()
    assert not first.repeated()
    assert not second.repeated()


@staged(shards=3)
async def test_c21_two_apps_read_the_same_stream_independently(stage: Stage) -> None:
    stage.put_each(keys=12)
    groups = [stage.group(), stage.group()]
    for group in groups:
        await group.start()
    await stage.advance(5.0)
    stage.put_each(keys=12)
    for group in groups:
        await group.until_given()
        assert not group.repeated()


@staged(shards=3)
async def test_c21_two_apps_given_one_table_never_share_its_shards(stage: Stage) -> None:
    """Sharing them, each would miss what the other is given; the second is refused, whether the first runs or not."""
    serials = stage.put_each(keys=12)
    group = stage.group(lease_table="shared")
    member = await group.start()
    await group.until_given()
    for _ in range(2):
        with pytest.raises(LeaseTableConflict, match=r"belongs to app 'app1'.* this worker is of app 'another'"):
            await group.start(app="another")
        if member.is_up:
            assert await member.drain() is Outcome.CLEAN
    stage.stream().lineage.rotate()
    later = stage.put_each(keys=12)
    await group.start()
    await group.until_given()
    assert [set(group.times()), group.repeated()] == [{*serials, *later}, {}]
    assert {lease.app for lease in group.leases().values()} == {"app1"}


# -- identity


@staged(shards=2)
async def test_c24_an_old_owner_of_the_same_name_neither_beats_nor_closes_the_new_owners_row(stage: Stage) -> None:
    """Two containers, one worker id, PID 1 both; the lease is taken by force, then the old owner wakes and leaves."""
    stage.put_each(keys=8)
    group = stage.group(worker_id="name", failover_seconds=3.0, checkpoint_interval_seconds=0.0)
    old = await group.start(work=lambda _: asyncio.sleep(0.2), batch_size=1)
    await stage.until(lambda: len(group.given) > 2, "the old owner works")
    old.freeze(10.0)
    new = await group.start()
    assert new.id != old.id
    assert {new.id.rpartition("-")[0], old.id.rpartition("-")[0]} == {"name"}
    await stage.until(lambda: len(new.held) == 2, "taken by force")
    await group.until_given(8.0)
    await asyncio.sleep(1.0)  # until the last checkpoint is stored
    rows, writes = group.leases(), len(group.writes)
    await old.drain()  # asked while it is frozen: the first thing it hears when it wakes
    touched = {write.verb for write in group.writes[writes:] if write.worker == old.name}
    assert touched <= {"delete_worker"}, "not a row of a lease"
    assert {key: (row.owner, row.checkpoint) for key, row in group.leases().items()} == {
        key: (row.owner, row.checkpoint) for key, row in rows.items()
    }
    # Nor is a write of its own that comes late let in, by its owner or, were it the owner once more, by its counter.
    table = group.judge.table
    for key, row in group.leases().items():
        known = replace(row, owner=old.id)
        assert [each.verb for each in _as_owner(known) if not isinstance(table.write_as("old", each), Refused)] == []
        table.put_item(to_item(replace(known, counter=row.counter + 1)))
        late = [
            each for each in _as_owner(known) if each.verb != "start_hand_off"
        ]  # whose owner's counter must not move
        assert [each.verb for each in late if not isinstance(table.write_as("old", each), Refused)] == [], key


def _as_owner(lease: Lease) -> list[Write]:
    """Every write that the owner of a row makes to it, as it knows the row."""
    me = lease.owner or ""
    pending = replace(lease, owner="next", checkpoint_owner=me)
    return [
        verbs.renew(lease, me),
        verbs.set_checkpoint(lease, me, SHARD_END),
        verbs.end_shard(lease, me, ()),
        verbs.release(lease, me),
        verbs.pass_on(lease, me, None),
        verbs.start_hand_off(lease, "next"),
        verbs.finish_hand_off(pending, me),
        verbs.take_back(pending, me),
    ]
