"""A store under test, and the table behind it for looking and meddling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lease_store import LeaseStore, MemoryLeaseStore, Write
from lease_store.item import canonical

Item = dict[str, Mapping[str, Any]]


@dataclass
class Bench:
    """One of the stores, with ``rows`` to put and get rows past it."""

    store: LeaseStore
    rows: Any

    async def write(self, write: Write) -> Any:
        return await self.store.write(write, timeout_seconds=10.0)

    def put(self, item: Mapping[str, Any]) -> None:
        self.rows.put(item)

    def get(self, key: str = "shard-1") -> Item | None:
        found: Item | None = self.rows.get(key)
        return found


class MemoryRows:
    def __init__(self, store: MemoryLeaseStore) -> None:
        self.put, self.get = store.put_item, store.get


class TableRows:
    """A client of its own: the tests must not look through the eyes of what they test."""

    def __init__(self, client: Any, table_name: str) -> None:
        self.client = client
        self.table_name = table_name

    def put(self, item: Mapping[str, Any]) -> None:
        self.client.put_item(TableName=self.table_name, Item=item)

    def get(self, key: str) -> Item | None:
        reply = self.client.get_item(TableName=self.table_name, Key={"leaseKey": {"S": key}}, ConsistentRead=True)
        found: Item | None = reply.get("Item")
        return found


def same(row: Mapping[str, Any] | None, expected: Mapping[str, Any] | None) -> bool:
    if row is None or expected is None:
        return row is expected
    return canonical({"M": row}) == canonical({"M": expected})
