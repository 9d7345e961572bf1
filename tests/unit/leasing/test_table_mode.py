"""The mode of a lease table, row by row, and what makes joining it unsafe."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from consumer.leasing.table_mode import TableMode, mode_of
from lease_store.coordination import ClientVersion, LeaderLock, TableMigration
from lease_store.layout import LegacyRows
from lease_store.lease import Lease, TableScan, WorkerRow

LOCK = LeaderLock(owner="java", version="v1", duration_seconds=120.0)
OURS = Lease(key="s1", stream="orders@1", created_at="1-a", entity_type="LEASE")
MADE_BY_35 = Lease(key="s2", entity_type="LEASE")
MADE_BY_2X = Lease(key="s3", entity_type=None)
METRICS = WorkerRow(worker_id="java", beat=None, updated_at=1)
OUR_ROW = WorkerRow(worker_id="py", beat=4)


def state(name: str) -> ClientVersion:
    return ClientVersion(state=f"CLIENT_VERSION_{name}")


def read(scan: TableScan | None = None, legacy: LegacyRows | None = None, **named: Any) -> TableMode:
    return mode_of(scan or TableScan(), legacy, table="t", **named)


@pytest.mark.parametrize(
    ("scan", "legacy", "mode", "because"),
    [
        (TableScan(), None, "peer", "no KCL"),
        (TableScan(leases=(OURS,), workers=(OUR_ROW,)), None, "peer", "no KCL"),
        (TableScan(client_version=state("3X")), None, "leader", "says CLIENT_VERSION_3X"),
        (TableScan(client_version=state("3X_WITH_ROLLBACK")), None, "leader", "3X_WITH_ROLLBACK"),
        (TableScan(client_version=state("UPGRADE_FROM_2X")), None, "2x", "UPGRADE_FROM_2X"),
        (TableScan(client_version=state("2X"), lock=LOCK, workers=(METRICS,)), None, "2x", "CLIENT_VERSION_2X"),
        (TableScan(lock=LOCK, leases=(OURS,)), None, "leader", "names 'java' as leader"),
        (TableScan(lock=replace(LOCK, owner="py"), leases=(OURS,)), None, "leader", "names 'py'"),
        (TableScan(leases=(OURS,), workers=(METRICS, OUR_ROW)), None, "leader", "'java', a worker of a KCL 3.x"),
        (TableScan(leases=(OURS, MADE_BY_35)), None, "leader", "'s2' was made by a KCL 3.5"),
        (TableScan(leases=(OURS, MADE_BY_2X)), None, "2x", "'s3' was made by a KCL 2.x"),
        (TableScan(leases=(MADE_BY_2X, MADE_BY_35)), None, "leader", "'s2'"),
        (TableScan(leases=(replace(OURS, rules="2.x"),)), None, "2x", "'s1' is marked"),
        (TableScan(leases=(MADE_BY_35, replace(MADE_BY_2X, rules="2.x"))), None, "2x", "'s3' is marked"),
        (TableScan(leases=(MADE_BY_2X, replace(OURS, rules="peer"))), None, "peer", "'s1' is marked"),
        (TableScan(leases=(replace(MADE_BY_2X, rules="2.x"),), lock=LOCK), None, "leader", "names 'java'"),
        (TableScan(), LegacyRows(), "peer", "no KCL"),
        (TableScan(leases=(MADE_BY_2X,)), LegacyRows(client_version=state("3X")), "leader", "CLIENT_VERSION_3X"),
        (TableScan(leases=(MADE_BY_2X,)), LegacyRows(lock=LOCK), "leader", "names 'java'"),
        (TableScan(leases=(MADE_BY_2X,)), LegacyRows(workers=(METRICS,)), "leader", "'java', a worker"),
        (TableScan(leases=(MADE_BY_2X,)), LegacyRows(client_version=state("2X"), lock=LOCK), "2x", "VERSION_2X"),
    ],
)
def test_the_rows_tell_the_mode(scan: TableScan, legacy: LegacyRows | None, mode: str, because: str) -> None:
    told = read(scan, legacy)
    assert (told.mode, told.conflict) == (mode, None)
    assert because in told.because


def test_leader_mode_never_falls_back_by_itself_but_follows_a_rollback() -> None:
    """Between two leaders there is no lock, and a scan may be late: peers beside a leader would undo its plans."""
    led = read(TableScan(lock=LOCK))
    assert read(TableScan(leases=(OURS,)), known=led).mode == "leader"
    assert read(TableScan(leases=(replace(OURS, rules="2.x"),)), known=led).mode == "leader"
    assert read(TableScan(client_version=state("2X")), known=led).mode == "2x"


def test_2x_stays_until_a_row_of_leader_mode_shows_up() -> None:
    beside = read(TableScan(leases=(MADE_BY_2X,)))
    assert read(TableScan(leases=(OURS,)), known=beside).mode == "2x"
    assert read(TableScan(leases=(OURS,), lock=LOCK), known=beside).mode == "leader"


def test_configuration_decides_where_rows_say_nothing() -> None:
    pure = TableScan(leases=(OURS,), workers=(OUR_ROW,))
    assert read(pure, coordination="leader").mode == "leader"
    assert read(coordination="2x").mode == "2x"
    assert read(TableScan(leases=(replace(OURS, rules="peer"),)), coordination="leader").mode == "leader"
    assert read(pure, mover="ghost").mode == "2x"


@pytest.mark.parametrize(
    ("scan", "coordination"),
    [
        (TableScan(leases=(MADE_BY_2X,)), "leader"),
        (TableScan(client_version=state("UPGRADE_FROM_2X")), "leader"),
        (TableScan(lock=LOCK), "2x"),
        (TableScan(leases=(replace(OURS, rules="peer"),)), "2x"),
    ],
)
def test_a_start_against_the_rows_is_refused_and_a_change_later_is_obeyed(scan: TableScan, coordination: Any) -> None:
    """A lock row in a 2.x fleet stops all of its workers."""
    told = read(scan, coordination=coordination)
    assert told.conflict is not None
    assert f"--coordination {coordination}" in told.conflict
    known = read(coordination=coordination)
    assert read(scan, coordination=coordination, known=known).conflict is None


def test_own_rows_are_kept_out_of_a_2x_table_unless_its_kcl_waits_for_them() -> None:
    """A KCL in UPGRADE_FROM_2X can't leave 2.x before every owner of a lease has a metric row."""
    assert not read(TableScan(leases=(MADE_BY_2X,))).publishes
    assert not read(TableScan(client_version=state("2X"))).publishes
    assert read(TableScan(client_version=state("UPGRADE_FROM_2X"))).publishes
    assert read(TableScan(lock=LOCK)).publishes
    assert read().publishes


@pytest.mark.parametrize("joining", ["3X", "UPGRADE_FROM_2X"])
def test_who_kept_rows_out_of_the_lease_table_waits_for_the_metrics_table_of_a_kcl_that_joins(joining: str) -> None:
    """KCL 3.3.0 makes its tables one after the other; our row in the lease table meanwhile made it log errors."""
    scan = TableScan(leases=(OURS,))
    known = read(scan, coordination="2x")
    half = LegacyRows(client_version=state(joining), has_metrics_table=False)
    waits = read(scan, half, coordination="2x", known=known)
    assert not waits.publishes
    assert not read(scan, half, coordination="2x", known=waits).publishes
    whole = read(scan, replace(half, has_metrics_table=True), coordination="2x", known=waits)
    assert (whole.publishes, whole.layout.workers_at) == (True, "metrics")
    assert read(scan, half).publishes, "one that starts on such tables finds them complete"


@pytest.mark.parametrize("key", ["Leader", "Migration3.0", "TableMigration3.5"])
def test_what_can_not_be_read_of_the_fleets_agreements_is_a_conflict(key: str) -> None:
    for scan, legacy in (
        (TableScan(unreadable=((key, "a reason"),)), None),
        (TableScan(), LegacyRows(unreadable=((key, "a reason"),))),
    ):
        told = read(scan, legacy)
        assert told.conflict is not None
        assert key in told.conflict
        assert "a reason" in told.conflict
    assert read(TableScan(unreadable=(("s9", "a reason"),))).conflict is None


def test_an_older_kcls_table_whose_lock_may_not_be_seen_is_a_conflict() -> None:
    denied = LegacyRows(denied="No right to dynamodb:Scan.")
    told = read(TableScan(leases=(MADE_BY_2X,)), denied)
    assert told.conflict is not None
    assert "dynamodb:Scan" in told.conflict
    assert read(TableScan(leases=(OURS,)), denied).conflict is None
    assert read(TableScan(leases=(MADE_BY_2X,), client_version=state("2X")), denied).conflict is None


def test_the_layout_is_that_of_the_kcls_migration() -> None:
    legacy = LegacyRows(
        lock=LOCK, workers=(METRICS,), table_migration=TableMigration(state="TABLE_MIGRATION_STATUS_INIT")
    )
    assert read(TableScan(), legacy).layout.lock_at == "coordinator"
    assert read(TableScan(), legacy).layout.workers_at == "metrics"
    complete = replace(legacy, table_migration=TableMigration(state="TABLE_MIGRATION_STATUS_COMPLETE"))
    assert read(TableScan(), complete).layout.lock_at == "leases"
