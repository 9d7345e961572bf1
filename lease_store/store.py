"""The seam between leasing and a table: what a lease store must do, and nothing about how."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from lease_store.lease import Lease, TableScan, WorkerRow
from lease_store.verbs import Write

__all__ = ["Applied", "LeaseStore", "Refused", "Unknown", "WriteResult"]


@dataclass(frozen=True, slots=True)
class Applied:
    """The write stands; ``lease`` is the row right after it (None once deleted), hand-offs started by others included."""

    lease: Lease | None


@dataclass(frozen=True, slots=True)
class Refused:
    """The condition did not hold; ``lease`` is the row that stood in the way, None where there is none (or it is no lease)."""

    lease: Lease | None


@dataclass(frozen=True, slots=True)
class Unknown:
    """The reply was lost: the write may have been applied, may still be applied, or never. Read the row, never assume."""

    reason: str


WriteResult = Applied | Refused | Unknown


@runtime_checkable
class LeaseStore(Protocol):
    """A table of leases under conditional writes.

    Contention is a value: ``write`` returns what happened. Exceptions (``LeaseStoreError``) are for the network and the table and
    always mean *not applied*. One object may serve several event loops and threads: ``open`` is entered once on each loop.
    """

    @property
    def name(self) -> str:
        """The table's name, for messages."""
        ...

    def open(self) -> AbstractAsyncContextManager[None]:
        """Connections for the running loop; creates the table on first use where configured, and waits until it is active."""
        ...

    async def write(self, write: Write, *, timeout_seconds: float) -> WriteResult:
        """Apply one conditional write, tried once; no reply within ``timeout_seconds`` is Unknown."""
        ...

    async def read(self, key: str) -> Lease | None:
        """One lease by a consistent read; None where no lease row has the key. Raises LeaseStoreError."""
        ...

    async def scan(self) -> TableScan:
        """Every row, all pages, eventually consistent. Raises LeaseStoreError, never returns a part."""
        ...

    async def write_worker(self, row: WorkerRow) -> None:
        """Put a worker's own row unconditionally (the KCL does too). Raises LeaseStoreError when it failed or may have."""
        ...

    async def read_worker(self, worker_id: str) -> WorkerRow | None:
        """One worker's row by a consistent read."""
        ...

    async def delete_worker(self, row: WorkerRow) -> None:
        """Delete a worker's row if its beat is still ``row.beat``; a row that moved or is gone is left alone, silently."""
        ...
