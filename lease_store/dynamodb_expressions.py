"""Lease verbs as DynamoDB requests: pure, and the only place that knows expression syntax."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from lease_store.attributes import KEY_ATTRIBUTES, LEASE_KEY, AttributeValue
from lease_store.writes import Absent, ActualOwner, Below, Expect, Is, IsNot, Write

__all__ = ["OWNER_INDEX", "create_table_request", "owner_index_request", "owner_query", "render_write"]

OWNER_INDEX: Final = "LeaseOwnerToLeaseKeyIndex"


def render_write(write: Write, table_name: str) -> tuple[str, dict[str, Any]]:
    """The operation (PutItem, UpdateItem or DeleteItem) and its request.

    A success returns the whole new row, a refusal the row that stood in the way. Placeholders are numbered, since names
    in ``Lease.extra`` may hold any character.
    """
    terms = _Terms()
    request: dict[str, Any] = {"TableName": table_name, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
    if write.puts:
        request["Item"] = dict(write.sets or {})
        if write.expects:
            request["ConditionExpression"] = " AND ".join(_condition(expect, terms) for expect in write.expects)
        return "PutItem", request | terms.bindings()
    key = KEY_ATTRIBUTES[write.place]
    request["Key"] = {key: {"S": write.key}}
    # The key must exist: without this a condition of absences only would let UpdateItem create a row.
    conditions = [
        f"attribute_exists({terms.name(key)})",
        *(_condition(expect, terms) for expect in write.expects),
    ]
    request["ConditionExpression"] = " AND ".join(conditions)
    if write.deletes:
        return "DeleteItem", request | terms.bindings()
    clauses = []
    if write.sets:
        clauses.append("SET " + ", ".join(f"{terms.name(n)} = {terms.value(v)}" for n, v in write.sets.items()))
    if write.removes:
        clauses.append("REMOVE " + ", ".join(terms.name(name) for name in write.removes))
    request["UpdateExpression"] = " ".join(clauses)
    request["ReturnValues"] = "ALL_NEW"
    return "UpdateItem", request | terms.bindings()


def create_table_request(
    table_name: str, *, deletion_protection: bool = False, options: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The CreateTable request of a lease table: key ``leaseKey``, on-demand, no index.

    ``options`` are further CreateTable parameters (Tags, SSESpecification, a BillingMode with ProvisionedThroughput).
    """
    return {
        "BillingMode": "PAY_PER_REQUEST",
        "DeletionProtectionEnabled": deletion_protection,
        **(options or {}),
        "TableName": table_name,
        "AttributeDefinitions": [{"AttributeName": LEASE_KEY, "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": LEASE_KEY, "KeyType": "HASH"}],
    }


def owner_query(table_name: str, worker_id: str) -> dict[str, Any]:
    """The Query for the keys of the rows that a worker owns or is to own next."""
    return {
        "TableName": table_name,
        "IndexName": OWNER_INDEX,
        "KeyConditionExpression": "#n0 = :v0",
        "ExpressionAttributeNames": {"#n0": "leaseOwner"},
        "ExpressionAttributeValues": {":v0": {"S": worker_id}},
    }


def owner_index_request(table: Mapping[str, Any]) -> dict[str, Any]:
    """The UpdateTable request that gives a ``table`` (DescribeTable's) the owner index, just as the KCL does it.

    An on-demand table's index has no throughput of its own; a provisioned one's has the table's.
    """
    index: dict[str, Any] = {
        "IndexName": OWNER_INDEX,
        "KeySchema": [
            {"AttributeName": "leaseOwner", "KeyType": "HASH"},
            {"AttributeName": LEASE_KEY, "KeyType": "RANGE"},
        ],
        "Projection": {"ProjectionType": "KEYS_ONLY"},
    }
    if (table.get("BillingModeSummary") or {}).get("BillingMode") != "PAY_PER_REQUEST":
        units = table.get("ProvisionedThroughput") or {}
        index["ProvisionedThroughput"] = {
            name: units.get(name, 1) for name in ("ReadCapacityUnits", "WriteCapacityUnits")
        }
    return {
        "TableName": table["TableName"],
        "AttributeDefinitions": [
            {"AttributeName": "leaseOwner", "AttributeType": "S"},
            {"AttributeName": LEASE_KEY, "AttributeType": "S"},
        ],
        "GlobalSecondaryIndexUpdates": [{"Create": index}],
    }


def _condition(expect: Expect, terms: _Terms) -> str:
    match expect:
        case Is(attribute, value):
            return f"{terms.name(attribute)} = {terms.value(value)}"
        case IsNot(attribute, value):
            name = terms.name(attribute)
            return f"(attribute_not_exists({name}) OR {name} <> {terms.value(value)})"
        case Absent(attribute):
            return f"attribute_not_exists({terms.name(attribute)})"
        case Below(attribute, number):
            name = terms.name(attribute)
            return f"(attribute_not_exists({name}) OR {name} < {terms.value({'N': str(number)})})"
        case ActualOwner(worker_id):
            checkpoint_owner, owner = terms.name("checkpointOwner"), terms.name("leaseOwner")
            me = terms.value({"S": worker_id})
            return f"({checkpoint_owner} = {me} OR (attribute_not_exists({checkpoint_owner}) AND {owner} = {me}))"


class _Terms:
    """Placeholders of one request; a name used twice gets one."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._values: dict[str, AttributeValue] = {}

    def name(self, attribute: str) -> str:
        return self._names.setdefault(attribute, f"#n{len(self._names)}")

    def value(self, value: AttributeValue) -> str:
        placeholder = f":v{len(self._values)}"
        self._values[placeholder] = value
        return placeholder

    def bindings(self) -> dict[str, Any]:
        # DynamoDB refuses either where it is empty, as it is for a put without a condition.
        bound: dict[str, Any] = {}
        if self._names:
            bound["ExpressionAttributeNames"] = {placeholder: name for name, placeholder in self._names.items()}
        if self._values:
            bound["ExpressionAttributeValues"] = self._values
        return bound
