"""The whole of what can be said about a lease table before joining it: findings, refusals, prospects. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from consumer.leasing.table_check import conflict_in, stranger_in
from consumer.leasing.table_mode import TableMode, mode_of
from consumer.operate.findings import (
    Diagnosis,
    LockFound,
    Look,
    StreamFound,
    WorkerFound,
    hand_offs_in,
    leases_in,
    locks_in,
    makers_of,
    workers_in,
)
from consumer.operate.prospects import PLACES, of_joining
from consumer.streams.source import ShardListing, StreamIdentity
from lease_store.checkpoint import AT_TIMESTAMP
from lease_store.lease import TableScan

__all__ = ["StreamLook", "diagnose"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLook:
    """The stream that a worker would read: as the user named it, what it is now, and the shards it lists."""

    name: str
    identity: StreamIdentity
    listing: ShardListing


def diagnose(
    looks: Sequence[Look],
    *,
    table: str,
    exists: bool = True,
    app: str | None = None,
    has_index: bool | None = None,
    stream: StreamLook | None = None,
    refused: str | None = None,
) -> Diagnosis:
    """What ``looks`` (one at least, in order) say of ``table``, and what joining it would do.

    ``refused``: what opening the table raised, a refusal before all others.
    """
    last, workers, locks = looks[-1], workers_in(looks), locks_in(looks)
    told = _told(looks, workers, table)
    layout = told.layout
    migration = last.legacy.table_migration if last.legacy is not None else last.scan.table_migration
    found = Diagnosis(
        table=table,
        exists=exists,
        looks=len(looks),
        watched_seconds=last.at - looks[0].at,
        made_by=makers_of(last),
        mode=told.mode,
        because=told.because,
        client_version=layout.client_version.state if layout.client_version else None,
        table_migration=migration.state if migration else None,
        has_legacy_tables=last.has_legacy_tables,
        lock_at=layout.lock_at,
        workers_at=layout.workers_at,
        has_index=has_index,
        leases=leases_in(last.scan),
        workers=workers,
        locks=locks,
        hand_offs=hand_offs_in(looks),
        unreadable=last.unreadable,
        foreign=tuple((row.key, row.entity_type) for row in last.scan.foreign),
        stream=None if stream is None else _stream_found(last, stream),
        refusals=(refused,) if refused else tuple(_refusals(told, locks, last, table=table, app=app, stream=stream)),
    )
    return replace(found, joining=of_joining(found)) if found.is_joinable else found


def _told(looks: Sequence[Look], workers: Sequence[WorkerFound], table: str) -> TableMode:
    """The mode as a worker that made these looks would have it now: by each of them in turn, as it goes on."""
    mover = next((worker.worker_id for worker in workers if worker.moved and worker.library == "unknown"), None)
    told: TableMode | None = None
    for look in looks:
        told = mode_of(look.scan, look.legacy, table=table, known=told, mover=mover)
    assert told is not None, "a diagnosis takes one look at least"
    return told


def _refusals(
    told: TableMode, locks: Sequence[LockFound], last: Look, *, table: str, app: str | None, stream: StreamLook | None
) -> Iterator[str]:
    """What a worker that starts now would end with, by its own judgements."""
    if told.conflict:
        yield told.conflict
    stray = [lock for lock in locks if lock.place != told.layout.lock_at and lock.moved]
    if stray:
        yield (
            f"Two leaders: {stray[0].owner} keeps a lock alive in {PLACES[stray[0].place]}, where workers of this "
            f"fleet do not look for it; they look in {PLACES[told.layout.lock_at]}. A KCL 3.0 to 3.4 was started on a "
            "table of a KCL 3.5 or later, or the reverse. Stop the workers of one of the two, and look again."
        )
    identity = stream.identity if stream is not None else None
    conflict = conflict_in(_begun(last.scan), table=table, stream_base=identity.base if identity else None, app=app)
    if conflict is None and stream is not None:
        listing = stream.listing
        conflict = stranger_in(
            last.scan.leases,
            listing.shards,
            table=table,
            stream_label=stream.identity.label,
            server_time=listing.server_time,
        )
    if conflict:
        yield conflict


def _begun(scan: TableScan) -> TableScan:
    """The scan as a worker judges it that was given the KCL's own instant: that it needs it is said elsewhere."""
    return replace(
        scan,
        leases=tuple(
            replace(lease, start_at=Decimal(1)) if lease.checkpoint == AT_TIMESTAMP else lease for lease in scan.leases
        ),
    )


def _stream_found(last: Look, stream: StreamLook) -> StreamFound:
    unfinished = {lease.key for lease in last.scan.leases if not lease.is_finished}
    listed = {shard.id for shard in stream.listing.shards}
    return StreamFound(
        name=stream.name,
        enabled=stream.identity.enabled,
        shards=len(listed),
        unfinished=len(unfinished),
        listed=len(unfinished & listed),
    )
