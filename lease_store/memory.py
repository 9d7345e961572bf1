"""A lease store in memory: the same rows and the same conditional writes as in a table, for tests and simulations."""

from __future__ import annotations

import copy
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from decimal import Decimal

from lease_store.item import LEASE_KEY, canonical, lease_of, table_scan, worker_of
from lease_store.lease import AttributeValue, Lease, TableScan, WorkerRow
from lease_store.store import Applied, Refused, WriteResult, applied
from lease_store.verbs import Absent, ActualOwner, Below, Expect, Is, IsNot, Write, delete_worker, put_worker

__all__ = ["MemoryLeaseStore"]

Item = Mapping[str, AttributeValue]


class MemoryLeaseStore:
    """Rows in wire form behind one lock; any number of loops and threads may share it.

    Each ``LeaseStore`` call makes one synchronous step (``apply``, ``get``, ``rows`` or ``put_item``), so that a
    subclass can delay, drop or repeat it on either side, as a network does. Nothing waits, so no time-out can strike.
    """

    def __init__(self, name: str = "memory") -> None:
        self._name = name
        self._items: dict[str, Item] = {}
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """The name given, for messages."""
        return self._name

    def open(self) -> AbstractAsyncContextManager[None]:
        """Nothing to connect to."""
        return _nothing()

    async def write(self, write: Write, *, timeout_seconds: float) -> WriteResult:
        """Apply one conditional write; never Unknown, ``timeout_seconds`` is not needed."""
        return self.apply(write)

    async def read(self, key: str) -> Lease | None:
        """One lease; None where no lease row has the key. Raises InvalidRow."""
        return lease_of(self.get(key))

    async def scan(self) -> TableScan:
        """Every row."""
        return self.rows()

    async def write_worker(self, row: WorkerRow) -> bool:
        """Put a worker's own row, unless its beat is as high already."""
        return isinstance(self.apply(put_worker(row)), Applied)

    async def read_worker(self, worker_id: str) -> WorkerRow | None:
        """One worker's row."""
        return worker_of(self.get(worker_id))

    async def delete_worker(self, row: WorkerRow) -> None:
        """Delete a worker's row if it has not moved."""
        self.apply(delete_worker(row))

    def apply(self, write: Write) -> WriteResult:
        """Judge and apply one write as the table does. Raises InvalidRow where an unreadable row refuses it."""
        with self._lock:
            before = self._items.get(write.key)
            if not permits(write, before):
                return Refused(lease_of(before))
            if write.deletes:
                del self._items[write.key]
                return Applied(None)
            after = {**({} if write.puts else before or {}), **(write.sets or {})}
            for name in write.removes:
                after.pop(name, None)
            self._items[write.key] = after
            return applied(after)

    def get(self, key: str) -> dict[str, AttributeValue] | None:
        """A copy of one row in wire form."""
        with self._lock:
            item = self._items.get(key)
        return None if item is None else dict(copy.deepcopy(item))

    def rows(self) -> TableScan:
        """Every row as it is now."""
        with self._lock:
            items = list(self._items.values())
        return table_scan(items)

    def put_item(self, item: Item) -> None:
        """Put a row in wire form, whatever it is and whatever stood there: a KCL's row, say."""
        with self._lock:
            self._items[item[LEASE_KEY]["S"]] = copy.deepcopy(dict(item))


def permits(write: Write, item: Item | None) -> bool:
    """Whether the row as it stands (None: there is none) meets the write's whole condition."""
    return (item is not None or write.puts) and all(_holds(expect, item or {}) for expect in write.expects)


def _holds(expect: Expect, item: Item) -> bool:
    match expect:
        case Is(attribute, value):
            return attribute in item and canonical(item[attribute]) == canonical(value)
        case IsNot(attribute, value):
            return attribute not in item or canonical(item[attribute]) != canonical(value)
        case Absent(attribute):
            return attribute not in item
        case Below(attribute, number):
            return attribute not in item or Decimal(item[attribute].get("N", "Infinity")) < number
        case ActualOwner(worker_id):
            owner = item.get("checkpointOwner", item.get("leaseOwner"))
            return owner is not None and canonical(owner) == ("S", worker_id)


@asynccontextmanager
async def _nothing() -> AsyncIterator[None]:
    yield
