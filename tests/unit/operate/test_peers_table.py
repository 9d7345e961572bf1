"""The way out of a KCL 2.x's rules: its owner's word, in every lease."""

from __future__ import annotations

import asyncio

import pytest

from consumer.cli.table import prepare
from consumer.leasing.table_mode import mode_of
from consumer.testing.virtual_time import VirtualClock, run_virtual
from lease_store import verbs
from lease_store.coordination import LeaderLock
from lease_store.item import item_of
from lease_store.lease import Lease
from lease_store.memory import MemoryLeaseStore


def table_of_a_kcl_2x() -> MemoryLeaseStore:
    store = MemoryLeaseStore("orders")
    for number, owner in enumerate(["py-1", "java-1", "java-dead"]):
        store.apply(verbs.create(Lease(key=f"shard-{number}", owner=owner, entity_type=None, rules="2.x")))
    return store


async def renew(store: MemoryLeaseStore, clock: VirtualClock) -> None:
    while True:
        for lease in store.rows().leases:
            if lease.owner and lease.owner != "java-dead":
                store.apply(verbs.renew(lease, lease.owner))
        await clock.sleep(3.3)


def prepared(store: MemoryLeaseStore, *, apply: bool = True) -> int:
    async def main() -> int:
        clock = VirtualClock()
        renewals = asyncio.get_running_loop().create_task(renew(store, clock))
        code = await prepare(store, clock, for_2x=False, apply=apply)
        renewals.cancel()
        return code

    return run_virtual(main())


def test_every_lease_is_marked_and_the_mode_follows(capsys: pytest.CaptureFixture[str]) -> None:
    store = table_of_a_kcl_2x()
    before = mode_of(store.rows(), None, table="orders")
    assert before.mode == "2x"
    assert prepared(store) == 0
    told = capsys.readouterr().out
    assert "Workers that renewed leases within 12 s: java-1, py-1. None of them may be a KCL's" in told
    assert {lease.rules for lease in store.rows().leases} == {"peer"}
    after = mode_of(store.rows(), None, table="orders", known=before)
    assert (after.mode, after.publishes) == ("peer", True)


def test_a_dry_run_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    store = table_of_a_kcl_2x()
    assert prepared(store, apply=False) == 0
    assert {lease.rules for lease in store.rows().leases} == {"2.x"}
    assert "With --apply: 3 lease rows are marked" in capsys.readouterr().out


def test_beside_a_kcl_3x_it_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    store = table_of_a_kcl_2x()
    store.put_item(item_of(LeaderLock(owner="java-3", version="v", duration_seconds=120.0)))
    assert prepared(store) == 1
    assert "shared with a KCL 3.x: its row 'Leader' names 'java-3' as leader." in capsys.readouterr().out
    assert {lease.rules for lease in store.rows().leases} == {"2.x"}


def test_where_both_marks_stand_the_later_decision_is_at_work() -> None:
    """One row after the other is marked, and each worker changes over at the first that it sees."""
    store = table_of_a_kcl_2x()
    store.apply(verbs.mark_rules(store.rows().leases[2], "peer"))
    assert mode_of(store.rows(), None, table="orders").mode == "peer"
    assert run_virtual(prepare(store, VirtualClock(), apply=True)) == 0
    assert mode_of(store.rows(), None, table="orders").mode == "2x"
