"""The whole of what can be said about a lease table before joining it: findings, refusals, prospects. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from consumer.leasing.table_check import conflict_in, stranger_in
from consumer.leasing.table_mode import Mode, TableMode, mode_of
from consumer.operate.findings import (
    HandOffFound,
    LeasesFound,
    LockFound,
    Look,
    WorkerFound,
    hand_offs_in,
    leases_in,
    locks_in,
    makers_of,
    workers_in,
)
from consumer.operate.prospects import PLACES, of_joining
from consumer.streams.source import ShardListing, StreamIdentity
from lease_store.attributes import Place
from lease_store.checkpoint import AT_TIMESTAMP
from lease_store.lease import TableScan

__all__ = ["Diagnosis", "StreamFound", "StreamLook", "diagnose"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLook:
    """The stream that a worker would read: as the user named it, what it is now, and the shards it lists."""

    name: str
    identity: StreamIdentity
    listing: ShardListing


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFound:
    """How leases and stream fit: of the ``unfinished`` leases, ``listed`` are shards that the stream has now."""

    name: str
    enabled: bool
    shards: int
    unfinished: int
    listed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """A lease table as looked at; ``refusals`` is empty where a worker may join. Durations in seconds.

    ``made_by`` and ``because`` are clauses, ``refusals`` and ``joining`` sentences. ``client_version`` and
    ``table_migration`` are the states as stored, None where there is no such row. ``has_index``, ``has_legacy_tables``:
    None where that could not be told.
    """

    table: str
    exists: bool
    looks: int
    watched_seconds: float
    made_by: tuple[str, ...]
    mode: Mode
    because: str
    client_version: str | None
    table_migration: str | None
    has_legacy_tables: bool | None
    lock_at: Place
    workers_at: Place
    has_index: bool | None
    leases: LeasesFound
    workers: tuple[WorkerFound, ...]
    locks: tuple[LockFound, ...]
    hand_offs: tuple[HandOffFound, ...]
    unreadable: tuple[tuple[str, str], ...]
    foreign: tuple[tuple[str, str | None], ...]
    stream: StreamFound | None
    refusals: tuple[str, ...]
    joining: tuple[str, ...]

    @property
    def is_joinable(self) -> bool:
        """Whether a worker may join."""
        return not self.refusals


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
    last = looks[-1]
    leases, workers, locks, hand_offs = leases_in(last.scan), workers_in(looks), locks_in(looks), hand_offs_in(looks)
    told = _told(looks, workers, table)
    layout = told.layout
    migration = last.legacy.table_migration if last.legacy is not None else last.scan.table_migration
    version = layout.client_version.state if layout.client_version else None
    refusals = (refused,) if refused else tuple(_refusals(told, locks, last, table=table, app=app, stream=stream))
    return Diagnosis(
        table=table,
        exists=exists,
        looks=len(looks),
        watched_seconds=last.at - looks[0].at,
        made_by=makers_of(last),
        mode=told.mode,
        because=told.because,
        client_version=version,
        table_migration=migration.state if migration else None,
        has_legacy_tables=last.has_legacy_tables,
        lock_at=layout.lock_at,
        workers_at=layout.workers_at,
        has_index=has_index,
        leases=leases,
        workers=workers,
        locks=locks,
        hand_offs=hand_offs,
        unreadable=last.unreadable,
        foreign=tuple((row.key, row.entity_type) for row in last.scan.foreign),
        stream=None if stream is None else _stream_found(last, stream),
        refusals=refusals,
        joining=()
        if refusals
        else of_joining(
            mode=told.mode,
            client_version=version,
            workers_at=layout.workers_at,
            lock_at=layout.lock_at,
            has_index=has_index,
            leases=leases,
            workers=workers,
            locks=locks,
            hand_offs=hand_offs,
        ),
    )


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
