"""Leases of shards in a table: rows as the Java KCL writes them, under conditional writes.

``DynamoDBLeaseStore`` is imported on first use, since it brings aiobotocore along.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lease_store.checkpoint import AT_TIMESTAMP, LATEST, SHARD_END, TRIM_HORIZON, Checkpoint
from lease_store.coordination import ClientVersion, LeaderLock, StateChange, TableMigration
from lease_store.errors import (
    InvalidRow,
    LeaseholdError,
    LeaseStoreError,
    LeaseTableAccessDenied,
    LeaseTableCredentials,
    LeaseTableMissing,
    LeaseTableThrottled,
    LeaseTableUnavailable,
    LeaseTableUnreachable,
    NotALeaseTable,
)
from lease_store.layout import Layout, LegacyRows, layout_of
from lease_store.lease import ForeignRow, Lease, PendingCheckpoint, TableScan, WorkerRow
from lease_store.memory import MemoryLeaseStore
from lease_store.store import Applied, LeaseStore, Refused, Unknown, WriteResult
from lease_store.writes import Write

if TYPE_CHECKING:
    from lease_store.dynamodb import DynamoDBLeaseStore

__all__ = [
    "AT_TIMESTAMP",
    "LATEST",
    "SHARD_END",
    "TRIM_HORIZON",
    "Applied",
    "Checkpoint",
    "ClientVersion",
    "DynamoDBLeaseStore",
    "ForeignRow",
    "InvalidRow",
    "Layout",
    "LeaderLock",
    "Lease",
    "LeaseStore",
    "LeaseStoreError",
    "LeaseTableAccessDenied",
    "LeaseTableCredentials",
    "LeaseTableMissing",
    "LeaseTableThrottled",
    "LeaseTableUnavailable",
    "LeaseTableUnreachable",
    "LeaseholdError",
    "LegacyRows",
    "MemoryLeaseStore",
    "NotALeaseTable",
    "PendingCheckpoint",
    "Refused",
    "StateChange",
    "TableMigration",
    "TableScan",
    "Unknown",
    "WorkerRow",
    "Write",
    "WriteResult",
    "layout_of",
]


def __getattr__(name: str) -> Any:
    if name == "DynamoDBLeaseStore":
        from lease_store.dynamodb import DynamoDBLeaseStore

        return DynamoDBLeaseStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
