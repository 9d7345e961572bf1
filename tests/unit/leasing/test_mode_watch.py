"""What a change of the table's mode does to a worker, and the one conflict that takes two looks to see: two leaders."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import pytest

from consumer.errors import LeaseTableConflict
from lease_store import verbs
from lease_store.attributes import Place
from lease_store.coordination import ClientVersion, LeaderLock, TableMigration, coordination_to_item
from lease_store.lease import Lease
from tests.unit.leasing.loop_stage import watch_on
from tests.unit.leasing.scripted_store import Bench, on_bench

LOCK = LeaderLock(owner="java-35", version="v0", duration_seconds=120.0)
OLD_LOCK = replace(LOCK, owner="java-33")


def put(bench: Bench, row: LeaderLock | ClientVersion | TableMigration, place: Place) -> None:
    bench.put_item(coordination_to_item(row, place), place)


def close(spawned: list[Coroutine[Any, Any, None]]) -> None:
    for work in spawned:
        work.close()


@on_bench
async def test_two_locks_that_are_both_renewed_are_two_leaders_and_no_table_to_work_in(bench: Bench) -> None:
    """A KCL 3.3 that is started on a 3.5's table makes tables of its own, and each sees its own leader only."""
    spawned: list[Coroutine[Any, Any, None]] = []
    _, watch = watch_on(bench, spawned)
    bench.add_legacy_tables()
    put(bench, LOCK, "leases")
    put(bench, OLD_LOCK, "coordinator")
    await watch.scan()
    await bench.clock.sleep(30.0)
    put(bench, replace(LOCK, version="v1"), "leases")
    await watch.scan()
    await bench.clock.sleep(1.0)
    put(bench, replace(OLD_LOCK, version="v1"), "coordinator")
    with pytest.raises(LeaseTableConflict, match="two leaders, 'java-33' and 'java-35'"):
        await watch.scan()
    close(spawned)


@on_bench
async def test_a_lock_that_stands_still_is_a_dead_leaders_and_no_second_one(bench: Bench) -> None:
    spawned: list[Coroutine[Any, Any, None]] = []
    leases, watch = watch_on(bench, spawned)
    bench.add_legacy_tables()
    put(bench, LOCK, "leases")
    for beat in range(10):
        put(bench, replace(OLD_LOCK, version=f"v{beat}"), "coordinator")
        await watch.scan()
        await bench.clock.sleep(30.0)
    assert leases.table.layout.lock_at == "coordinator"
    close(spawned)


@on_bench
async def test_a_lock_that_moves_for_a_moment_after_the_tables_became_one_is_given_up_soon(bench: Bench) -> None:
    """Its holder learns of it within a second, and may have sent a heartbeat just before."""
    spawned: list[Coroutine[Any, Any, None]] = []
    leases, watch = watch_on(bench, spawned)
    bench.add_legacy_tables()
    put(bench, OLD_LOCK, "coordinator")
    await watch.scan()
    assert leases.table.layout.lock_at == "coordinator"
    for place in ("leases", "coordinator"):
        put(bench, TableMigration(state="TABLE_MIGRATION_STATUS_COMPLETE"), place)
    put(bench, LOCK, "leases")
    await watch.scan()
    assert leases.table.layout.lock_at == "leases"
    for version in ("v1", "v2"):
        await bench.clock.sleep(1.0)
        put(bench, replace(OLD_LOCK, version=version), "coordinator")
        put(bench, replace(LOCK, version=version), "leases")
        await watch.scan()
    await bench.clock.sleep(30.0)
    put(bench, replace(OLD_LOCK, version="v3"), "coordinator")
    put(bench, replace(LOCK, version="v3"), "leases")
    with pytest.raises(LeaseTableConflict, match="two leaders"):
        await watch.scan()
    close(spawned)


@on_bench
async def test_a_rollback_of_the_client_version_changes_the_rules_and_ends_the_old_ones(bench: Bench) -> None:
    """3X_WITH_ROLLBACK to 2X: whoever went on planning would do so beside takers."""
    spawned: list[Coroutine[Any, Any, None]] = []
    leases, watch = watch_on(bench, spawned)
    put(bench, ClientVersion(state="CLIENT_VERSION_3X_WITH_ROLLBACK"), "leases")
    free = Lease(key="s", entity_type=None)
    bench.apply(verbs.create(free))
    await watch.scan()
    led = watch.rules
    assert leases.table.mode == "leader"
    put(bench, ClientVersion(state="CLIENT_VERSION_2X"), "leases")
    await watch.scan()
    assert leases.table.mode == "2x"
    assert watch.rules is not led
    assert led.apply_takes() is None
    led.follow()
    assert bench.rows().leases == (free,)
    close(spawned)
