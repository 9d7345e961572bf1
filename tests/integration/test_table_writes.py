"""Requests to the lease table read as the writes that they are: single ones, and batches of which parts are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from consumer.testing.proxy import Exchange, ProxiedReply, ProxiedRequest
from lease_store import verbs
from lease_store.checkpoint import Checkpoint
from lease_store.item import to_item
from lease_store.lease import Lease
from lease_store.partiql import render_statement
from tests.integration.table_history import Stored, refused, stored_by
from tests.integration.table_writes import row_key, table_of, writes_of

OWNED = [Lease(key=f"s{number}", counter=7, owner="ada-f00", checkpoint=Checkpoint("10")) for number in range(4)]
RENEWED = [Lease(key=each.key, counter=8, owner=each.owner, checkpoint=each.checkpoint) for each in OWNED]
RENEWALS = [render_statement(verbs.as_seen(verbs.renew(each, "ada-f00"), each), "leases") for each in OWNED]


def exchanged(operation: str, reply: Any, *, status: int = 200, **fields: Any) -> Exchange:
    """``reply`` is the server's, as JSON, or as bytes that are none; None where it never gave one."""
    request = ProxiedRequest("POST", "/", {}, b"", "dynamodb", operation)
    if reply is None:
        return Exchange(1.0, request, fields=fields)
    body = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
    return Exchange(1.0, request, ProxiedReply(status, {}, body), 1.5, fields=fields)


def batch(reply: Any, *, status: int = 200) -> Exchange:
    return exchanged("BatchExecuteStatement", reply, status=status, Statements=RENEWALS)


def error(code: str, **more: Any) -> dict[str, Any]:
    return {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "no", **more}


def test_each_statement_is_a_write_of_its_own_and_applied_where_its_own_answer_says_so() -> None:
    foreign = to_item(Lease(key="s1", counter=9, owner="bob-f00"))
    found = batch(
        {
            "Responses": [
                {"TableName": "leases", "Item": to_item(RENEWED[0])},
                {"Error": {"Code": "ConditionalCheckFailed", "Message": "no", "Item": foreign}},
                {"Error": {"Code": "ThrottlingError", "Message": "no"}},
                {"TableName": "leases", "Item": to_item(RENEWED[3])},
            ]
        }
    )
    assert stored_by("ada", found) == [Stored("ada", RENEWED[place], 1.0, 1.5) for place in (0, 3)]
    assert [write.key for write in writes_of(found)] == ["s0", "s1", None, "s3"]
    assert [write.error for write in writes_of(found)] == [None, "ConditionalCheckFailed", "ThrottlingError", None]
    assert refused(found) == 1
    assert table_of(found) == "leases"


@pytest.mark.parametrize("reply", [error("ThrottlingException"), b"<html>", None])
def test_of_a_batch_that_failed_or_was_never_answered_nothing_is_stored(reply: Any) -> None:
    found = batch(reply, status=500)
    assert (stored_by("ada", found), refused(found)) == ([], 0)
    assert {write.error for write in writes_of(found)} <= {"ThrottlingException", "HTTP 500"}
    assert len(writes_of(found)) == (0 if reply is None else len(RENEWALS))


def test_a_batch_without_an_answer_for_each_statement_is_not_guessed_at() -> None:
    with pytest.raises(ValueError, match="shorter"):
        writes_of(batch({"Responses": [{"Item": to_item(RENEWED[0])}]}))


def test_a_single_write_is_a_batch_of_one() -> None:
    row, key = to_item(RENEWED[0]), {"leaseKey": {"S": "s0"}}
    told = [Stored("ada", RENEWED[0], 1.0, 1.5)]
    for accepted, stored in (
        (exchanged("UpdateItem", {"Attributes": row}, Key=key), told),
        (exchanged("PutItem", {}, Item=row), told),
        (exchanged("UpdateItem", {}, Key=key), []),
        (exchanged("DeleteItem", {}, Key=key), []),
    ):
        assert stored_by("ada", accepted) == stored
        assert [(write.key, write.error) for write in writes_of(accepted)] == [("s0", None)]
    for operation in ("UpdateItem", "PutItem", "DeleteItem"):
        answer = error("ConditionalCheckFailedException", Item=row)
        late = exchanged(operation, answer, status=400, Key=key, Item=row)
        assert (stored_by("ada", late), refused(late)) == ([], 1)


def test_what_writes_nothing_is_no_write_and_rows_are_named_by_the_key_of_their_table() -> None:
    reads = exchanged("BatchGetItem", {"Responses": {"leases": [to_item(OWNED[0])]}}, RequestItems={"leases": {}})
    assert writes_of(reads) == []
    assert table_of(reads) == "leases"
    assert table_of(exchanged("Scan", {"Items": []}, TableName="others")) == "others"
    assert [row_key({"Key": {name: {"S": "k"}}}) for name in ("leaseKey", "key", "wid", "pk")] == ["k"] * 3 + [None]
