"""Whether this worker may share a lease table at all: pure judgements of what a scan shows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from consumer.streams.source import base_of
from lease_store.lease import Lease, TableScan

__all__ = ["conflict_in", "unknown_movers"]

# Rows by which a KCL coordinates its workers. Unknown types beyond these are ignored, as the KCL's own readers do.
_KCL_TYPES: Final = frozenset({"LEADER", "CLIENT_VERSION_MIGRATION", "TABLE_MIGRATION", "STREAM"})
_WAY_OUT: Final = "Give this app a lease table of its own with --lease-table."


def conflict_in(scan: TableScan, *, table: str, stream_base: str, app: str | None) -> str | None:
    """Why this table can't be joined by ``app``'s consumer of ``stream_base``, as a sentence; None where it can.

    A KCL's table is refused because a single row of ours that is not a lease can stop a KCL 2.x fleet, another app's
    because the two would share the shards: each would miss what the other was given. ``app`` None: not judged.
    """
    states = (scan.lock, scan.client_version, scan.table_migration)
    kinds = [row.entity_type for row in (*states, *scan.foreign) if row is not None]
    for kind in kinds:
        if kind in _KCL_TYPES:
            return (
                f"Lease table {table} is kept by a Java KCL (a row of type {kind}); sharing a table with a KCL is not "
                f"built yet. {_WAY_OUT}"
            )
    for worker in scan.workers:
        if worker.beat is None:
            return f"Lease table {table} has a metric row of a Java KCL worker ({worker.worker_id!r}). {_WAY_OUT}"
    for lease in scan.leases:
        if lease.stream is None:
            return (
                f"Lease table {table} has a lease ({lease.key!r}) that no Leasehold worker made: a KCL keeps this "
                f"table. {_WAY_OUT}"
            )
        if base_of(lease.stream) != stream_base:
            return (
                f"Lease table {table} belongs to another stream: its lease {lease.key!r} is of {lease.stream}, this "
                f"worker reads {stream_base}. Checkpoints of one mean nothing in the other. {_WAY_OUT}"
            )
        if None not in (app, lease.app) and lease.app != app:
            return (
                f"Lease table {table} belongs to app {lease.app!r} (lease {lease.key!r}), this worker is of app "
                f"{app!r}: two apps on one table would share the shards, and each miss what the other is given. "
                f"{_WAY_OUT} To work in that group, call this app {lease.app!r}, too."
            )
    return None


def unknown_movers(moved: Sequence[Lease], known: Collection[str]) -> dict[str, str]:
    """Leases that moved, with their owners, where no worker row of ours names these: a KCL 2.x leaves no other mark."""
    return {lease.key: owner for lease in moved if (owner := lease.actual_owner) is not None and owner not in known}
