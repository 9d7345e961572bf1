"""DynamoDB tables in memory, as far as a lease store goes: thousands of rows at a fraction of a local DynamoDB's cost.

The canned server answers the lease calls of the benchmarks from here, so that its own CPU does not decide them. What a
lease store sends is answered as ministack answers it (a test compares the two); everything else is refused by name.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from lease_store.item import LEASE_ENTITY
from tests.benchmarks.canned.lease_expressions import BadExpression, Binding, condition, statement, update

__all__ = ["LeaseTables"]

Item = dict[str, Any]
Answer = tuple[int, bytes]

_PAGE_BYTES: Final = 1_000_000
_MOST_STATEMENTS: Final = 25
_MOST_KEYS: Final = 100
_TYPE_PREFIX: Final = "com.amazonaws.dynamodb.v20120810#"


class _Refusal(Exception):
    def __init__(self, code: str, message: str, item: Item | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.item = item


@dataclass(slots=True)
class _Row:
    item: Item
    encoded: msgspec.Raw


@dataclass(slots=True)
class _Table:
    description: dict[str, Any]
    key: str
    rows: dict[str, _Row] = field(default_factory=dict)
    sorted_keys: list[str] = field(default_factory=list)

    def put(self, key: str, item: Item) -> _Row:
        if key not in self.rows:
            bisect.insort(self.sorted_keys, key)
        row = self.rows[key] = _Row(item, msgspec.Raw(msgspec.json.encode(item)))
        return row

    def delete(self, key: str) -> None:
        if self.rows.pop(key, None) is not None:
            del self.sorted_keys[bisect.bisect_left(self.sorted_keys, key)]

    def item(self, key: str) -> Item | None:
        row = self.rows.get(key)
        return None if row is None else row.item


class LeaseTables:
    """Tables by name. ``calls`` counts requests by operation, ``lease_writes`` the rows of leases written.

    ``refused`` counts writes whose condition did not hold: DynamoDB takes write units for those, too.
    """

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.lease_writes = 0
        self.other_writes = 0
        self.refused = 0
        self._tables: dict[str, _Table] = {}
        self._operations: Mapping[str, Callable[[dict[str, Any]], Any]] = {
            "BatchExecuteStatement": self._batch_execute,
            "BatchGetItem": self._batch_get,
            "CreateTable": self._create_table,
            "DeleteItem": self._delete_item,
            "DeleteTable": self._delete_table,
            "DescribeTable": lambda request: {"Table": self._table(request).description},
            "GetItem": self._get_item,
            "PutItem": self._put_item,
            "Scan": self._scan,
            "UpdateItem": self._update_item,
        }

    def add_streamed(self, name: str, stream_arn: str) -> None:
        """A table that is only described: the one whose stream is read."""
        self._create_table(
            {"TableName": name, "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}], "AttributeDefinitions": []}
        )
        self._tables[name].description["LatestStreamArn"] = stream_arn

    def answer(self, operation: str, body: bytes) -> Answer:
        """The HTTP status and the JSON body of one call."""
        self.calls[operation] += 1
        act = self._operations.get(operation)
        try:
            if act is None:
                raise _Refusal("UnknownOperationException", f"The benchmarks' lease table has no {operation}.")
            return 200, msgspec.json.encode(act(msgspec.json.decode(body)))
        except (BadExpression, LookupError, TypeError, msgspec.DecodeError) as error:
            refusal = _Refusal("ValidationException", f"No lease store sends that: {error!r}")
        except _Refusal as error:
            refusal = error
        said: dict[str, Any] = {"__type": _TYPE_PREFIX + refusal.code, "message": str(refusal)}
        if refusal.item is not None:
            said["Item"] = refusal.item
        return 400, msgspec.json.encode(said)

    # -- tables

    def _create_table(self, request: dict[str, Any]) -> Any:
        name = request["TableName"]
        if name in self._tables:
            raise _Refusal("ResourceInUseException", f"Table already exists: {name}")
        description = {
            "TableName": name,
            "TableStatus": "ACTIVE",
            "TableArn": f"arn:aws:dynamodb:us-east-1:000000000000:table/{name}",
            "KeySchema": request["KeySchema"],
            "AttributeDefinitions": request["AttributeDefinitions"],
            "BillingModeSummary": {"BillingMode": request.get("BillingMode", "PROVISIONED")},
        }
        self._tables[name] = _Table(description, request["KeySchema"][0]["AttributeName"])
        return {"TableDescription": description}

    def _delete_table(self, request: dict[str, Any]) -> Any:
        description = self._table(request).description
        del self._tables[description["TableName"]]
        return {"TableDescription": description}

    def _table(self, request: Mapping[str, Any]) -> _Table:
        return self._named(request["TableName"])

    def _named(self, name: str) -> _Table:
        table = self._tables.get(name)
        if table is None:
            raise _Refusal("ResourceNotFoundException", "Cannot do operations on a non-existent table")
        return table

    # -- reads

    def _get_item(self, request: dict[str, Any]) -> Any:
        table = self._table(request)
        row = table.rows.get(request["Key"][table.key]["S"])
        return {} if row is None else {"Item": row.encoded}

    def _batch_get(self, request: dict[str, Any]) -> Any:
        found: dict[str, list[msgspec.Raw]] = {}
        for name, wanted in request["RequestItems"].items():
            table = self._named(name)
            keys = [key[table.key]["S"] for key in wanted["Keys"]]
            if len(set(keys)) != len(keys) or not 0 < len(keys) <= _MOST_KEYS:
                raise _Refusal("ValidationException", f"BatchGetItem takes 1 to {_MOST_KEYS} keys, each once.")
            found[name] = [table.rows[key].encoded for key in keys if key in table.rows]
        return {"Responses": found, "UnprocessedKeys": {}}

    def _scan(self, request: dict[str, Any]) -> Any:
        """A page of at most a megabyte, in the order of keys."""
        table = self._table(request)
        unknown = request.keys() - {"TableName", "ExclusiveStartKey", "ConsistentRead", "ReturnConsumedCapacity"}
        if unknown:
            raise _Refusal("ValidationException", f"The benchmarks' Scan knows no {', '.join(sorted(unknown))}.")
        start = request.get("ExclusiveStartKey")
        place = bisect.bisect_right(table.sorted_keys, start[table.key]["S"]) if start else 0
        items: list[msgspec.Raw] = []
        size = 0
        for key in table.sorted_keys[place:]:
            encoded = table.rows[key].encoded
            items.append(encoded)
            size += len(bytes(encoded))
            if size >= _PAGE_BYTES:
                break
        page: dict[str, Any] = {"Items": items, "Count": len(items), "ScannedCount": len(items)}
        if place + len(items) < len(table.sorted_keys):
            page["LastEvaluatedKey"] = {table.key: {"S": table.sorted_keys[place + len(items) - 1]}}
        return page

    # -- writes

    def _put_item(self, request: dict[str, Any]) -> Any:
        table = self._table(request)
        key = request["Item"][table.key]["S"]
        self._check(request, table.item(key))
        self._count(request["Item"])
        table.put(key, request["Item"])
        return {}

    def _delete_item(self, request: dict[str, Any]) -> Any:
        table = self._table(request)
        key = request["Key"][table.key]["S"]
        item = table.item(key)
        self._check(request, item)
        if item is not None:
            self._count(item)
        table.delete(key)
        return {}

    def _update_item(self, request: dict[str, Any]) -> Any:
        table = self._table(request)
        key = request["Key"][table.key]["S"]
        item = table.item(key)
        self._check(request, item)
        new = _binding(request).changed(item or request["Key"], update(request["UpdateExpression"]))
        self._count(new)
        return {"Attributes": table.put(key, new).encoded}

    def _batch_execute(self, request: dict[str, Any]) -> Any:
        statements = request["Statements"]
        if not 0 < len(statements) <= _MOST_STATEMENTS:
            raise _Refusal("ValidationException", f"A batch has 1 to {_MOST_STATEMENTS} statements.")
        return {"Responses": [self._execute(each) for each in statements]}

    def _execute(self, each: dict[str, Any]) -> dict[str, Any]:
        """One statement's response; a refusal is one, too, under HTTP 200."""
        name = each["Statement"].split('"', 2)[1]
        table = self._tables.get(name)
        if table is None:
            return {"Error": {"Code": "ResourceNotFound", "Message": "Requested resource not found"}}
        parsed = statement(each["Statement"], table.key)
        binding = Binding({}, each["Parameters"])
        key = binding.value(parsed.key)["S"]
        item = table.item(key)
        if not binding.holds(parsed.where, item):
            self.refused += 1
            refusal: dict[str, Any] = {
                "Code": "ConditionalCheckFailed",
                "Message": "The conditional request failed",
            }
            if item is not None and each.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD":
                refusal["Item"] = item
            return {"Error": refusal, "TableName": name}
        new = binding.changed(item, parsed.changes)
        self._count(new)
        return {"TableName": name, "Item": table.put(key, new).encoded}

    def _check(self, request: Mapping[str, Any], item: Item | None) -> None:
        expression = request.get("ConditionExpression")
        if expression is None or _binding(request).holds(condition(expression), item):
            return
        self.refused += 1
        wants_item = request.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"
        raise _Refusal(
            "ConditionalCheckFailedException", "The conditional request failed", item if wants_item else None
        )

    def _count(self, item: Item) -> None:
        if item.get("entityType", {}).get("S", LEASE_ENTITY) == LEASE_ENTITY:
            self.lease_writes += 1
        else:
            self.other_writes += 1


def _binding(request: Mapping[str, Any]) -> Binding:
    return Binding(request.get("ExpressionAttributeNames", {}), request.get("ExpressionAttributeValues", {}))
