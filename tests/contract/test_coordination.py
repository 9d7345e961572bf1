"""Rows that are no leases: the leader's lock, migrations, metrics, in the lease table and in a KCL 3.0 to 3.4's own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from lease_store import (
    Applied,
    ClientVersion,
    InvalidRow,
    LeaderLock,
    Lease,
    LeaseTableMissing,
    Refused,
    StateChange,
    TableMigration,
    WorkerRow,
    verbs,
)
from lease_store.attributes import Place
from lease_store.coordination import coordination_to_item
from lease_store.item import to_item, worker_to_item
from lease_store.lease import ForeignRow
from tests.contract.bench import KEYS, Bench, same

LOCK_PLACES: tuple[Place, ...] = ("leases", "coordinator")
METRIC_PLACES: tuple[Place, ...] = ("leases", "metrics")
LOCK = LeaderLock(owner="w1", version="v1", duration_seconds=9.0)
MINE = LeaderLock(owner="me", version="v2", duration_seconds=4.5)


def lock_item(place: Place, **changes: Mapping[str, Any] | None) -> dict[str, Any]:
    """A lock as the KCL writes it, spelled out by hand."""
    item = {
        KEYS[place]: {"S": "Leader"},
        "entityType": {"S": "LEADER"},
        "ownerName": {"S": "w1"},
        "leaseDuration": {"S": "9000"},
        "recordVersionNumber": {"S": "v1"},
        **changes,
    }
    return {name: value for name, value in item.items() if value is not None}


@pytest.mark.parametrize("place", LOCK_PLACES)
async def test_a_lock_is_read_where_it_lies_and_nowhere_else(bench: Bench, place: Place) -> None:
    bench.make_legacy()
    assert await bench.store.read_lock(place) is None
    bench.put(lock_item(place, data={"B": b"whoever"}), place)
    assert await bench.store.read_lock(place) == replace(LOCK, extra={"data": {"B": b"whoever"}})
    for other in LOCK_PLACES:
        assert (await bench.store.read_lock(other) is None) == (other != place)


async def test_a_lock_of_kcl_3_0_says_nothing_of_its_kind(bench: Bench) -> None:
    bench.make_legacy()
    bench.put(lock_item("coordinator", entityType=None), "coordinator")
    assert await bench.store.read_lock("coordinator") == replace(LOCK, entity_type=None)


@pytest.mark.parametrize(
    "change",
    [
        {"leaseDuration": {"N": "9000"}},
        {"leaseDuration": {"S": "soon"}},
        {"leaseDuration": None},
        {"recordVersionNumber": {"N": "1"}},
        {"recordVersionNumber": None},
        {"ownerName": None},
        {"isReleased": {"BOOL": True}},
        {"isReleased": {"S": "yes"}},
        {"entityType": {"S": "LEASE"}},
    ],
    ids=str,
)
async def test_a_lock_of_unknown_shape_is_nobodys_to_take(bench: Bench, change: dict[str, Any]) -> None:
    row = lock_item("leases", **change)
    bench.put(row)
    with pytest.raises(InvalidRow, match="'Leader'"):
        await bench.store.read_lock("leases")
    scan = await bench.store.scan()
    assert scan.lock is None
    assert [key for key, _ in scan.unreadable] == ["Leader"]
    with pytest.raises(InvalidRow, match="'Leader'"):
        await bench.write(verbs.acquire_lock(None, MINE, "leases"))
    assert same(bench.get("Leader"), row)


@pytest.mark.parametrize("place", LOCK_PLACES)
async def test_the_life_of_a_lock(bench: Bench, place: Place) -> None:
    bench.make_legacy()
    assert await bench.write(verbs.acquire_lock(None, MINE, place)) == Applied(None)
    mine = lock_item(place, ownerName={"S": "me"}, recordVersionNumber={"S": "v2"}, leaseDuration={"S": "4500"})
    assert same(bench.get("Leader", place), mine)
    assert await bench.write(verbs.heartbeat_lock(replace(MINE, duration_seconds=6.0), "v3", place)) == Applied(None)
    moved = mine | {"recordVersionNumber": {"S": "v3"}, "leaseDuration": {"S": "6000"}}
    assert same(bench.get("Leader", place), moved)
    assert await bench.write(verbs.heartbeat_lock(MINE, "v4", place)) == Refused(None)
    assert await bench.write(verbs.release_lock(MINE, place)) == Refused(None)
    assert same(bench.get("Leader", place), moved)
    assert await bench.write(verbs.release_lock(replace(MINE, version="v3"), place)) == Applied(None)
    assert bench.get("Leader", place) is None


@pytest.mark.parametrize("place", LOCK_PLACES)
async def test_a_lock_that_stood_still_is_replaced_whole_and_one_that_moved_is_not(bench: Bench, place: Place) -> None:
    bench.make_legacy()
    bench.put(lock_item(place, data={"B": b"whoever"}), place)
    assert await bench.write(verbs.acquire_lock(None, MINE, place)) == Refused(None)
    assert await bench.write(verbs.acquire_lock(replace(LOCK, version="v0"), MINE, place)) == Refused(None)
    assert await bench.write(verbs.acquire_lock(LOCK, MINE, place)) == Applied(None)
    assert await bench.store.read_lock(place) == MINE
    assert "data" not in (bench.get("Leader", place) or {})


async def test_a_lock_that_was_given_up_is_taken_only_if_nobody_else_has_it_by_now(bench: Bench) -> None:
    given_up = replace(LOCK, is_released=True)
    bench.put(lock_item("leases", isReleased={"S": "1"}))
    assert (await bench.store.scan()).lock == given_up
    bench.put(lock_item("leases"))
    assert await bench.write(verbs.acquire_lock(given_up, MINE, "leases")) == Refused(None)
    bench.put(lock_item("leases", isReleased={"S": "1"}))
    assert await bench.write(verbs.acquire_lock(given_up, MINE, "leases")) == Applied(None)
    assert await bench.store.read_lock("leases") == MINE


@pytest.mark.parametrize("place", LOCK_PLACES)
async def test_of_twenty_candidates_one_gets_the_lock(bench: Bench, place: Place) -> None:
    bench.make_legacy()
    bench.put(lock_item(place), place)
    wanted = [replace(MINE, owner=f"w{n}", version=f"new-{n}") for n in range(20)]
    results = await asyncio.gather(*(bench.write(verbs.acquire_lock(LOCK, lock, place)) for lock in wanted))
    assert sorted(results, key=str) == [Applied(None)] + [Refused(None)] * 19
    assert await bench.store.read_lock(place) == wanted[results.index(Applied(None))]


@pytest.mark.parametrize("change", [{"ownerName": {"S": "w9"}}, {"recordVersionNumber": {"S": "v9"}}], ids=str)
async def test_who_lost_the_lock_neither_keeps_nor_deletes_it(bench: Bench, change: dict[str, Any]) -> None:
    row = lock_item("leases", **change)
    bench.put(row)
    assert await bench.write(verbs.heartbeat_lock(LOCK, "v2", "leases")) == Refused(None)
    assert await bench.write(verbs.release_lock(LOCK, "leases")) == Refused(None)
    assert same(bench.get("Leader"), row)


# --- what a look shows -------------------------------------------------------------------------------------------

VERSION = ClientVersion(
    state="CLIENT_VERSION_3X",
    modified_by="w1",
    modified_at_ms=1795192117774,
    history=(StateChange(state="CLIENT_VERSION_INIT", modified_by="w1", modified_at_ms=1795192117771),),
)
MIGRATION = TableMigration(state="TABLE_MIGRATION_STATUS_DEPLOYED", modified_by="w1", modified_at_ms=5)


async def test_a_scan_shows_the_rows_by_which_a_kcl_agrees(bench: Bench) -> None:
    for row in (LOCK, VERSION, MIGRATION):
        bench.put(coordination_to_item(row))
    scan = await bench.store.scan()
    assert (scan.lock, scan.client_version, scan.table_migration) == (LOCK, VERSION, MIGRATION)
    assert (scan.leases, scan.workers, scan.foreign, scan.unreadable) == ((), (), (), ())


async def test_where_no_kcl_made_them_there_are_no_legacy_tables(bench: Bench) -> None:
    assert await bench.store.legacy() is None
    assert await bench.store.read_lock("coordinator") is None
    with pytest.raises(LeaseTableMissing):
        await bench.store.write_worker(WorkerRow(worker_id="w1", beat=1), "metrics")


async def test_the_legacy_tables_are_shown_by_kind(bench: Bench) -> None:
    bench.make_legacy()
    for row in (replace(LOCK, entity_type=None), replace(VERSION, entity_type=None), MIGRATION):
        bench.put(coordination_to_item(row, "coordinator"), "coordinator")
    bench.put({"key": {"S": "stream-1"}, "entityType": {"S": "STREAM"}, "streamId": {"S": "1"}}, "coordinator")
    old = {"wid": {"S": "j1"}, "lut": {"N": "5"}, "sts": {"M": {"C": {"L": [{"N": "12.5"}, {"N": "-1"}]}}}}
    bench.put(old | {"opr": {"M": {"C": {"L": [{"N": "100"}]}}}}, "metrics")
    bench.put({"wid": {"S": "j2"}, "lut": {"S": "yesterday"}}, "metrics")
    legacy = await bench.store.legacy()
    assert legacy is not None
    assert legacy.lock == replace(LOCK, entity_type=None)
    assert legacy.client_version == replace(VERSION, entity_type=None)
    assert legacy.table_migration == MIGRATION
    assert [row.key for row in legacy.foreign] == ["stream-1"]
    assert legacy.workers == (
        WorkerRow(
            worker_id="j1",
            beat=None,
            updated_at=5,
            samples={"C": (12.5, -1.0)},
            ranges={"C": (100.0,)},
            support=None,
            entity_type=None,
        ),
    )
    assert [key for key, _ in legacy.unreadable] == ["j2"]
    assert legacy.has_metrics_table
    assert (await bench.store.scan()).lock is None


async def test_an_application_may_keep_its_metrics_elsewhere(bench: Bench) -> None:
    bench.make_legacy(metrics=False)
    legacy = await bench.store.legacy()
    assert legacy is not None
    assert not legacy.has_metrics_table
    assert legacy.lock is None


# --- metric rows -------------------------------------------------------------------------------------------------

BUSY = WorkerRow(
    worker_id="w1",
    beat=3,
    updated_at=100,
    samples={"C": (12.5, 99.123456)},
    ranges={"C": (100.0,)},
    support=1,
    support_updated_at=100,
)


@pytest.mark.parametrize("place", METRIC_PLACES)
async def test_a_workers_row_lives_in_either_place(bench: Bench, place: Place) -> None:
    bench.make_legacy()
    assert await bench.store.write_worker(BUSY, place)
    assert await bench.store.read_worker("w1", place) == BUSY
    assert (bench.get("w1", place) or {})["sts"] == {"M": {"C": {"L": [{"N": "12.5"}, {"N": "99.123456"}]}}}
    for other in METRIC_PLACES:
        assert (await bench.store.read_worker("w1", other) is None) == (other != place)
    assert not await bench.store.write_worker(replace(BUSY, updated_at=90), place)
    await bench.store.delete_worker(replace(BUSY, beat=2), place)
    assert await bench.store.read_worker("w1", place) == BUSY
    await bench.store.delete_worker(BUSY, place)
    assert bench.get("w1", place) is None


async def test_a_row_of_kcl_3_0_is_deleted_by_its_time_alone(bench: Bench) -> None:
    bench.make_legacy()
    old = WorkerRow(worker_id="j1", beat=None, updated_at=100, entity_type=None)
    bench.put(worker_to_item(replace(old, updated_at=130), "metrics"), "metrics")
    await bench.store.delete_worker(old, "metrics")
    assert bench.get("j1", "metrics") is not None
    await bench.store.delete_worker(replace(old, updated_at=130), "metrics")
    assert bench.get("j1", "metrics") is None


# --- rows that go ------------------------------------------------------------------------------------------------

STREAM = {"leaseKey": {"S": "stream-1"}, "entityType": {"S": "STREAM"}, "streamId": {"S": "1"}}
GOING = [LOCK, VERSION, MIGRATION, ForeignRow("stream-1", "STREAM", STREAM)]


@pytest.mark.parametrize("place", LOCK_PLACES)
@pytest.mark.parametrize("row", GOING[:3], ids=lambda row: type(row).__name__)
async def test_a_row_that_is_no_lease_goes_only_as_it_was_read(
    bench: Bench, row: LeaderLock | ClientVersion | TableMigration, place: Place
) -> None:
    bench.make_legacy()
    item = coordination_to_item(row, place)
    key = item[KEYS[place]]["S"]
    for name in item.keys() - {KEYS[place]}:
        changed = item | {name: {"S": "changed"}}
        bench.put(changed, place)
        assert not await bench.store.delete_row(row, place), name
        assert same(bench.get(key, place), changed)
    bench.put(item, place)
    assert await bench.store.delete_row(row, place)
    assert bench.get(key, place) is None
    assert not await bench.store.delete_row(row, place)


async def test_a_row_that_nobody_knows_and_a_workers_go_too_and_never_a_lease(bench: Bench) -> None:
    bench.put(STREAM)
    foreign = (await bench.store.scan()).foreign[0]
    assert await bench.store.delete_row(foreign)
    bench.put(worker_to_item(BUSY))
    assert await bench.store.delete_row(BUSY)
    bench.put(to_item(Lease(key="w1")) | {"leaseholdBeat": {"N": "3"}})
    assert not await bench.store.delete_row(BUSY)
    assert bench.get("stream-1") is None
    assert bench.get("w1") is not None


# --- the index by owner ------------------------------------------------------------------------------------------


async def test_a_table_has_no_index_by_owner_until_somebody_makes_it(bench: Bench) -> None:
    for key, owner in (("b", "w1"), ("a", "w1"), ("c", "w2"), ("d", None)):
        bench.put(to_item(Lease(key=key, owner=owner)))
    assert await bench.store.owned_by("w1") is None
    await bench.store.ensure_owner_index()
    await bench.store.ensure_owner_index()
    assert await bench.store.owned_by("w1") == ("a", "b")
    assert await bench.store.owned_by("w2") == ("c",)
    assert await bench.store.owned_by("w3") == ()


async def test_the_index_has_a_pending_lease_under_the_next_owner(bench: Bench) -> None:
    await bench.store.ensure_owner_index()
    bench.put(to_item(Lease(key="a", owner="w2", checkpoint_owner="w1")))
    assert await bench.store.owned_by("w1") == ()
    assert await bench.store.owned_by("w2") == ("a",)


async def test_rows_that_are_no_leases_are_in_no_index(bench: Bench) -> None:
    await bench.store.ensure_owner_index()
    for row in (LOCK, VERSION, MIGRATION):
        bench.put(coordination_to_item(row))
    bench.put(worker_to_item(BUSY))
    assert await bench.store.owned_by("w1") == ()


async def test_racing_workers_make_one_index(bench: Bench) -> None:
    await asyncio.gather(*(bench.store.ensure_owner_index() for _ in range(5)))
    bench.put(to_item(Lease(key="a", owner="w1")))
    assert await bench.store.owned_by("w1") == ("a",)
