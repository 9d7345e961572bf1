"""Leases of shards in a table: rows as the Java KCL writes them, under conditional writes.

Names are loaded on first use: ``DynamoDBLeaseStore`` alone brings aiobotocore along.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lease_store.lazy_names import lazy_names

if TYPE_CHECKING:
    from lease_store.checkpoint import AT_TIMESTAMP, LATEST, SHARD_END, TRIM_HORIZON, Checkpoint
    from lease_store.coordination import ClientVersion, LeaderLock, StateChange, TableMigration
    from lease_store.dynamodb import DynamoDBLeaseStore
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

_HOMES: Final = {
    "AT_TIMESTAMP": "checkpoint",
    "LATEST": "checkpoint",
    "SHARD_END": "checkpoint",
    "TRIM_HORIZON": "checkpoint",
    "Applied": "store",
    "Checkpoint": "checkpoint",
    "ClientVersion": "coordination",
    "DynamoDBLeaseStore": "dynamodb",
    "ForeignRow": "lease",
    "InvalidRow": "errors",
    "Layout": "layout",
    "LeaderLock": "coordination",
    "Lease": "lease",
    "LeaseStore": "store",
    "LeaseStoreError": "errors",
    "LeaseTableAccessDenied": "errors",
    "LeaseTableCredentials": "errors",
    "LeaseTableMissing": "errors",
    "LeaseTableThrottled": "errors",
    "LeaseTableUnavailable": "errors",
    "LeaseTableUnreachable": "errors",
    "LeaseholdError": "errors",
    "LegacyRows": "layout",
    "MemoryLeaseStore": "memory",
    "NotALeaseTable": "errors",
    "PendingCheckpoint": "lease",
    "Refused": "store",
    "StateChange": "coordination",
    "TableMigration": "coordination",
    "TableScan": "lease",
    "Unknown": "store",
    "WorkerRow": "lease",
    "Write": "writes",
    "WriteResult": "store",
    "layout_of": "layout",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
