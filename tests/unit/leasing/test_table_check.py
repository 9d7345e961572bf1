"""Which tables may be joined."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consumer.leasing.table_check import conflict_in, unknown_movers
from lease_store.coordination import LeaderLock
from lease_store.lease import ForeignRow, Lease, TableScan, WorkerRow

OURS = Lease(key="s", stream="arn:orders/stream/2026", owner="a")


def judge(scan: TableScan) -> str | None:
    return conflict_in(scan, table="t", stream_base="arn:orders", app="audit")


def test_an_empty_table_and_our_own_rows_are_fine() -> None:
    assert judge(TableScan()) is None
    unknown = ForeignRow("x", "SOMETHING_NEW", {})
    assert judge(TableScan((OURS,), (WorkerRow(worker_id="a", beat=1),), (unknown,))) is None


def test_a_table_of_this_app_or_of_nobody_in_particular_is_fine() -> None:
    assert judge(TableScan((replace(OURS, app="audit"), OURS))) is None


def test_another_incarnation_of_the_same_stream_is_fine() -> None:
    assert judge(TableScan((Lease(key="s", stream="arn:orders/stream/1999"),))) is None


@pytest.mark.parametrize(
    ("scan", "names"),
    [
        (TableScan(lock=LeaderLock(owner="kcl-1", version="1", duration_seconds=120.0)), "LEADER"),
        (TableScan(workers=(WorkerRow(worker_id="kcl-1", beat=None),)), "'kcl-1'"),
        (TableScan((Lease(key="shard-9"),)), "'shard-9'"),
        (TableScan((Lease(key="s", stream="arn:clicks/stream/1"),)), "arn:clicks/stream/1"),
        (TableScan((replace(OURS, app="billing"),)), "'billing'"),
    ],
)
def test_a_table_of_a_kcl_or_of_another_stream_is_refused_by_name_with_the_way_out(scan: TableScan, names: str) -> None:
    sentence = judge(scan)
    assert sentence is not None
    assert names in sentence
    assert "--lease-table" in sentence


def test_an_owner_that_moves_leases_without_a_row_is_named() -> None:
    moved = [OURS, Lease(key="t", owner="b", checkpoint_owner="kcl"), Lease(key="u")]
    assert unknown_movers(moved, {"a"}) == {"t": "kcl"}
