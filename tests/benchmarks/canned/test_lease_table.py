"""What the canned server's lease table answers to our lease store is what a DynamoDB answers: ministack says what."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

import pytest

from consumer.testing.ministack import Ministack
from lease_store.attributes import canonical
from lease_store.dynamodb_expressions import create_table_request, render_write
from lease_store.item import to_item
from lease_store.lease import Lease
from lease_store.partiql import render_statement
from lease_store.writes import Absent, Is
from tests.benchmarks.canned.lease_expressions import BadExpression, condition, statement
from tests.benchmarks.canned.lease_table import LeaseTables
from tests.contract.verb_cases import CASES, CONDITIONAL, violations

Reply = tuple[int, dict[str, Any]]


class Both:
    """One table in both; ``ask`` sends the same request to each."""

    def __init__(self, ministack: Ministack) -> None:
        self.table = f"leases-{uuid4()}"
        self.ours = LeaseTables()
        self._theirs = http.client.HTTPConnection("127.0.0.1", ministack.port, timeout=30)

    def ask(self, operation: str, request: Mapping[str, Any]) -> tuple[Reply, Reply]:
        body = json.dumps(request, default=lambda value: base64.b64encode(value).decode()).encode()
        headers = {
            "Content-Type": "application/x-amz-json-1.0",
            "X-Amz-Target": f"DynamoDB_20120810.{operation}",
            "Authorization": "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request, Signature=0",
        }
        self._theirs.request("POST", "/", body, headers)
        reply = self._theirs.getresponse()
        theirs = reply.status, json.loads(reply.read())
        status, content = self.ours.answer(operation, body)
        return (status, json.loads(content)), theirs

    def put(self, item: Mapping[str, Any]) -> None:
        for status, reply in self.ask("PutItem", {"TableName": self.table, "Item": item}):
            assert status == 200, reply

    def close(self) -> None:
        self._theirs.close()


@pytest.fixture
def both(ministack: Ministack) -> Iterator[Both]:
    both = Both(ministack)
    for status, reply in both.ask("CreateTable", create_table_request(both.table)):
        assert status == 200, reply
    yield both
    both.close()


def _essence(reply: Reply) -> Any:
    """What our store looks at in an answer: the status, the code, and rows, whose attributes have no order."""
    status, content = reply
    code = str(content.get("__type", "")).rpartition("#")[2]
    return status, code, {name: _row(content.get(name)) for name in ("Item", "Attributes")}, _responses(content)


def _row(item: Any) -> Any:
    # Binary is base64 text here, where no client has decoded it.
    named = {name: {"S": value["B"]} if "B" in value else value for name, value in (item or {}).items()}
    return canonical({"M": named}) if named else None


def _responses(content: Mapping[str, Any]) -> Any:
    said = content.get("Responses", [])
    if isinstance(said, dict):
        return {name: {_row(item) for item in items} for name, items in said.items()}
    errors = [each.get("Error", {}) for each in said]
    return [
        (each.get("TableName"), _row(each.get("Item")), error.get("Code"), _row(error.get("Item")))
        for each, error in zip(said, errors, strict=True)
    ]


def _same(both: Both, operation: str, request: Mapping[str, Any]) -> Any:
    ours, theirs = (_essence(reply) for reply in both.ask(operation, request))
    assert ours == theirs
    return ours


@pytest.mark.integration
@pytest.mark.parametrize("name", CONDITIONAL)
def test_each_verb_on_each_row_it_meets(both: Both, name: str):
    """Where it is applied, where it is refused with a row, and where there is no row at all."""
    case = CONDITIONAL[name]
    operation, request = render_write(case.write, both.table)
    for row, expected in [(case.row, 200), *((row, 400) for row in violations(name).values()), (None, 400)]:
        if row is None:
            both.ask("DeleteItem", {"TableName": both.table, "Key": {"leaseKey": {"S": case.before.key}}})
        else:
            both.put(row)
        assert _same(both, operation, request)[0] == expected
        read = {"TableName": both.table, "Key": {"leaseKey": {"S": case.before.key}}, "ConsistentRead": True}
        assert _same(both, "GetItem", read)[0] == 200


@pytest.mark.integration
def test_a_batch_stands_and_falls_statement_by_statement(both: Both):
    """Cases as statements, but for those with alternatives, which ministack does not take: applied, refused, no row."""
    plain = {name: case for name, case in CASES.items() if all(isinstance(e, Is | Absent) for e in case.write.expects)}
    assert len(plain) > 5
    for name, case in plain.items():
        write = render_statement(case.write, both.table)
        for row in [case.row, *list(violations(name).values())[:1]]:
            both.put(row)
            other = render_statement(case.write, both.table)
            other["Parameters"] = [
                {"S": "no such shard"} if each == {"S": case.before.key} else each for each in other["Parameters"]
            ]
            found = _same(both, "BatchExecuteStatement", {"Statements": [write, other]})[3]
            assert [each[2] for each in found] == [
                None if row == case.row else "ConditionalCheckFailed",
                "ConditionalCheckFailed",
            ]


@pytest.mark.integration
def test_reads_and_tables(both: Both):
    keys = [{"leaseKey": {"S": f"shard-{number}"}} for number in range(4)]
    for key in keys[:3]:
        both.put(to_item(Lease(key=key["leaseKey"]["S"], owner="w1", counter=3)))
    wanted = {"RequestItems": {both.table: {"Keys": keys, "ConsistentRead": True}}}
    assert len(_same(both, "BatchGetItem", wanted)[3][both.table]) == 3
    ours, theirs = both.ask("Scan", {"TableName": both.table})
    assert {_row(item) for item in ours[1]["Items"]} == {_row(item) for item in theirs[1]["Items"]}
    for operation in ("Scan", "DescribeTable", "DeleteTable"):
        assert _same(both, operation, {"TableName": "no-such-table"})[:2] == (400, "ResourceNotFoundException")
    assert _same(both, "CreateTable", create_table_request(both.table))[1] == "ResourceInUseException"
    for status, reply in both.ask("DescribeTable", {"TableName": both.table}):
        table = reply["Table"]
        assert (status, table["TableStatus"]) == (200, "ACTIVE")
        assert table["KeySchema"] == [{"AttributeName": "leaseKey", "KeyType": "HASH"}]


def test_a_scan_has_pages_of_a_megabyte_and_leaves_nothing_out():
    tables, name = LeaseTables(), "leases"
    tables.answer("CreateTable", json.dumps(create_table_request(name)).encode())
    rows = [to_item(Lease(key=f"shard-{number:05d}", stream="s" * 500)) for number in range(4000)]
    for row in reversed(rows):
        assert tables.answer("PutItem", json.dumps({"TableName": name, "Item": row}).encode())[0] == 200
    found, pages, request = [], 0, {"TableName": name}
    while True:
        page = json.loads(tables.answer("Scan", json.dumps(request).encode())[1])
        found, pages = found + page["Items"], pages + 1
        if "LastEvaluatedKey" not in page:
            break
        request["ExclusiveStartKey"] = page["LastEvaluatedKey"]
    assert pages > 1
    assert found == rows


def test_writes_of_leases_are_counted_apart_from_those_of_workers_and_from_refusals():
    tables, name = LeaseTables(), "leases"
    tables.answer("CreateTable", json.dumps(create_table_request(name)).encode())
    lease = Lease(key="shard-1", owner="w1", counter=7)
    worker = {"leaseKey": {"S": "w1"}, "entityType": {"S": "WORKER_METRIC_STATS"}}
    for item in (to_item(lease), worker):
        tables.answer("PutItem", json.dumps({"TableName": name, "Item": item}).encode())
    case = CASES["renew"]
    operation, request = render_write(case.write, name)
    statuses = [tables.answer(operation, json.dumps(request).encode())[0] for _ in range(2)]
    batch = {"Statements": [render_statement(case.write, name)]}
    tables.answer("BatchExecuteStatement", json.dumps(batch).encode())
    assert statuses == [200, 400]
    assert (tables.lease_writes, tables.other_writes, tables.refused) == (2, 1, 2)
    assert tables.calls[operation] == 2


@pytest.mark.parametrize(
    "text",
    [
        "UPDATE t SET a = 1 WHERE leaseKey = ? RETURNING ALL NEW *",  # a literal
        "UPDATE t SET a = ? WHERE b = ? RETURNING ALL NEW *",  # no key
        "UPDATE t SET a = ? WHERE leaseKey = ?",  # nothing returned
        "UPDATE t WHERE leaseKey = ? RETURNING ALL NEW *",
        "DELETE FROM t WHERE leaseKey = ?",
    ],
)
def test_statements_that_our_store_does_not_send_are_refused(text: str):
    with pytest.raises(BadExpression):
        statement(text, "leaseKey")


@pytest.mark.parametrize("text", ["#n0 =", "(#n0 = :v0", "#n0 > :v0", "#n0 = :v0 :v1", "size(#n0) = :v0"])
def test_conditions_that_our_store_does_not_send_are_refused(text: str):
    with pytest.raises(BadExpression):
        condition(text)
