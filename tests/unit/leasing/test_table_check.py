"""Which tables may be joined."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from consumer.leasing.table_check import conflict_in, stranger_in, unknown_movers
from consumer.streams.source import Shard
from lease_store.checkpoint import AT_TIMESTAMP, SHARD_END, Checkpoint
from lease_store.item import table_scan
from lease_store.lease import ForeignRow, Lease, TableScan, WorkerRow

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "kcl-3.5.1-tables.json").read_text())
OURS = Lease(key="s", stream="arn:orders/stream/2026", owner="a", created_at="1-x")
KCL = Lease(key="shardId-000000000000", owner="java")
CLICKS = "arn:aws:kinesis:eu-west-1:111122223333:stream/clicks"
NOW = 1_800_000_000.0


def judge(scan: TableScan) -> str | None:
    return conflict_in(scan, table="t", stream_base="arn:orders", app="audit")


def stranger(leases: list[Lease], *shards: Shard) -> str | None:
    return stranger_in(leases, shards, table="t", stream_label=f"{CLICKS}@1", server_time=NOW)


def test_an_empty_table_and_our_own_rows_are_fine() -> None:
    assert judge(TableScan()) is None
    unknown = ForeignRow("x", "SOMETHING_NEW", {})
    assert judge(TableScan((OURS,), (WorkerRow(worker_id="a", beat=1),), (unknown,))) is None


def test_a_table_of_this_app_or_of_nobody_in_particular_is_fine() -> None:
    assert judge(TableScan((replace(OURS, app="audit"), OURS))) is None


def test_another_incarnation_of_the_same_stream_is_fine() -> None:
    assert judge(TableScan((Lease(key="s", stream="arn:orders/stream/1999"),))) is None


@pytest.mark.parametrize("moment", list(GOLDEN))
def test_the_table_of_a_java_kcl_is_fine(moment: str) -> None:
    assert judge(table_scan(GOLDEN[moment])) is None


@pytest.mark.parametrize(
    ("scan", "names"),
    [
        (TableScan((Lease(key="s", stream="arn:clicks/stream/1"),)), "arn:clicks/stream/1"),
        (TableScan((replace(OURS, app="billing"),)), "'billing'"),
        (TableScan((Lease(key="111122223333:clicks:1763600000:shardId-000000000000"),)), "several streams"),
        (TableScan((replace(KCL, extra={"streamName": {"S": "111122223333:clicks:17"}}),)), "'111122223333:clicks:17'"),
        (TableScan(foreign=(ForeignRow("111122223333:clicks:1763600000", "STREAM", {}),)), "several streams"),
        (TableScan(foreign=(ForeignRow("clicks", "STREAM", {}),)), "'clicks'"),
    ],
)
def test_a_table_of_another_stream_or_app_is_refused_by_name_with_the_way_out(scan: TableScan, names: str) -> None:
    sentence = judge(scan)
    assert sentence is not None
    assert names in sentence
    assert "--lease-table" in sentence


def test_a_kcls_row_that_names_this_stream_is_fine() -> None:
    scan = TableScan(foreign=(ForeignRow("clicks", "STREAM", {}),))
    assert conflict_in(scan, table="t", stream_base=CLICKS, app=None) is None
    assert conflict_in(scan, table="t", stream_base=None, app=None) is None


def test_a_start_at_a_timestamp_that_this_worker_does_not_know_is_refused() -> None:
    at_timestamp = replace(KCL, checkpoint=AT_TIMESTAMP)
    sentence = judge(TableScan((at_timestamp,)))
    assert sentence is not None
    assert "--initial-position AT_TIMESTAMP=" in sentence
    assert KCL.key in sentence
    assert judge(TableScan((replace(at_timestamp, start_at=9),))) is None  # type: ignore[arg-type]  # any number does


# -- are a KCL's rows of this stream?


def listed(number: int, *parents: str, first: str | None = None, keys: tuple[str, str] = ("0", "9")) -> Shard:
    return Shard(f"shardId-{number:012}", parents, hash_range=keys, first_sequence_number=first)


def test_rows_that_the_stream_lists_are_its_own_and_so_are_those_of_what_was_trimmed_away() -> None:
    fields: dict[str, Any] = {"hash_range": ("0", "9"), "checkpoint": Checkpoint("50")}
    rows = [replace(KCL, **fields), Lease(key="shardId-000000000009", checkpoint=Checkpoint("7"))]
    assert stranger(rows, listed(0, first="50"), listed(1)) is None
    assert stranger([Lease(key="gone", checkpoint=SHARD_END)], listed(3, "gone")) is None, "its child names it"
    assert stranger([], listed(0)) is None


def test_rows_of_which_the_stream_lists_none_are_refused_with_both_names_and_the_reason() -> None:
    sentence = stranger([KCL, Lease(key="shardId-000000000001")], listed(7))
    assert sentence is not None
    for name in ("t", KCL.key, f"{CLICKS}@1", "another stream", "--lease-table"):
        assert name in sentence


def test_where_rows_of_ours_vouch_for_the_table_old_rows_of_a_kcl_are_no_reason() -> None:
    assert stranger([replace(OURS, key="shardId-000000000007"), KCL], listed(7)) is None


@pytest.mark.parametrize(
    ("row", "shard", "why"),
    [
        ({"hash_range": ("0", "4")}, listed(0), "hash keys"),
        ({"parents": ("shardId-000000000008",)}, listed(0, "shardId-000000000005"), "parents"),
        ({"checkpoint": Checkpoint("49")}, listed(0, first="50"), "first sequence number 50"),
        ({"checkpoint": SHARD_END}, listed(0), "is open"),
    ],
)
def test_a_shard_of_the_same_id_that_is_another_shard_is_told(row: dict[str, Any], shard: Shard, why: str) -> None:
    """Kinesis numbers the shards of every stream from 0 on."""
    sentence = stranger([replace(KCL, **row)], shard)
    assert sentence is not None
    assert why in sentence
    assert KCL.key in sentence


@pytest.mark.parametrize(("age_seconds", "is_stranger"), [(60, False), (3_600, True), (90_000, False)])
def test_a_dynamodb_shard_of_today_that_is_not_listed_is_of_another_stream(age_seconds: int, is_stranger: bool) -> None:
    """The table's stream was enabled anew: what is unread in the old one must not be taken for trimmed."""
    shards = [Shard(f"shardId-{int(at * 1000):020}-abc") for at in (NOW - 100, NOW - age_seconds)]
    rows = [Lease(key=shard.id, checkpoint=Checkpoint("5")) for shard in shards]
    assert (stranger(rows, shards[0]) is not None) is is_stranger
    finished = [rows[0], replace(rows[1], checkpoint=SHARD_END)]
    assert stranger(finished, shards[0]) is None


def test_an_owner_that_moves_leases_without_a_row_is_named() -> None:
    moved = [OURS, Lease(key="t", owner="b", checkpoint_owner="kcl"), Lease(key="u")]
    assert unknown_movers(moved, {"a"}) == {"t": "kcl"}
