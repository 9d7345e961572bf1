"""A store under test, and the table behind it for looking and meddling."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from botocore import xform_name

from lease_store import LeaseStore, MemoryLeaseStore, Write
from lease_store.attributes import Place, canonical

Item = dict[str, Mapping[str, Any]]
# Written by hand: what a KCL 3.0 to 3.4 keys its tables by.
KEYS: Final[Mapping[Place, str]] = {"leases": "leaseKey", "coordinator": "key", "metrics": "wid"}


@dataclass
class Bench:
    """One of the stores, with ``rows`` to put and get rows past it."""

    store: LeaseStore
    rows: Any

    async def write(self, write: Write) -> Any:
        return await self.store.write(write, timeout_seconds=10.0)

    def put(self, item: Mapping[str, Any], place: Place = "leases") -> None:
        self.rows.put(item, place)

    def get(self, key: str = "shard-1", place: Place = "leases") -> Item | None:
        found: Item | None = self.rows.get(key, place)
        return found

    def reset(self, key: str, item: Mapping[str, Any] | None, place: Place) -> None:
        """One row as given, or none."""
        self.rows.delete(key, place)
        if item is not None:
            self.rows.put(item, place)

    def make_legacy(self, *, metrics: bool = True) -> None:
        """The tables that a KCL 3.0 to 3.4 has beside the lease table."""
        self.rows.make_legacy(metrics=metrics)

    def send(self, operation: str, request: Mapping[str, Any], place: Place) -> bool:
        """A request as it was recorded, whatever becomes of it; False where there is no server to send it to."""
        sent: bool = self.rows.send(operation, request, place)
        return sent


class MemoryRows:
    def __init__(self, store: MemoryLeaseStore) -> None:
        self.put, self.get = store.put_item, store.get
        self.make_legacy = store.add_legacy_tables
        self._apply = store.apply

    def delete(self, key: str, place: Place) -> None:
        self._apply(Write("past the store", key, deletes=True, place=place))

    def send(self, *_: Any) -> bool:
        return False


class TableRows:
    """A client of its own: the tests must not look through the eyes of what they test."""

    def __init__(self, client: Any, table_name: str) -> None:
        self.client = client
        self.table_name = table_name
        self.names: dict[Place, str] = {"leases": table_name}

    def put(self, item: Mapping[str, Any], place: Place = "leases") -> None:
        self.client.put_item(TableName=self.names[place], Item=item)

    def get(self, key: str, place: Place = "leases") -> Item | None:
        named = {KEYS[place]: {"S": key}}
        reply = self.client.get_item(TableName=self.names[place], Key=named, ConsistentRead=True)
        found: Item | None = reply.get("Item")
        return found

    def delete(self, key: str, place: Place) -> None:
        self.client.delete_item(TableName=self.names[place], Key={KEYS[place]: {"S": key}})

    def make_legacy(self, *, metrics: bool = True) -> None:
        for place, suffix in (("coordinator", "CoordinatorState"), ("metrics", "WorkerMetricStats")):
            if place == "coordinator" or metrics:
                self.names[place] = f"{self.table_name}-{suffix}"
                self.client.create_table(
                    TableName=self.names[place],
                    BillingMode="PAY_PER_REQUEST",
                    AttributeDefinitions=[{"AttributeName": KEYS[place], "AttributeType": "S"}],
                    KeySchema=[{"AttributeName": KEYS[place], "KeyType": "HASH"}],
                )

    def send(self, operation: str, request: Mapping[str, Any], place: Place) -> bool:
        with contextlib.suppress(self.client.exceptions.ConditionalCheckFailedException):
            getattr(self.client, xform_name(operation))(**request | {"TableName": self.names[place]})
        return True

    def drop(self) -> None:
        for name in self.names.values():
            self.client.delete_table(TableName=name)


def same(row: Mapping[str, Any] | None, expected: Mapping[str, Any] | None) -> bool:
    if row is None or expected is None:
        return row is expected
    return canonical({"M": row}) == canonical({"M": expected})
