"""Where a fleet's rows lie, by what every state of a table's migration shows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lease_store import ClientVersion, Layout, LeaderLock, LegacyRows, TableMigration, TableScan, WorkerRow, layout_of

OLD_LOCK = LeaderLock(owner="old", version="1", duration_seconds=120.0)
NEW_LOCK = LeaderLock(owner="new", version="1", duration_seconds=120.0)
OLD_VERSION = ClientVersion(state="CLIENT_VERSION_UPGRADE_FROM_2X")
NEW_VERSION = ClientVersion(state="CLIENT_VERSION_3X")
OLD_WORKER = WorkerRow(worker_id="old", beat=None, updated_at=1000)
NEW_WORKER = WorkerRow(worker_id="new", beat=None, updated_at=1000)
OURS = WorkerRow(worker_id="ours", beat=7, updated_at=99_999)
SCAN = TableScan(workers=(NEW_WORKER,), lock=NEW_LOCK, client_version=NEW_VERSION)
LEGACY = LegacyRows(lock=OLD_LOCK, client_version=OLD_VERSION, workers=(OLD_WORKER,))


def at(state: str | None, legacy: LegacyRows = LEGACY) -> LegacyRows:
    if state is None:
        return legacy
    return replace(legacy, table_migration=TableMigration(state=f"TABLE_MIGRATION_STATUS_{state}"))


ONE_TABLE = Layout(lock=NEW_LOCK, client_version=NEW_VERSION, workers=(NEW_WORKER,))


def test_a_table_born_under_kcl_3_5_has_everything_in_it() -> None:
    assert layout_of(SCAN, None) == ONE_TABLE
    assert (ONE_TABLE.status, ONE_TABLE.lock_at, ONE_TABLE.workers_at) == ("COMPLETE", "leases", "leases")


def test_legacy_tables_that_may_not_be_read_count_as_missing() -> None:
    assert layout_of(SCAN, LegacyRows(denied="may not")) == ONE_TABLE


@pytest.mark.parametrize("state", [None, "INIT"])
def test_before_the_migration_everything_but_leases_is_in_the_legacy_tables(state: str | None) -> None:
    assert layout_of(SCAN, at(state)) == Layout(
        status="INIT",
        lock_at="coordinator",
        workers_at="metrics",
        lock=OLD_LOCK,
        stray_lock=NEW_LOCK,
        client_version=OLD_VERSION,
        workers=(NEW_WORKER, OLD_WORKER),
    )


@pytest.mark.parametrize("state", ["DEPLOYED", "PENDING"])
def test_while_it_is_under_way_the_lock_stays_and_both_places_are_read(state: str) -> None:
    layout = layout_of(SCAN, at(state))
    assert (layout.status, layout.lock_at, layout.lock, layout.stray_lock) == (
        state,
        "coordinator",
        OLD_LOCK,
        NEW_LOCK,
    )
    assert layout.client_version == OLD_VERSION
    assert layout.workers == (NEW_WORKER, OLD_WORKER)


def test_of_a_worker_that_has_a_row_in_either_place_the_one_that_moved_last_counts() -> None:
    scan = TableScan(workers=(replace(OLD_WORKER, updated_at=1030), replace(OURS, beat=6, updated_at=100_000)))
    legacy = at("DEPLOYED", LegacyRows(workers=(OLD_WORKER, OURS)))
    assert layout_of(scan, legacy).workers == (replace(OLD_WORKER, updated_at=1030), OURS)


def test_after_it_the_legacy_tables_say_nothing_any_more_but_a_lock_there_is_seen() -> None:
    assert layout_of(SCAN, at("COMPLETE")) == replace(ONE_TABLE, stray_lock=OLD_LOCK)


@pytest.mark.parametrize("state", [None, "DEPLOYED", "PENDING"])
def test_a_client_version_that_has_been_moved_already_is_found_in_the_lease_table(state: str | None) -> None:
    assert layout_of(SCAN, at(state, replace(LEGACY, client_version=None))).client_version == NEW_VERSION


@pytest.mark.parametrize("state", [None, "INIT", "DEPLOYED", "PENDING"])
def test_without_a_table_of_metrics_they_are_in_the_lease_table(state: str | None) -> None:
    legacy = LegacyRows(lock=OLD_LOCK, has_metrics_table=False)
    layout = layout_of(SCAN, at(state, legacy))
    assert (layout.lock_at, layout.workers_at) == ("coordinator", "leases")


@pytest.mark.parametrize(
    ("state", "here", "there", "place"),
    [
        ("DEPLOYED", None, 1000, "metrics"),
        ("DEPLOYED", 1000, None, "leases"),
        ("DEPLOYED", 1000, 1010, "leases"),  # some have been told to move, some not yet
        ("DEPLOYED", 1000, 1059, "leases"),
        ("DEPLOYED", 1000, 1060, "metrics"),  # they went back: the ones here are left behind
        ("PENDING", 1000, 900, "leases"),
        ("PENDING", 1000, 1060, "metrics"),
        ("DEPLOYED", None, None, "metrics"),
        ("PENDING", None, None, "leases"),
        ("INIT", 1000, None, "metrics"),
    ],
)
def test_our_metrics_go_with_the_newest_of_the_kcls(
    state: str, here: int | None, there: int | None, place: str
) -> None:
    scan = TableScan(workers=(OURS, *(replace(NEW_WORKER, updated_at=t) for t in (here, 5) if here and t)))
    rows = tuple(replace(OLD_WORKER, updated_at=t) for t in (there, 5) if there and t)
    assert layout_of(scan, at(state, LegacyRows(workers=(*rows, OURS)))).workers_at == place
