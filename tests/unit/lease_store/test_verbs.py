"""Verbs as data: agreement with the Java KCL's recorded requests, and how a lost reply is settled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lease_store import verbs
from lease_store.checkpoint import Checkpoint
from lease_store.dynamodb_expressions import render_write
from lease_store.item import to_item
from lease_store.lease import Lease
from lease_store.verbs import Absent, ActualOwner, Is, IsNot, Write

JAVA = json.loads((Path(__file__).parents[2] / "golden" / "kcl-3.5.1-requests.json").read_text())


def legacy_expectations(write: Write) -> dict[str, Any]:
    """Our condition in the KCL's words; what those have no word for is left to the test."""
    expected: dict[str, Any] = {}
    for expect in write.expects:
        match expect:
            case Is(attribute, value):
                expected[attribute] = {"Value": value}
            case Absent(attribute):
                expected[attribute] = {"Exists": False}
            case IsNot() | ActualOwner():
                pass
    return expected


def legacy_changes(write: Write) -> dict[str, Any]:
    changes: dict[str, Any] = {name: {"Action": "PUT", "Value": value} for name, value in (write.sets or {}).items()}
    return changes | {name: {"Action": "DELETE"} for name in write.removes}


def java(name: str) -> Any:
    return JAVA[name]["request"]


def test_start_hand_off_is_the_kcls() -> None:
    request = java("start_hand_off")
    write = verbs.start_hand_off(Lease(key=request["Key"]["leaseKey"]["S"], counter=29, owner="w1"), "w2")
    assert legacy_changes(write) == request["AttributeUpdates"]
    # That the row exists is a word of its own here, and every update of ours says it.
    row_exists = {"leaseKey": {"Exists": True, "Value": request["Key"]["leaseKey"]}}
    assert legacy_expectations(write) | row_exists == request["Expected"]
    assert "attribute_exists(#n0)" in render_write(write, "t")[1]["ConditionExpression"]


def test_finish_hand_off_is_the_kcls_and_compares_the_counter_too() -> None:
    request = java("finish_hand_off")
    key = request["Key"]["leaseKey"]["S"]
    write = verbs.finish_hand_off(Lease(key=key, counter=30, owner="w2", checkpoint_owner="w1"), "w1")
    changes = dict(request["AttributeUpdates"])
    assert changes.pop("leaseCounter") == {"Action": "ADD", "Value": {"N": "1"}}
    ours = legacy_changes(write)
    assert ours.pop("leaseCounter") == {"Action": "PUT", "Value": {"N": "31"}}
    assert ours == changes
    expected = {name: value for name, value in request["Expected"].items() if name != "leaseKey"}
    assert legacy_expectations(write) == expected | {"leaseCounter": {"Value": {"N": "30"}}}


def test_renew_changes_what_the_kcls_changes() -> None:
    request = java("renew")
    write = verbs.renew(Lease(key="s", counter=1, owner="w1"), "w1")
    assert legacy_changes(write) == request["AttributeUpdates"]
    assert legacy_expectations(write)["leaseCounter"] == request["Expected"]["leaseCounter"]


def test_set_checkpoint_changes_what_the_kcls_changes_but_for_the_hash_keys_it_repeats() -> None:
    request = java("set_checkpoint")
    changes = {n: v for n, v in request["AttributeUpdates"].items() if n not in ("startingHashKey", "endingHashKey")}
    stored = Checkpoint(changes["checkpoint"]["Value"]["S"])
    write = verbs.set_checkpoint(Lease(key="s", counter=4, owner="w1"), "w1", stored)
    assert legacy_changes(write) == changes
    assert legacy_expectations(write) == request["Expected"]


@pytest.mark.parametrize(
    ("name", "lease"),
    [
        (
            "create",
            Lease(key="shardId-000000000000", hash_range=("0", "85070591730234615865843651857942052862")),
        ),
        (
            "create_child",
            Lease(
                key="shardId-000000000004",
                parents=("shardId-000000000000",),
                hash_range=("0", "39999999999999999999999999999999999999"),
            ),
        ),
        (
            "create_merge_child",
            Lease(
                key="shardId-000000000006",
                parents=("shardId-000000000001", "shardId-000000000002"),
                hash_range=("85070591730234615865843651857942052863", "255211775190703847597530955573826158588"),
            ),
        ),
    ],
)
def test_create_puts_the_kcls_row(name: str, lease: Lease) -> None:
    item = java(name)["Item"]
    ours = dict(verbs.create(lease).sets or {})
    if "parentShardId" in item:
        assert sorted(ours.pop("parentShardId")["SS"]) == sorted(item.pop("parentShardId")["SS"])
    assert ours == item


LEASE = Lease(key="s", counter=7, owner="w1")
PENDING = Lease(key="s", counter=7, owner="w2", checkpoint_owner="w1")
CHECKPOINT = verbs.set_checkpoint(LEASE, "w1", Checkpoint("200"))
AFTER = to_item(Lease(key="s", counter=8, owner="w1", checkpoint=Checkpoint("200")))


@pytest.mark.parametrize(
    ("row", "stands"),
    [
        (AFTER, True),
        (AFTER | {"leaseCounter": {"N": "8.0"}}, True),
        (AFTER | {"leaseOwner": {"S": "somebody"}}, True),
        (AFTER | {"checkpoint": {"S": "199"}}, False),
        (AFTER | {"leaseCounter": {"N": "9"}}, False),
        (AFTER | {"pendingCheckpoint": {"S": "1"}}, False),
        ({name: value for name, value in AFTER.items() if name != "checkpoint"}, False),
        (None, False),
    ],
)
def test_a_write_stands_only_where_every_field_it_wrote_is_there(row: dict[str, Any] | None, stands: bool) -> None:
    assert CHECKPOINT.stands_in(row) is stands


def test_sets_stand_in_any_order() -> None:
    write = verbs.end_shard(LEASE, "w1", ("b", "a"))
    row = to_item(LEASE) | dict(write.sets or {}) | {"childShardIds": {"SS": ["b", "a"]}}
    assert write.stands_in(row)
    assert not write.stands_in(row | {"childShardIds": {"SS": ["a"]}})


def test_a_delete_stands_where_the_row_is_gone() -> None:
    assert verbs.delete(LEASE).stands_in(None)
    assert not verbs.delete(LEASE).stands_in(AFTER)


@pytest.mark.parametrize("lease", [PENDING, Lease(key="s")])
def test_a_hand_off_needs_an_owner_and_none_pending(lease: Lease) -> None:
    with pytest.raises(ValueError, match="needs an owner"):
        verbs.start_hand_off(lease, "w3")


ALL = [
    verbs.take(LEASE, "w2"),
    verbs.renew(LEASE, "w1"),
    CHECKPOINT,
    verbs.start_hand_off(LEASE, "w2"),
    verbs.finish_hand_off(PENDING, "w1"),
    verbs.take_back(PENDING, "w1"),
    verbs.release(LEASE, "w1"),
    verbs.pass_on(LEASE, "w1", "w2"),
    verbs.pass_on(LEASE, "w1", None),
    verbs.end_shard(LEASE, "w1", ("c",)),
]


@pytest.mark.parametrize("write", ALL, ids=lambda write: write.verb)
def test_an_update_never_sets_and_removes_one_attribute_nor_touches_the_key_or_the_kind(write: Write) -> None:
    touched = [*(write.sets or {}), *write.removes]
    assert len(set(touched)) == len(touched)
    assert not {"leaseKey", "entityType"} & set(touched)


@pytest.mark.parametrize("write", ALL, ids=lambda write: write.verb)
def test_every_update_but_the_start_of_a_hand_off_moves_the_counter(write: Write) -> None:
    moved = (write.sets or {}).get("leaseCounter")
    assert moved == (None if write.verb == "start_hand_off" else {"N": "8"})
