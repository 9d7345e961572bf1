"""Several workers of one app: they share, hand over, take over, and keep out of tables that are not theirs."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from consumer.errors import LeaseTableConflict
from consumer.hooks import HandOffFinished, HandOffTakenBack, LeaseRenewed, LeaseTaken, LockSeen, TenureEnded
from consumer.testing.ministack import Ministack
from consumer.worker import Outcome
from lease_store import verbs
from lease_store.store import Applied
from tests.integration.ledger import CLOCK, disorder, early_children, lost, records, repeats, repeats_within_tenures
from tests.integration.worker_stage import Group, Member, Orders, Recorder, Stage, set_stage

pytestmark = pytest.mark.integration

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "kcl-3.5.1-tables.json").read_text())


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch, ministack: Ministack) -> AsyncIterator[Stage]:
    async with set_stage(monkeypatch, ministack) as made:
        yield made


def judge(stage: Stage, orders: Orders) -> None:
    """Everything at least once, each key's first deliveries in order, no repeat within a tenure, parents first."""
    notes = stage.ledger.notes
    assert lost(notes, stage.ledger.written) == []
    assert repeats_within_tenures(notes) == []
    assert disorder(notes) == []
    assert early_children(notes, orders.parents()) == []


def ends(*members: Member) -> set[str]:
    """How tenures of these ended."""
    return {fact.reason for member in members for fact in member.told(TenureEnded)}


async def test_a_second_worker_gets_its_share_and_a_drained_one_leaves_it_without_a_repeat(stage: Stage):
    orders = stage.orders(shard_count=6)
    group = stage.group(orders.source)
    async with orders.written_to():
        ada = await group.start("ada")
        await group.until_held(6)
        bob = await group.start("bob")
        await group.until_held(3, 3)
        assert {fact.how for fact in bob.told(LeaseTaken)} == {"accepted"}
        assert await ada.stop() is Outcome.CLEAN
        await group.until_held(6)
        rows = await group.leases()
        assert {lease.owner for lease in rows.values()} == {bob.worker.worker_id}
        assert ada.worker.worker_id not in {lease.checkpoint_owner for lease in rows.values()}
        await stage.ledger.until(
            lambda: len({note.shard_id for note in stage.ledger.of("record", worker="bob")}) == 6, "bob reads all"
        )
    await stage.ledger.until_all_delivered()
    assert await bob.stop() is Outcome.CLEAN
    judge(stage, orders)
    assert repeats(stage.ledger.notes) == []
    # A peer whose row was not yet seen to move is offered nothing by a drain: it takes what is released.
    assert ends(ada) <= {"handed_off", "released"}
    assert len(ada.told(HandOffFinished)) >= 3
    assert ends(bob) == {"released"}
    # User code of every tenure that left was told so, once, and never that it had lost its lease.
    assert len(stage.ledger.of("shutdown_requested", worker="ada")) == 6
    assert stage.ledger.of("lease_lost") == []
    assert {lease.owner for lease in (await group.leases()).values()} == {None}


async def test_two_workers_follow_rotations_and_splits_under_writes(stage: Stage):
    orders = stage.orders(shard_count=4)
    group = stage.group(orders.source)
    members = [await group.start(name) for name in ("ada", "bob")]
    await group.until_held(2, 2)
    async with orders.written_to():
        for _ in range(2):
            stage.streams.rotate("orders")
            stage.clock.ahead += 0.1  # a shard lives for longer than the millisecond that its id tells
            halves = set(stage.streams.split("orders"))
            await stage.ledger.until(
                lambda halves=halves: halves <= {note.shard_id for note in stage.ledger.of("initialize")}, "the halves"
            )
        await group.until_held(3, 3)
    await stage.ledger.until_all_delivered()
    judge(stage, orders)
    assert repeats(stage.ledger.notes) == []
    assert ends(*members) <= {"ended", "handed_off"}
    assert all(stage.ledger.of("record", worker=member.name) for member in members)


async def test_children_that_are_leased_early_wait_for_a_slow_parent_on_another_worker(stage: Stage):
    may_go_on = threading.Event()

    class Slow(Recorder):
        def process_records(self, records: Any, checkpointer: Any) -> None:
            super().process_records(records[:1], checkpointer)
            assert may_go_on.wait(60.0)
            super().process_records(records[1:], checkpointer)

    orders = stage.orders(shard_count=2)
    # The lineage audit finds the children while their parent is still in hand. Where ada takes both, bob asks for the
    # parent first, whose batch does not end: it is taken back, in the same tenure.
    group = stage.group(orders.source, audit_interval_seconds=1.0, hand_off_timeout_seconds=0.5)
    ada, bob = await group.start("ada", Slow), await group.start("bob")
    await group.until_held(1, 1)
    orders.put(*(f"k{number}" for number in range(20)))
    await stage.ledger.until(lambda: stage.ledger.of("record", worker="ada"), "the parent's first record")
    (parent,) = ada.held
    children = set(stage.streams.split("orders", parent))
    orders.put(*(f"k{number}" for number in range(20)))
    await stage.ledger.until(lambda: children <= ada.held | bob.held and children & bob.held, "the children leased")
    # Long enough for a worker that does not wait: its next read would be done by the time a renewal of the parent is.
    renewals = len(ada.told(LeaseRenewed))
    await stage.ledger.until(lambda: len(ada.told(LeaseRenewed)) > renewals + 1, "renewals of the parent")
    assert {note.shard_id for note in stage.ledger.of("initialize")}.isdisjoint(children)
    may_go_on.set()
    await stage.ledger.until_all_delivered()
    judge(stage, orders)
    assert repeats(stage.ledger.notes) == []


async def test_a_crashed_workers_shards_are_taken_over_in_time_and_nothing_is_lost(stage: Stage):
    orders = stage.orders(shard_count=4)
    group = stage.group(orders.source, failover_seconds=2.0)
    ada, bob = [await group.start(name) for name in ("ada", "bob")]
    async with orders.written_to():
        await group.until_held(2, 2)
        orphans = ada.held
        await stage.ledger.until(
            lambda: orphans <= {note.shard_id for note in stage.ledger.of("record", worker="ada")}, "ada reads"
        )
        began = CLOCK.monotonic()
        await ada.crash()
        await stage.ledger.until(
            lambda: orphans <= {note.shard_id for note in stage.ledger.of("record", worker="bob")}, "bob reads it"
        )
        took = CLOCK.monotonic() - began
    await stage.ledger.until_all_delivered()
    judge(stage, orders)
    assert {fact.previous_owner for fact in bob.told(LeaseTaken) if fact.shard_id in orphans} == {ada.worker.worker_id}
    # The promise is failover time + 2 s; the rest is for a machine that has other things to do.
    assert 1.0 < took < 2.0 + 2.0 + 3.0, f"taken over after {took:.2f} s"


async def test_two_apps_in_one_process_each_get_everything(stage: Stage):
    orders = stage.orders(shard_count=2)
    orders.put(*(f"k{number}" for number in range(10)))
    for name in ("audit", "search"):
        await stage.group(orders.source).start(name)
    orders.put(*(f"k{number}" for number in range(10)))
    await stage.ledger.until(lambda: len(stage.ledger.of("record")) == 40, "twenty records each")
    for name in ("audit", "search"):
        notes = stage.ledger.of("record", worker=name)
        assert (lost(notes, stage.ledger.written), repeats(notes), disorder(notes)) == ([], [], [])


async def test_a_lease_table_of_another_stream_is_refused_and_left_alone(stage: Stage):
    orders = stage.orders()
    group = stage.group(orders.source)
    await (await group.start("ada")).stop()
    before = await group.leases()
    other = stage.orders(table="other")
    stranger = stage.group(other.source)
    stranger.app = group.app
    with pytest.raises(LeaseTableConflict, match=rf"{group.app} belongs to another stream.*table/orders"):
        await stranger.start("bob")
    assert await group.leases() == before


@pytest.mark.parametrize("moment", sorted(GOLDEN))
async def test_a_java_kcls_table_of_another_stream_is_refused_and_left_alone(stage: Stage, moment: str):
    orders = stage.orders()
    group = stage.group(orders.source)
    store = group.lease_store()
    async with store.open():
        await store.scan()
    client = boto3.client("dynamodb", endpoint_url=stage.ministack.endpoint_url, region_name="us-east-1")
    for item in GOLDEN[moment]:
        client.put_item(TableName=group.app, Item=item)
    with pytest.raises(
        LeaseTableConflict, match=rf"{group.app} has \d leases of a KCL.*none is of a shard that .*orders"
    ):
        await group.start("ada")
    left = sorted(client.scan(TableName=group.app)["Items"], key=lambda item: item["leaseKey"]["S"])
    client.close()
    assert left == sorted(GOLDEN[moment], key=lambda item: item["leaseKey"]["S"])


async def test_a_kcls_lock_that_appears_is_obeyed_by_a_worker_that_reads_on(stage: Stage):
    orders = stage.orders()
    group = stage.group(orders.source)
    leader = next(item for item in GOLDEN["1-two-workers"] if item["entityType"]["S"] == "LEADER")
    client = boto3.client("dynamodb", endpoint_url=stage.ministack.endpoint_url, region_name="us-east-1")
    async with orders.written_to():
        ada = await group.start("ada")
        await group.until_held(1)
        assert ada.worker.status().coordination.mode == "peer"
        client.put_item(TableName=group.app, Item=leader)
        await stage.ledger.until(lambda: ada.worker.status().coordination.mode == "leader", "the mode")
        await stage.ledger.until(lambda: len(ada.told(LockSeen)) > 0, "a look at the lock")
    await stage.ledger.until_all_delivered()
    judge(stage, orders)
    assert ends(ada) == set()
    assert ada.told(LockSeen)[-1].is_mine is False
    assert client.get_item(TableName=group.app, Key={"leaseKey": {"S": "Leader"}})["Item"] == leader
    client.close()


async def test_a_shard_that_checkpoints_often_notices_a_hand_off_within_a_second(stage: Stage):
    orders = stage.orders()
    # A failover time of a minute renews every 20 s: only the replies to checkpoints can tell of it.
    group = stage.group(orders.source, failover_seconds=60.0, checkpoint_interval_seconds=0.2)
    ada = await group.start("ada")
    store = group.lease_store()
    noticed = []
    async with orders.written_to(per_second=50.0), store.open():
        (key,) = await stage.ledger.until(lambda: ada.held, "the shard held")
        for round_number in range(1, 4):
            await stage.ledger.until(
                lambda wanted=round_number: (
                    len(stage.ledger.of("initialize")) == wanted and stage.ledger.notes[-1].kind == "record"
                ),
                "records of a new tenure",
            )
            applied = await _start_hand_off(group, key, "nobody")
            sent = CLOCK.monotonic()
            assert isinstance(applied, Applied)
            await stage.ledger.until(
                lambda wanted=round_number: len(stage.ledger.of("shutdown_requested")) == wanted, "user code told"
            )
            noticed.append(stage.ledger.of("shutdown_requested")[-1].at - sent)
    await stage.ledger.until_all_delivered()
    assert max(noticed) < 1.0, noticed
    assert {fact.next_owner for fact in ada.told(HandOffTakenBack)} == {"nobody"}
    assert (lost(stage.ledger.notes, stage.ledger.written), repeats(stage.ledger.notes)) == ([], [])


async def _start_hand_off(group: Group, key: str, to: str) -> Any:
    """What a peer does that wants the lease; refused never, for the owner's renewals leave its condition alone."""
    store = group.lease_store()
    async with store.open():
        lease = await store.read(key)
        assert lease is not None
        return await store.write(verbs.start_hand_off(lease, to), timeout_seconds=5.0)


@pytest.mark.parametrize("blocks", ["its thread", "the worker's loop"])
async def test_a_handler_that_blocks_for_several_failover_times_loses_no_lease(stage: Stage, blocks: str):
    failovers, failover_seconds = 3, 2.0
    renewals_wanted = 3 * failovers
    seen, enough = threading.Event(), threading.Event()
    count = iter(range(1, 10_000))

    def hook(fact: Any) -> None:
        # On the lease loop's thread, which nothing here blocks.
        if isinstance(fact, LeaseRenewed) and seen.is_set() and next(count) >= renewals_wanted:
            enough.set()

    class Blocks(Recorder):
        def process_records(self, records: Any, checkpointer: Any) -> None:
            if not seen.is_set():
                seen.set()
                assert enough.wait(60.0)
            super().process_records(records, checkpointer)

    class BlocksTheLoop(Blocks):
        async def process_records(self, records: Any, checkpointer: Any) -> None:
            super().process_records(records, checkpointer)

    orders = stage.orders()
    group = stage.group(orders.source, failover_seconds=failover_seconds)
    ada = await group.start("ada", Blocks if blocks == "its thread" else BlocksTheLoop, hooks=(hook,))
    bob = await group.start("bob")
    await stage.ledger.until(lambda: len(ada.held | bob.held) == 1, "the shard held")
    began = CLOCK.monotonic()
    orders.put("a", "b")
    await stage.ledger.until_all_delivered(60.0)
    assert CLOCK.monotonic() - began > 2 * failover_seconds
    orders.put("a", "b")
    await stage.ledger.until_all_delivered()
    assert {note.worker for note in records(stage.ledger.notes)} == {"ada"}
    assert repeats(stage.ledger.notes) == []
    assert ada.told(TenureEnded) == bob.told(LeaseTaken) == []
