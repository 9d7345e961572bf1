"""Where the rows of a fleet lie that are no leases: in the lease table, or in the two tables of a KCL 3.0 to 3.4. Pure.

The routing is KCL 3.5.1's (its table migration from three tables to one). Unlike a KCL's, which fixes its place of
writing at the start of a process, this is judged anew with every look, and no worker of ours advances the migration.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from lease_store.attributes import AttributeValue, Place
from lease_store.coordination import ClientVersion, LeaderLock, TableMigration
from lease_store.item import table_scan
from lease_store.lease import ForeignRow, TableScan, WorkerRow

__all__ = ["Layout", "LegacyRows", "TableStatus", "layout_of", "legacy_rows"]

Item = Mapping[str, AttributeValue]
TableStatus = Literal["INIT", "DEPLOYED", "PENDING", "COMPLETE"]

_PREFIX: Final = "TABLE_MIGRATION_STATUS_"
# A KCL writes its metric row every 30 s, and a leader of its kind calls one stale that is older than twice that.
_FRESH_SECONDS: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class LegacyRows:
    """What lies in ``<app>-CoordinatorState`` and ``<app>-WorkerMetricStats``; ``unreadable`` rows as (key, reason).

    ``denied`` is why nobody knows: the sentence of a refusal for want of a right, all else being empty then.
    """

    lock: LeaderLock | None = None
    client_version: ClientVersion | None = None
    table_migration: TableMigration | None = None
    workers: tuple[WorkerRow, ...] = ()
    has_metrics_table: bool = True
    denied: str | None = None
    foreign: tuple[ForeignRow, ...] = ()
    unreadable: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where to look and where to write, as one look at all the tables shows it.

    ``lock_at`` is where the leader's lock is kept and ``lock`` the one that lies there; ``stray_lock`` lies where no
    worker of this status looks for it: alive, it is a second leader. ``workers_at`` is where this worker's own metric
    row belongs; ``workers`` are the metric rows of both places, of a worker that has two the one that moved last.
    ``client_version`` is the one that counts.
    """

    status: TableStatus = "COMPLETE"
    lock_at: Place = "leases"
    workers_at: Place = "leases"
    lock: LeaderLock | None = None
    stray_lock: LeaderLock | None = None
    client_version: ClientVersion | None = None
    workers: tuple[WorkerRow, ...] = ()


def legacy_rows(coordinator: Iterable[Item], metrics: Iterable[Item] | None) -> LegacyRows:
    """Rows of the legacy tables by kind; ``metrics`` None: there is no table of metrics."""
    states = table_scan(coordinator, "coordinator")
    numbers = table_scan(metrics or (), "metrics")
    return LegacyRows(
        lock=states.lock,
        client_version=states.client_version,
        table_migration=states.table_migration,
        workers=numbers.workers,
        has_metrics_table=metrics is not None,
        foreign=(*states.foreign, *numbers.foreign),
        unreadable=(*states.unreadable, *numbers.unreadable),
    )


def layout_of(scan: TableScan, legacy: LegacyRows | None) -> Layout:
    """The layout that the KCL's workers of this fleet see now; ``legacy`` None: there is no coordinator's table.

    Where it may not be looked for it counts as missing, as most policies name no such table.

    =================  ===========  ===========  =========================
    status             lock         metrics      client version
    =================  ===========  ===========  =========================
    no legacy table    lease table  lease table  lease table
    none, INIT         legacy       legacy       legacy, else lease table
    DEPLOYED, PENDING  legacy       as the KCLs  legacy, else lease table
    COMPLETE           lease table  lease table  lease table
    =================  ===========  ===========  =========================

    *As the KCLs*: while a migration is under way, each KCL writes to where its configuration tells it to. Ours goes
    with the newest of them: to the lease table as soon as one of them does, or the migration would wait for us for
    ever, and back once all of them went back. It never goes there earlier: a metric row in the lease table makes a KCL
    3.0 to 3.4 log errors.
    """
    if legacy is None or legacy.denied is not None:
        return Layout(lock=scan.lock, client_version=scan.client_version, workers=scan.workers)
    status = _status(legacy.table_migration)
    if status == "COMPLETE":
        return Layout(lock=scan.lock, stray_lock=legacy.lock, client_version=scan.client_version, workers=scan.workers)
    return Layout(
        status=status,
        lock_at="coordinator",
        workers_at=_metrics_place(status, scan, legacy),
        lock=legacy.lock,
        stray_lock=scan.lock,
        client_version=legacy.client_version or scan.client_version,
        workers=_newest_of_each((*legacy.workers, *scan.workers)),
    )


def _status(migration: TableMigration | None) -> TableStatus:
    match migration.state.removeprefix(_PREFIX) if migration else "INIT":
        case "DEPLOYED":
            return "DEPLOYED"
        case "PENDING":
            return "PENDING"
        case "COMPLETE":
            return "COMPLETE"
        case _:
            return "INIT"


def _metrics_place(status: TableStatus, scan: TableScan, legacy: LegacyRows) -> Place:
    if not legacy.has_metrics_table:
        return "leases"
    if status == "INIT":
        return "metrics"
    here = _newest(scan.workers)
    there = _newest(legacy.workers)
    if here is None and there is None:
        return "leases" if status == "PENDING" else "metrics"
    # By the KCLs' own clocks, one against the other: how old either is by mine says nothing here.
    return "leases" if here is not None and (there is None or here > there - _FRESH_SECONDS) else "metrics"


def _newest_of_each(workers: Iterable[WorkerRow]) -> tuple[WorkerRow, ...]:
    by_id = {row.worker_id: row for row in sorted(workers, key=lambda row: (row.beat or 0, row.updated_at))}
    return tuple(by_id[worker_id] for worker_id in sorted(by_id))


def _newest(workers: tuple[WorkerRow, ...]) -> int | None:
    return max((row.updated_at for row in workers if row.beat is None), default=None)
