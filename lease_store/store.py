"""The seam between leasing and a table: what a lease store must do, and nothing about how."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from lease_store.errors import InvalidRow
from lease_store.item import lease_of
from lease_store.lease import AttributeValue, Lease, TableScan, WorkerRow
from lease_store.verbs import Write

__all__ = ["Applied", "LeaseStore", "Refused", "Unknown", "WriteResult", "applied"]


@dataclass(frozen=True, slots=True)
class Applied:
    """The write stands; ``lease`` is the row right after it (None once deleted), others' hand-offs included."""

    lease: Lease | None


@dataclass(frozen=True, slots=True)
class Refused:
    """The condition did not hold; ``lease`` is the row in the way, None where there is none or it is no lease."""

    lease: Lease | None


@dataclass(frozen=True, slots=True)
class Unknown:
    """The reply was lost: the write may have been applied, may yet be, or never will. Read the row, never assume."""

    reason: str


WriteResult = Applied | Refused | Unknown


def applied(item: Mapping[str, AttributeValue]) -> WriteResult:
    """The result of a write that stands and left ``item``; Unknown if that can't be read, for raising would deny it."""
    try:
        return Applied(lease_of(item))
    except InvalidRow as error:
        return Unknown(f"The write was applied, but the row after it can't be read: {error}")


@runtime_checkable
class LeaseStore(Protocol):
    """A table of leases under conditional writes.

    Contention is a value: ``write`` returns what happened. Exceptions (``LeaseStoreError``) are for the network and the
    table and always mean *not applied*. One object may serve several event loops and threads: ``open`` is entered once
    on each loop, and entering it again there counts up.
    """

    @property
    def name(self) -> str:
        """The table's name, for messages."""
        ...

    def open(self) -> AbstractAsyncContextManager[None]:
        """Connections for the running loop; makes the table on first use where configured, waits until it is active."""
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

    async def write_worker(self, row: WorkerRow) -> bool:
        """Put a worker's own row, whole; False, and nothing is written, where the row's beat is as high already.

        So a put that arrives late undoes nothing. Raises LeaseStoreError when it (may have) failed.
        """
        ...

    async def read_worker(self, worker_id: str) -> WorkerRow | None:
        """One worker's row by a consistent read."""
        ...

    async def delete_worker(self, row: WorkerRow) -> None:
        """Delete a worker's row if its beat is still ``row.beat``; one that moved or is gone is left alone."""
        ...
