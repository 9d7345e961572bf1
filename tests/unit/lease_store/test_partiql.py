"""Conditional writes as PartiQL: each kind of change and of condition, and names that hold anything."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from lease_store import verbs
from lease_store.checkpoint import Checkpoint
from lease_store.lease import Lease, PendingCheckpoint, share_values
from lease_store.partiql import render_statement
from lease_store.writes import Absent, ActualOwner, Below, Is, IsNot, Write

WRITE = Write(
    "any",
    'a "key"',
    (Is("b", {"S": "x"}), IsNot("c", {"N": "1"}), Absent("d"), Below("e", 5), ActualOwner("me")),
    {'odd."name"': {"S": "?"}, "f": {"N": "2"}},
    ("g", "h"),
)


def test_every_kind_of_condition_and_change_in_the_order_of_its_parameters() -> None:
    rendered = render_statement(WRITE, "my.table")
    assert rendered["Statement"] == (
        'UPDATE "my.table" SET "odd.""name""" = ? SET "f" = ? REMOVE "g" REMOVE "h" WHERE "leaseKey" = ? AND "b" = ? '
        'AND ("c" IS MISSING OR "c" <> ?) AND "d" IS MISSING AND ("e" IS MISSING OR "e" < ?) '
        'AND ("checkpointOwner" = ? OR ("checkpointOwner" IS MISSING AND "leaseOwner" = ?)) RETURNING ALL NEW *'
    )
    values = [{"S": "?"}, {"N": "2"}, {"S": 'a "key"'}, {"S": "x"}, {"N": "1"}, {"N": "5"}, {"S": "me"}, {"S": "me"}]
    assert rendered["Parameters"] == values
    assert rendered["Statement"].replace('"?"', "").count("?") == len(values)


@pytest.mark.parametrize("write", [verbs.create(Lease(key="s")), verbs.delete(Lease(key="s"))], ids=["put", "delete"])
def test_what_changes_no_row_that_is_there_has_no_statement(write: Write) -> None:
    with pytest.raises(ValueError, match="goes alone"):
        render_statement(write, "table")


def test_an_owners_write_as_seen_asks_in_plain_words_for_the_row_as_it_is() -> None:
    pending = Lease(key="s", counter=7, owner="next", checkpoint_owner="me")
    statement = render_statement(verbs.as_seen(verbs.renew(pending, "me"), pending), "t")["Statement"]
    assert '"leaseOwner" = ? AND "checkpointOwner" = ?' in statement
    assert " OR " not in statement


def test_values_that_are_equal_are_shared_and_nothing_else_changes() -> None:
    known = Lease(key="shard " + str(1), owner="worker " + str(1), stream="arn " + str(1), counter=7)
    renewed = Lease(key="shard " + str(1), owner="worker " + str(2), stream="arn " + str(1), counter=8)
    before = replace(renewed)
    share_values(renewed, known)
    assert renewed == before
    assert renewed.key is known.key
    assert renewed.stream is known.stream
    assert renewed.owner is not known.owner


@pytest.mark.parametrize(
    ("lease", "removed"),
    [
        (Lease(key="k", counter=7, owner="me"), []),
        (
            Lease(key="k", counter=7, owner="me", pending_checkpoint=PendingCheckpoint(Checkpoint("9"), b"mine")),
            ["pendingCheckpoint", "pendingCheckpointSubSequenceNumber", "pendingCheckpointState"],
        ),
        (
            Lease(key="k", counter=7, owner="me", extra={"pendingCheckpoint": {"NULL": True}}),
            ["pendingCheckpoint"],
        ),
    ],
)
def test_an_owners_write_as_seen_removes_only_what_is_there(lease: Lease, removed: list[str]) -> None:
    """What PartiQL says to the removal of anything else is nowhere written, and the counter pins the row."""
    write = verbs.as_seen(verbs.set_checkpoint(lease, "me", Checkpoint("9")), lease)
    assert re.findall(r'REMOVE "(\w+)"', render_statement(write, "t")["Statement"]) == removed
