"""The row codec against what a real KCL wrote, against arbitrary leases, and against rows that are broken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lease_store.attributes import KEY_ATTRIBUTES, Place
from lease_store.checkpoint import SHARD_END, TRIM_HORIZON, Checkpoint
from lease_store.coordination import ClientVersion, LeaderLock, coordination_to_item
from lease_store.errors import InvalidRow
from lease_store.item import canonical, from_item, item_of, table_scan, to_item, worker_to_item
from lease_store.lease import ForeignRow, Lease, PendingCheckpoint, WorkerRow
from tests.golden.recordings import tables

ROWS = [
    pytest.param(row, place, id=f"{table} {row[KEY_ATTRIBUTES[place]]['S']}")
    for table, place, rows in tables()
    for row in rows
]


def exact(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """For comparing byte for byte: only the elements of sets have no order."""
    return {n: {k: sorted(c) if k in ("SS", "NS", "BS") else c for k, c in v.items()} for n, v in item.items()}


@pytest.mark.parametrize(("row", "place"), ROWS)
def test_every_row_of_a_real_kcl_round_trips_exactly(row: dict[str, Any], place: Place) -> None:
    read = from_item(row, place)
    assert exact(item_of(read, place)) == exact(row)
    assert not isinstance(read, ForeignRow)
    assert read.extra == {}, "an attribute of the KCL that nobody here reads"


def test_a_lease_of_a_real_kcl_reads_as_it_should() -> None:
    (found,) = [rows for table, _, rows in tables() if table == "kcl-3.5.1 3-after-reshard"]
    rows = {row["leaseKey"]["S"]: from_item(row) for row in found}
    merged = rows["shardId-000000000006"]
    assert isinstance(merged, Lease)
    assert merged.parents == ("shardId-000000000001", "shardId-000000000002")
    assert merged.hash_range == ("85070591730234615865843651857942052863", "255211775190703847597530955573826158588")
    split = rows["shardId-000000000000"]
    assert isinstance(split, Lease)
    assert (split.checkpoint, split.owner, split.counter) == (SHARD_END, "w1", 152)
    assert split.children == ("shardId-000000000004", "shardId-000000000005")
    assert split.throughput_kbps == 0
    assert split.extra == {}
    worker = rows["w2"]
    assert isinstance(worker, WorkerRow)
    assert worker == WorkerRow(
        worker_id="w2", beat=None, updated_at=worker.updated_at, support=1, support_updated_at=worker.support_updated_at
    )
    lock, version = rows["Leader"], rows["Migration3.0"]
    assert isinstance(lock, LeaderLock)
    assert (lock.owner, lock.duration_seconds, lock.is_released, lock.extra) == ("w1", 120.0, False, {})
    assert isinstance(version, ClientVersion)
    assert (version.state, [was.state for was in version.history]) == ("CLIENT_VERSION_3X", ["CLIENT_VERSION_INIT"])


names = st.text(st.characters(codec="ascii", categories=("L", "N"), include_characters="-._"), min_size=1, max_size=20)
checkpoints = st.one_of(
    st.sampled_from([TRIM_HORIZON, SHARD_END, Checkpoint("LATEST"), Checkpoint("AT_TIMESTAMP")]),
    st.builds(Checkpoint, st.integers(0, 10**60).map(str), st.integers(0, 10**6)),
)
decimals = st.decimals(0, 10**15, places=6)
sets = st.sets(names, max_size=3).map(lambda chosen: tuple(sorted(chosen)))
attributes = st.recursive(
    st.one_of(
        st.builds(lambda text: {"S": text}, st.text()),
        st.builds(lambda number: {"N": str(number)}, st.integers()),
        st.builds(lambda content: {"B": content}, st.binary()),
        st.builds(lambda flag: {"BOOL": flag}, st.booleans()),
        st.just({"NULL": True}),
    ),
    lambda inner: st.one_of(
        st.builds(lambda elements: {"L": elements}, st.lists(inner, max_size=3)),
        st.builds(lambda members: {"M": members}, st.dictionaries(names, inner, max_size=3)),
    ),
    max_leaves=5,
)
extras = st.dictionaries(names.map(lambda name: f"x-{name}"), attributes, max_size=3)
# What a KCL calls its own rows, no lease and no worker can be called.
own_names = names.filter(lambda key: key not in ("Leader", "Migration3.0", "TableMigration3.5"))
series = st.dictionaries(names, st.lists(st.floats(-1, 100)).map(tuple), max_size=3)
leases = st.builds(
    Lease,
    key=own_names,
    counter=st.integers(0, 10**18),
    owner=st.none() | names,
    checkpoint_owner=st.none() | names,
    checkpoint=checkpoints,
    owner_switches_since_checkpoint=st.integers(0, 1000),
    parents=sets,
    children=sets,
    hash_range=st.none()
    | st.tuples(st.integers(0, 2**128), st.integers(1, 2**127)).map(lambda pair: (str(pair[0]), str(sum(pair)))),
    pending_checkpoint=st.none() | st.builds(PendingCheckpoint, checkpoints, st.none() | st.binary(min_size=1)),
    throughput_kbps=st.none() | decimals,
    stream=st.none() | names,
    start_at=st.none() | decimals,
    created_at=st.none() | names,
    taken_back=st.none() | st.integers(0, 10**18),
    app=st.none() | names,
    rules=st.none() | names,
    entity_type=st.sampled_from(["LEASE", None]),
    extra=extras,
)
workers = st.builds(
    WorkerRow,
    worker_id=own_names,
    beat=st.none() | st.integers(0, 10**18),
    draining=st.booleans(),
    failover_seconds=st.none() | st.floats(0.001, 1e6),
    max_leases=st.none() | st.integers(1, 10**6),
    updated_at=st.integers(0, 10**11),
    samples=series,
    ranges=series,
    support=st.none() | st.integers(0, 10),
    support_updated_at=st.none() | st.integers(0, 10**11),
    extra=extras,
)
locks = st.builds(
    LeaderLock,
    owner=names,
    version=names,
    duration_seconds=st.integers(0, 10**9).map(lambda ms: ms / 1000),
    is_released=st.booleans(),
    entity_type=st.sampled_from(["LEADER", None]),
    extra=extras,
)


@given(leases)
def test_any_lease_round_trips(lease: Lease) -> None:
    assert from_item(to_item(lease)) == lease


@given(workers, st.sampled_from(["leases", "metrics"]))
def test_any_worker_round_trips(worker: WorkerRow, place: Place) -> None:
    assert from_item(worker_to_item(worker, place), place) == worker


@given(locks, st.sampled_from(["leases", "coordinator"]))
def test_any_lock_round_trips(lock: LeaderLock, place: Place) -> None:
    assert from_item(coordination_to_item(lock, place), place) == lock


@given(leases)
def test_no_row_carries_what_dynamodb_refuses(lease: Lease) -> None:
    for name, value in to_item(replace(lease, extra={})).items():
        ((kind, content),) = value.items()
        assert content not in ("", [], b""), name
        if kind == "N":
            assert "E" not in content


def test_the_attributes_that_java_insists_on_are_always_there() -> None:
    assert to_item(Lease(key="s")) == {
        "leaseKey": {"S": "s"},
        "entityType": {"S": "LEASE"},
        "leaseCounter": {"N": "0"},
        "ownerSwitchesSinceCheckpoint": {"N": "0"},
        "checkpoint": {"S": "TRIM_HORIZON"},
        "checkpointSubSequenceNumber": {"N": "0"},
    }


def test_a_worker_row_is_a_metric_row_without_metrics() -> None:
    row = WorkerRow(
        worker_id="w1",
        beat=3,
        draining=True,
        failover_seconds=2.5,
        max_leases=4,
        updated_at=1700000000,
        support_updated_at=1700000000,
    )
    assert worker_to_item(row) == {
        "leaseKey": {"S": "w1"},
        "entityType": {"S": "WORKER_METRIC_STATS"},
        "lut": {"N": "1700000000"},
        "sts": {"M": {}},
        "opr": {"M": {}},
        "sup": {"N": "1"},
        "slu": {"N": "1700000000"},
        "leaseholdBeat": {"N": "3"},
        "leaseholdDraining": {"BOOL": True},
        "leaseholdFailover": {"N": "2.5"},
        "leaseholdMaxLeases": {"N": "4"},
    }


LEASE_ROW: dict[str, Any] = {
    "leaseKey": {"S": "s"},
    "leaseCounter": {"N": "5"},
    "checkpoint": {"S": "10"},
    "checkpointSubSequenceNumber": {"N": "0"},
    "ownerSwitchesSinceCheckpoint": {"N": "0"},
}


@pytest.mark.parametrize(
    ("row", "attribute"),
    [
        ({n: v for n, v in LEASE_ROW.items() if n != "leaseCounter"}, "leaseCounter"),
        ({n: v for n, v in LEASE_ROW.items() if n != "checkpoint"}, "checkpoint"),
        (LEASE_ROW | {"checkpoint": {"S": ""}}, "checkpoint"),
        (LEASE_ROW | {"checkpoint": {"S": "ten"}}, "checkpoint"),
        (LEASE_ROW | {"checkpointSubSequenceNumber": {"N": "-1"}}, "checkpoint"),
        (LEASE_ROW | {"leaseCounter": {"S": "5"}}, "leaseCounter"),
        (LEASE_ROW | {"leaseCounter": {"N": "5.5"}}, "leaseCounter"),
        (LEASE_ROW | {"leaseCounter": {"N": "NaN"}}, "leaseCounter"),
        (LEASE_ROW | {"leaseCounter": {"N": "many"}}, "leaseCounter"),
        (LEASE_ROW | {"leaseOwner": {"SS": ["w1"]}}, "leaseOwner"),
        (LEASE_ROW | {"parentShardId": {"S": "shard-0"}}, "parentShardId"),
        (LEASE_ROW | {"childShardIds": {"L": [{"S": "c"}]}}, "childShardIds"),
        ({"leaseKey": {"N": "1"}, "leaseCounter": {"N": "1"}}, "leaseKey"),
        ({"leaseCounter": {"N": "1"}}, "leaseKey"),
    ],
)
def test_a_row_that_can_not_be_read_is_named_with_the_reason(row: dict[str, Any], attribute: str) -> None:
    with pytest.raises(InvalidRow, match=attribute) as caught:
        from_item(row)
    if "S" in row.get("leaseKey", {}):
        assert "'s'" in str(caught.value)
    assert [key for key, _ in table_scan([LEASE_ROW, row]).unreadable] == [row.get("leaseKey", {}).get("S", "")]
    assert len(table_scan([LEASE_ROW, row]).leases) == 1


@pytest.mark.parametrize("nothing", [{"NULL": True}, {"S": ""}, {"SS": []}])
@pytest.mark.parametrize(
    "attribute", ["leaseOwner", "checkpointOwner", "parentShardId", "throughputKBps", "entityType"]
)
def test_null_and_empty_count_as_absent_and_are_kept(attribute: str, nothing: dict[str, Any]) -> None:
    row = LEASE_ROW | {attribute: nothing}
    lease = from_item(row)
    assert isinstance(lease, Lease)
    assert lease.actual_owner is None
    assert (lease.parents, lease.throughput_kbps, lease.entity_type) == ((), None, None)
    assert to_item(lease) == row


@pytest.mark.parametrize(
    "odd",
    [
        {"S": "12"},
        {"M": {"C": {"N": "12"}}},
        {"M": {"C": {"L": [{"S": "12"}]}}},
        {"M": {"C": {"L": [{"N": "12"}]}, "M": {"L": [{"N": "0.12345678901234567890123"}]}}},
    ],
    ids=str,
)
def test_samples_that_say_nothing_certain_are_kept_and_count_for_nothing(odd: dict[str, Any]) -> None:
    row = {"leaseKey": {"S": "w"}, "entityType": {"S": "WORKER_METRIC_STATS"}, "lut": {"N": "5"}, "sts": odd}
    worker = from_item(row | {"opr": {"M": {}}})
    assert isinstance(worker, WorkerRow)
    assert worker.samples == {}
    assert worker_to_item(worker) == row | {"opr": {"M": {}}}


def test_a_row_without_a_switch_count_is_still_a_lease() -> None:
    row = {name: value for name, value in LEASE_ROW.items() if name != "ownerSwitchesSinceCheckpoint"}
    assert from_item(row) == Lease(key="s", counter=5, checkpoint=Checkpoint("10"), entity_type=None)


@pytest.mark.parametrize(
    "bounds",
    [
        {"startingHashKey": {"S": "5"}},
        {"startingHashKey": {"S": "5"}, "endingHashKey": {"S": "5"}},
        {"startingHashKey": {"S": "x"}, "endingHashKey": {"S": "9"}},
    ],
)
def test_hash_keys_count_only_as_a_sound_pair(bounds: dict[str, Any]) -> None:
    lease = from_item(LEASE_ROW | bounds)
    assert isinstance(lease, Lease)
    assert lease.hash_range is None
    assert lease.extra == bounds


@pytest.mark.parametrize("key", ["Leader", "Migration3.0", "TableMigration3.5"])
@pytest.mark.parametrize("kind", [{}, {"entityType": {"S": "LEASE"}}])
def test_a_well_known_key_is_no_leases(key: str, kind: dict[str, Any]) -> None:
    with pytest.raises(InvalidRow, match=key):
        from_item(LEASE_ROW | {"leaseKey": {"S": key}} | kind)


def test_an_unknown_entity_is_nobodys_lease() -> None:
    row = LEASE_ROW | {"entityType": {"S": "STREAM"}}
    assert from_item(row) == ForeignRow("s", "STREAM", row)


def test_equality_is_dynamodbs() -> None:
    assert canonical({"N": "7"}) == canonical({"N": "7.00"})
    assert canonical({"SS": ["a", "b"]}) == canonical({"SS": ["b", "a"]})
    assert canonical({"NS": ["1", "2"]}) == canonical({"NS": ["2.0", "1"]})
    assert canonical({"N": "7"}) != canonical({"S": "7"})
    assert canonical({"L": [{"N": "1"}, {"N": "2"}]}) != canonical({"L": [{"N": "2"}, {"N": "1"}]})
    assert canonical({"M": {"a": {"N": "1"}}}) == canonical({"M": {"a": {"N": "1.0"}}})
    assert canonical({"B": b"x"}) == canonical({"B": bytearray(b"x")})


def test_numbers_keep_every_digit() -> None:
    lease = Lease(key="s", start_at=Decimal("1700000000.123456789"), throughput_kbps=Decimal("1E-9"))
    assert to_item(lease)["leaseholdStartAt"] == {"N": "1700000000.123456789"}
    assert to_item(lease)["throughputKBps"] == {"N": "0.000000001"}
