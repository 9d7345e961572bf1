"""The seam between leasing and a table: what a lease store must do, and nothing about how."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from lease_store.attributes import Place
from lease_store.coordination import ClientVersion, LeaderLock, TableMigration
from lease_store.errors import InvalidRow, LeaseStoreError
from lease_store.layout import LegacyRows
from lease_store.lease import ForeignRow, Lease, TableScan, WorkerRow
from lease_store.writes import Write

__all__ = [
    "MOST_AT_ONCE",
    "MOST_TOGETHER",
    "Applied",
    "LeaseStore",
    "Refused",
    "Unknown",
    "WriteResult",
    "applied",
    "check_together",
]

MOST_TOGETHER: Final = 25
"""How many writes one request may carry: DynamoDB's limit for BatchExecuteStatement."""

MOST_AT_ONCE: Final = 32
"""How many calls to change rows, and how many to read them, one loop may have under way: a store's connections.

One more waits for another's reply, and its time-out runs meanwhile.
"""


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


def applied(lease: Callable[[], Lease | None]) -> WriteResult:
    """The result of a write that stands, ``lease`` reading what it left.

    Unknown if that can't be read (InvalidRow), for raising would deny the write.
    """
    try:
        return Applied(lease())
    except InvalidRow as error:
        return Unknown(f"The write was applied, but the row after it can't be read: {error}")


def check_together(writes: Sequence[Write]) -> None:
    """ValueError unless these writes may go together: few enough, each to a lease of its own that is there."""
    if len(writes) > MOST_TOGETHER or len({write.key for write in writes}) < len(writes):
        raise ValueError(f"{len(writes)} writes can't go together: at most {MOST_TOGETHER}, and one a lease.")
    if any(write.puts or write.deletes or write.place != "leases" for write in writes):
        raise ValueError("Only what changes a row of the lease table goes together with others.")


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

    @property
    def most_together(self) -> int:
        """How many writes ``write_many`` can send in one request now: MOST_TOGETHER, or 1 where it may not."""
        ...

    async def write_many(
        self, writes: Sequence[Write], *, timeout_seconds: float
    ) -> list[WriteResult | LeaseStoreError]:
        """Apply writes that change leases, each by itself as ``write`` does, in one request where that is possible.

        What each came to, in their order; an error among them is, as ever, *not applied*, and so is one that is raised:
        for all of them. ValueError for what ``check_together`` does not let go together.
        """
        ...

    async def read_many(self, keys: Sequence[str]) -> list[Lease | LeaseStoreError | None]:
        """Up to MOST_TOGETHER leases by consistent reads, in the order of their keys; an error for one is no other's.

        Raises LeaseStoreError where none could be read.
        """
        ...

    async def scan(self) -> TableScan:
        """Every row, all pages, eventually consistent. Raises LeaseStoreError, never returns a part."""
        ...

    async def write_worker(self, row: WorkerRow, place: Place = "leases") -> bool:
        """Put a worker's own row, whole; False, and nothing is written, where the row's beat is as high already.

        So a put that arrives late undoes nothing. Raises LeaseStoreError when it (may have) failed.
        """
        ...

    async def read_worker(self, worker_id: str, place: Place = "leases") -> WorkerRow | None:
        """One worker's row by a consistent read."""
        ...

    async def delete_worker(self, row: WorkerRow, place: Place = "leases") -> None:
        """Delete a worker's row if its beat is still ``row.beat``; one that moved or is gone is left alone."""
        ...

    async def legacy(self) -> LegacyRows | None:
        """What lies in the tables that a KCL 3.0 to 3.4 keeps beside the lease table; None where there are none.

        That there are none is remembered for some seconds: ask with every scan. Where they may not be read, and never
        were, ``denied`` says so; where they have been read before, that raises, like any other failure.
        """
        ...

    async def read_lock(self, place: Place) -> LeaderLock | None:
        """The leader's lock by a consistent read. Raises InvalidRow for one of a shape that no KCL writes."""
        ...

    async def owned_by(self, worker_id: str) -> tuple[str, ...] | None:
        """Sorted keys of the rows whose ``leaseOwner`` is ``worker_id``, all pages, eventually consistent.

        None where the table has no such index yet, or none that may be asked: a scan finds the same, only later.
        """
        ...

    async def ensure_owner_index(self) -> None:
        """Have the index by owner made, as the KCL has it, where the table has none; its making is not waited for."""
        ...

    async def delete_row(
        self, row: WorkerRow | LeaderLock | ClientVersion | TableMigration | ForeignRow, place: Place = "leases"
    ) -> bool:
        """Delete a row that is no lease, if it still is as it was read; False where it has changed or is gone.

        For the command that makes a table fit for a KCL 2.x; a fleet at work deletes nothing but its own rows.
        """
        ...
