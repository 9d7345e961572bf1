"""A lease store in memory: the same rows and the same conditional writes as in a table, for tests and simulations."""

from __future__ import annotations

import copy
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from decimal import Decimal
from functools import partial

from lease_store.attributes import KEY_ATTRIBUTES, LEASE_KEY, AttributeValue, Place, canonical
from lease_store.coordination import LOCK_KEY, ClientVersion, LeaderLock, TableMigration
from lease_store.each import each_by_itself
from lease_store.errors import InvalidRow, LeaseStoreError, LeaseTableMissing
from lease_store.item import lease_of, lock_of, table_scan, worker_of
from lease_store.layout import LegacyRows, legacy_rows
from lease_store.lease import ForeignRow, Lease, TableScan, WorkerRow
from lease_store.store import MOST_TOGETHER, Applied, Refused, WriteResult, applied, check_together
from lease_store.verbs import delete_row, delete_worker, put_worker
from lease_store.writes import Absent, ActualOwner, Below, Expect, Is, IsNot, Write

__all__ = ["MemoryLeaseStore", "permits"]

Item = Mapping[str, AttributeValue]


class MemoryLeaseStore:
    """Rows in wire form behind one lock; any number of loops and threads may share it.

    Each ``LeaseStore`` call makes one synchronous step (``apply``, ``get``, ``rows``, ``legacy_rows``, ``owned`` or
    ``put_item``), so that a subclass can delay, drop or repeat it on either side, as a network does. Nothing waits, so
    no time-out can strike. The legacy tables of a KCL 3.0 to 3.4 exist once ``add_legacy_tables`` was called.
    """

    def __init__(self, name: str = "memory") -> None:
        self._name = name
        self._tables: dict[Place, dict[str, Item]] = {"leases": {}}
        self._has_index = False
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

    @property
    def most_together(self) -> int:
        """As many as DynamoDB takes."""
        return MOST_TOGETHER

    async def write_many(
        self, writes: Sequence[Write], *, timeout_seconds: float
    ) -> list[WriteResult | LeaseStoreError]:
        """Apply each as ``write`` does, also as a subclass has it."""
        check_together(writes)
        return await each_by_itself(writes, lambda write: self.write(write, timeout_seconds=timeout_seconds))

    async def read_many(self, keys: Sequence[str]) -> list[Lease | LeaseStoreError | None]:
        """Read each as ``read`` does."""
        return await each_by_itself(keys, self.read)

    async def scan(self) -> TableScan:
        """Every row."""
        return self.rows()

    async def write_worker(self, row: WorkerRow, place: Place = "leases") -> bool:
        """Put a worker's own row, unless its beat is as high already."""
        return self._stands(put_worker(row, place))

    async def read_worker(self, worker_id: str, place: Place = "leases") -> WorkerRow | None:
        """One worker's row."""
        return worker_of(self.get(worker_id, place), place)

    async def delete_worker(self, row: WorkerRow, place: Place = "leases") -> None:
        """Delete a worker's row if it has not moved."""
        self._stands(delete_worker(row, place))

    async def legacy(self) -> LegacyRows | None:
        """The rows of the legacy tables; None where there is no coordinator's table."""
        return self.legacy_rows()

    async def read_lock(self, place: Place) -> LeaderLock | None:
        """The leader's lock. Raises InvalidRow for one of unknown shape."""
        return lock_of(self.get(LOCK_KEY, place), place)

    async def owned_by(self, worker_id: str) -> tuple[str, ...] | None:
        """Keys of the rows whose ``leaseOwner`` is this worker; None before ``ensure_owner_index``."""
        return self.owned(worker_id)

    async def ensure_owner_index(self) -> None:
        """From now on there is an index by owner."""
        self._has_index = True

    async def delete_row(
        self, row: WorkerRow | LeaderLock | ClientVersion | TableMigration | ForeignRow, place: Place = "leases"
    ) -> bool:
        """Delete a row that is no lease, if it still is as it was read."""
        return self._stands(delete_row(row, place))

    def add_legacy_tables(self, *, metrics: bool = True) -> None:
        """The two tables that a KCL 3.0 to 3.4 makes beside the lease table, or the coordinator's alone."""
        with self._lock:
            self._tables.setdefault("coordinator", {})
            if metrics:
                self._tables.setdefault("metrics", {})

    def apply(self, write: Write) -> WriteResult:
        """Judge and apply one write as the table does. Raises InvalidRow where an unreadable row refuses it."""
        with self._lock:
            items = self._table(write.place)
            before = items.get(write.key)
            if not permits(write, before):
                return Refused(lease_of(before, write.place))
            if write.deletes:
                del items[write.key]
                return Applied(None)
            after = {**({} if write.puts else before or {}), **(write.sets or {})}
            for name in write.removes:
                after.pop(name, None)
            items[write.key] = after
            return applied(partial(lease_of, after, write.place))

    def get(self, key: str, place: Place = "leases") -> dict[str, AttributeValue] | None:
        """A copy of one row in wire form; None where its table does not exist."""
        with self._lock:
            item = self._tables.get(place, {}).get(key)
        return None if item is None else dict(copy.deepcopy(item))

    def rows(self) -> TableScan:
        """Every row of the lease table as it is now."""
        return table_scan(self._all("leases") or [])

    def legacy_rows(self) -> LegacyRows | None:
        """Every row of the legacy tables as it is now; None where there is no coordinator's table."""
        coordinator = self._all("coordinator")
        return None if coordinator is None else legacy_rows(coordinator, self._all("metrics"))

    def owned(self, worker_id: str) -> tuple[str, ...] | None:
        """What the owner index has under this worker now; None where there is no index."""
        if not self._has_index:
            return None
        items = self._all("leases") or []
        return tuple(sorted(item[LEASE_KEY]["S"] for item in items if item.get("leaseOwner") == {"S": worker_id}))

    def put_item(self, item: Item, place: Place = "leases") -> None:
        """Put a row in wire form, whatever it is and whatever stood there: a KCL's row, say."""
        with self._lock:
            self._table(place)[item[KEY_ATTRIBUTES[place]]["S"]] = copy.deepcopy(dict(item))

    def _stands(self, write: Write) -> bool:
        """Whether a write of a row that is no lease was applied; what stands in its way, nobody asks."""
        try:
            return isinstance(self.apply(write), Applied)
        except InvalidRow:
            return False

    def _all(self, place: Place) -> list[Item] | None:
        with self._lock:
            items = self._tables.get(place)
            return None if items is None else list(items.values())

    def _table(self, place: Place) -> dict[str, Item]:
        if place not in self._tables:
            raise LeaseTableMissing(f"Lease table {self._name} has no legacy table {place!r} beside it.")
        return self._tables[place]


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
