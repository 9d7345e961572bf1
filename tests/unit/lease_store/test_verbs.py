"""Verbs as data: how a lost reply is settled, and what no verb may do (``tests/contract`` holds them against a KCL)."""

from __future__ import annotations

from typing import Any

import pytest

from lease_store import verbs
from lease_store.checkpoint import Checkpoint
from lease_store.item import to_item
from lease_store.lease import Lease
from lease_store.verbs import Write

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
    verbs.prepare_checkpoint(LEASE, "w1", Checkpoint("200"), b"state"),
    verbs.prepare_checkpoint(LEASE, "w1", Checkpoint("200")),
    verbs.assign(LEASE, "w2"),
    verbs.mark_rules(LEASE, "2.x"),
    verbs.mark_rules(LEASE, None),
    verbs.announce(LEASE, "w9"),
]
UNMOVED = ("start_hand_off", "mark_rules", "announce")


@pytest.mark.parametrize("write", ALL, ids=lambda write: write.verb)
def test_an_update_never_sets_and_removes_one_attribute_nor_touches_the_key_or_the_kind(write: Write) -> None:
    touched = [*(write.sets or {}), *write.removes]
    assert len(set(touched)) == len(touched)
    assert not {"leaseKey", "entityType"} & set(touched)


@pytest.mark.parametrize("write", ALL, ids=lambda write: write.verb)
def test_every_update_moves_the_counter_but_for_what_must_not_end_a_heartbeat(write: Write) -> None:
    moved = (write.sets or {}).get("leaseCounter")
    assert moved == (None if write.verb in UNMOVED else {"N": "8"})


@pytest.mark.parametrize(
    ("kbps", "stored"), [(0.0, "0.000000"), (1.0000005, "1.000001"), (12345.6789, "12345.678900"), (1e-9, "0.000000")]
)
def test_a_load_is_stored_to_six_decimals_and_never_with_an_exponent(kbps: float, stored: str) -> None:
    for write in (verbs.renew(LEASE, "w1", kbps), verbs.set_checkpoint(LEASE, "w1", Checkpoint("200"), kbps)):
        assert (write.sets or {})["throughputKBps"] == {"N": stored}


def test_no_load_leaves_the_one_that_is_stored() -> None:
    assert "throughputKBps" not in (verbs.renew(LEASE, "w1").sets or {})
