"""A Java KCL's lease rows as rows of the stream that this worker reads: the one place where the two kinds become one.

A KCL writes neither the stream nor an instant into a row, and we don't write a stream into its rows. Wherever a row
without a stream comes out of the store it is given this worker's, in memory; whether that is right is judged once, at
the start (``table_check``). What tells a KCL's row from ours afterwards is ``created_at``, which only ours have.

The words that are no places. A KCL's row at AT_TIMESTAMP stands for the timestamp that its whole fleet is configured
with, and so is this worker. One at LATEST stands for the end of the shard at each moment, so that a change of owner
loses what came meanwhile. For a Python owner it is an instant from the beginning of its tenure on: the write that
begins it also sets ``leaseholdStartAt``, which a KCL leaves where it is. The instant is the one at which the writer
first saw the row, so that what a worker of the KCL's left unread when it died after that is read, too; but no more than
ten minutes before the row was last seen to move, for an application that never checkpoints means no more by LATEST than
from now on. Unprotected remains what came before, and whatever passes from one worker of the KCL's to another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final, TypeVar

from consumer.config import InitialPosition
from lease_store.attributes import Place
from lease_store.checkpoint import AT_TIMESTAMP, LATEST
from lease_store.coordination import ClientVersion, LeaderLock, TableMigration
from lease_store.errors import LeaseStoreError
from lease_store.layout import LegacyRows
from lease_store.lease import ForeignRow, Lease, TableScan, WorkerRow
from lease_store.store import Applied, LeaseStore, Refused, WriteResult
from lease_store.writes import Is, Write

__all__ = ["AdoptedLeases"]

_BEGINS_A_TENURE: Final = frozenset({"assign", "renew", "take"})
# A first batch may run for as long before its checkpoint.
_LOOK_BACK_SECONDS: Final = 600.0

LeaseT = TypeVar("LeaseT", Lease, Lease | None)


@dataclass(frozen=True, slots=True)
class _Unpinned:
    """A row that starts at a word and has no instant: its counter when last seen so.

    ``seen_at`` is when it was first seen here, ``moved_at`` when its counter was. ``timestamp`` is what AT_TIMESTAMP
    stands for, None for LATEST.
    """

    counter: int
    seen_at: float
    moved_at: float
    timestamp: Decimal | None

    def start_at(self, ahead_seconds: float) -> Decimal:
        """Whole seconds, and one less, as where a group of ours starts at LATEST: records are dated by the second."""
        if self.timestamp is not None:
            return self.timestamp
        seen_at = max(self.seen_at, self.moved_at - _LOOK_BACK_SECONDS)
        return Decimal(math.floor(seen_at - ahead_seconds) - 1)


class AdoptedLeases:
    """The ``LeaseStore`` ``store``, in which rows without a stream are rows of ``label``. Lives on one lease loop.

    ``start`` is this worker's initial position; ``wall`` gives epoch seconds by this machine's clock.
    """

    def __init__(self, store: LeaseStore, label: str, start: InitialPosition, wall: Callable[[], float]) -> None:
        self.ahead_seconds = 0.0
        """By how much this machine's clock is ahead of the stream's, once that is known."""
        self._store = store
        self._label = label
        self._timestamp = None if start.timestamp is None else Decimal(str(start.timestamp))
        self._wall = wall
        self._unpinned: dict[str, _Unpinned] = {}

    @property
    def name(self) -> str:
        return self._store.name

    def open(self) -> AbstractAsyncContextManager[None]:
        return self._store.open()

    async def write(self, write: Write, *, timeout_seconds: float) -> WriteResult:
        return self._result(await self._store.write(self._pinned(write), timeout_seconds=timeout_seconds))

    async def read(self, key: str) -> Lease | None:
        return self._adopted(await self._store.read(key))

    @property
    def most_together(self) -> int:
        return self._store.most_together

    async def write_many(
        self, writes: Sequence[Write], *, timeout_seconds: float
    ) -> list[WriteResult | LeaseStoreError]:
        pinned = [self._pinned(write) for write in writes]
        results = await self._store.write_many(pinned, timeout_seconds=timeout_seconds)
        return [each if isinstance(each, LeaseStoreError) else self._result(each) for each in results]

    async def read_many(self, keys: Sequence[str]) -> list[Lease | LeaseStoreError | None]:
        rows = await self._store.read_many(keys)
        return [row if isinstance(row, LeaseStoreError) else self._adopted(row) for row in rows]

    async def scan(self) -> TableScan:
        scan = await self._store.scan()
        if all(lease.stream is not None for lease in scan.leases):
            self._unpinned.clear()
            return scan
        leases = tuple(self._adopted(lease) for lease in scan.leases)
        present = {lease.key for lease in leases}
        for key in self._unpinned.keys() - present:
            del self._unpinned[key]
        return replace(scan, leases=leases)

    async def write_worker(self, row: WorkerRow, place: Place = "leases") -> bool:
        return await self._store.write_worker(row, place)

    async def read_worker(self, worker_id: str, place: Place = "leases") -> WorkerRow | None:
        return await self._store.read_worker(worker_id, place)

    async def delete_worker(self, row: WorkerRow, place: Place = "leases") -> None:
        await self._store.delete_worker(row, place)

    async def legacy(self) -> LegacyRows | None:
        return await self._store.legacy()

    async def read_lock(self, place: Place) -> LeaderLock | None:
        return await self._store.read_lock(place)

    async def owned_by(self, worker_id: str) -> tuple[str, ...] | None:
        return await self._store.owned_by(worker_id)

    async def ensure_owner_index(self) -> None:
        await self._store.ensure_owner_index()

    async def delete_row(
        self, row: WorkerRow | LeaderLock | ClientVersion | TableMigration | ForeignRow, place: Place = "leases"
    ) -> bool:
        return await self._store.delete_row(row, place)

    def _result(self, result: WriteResult) -> WriteResult:
        match result:
            case Applied(lease):
                return Applied(self._adopted(lease))
            case Refused(lease):
                return Refused(self._adopted(lease))
        return result

    def _adopted(self, lease: LeaseT) -> LeaseT:
        if lease is None or lease.stream is not None:
            return lease
        adopted = replace(lease, stream=self._label)
        if lease.start_at is None and lease.checkpoint == AT_TIMESTAMP and self._timestamp is not None:
            self._note(lease, self._timestamp)
            return replace(adopted, start_at=self._timestamp)
        if lease.start_at is None and lease.checkpoint == LATEST:
            self._note(lease, None)
        else:
            self._unpinned.pop(lease.key, None)
        return adopted

    def _note(self, lease: Lease, timestamp: Decimal | None) -> None:
        """Which rows have no instant in the table, by counter: a scan may go back, and show one as it was before."""
        known, now = self._unpinned.get(lease.key), self._wall()
        if known is None:
            self._unpinned[lease.key] = _Unpinned(lease.counter, now, now, timestamp)
        elif lease.counter > known.counter:
            self._unpinned[lease.key] = replace(known, counter=lease.counter, moved_at=now)

    def _pinned(self, write: Write) -> Write:
        """A write that may begin a tenure, with the instant where the row, as the write expects it, has none."""
        known = self._unpinned.get(write.key) if write.verb in _BEGINS_A_TENURE else None
        if known is None or Is("leaseCounter", {"N": str(known.counter)}) not in write.expects:
            return write
        start_at = known.start_at(self.ahead_seconds)
        return replace(write, sets={**(write.sets or {}), "leaseholdStartAt": {"N": format(start_at, "f")}})
