"""What looks at a lease table find: who made it, who works it, what moves and what does not. Pure.

No wall clock judges anything here: who lives is told by what moved between the looks, and by nothing else.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from consumer.leasing.table_mode import Mode
from lease_store.attributes import Place
from lease_store.coordination import LeaderLock
from lease_store.layout import LegacyRows
from lease_store.lease import Lease, TableScan, WorkerRow

__all__ = [
    "Diagnosis",
    "HandOffFound",
    "LeasesFound",
    "Library",
    "LockFound",
    "Look",
    "StreamFound",
    "WorkerFound",
    "counted",
    "hand_offs_in",
    "leases_in",
    "locks_in",
    "makers_of",
    "workers_in",
]

Library = Literal["KCL", "Leasehold", "unknown"]
"""Whose code a worker runs, as its row says; unknown where it has none, which is how every KCL 2.x worker looks."""

# The DynamoDB Streams adapter gives every shard this range; Kinesis shards span parts of 0 to 2^128 - 1.
_ADAPTER_RANGE: Final = ("0", "1")
_INSTANTS: Final = {"LATEST": "at_latest", "AT_TIMESTAMP": "at_timestamp"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The tables as one look saw them; ``at`` by a monotonic clock, ``legacy`` None where there are no such tables."""

    at: float
    scan: TableScan
    legacy: LegacyRows | None = None

    @property
    def has_legacy_tables(self) -> bool | None:
        """Whether there are two tables of a KCL 3.0 to 3.4 beside the lease table; None where that may not be read."""
        if self.legacy is None:
            return False
        return None if self.legacy.denied else True

    @property
    def worker_rows(self) -> tuple[WorkerRow, ...]:
        """Rows of workers in either place."""
        return self.scan.workers + (self.legacy.workers if self.legacy else ())

    @property
    def unreadable(self) -> tuple[tuple[str, str], ...]:
        """Rows that can't be read, of either place: key and reason."""
        return self.scan.unreadable + (self.legacy.unreadable if self.legacy else ())

    @property
    def locks(self) -> tuple[tuple[Place, LeaderLock], ...]:
        """The lock rows there are, with the table each lies in."""
        found: list[tuple[Place, LeaderLock | None]] = [("leases", self.scan.lock)]
        found.append(("coordinator", self.legacy.lock if self.legacy else None))
        return tuple((place, lock) for place, lock in found if lock is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerFound:
    """A worker that a row names. ``moved``: its row or a lease of its moved; None where there was one look only.

    ``leases`` it processes, ``receiving`` are to be its own once a hand-off ends. ``cpu_percent`` is the newest sample
    that its row carries; None where it has none, as without a sensor, -1 where it failed: a KCL's leader gives such a
    worker nothing.
    """

    worker_id: str
    library: Library
    leases: tuple[str, ...]
    receiving: tuple[str, ...]
    has_row: bool
    row_moved: bool | None
    moved: bool | None
    cpu_percent: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LockFound:
    """The leader lock in one table; ``moved``: its version changed between looks (None: one look only)."""

    place: Place
    owner: str
    duration_seconds: float
    is_released: bool
    moved: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HandOffFound:
    """A hand-off that is under way, and for how long at least: as long as the looks have shown it."""

    lease: str
    from_worker: str
    to_worker: str | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasesFound:
    """Lease rows by what they say.

    ``free``: unfinished and nobody's. ``at_latest``, ``at_timestamp``: not begun, at that word without the instant for
    which it stands, as a KCL stores it. ``prepared``: with a checkpoint that is prepared and not committed.
    ``inside_aggregates``: their checkpoint lies inside a record of the KPL's. ``multi_stream``: with a stream's name,
    of a multi-stream KCL. ``adapter``: made by the adapter for DynamoDB Streams.
    """

    total: int = 0
    finished: int = 0
    free: int = 0
    not_begun: int = 0
    at_latest: int = 0
    at_timestamp: int = 0
    prepared: int = 0
    inside_aggregates: int = 0
    multi_stream: int = 0
    adapter: int = 0


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
    joining: tuple[str, ...] = ()

    @property
    def is_joinable(self) -> bool:
        """Whether a worker may join."""
        return not self.refusals


def makers_of(look: Look) -> tuple[str, ...]:
    """Which libraries made the rows, a clause each, as far as rows tell it; empty where there is no row."""
    leases = look.scan.leases
    made_here = sum(lease.created_at is not None for lease in leases)
    by_kcl = [lease for lease in leases if lease.created_at is None]
    newer = sum(lease.entity_type is not None for lease in by_kcl)
    found = []
    if made_here:
        found.append(f"Leasehold: {counted(made_here, 'lease row')}")
    if newer:
        found.append(f"KCL 3.5 or later: {counted(newer, 'lease row')} with an entityType")
    if older := len(by_kcl) - newer:
        found.append(f"{_older_kcl(look)}: {counted(older, 'lease row')} without an entityType")
    if adapter := sum(lease.hash_range == _ADAPTER_RANGE for lease in by_kcl):
        found.append(f"the KCL's adapter for DynamoDB Streams: {counted(adapter, 'lease row')} of hash range 0..1")
    if not leases and (look.worker_rows or look.locks):
        found.append("nobody: rows of workers or a lock, and no lease")
    return tuple(found)


def _older_kcl(look: Look) -> str:
    if look.has_legacy_tables:
        return "KCL 3.0 to 3.4, which has two tables beside the lease table (or 2.x before it)"
    scan = look.scan
    if scan.lock or scan.client_version or any(row.beat is None for row in scan.workers):
        return "KCL 2.x or 3.0 to 3.4, before a KCL 3.5 or later came"
    return "KCL 2.x (or 1.x): no migration row, no lock"


def locks_in(looks: Sequence[Look]) -> tuple[LockFound, ...]:
    """The lock rows of the last look, in both places."""
    found = []
    for place, lock in looks[-1].locks:
        versions = {other.version for look in looks for where, other in look.locks if where == place}
        found.append(
            LockFound(
                place=place,
                owner=lock.owner,
                duration_seconds=lock.duration_seconds,
                is_released=lock.is_released,
                moved=len(versions) > 1 if len(looks) > 1 else None,
            )
        )
    return tuple(found)


def workers_in(looks: Sequence[Look]) -> tuple[WorkerFound, ...]:
    """Every worker that a row of the last look names, by id."""
    last = looks[-1]
    rows = {row.worker_id: row for row in last.worker_rows}
    leases: defaultdict[str, list[str]] = defaultdict(list)
    receiving: defaultdict[str, list[str]] = defaultdict(list)
    for lease in last.scan.leases:
        if not lease.is_finished and lease.actual_owner is not None:
            leases[lease.actual_owner].append(lease.key)
            if lease.is_pending and lease.owner is not None:
                receiving[lease.owner].append(lease.key)
    lease_movers, row_movers = _lease_movers(looks), _row_movers(looks)
    watched = len(looks) > 1
    found = []
    for worker_id in sorted(rows.keys() | leases.keys() | receiving.keys()):
        row = rows.get(worker_id)
        row_moved = worker_id in row_movers
        found.append(
            WorkerFound(
                worker_id=worker_id,
                library=_library(row),
                leases=tuple(leases.get(worker_id, ())),
                receiving=tuple(receiving.get(worker_id, ())),
                has_row=row is not None,
                row_moved=row_moved if watched and row is not None else None,
                moved=row_moved or worker_id in lease_movers if watched else None,
                cpu_percent=next(iter(row.samples.get("C", ())[-1:]), None) if row is not None else None,
            )
        )
    return tuple(found)


def _library(row: WorkerRow | None) -> Library:
    if row is None:
        return "unknown"
    return "KCL" if row.beat is None else "Leasehold"


def _lease_movers(looks: Sequence[Look]) -> set[str]:
    """Who was seen to renew: a counter grew between two looks under one and the same actual owner."""
    movers: set[str] = set()
    before: dict[str, Lease] = {}
    for look in looks:
        for lease in look.scan.leases:
            known = before.get(lease.key)
            owner = lease.actual_owner
            if known is not None and owner and known.actual_owner == owner and lease.counter > known.counter:
                movers.add(owner)
        before = {lease.key: lease for lease in look.scan.leases}
    return movers


def _row_movers(looks: Sequence[Look]) -> set[str]:
    """Whose own row changed between two looks: our beat, or a KCL's samples and its time, compared and not read."""
    states: dict[str, set[tuple[int | None, int]]] = {}
    for look in looks:
        for row in look.worker_rows:
            states.setdefault(row.worker_id, set()).add((row.beat, row.updated_at))
    return {worker_id for worker_id, seen in states.items() if len(seen) > 1}


def hand_offs_in(looks: Sequence[Look]) -> tuple[HandOffFound, ...]:
    """The hand-offs under way at the last look; a hand-off is the same one while both workers are."""
    last = looks[-1]
    pending = [
        {(lease.key, lease.owner, lease.checkpoint_owner) for lease in look.scan.leases if lease.is_pending}
        for look in looks
    ]
    found = []
    for lease in last.scan.leases:
        if lease.checkpoint_owner is None or lease.is_finished:
            continue
        since = last.at
        for look, shown in zip(reversed(looks), reversed(pending), strict=True):
            if (lease.key, lease.owner, lease.checkpoint_owner) not in shown:
                break
            since = look.at
        found.append(
            HandOffFound(
                lease=lease.key, from_worker=lease.checkpoint_owner, to_worker=lease.owner, seconds=last.at - since
            )
        )
    return tuple(found)


def leases_in(scan: TableScan) -> LeasesFound:
    """The lease rows of a scan, counted."""
    counts: Counter[str] = Counter(kind for lease in scan.leases for kind in _kinds(lease))
    return LeasesFound(total=len(scan.leases), **counts)


def _kinds(lease: Lease) -> Iterator[str]:
    """The fields of LeasesFound that count this row."""
    if "streamName" in lease.extra:
        yield "multi_stream"
    if lease.created_at is None and lease.hash_range == _ADAPTER_RANGE:
        yield "adapter"
    if lease.is_finished:
        yield "finished"
        return
    if lease.actual_owner is None:
        yield "free"
    if not lease.checkpoint.is_number:
        yield "not_begun"
        if (word := lease.checkpoint.sequence_number) in _INSTANTS and lease.start_at is None:
            yield _INSTANTS[word]
    if lease.checkpoint.sub_sequence_number:
        yield "inside_aggregates"
    if lease.pending_checkpoint is not None:
        yield "prepared"


def counted(number: int, noun: str) -> str:
    """``1 lease``, ``2 leases``."""
    return f"{number} {noun}" + ("" if number == 1 else "s")
