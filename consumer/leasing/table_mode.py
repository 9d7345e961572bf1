"""By whose rules the workers of a lease table share it: told from its rows, anew with every look. Pure.

=================================================================================  ==================================
the first of these that holds                                                      mode
=================================================================================  ==================================
``Migration3.0`` says 3X or 3X_WITH_ROLLBACK                                       leader
``Migration3.0`` says UPGRADE_FROM_2X, 2X or INIT                                  2x
a ``Leader`` row, whoever's                                                        leader
a metric row without our attributes (a KCL 3.x worker's)                           leader
the mode was leader before                                                         leader: it never falls back
a lease with our mark ``leaseholdRules`` = "peer", made by hand                    peer, or leader as configured
a lease with our mark ``leaseholdRules`` = "2.x"                                   2x
a lease that a KCL 3.5 or later made (``entityType``, no ``leaseholdCreatedAt``)   leader
a lease that an older KCL made (neither)                                           2x
the mode was 2x before                                                             2x
the configuration asks for a mode                                                  that one
a lease is moved again and again by a worker without any row                       2x
otherwise                                                                          peer
=================================================================================  ==================================

Source: the client-version states and the table layouts of KCL 3.5.1; that a KCL 2.7.2 leaves no mark but its leases,
and throws at any row that is none, was seen when run. We follow these states, and never advance one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from lease_store.coordination import CLIENT_VERSION_KEY, COORDINATION_KEYS, LOCK_KEY
from lease_store.layout import Layout, LegacyRows, layout_of
from lease_store.lease import TableScan

__all__ = ["RULES_2X", "RULES_PEER", "Coordination", "Mode", "TableMode", "mode_of"]

Mode = Literal["peer", "leader", "2x"]
Coordination = Literal["auto", "leader", "2x"]
RULES_2X: Final = "2.x"
"""The value of ``leaseholdRules`` in each lease of a table that is kept free of all rows but leases."""
RULES_PEER: Final = "peer"
"""The same of a table that a KCL 2.x has left for good, by its owner's word (``leasehold table prepare-peers``)."""

_LEADER_STATES: Final = frozenset({"CLIENT_VERSION_3X", "CLIENT_VERSION_3X_WITH_ROLLBACK"})
_UPGRADING: Final = "CLIENT_VERSION_UPGRADE_FROM_2X"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableMode:
    """What a look at the table told.

    ``because`` names the row that decided, as a clause. ``publishes``: this worker keeps a row of its own, at
    ``layout.workers_at``; where not, it must have none. ``conflict``: why the table can't be joined safely, as a
    sentence; None where it can.
    """

    mode: Mode
    because: str
    layout: Layout
    publishes: bool = True
    conflict: str | None = None


def mode_of(
    scan: TableScan,
    legacy: LegacyRows | None,
    *,
    table: str,
    coordination: Coordination = "auto",
    known: TableMode | None = None,
    mover: str | None = None,
) -> TableMode:
    """The mode of ``table`` by a scan of it and the rows of the legacy tables, where there are any.

    ``known`` is what the look before told, ``mover`` a worker without a row that moves leases of the table.
    """
    layout = layout_of(scan, legacy)
    mode, because = _told(scan, layout, coordination, known, mover)
    conflict = _unreadable(scan, legacy, table) or _hidden(scan, legacy, table)
    if conflict is None and known is None and coordination not in ("auto", mode):
        conflict = (
            f"Lease table {table} is in mode {mode}, since {because}; this worker was told --coordination "
            f"{coordination}, and its rows could stop the others. Leave the flag out, or give this app a lease table "
            "of its own with --lease-table."
        )
    version = layout.client_version
    publishes = mode != "2x" or (version is not None and version.state == _UPGRADING)
    publishes = publishes and not _is_half_made(layout, legacy, known)
    return TableMode(mode=mode, because=because, layout=layout, publishes=publishes, conflict=conflict)


def _is_half_made(layout: Layout, legacy: LegacyRows | None, known: TableMode | None) -> bool:
    """Whether a KCL 3.0 to 3.4 that joined has made its coordinator's table and not yet the one for metric rows.

    It fails at any row in the lease table but leases; who kept that free of them so far waits for the other table.
    """
    if known is None or known.publishes or legacy is None:
        return False
    return layout.lock_at == "coordinator" and not legacy.has_metrics_table


def _told(
    scan: TableScan,
    layout: Layout,
    coordination: Coordination,
    known: TableMode | None,
    mover: str | None,
) -> tuple[Mode, str]:
    version = layout.client_version
    if version is not None:
        is_led = version.state in _LEADER_STATES
        return ("leader" if is_led else "2x"), f"its row {CLIENT_VERSION_KEY!r} says {version.state}"
    if (mark := next(_marks_3x(layout), None)) is not None:
        return "leader", mark
    if known is not None and known.mode == "leader":
        return "leader", known.because
    if (told := _by_leases(scan)) is not None and (told[0] != "peer" or coordination != "leader"):
        return told
    if known is not None and known.mode == "2x":
        return "2x", known.because
    if coordination != "auto":
        return coordination, f"this worker was told --coordination {coordination}"
    if mover is not None:
        return "2x", f"its leases are moved by {mover!r}, which has no worker row: a KCL 2.x"
    return "peer", "no KCL has left a row in it"


def _marks_3x(layout: Layout) -> Iterator[str]:
    """Rows that only workers of leader mode write."""
    for lock in (layout.lock, layout.stray_lock):
        if lock is not None:
            yield f"its row {LOCK_KEY!r} names {lock.owner!r} as leader"
    for worker in layout.workers:
        if worker.beat is None:
            yield f"{worker.worker_id!r}, a worker of a KCL 3.x, has a metric row"


def _by_leases(scan: TableScan) -> tuple[Mode, str] | None:
    for lease in scan.leases:
        if lease.rules == RULES_PEER:  # before the other mark, which is replaced row by row
            return "peer", f"its lease {lease.key!r} is marked for workers of Leasehold alone"
    for lease in scan.leases:
        if lease.rules == RULES_2X:
            return "2x", f"its lease {lease.key!r} is marked for the rules of KCL {RULES_2X}"
    made_by_kcl = [lease for lease in scan.leases if lease.created_at is None]
    for lease in made_by_kcl:
        if lease.entity_type is not None:
            return "leader", f"its lease {lease.key!r} was made by a KCL 3.5 or later"
    if made_by_kcl:
        return "2x", f"its lease {made_by_kcl[0].key!r} was made by a KCL 2.x"
    return None


def _hidden(scan: TableScan, legacy: LegacyRows | None, table: str) -> str | None:
    """A table that may be a KCL 3.0's, whose lock this worker is not allowed to see: it would take beside a leader."""
    if legacy is None or legacy.denied is None or scan.client_version is not None:
        return None
    for lease in scan.leases:
        if lease.created_at is None and lease.entity_type is None:
            return (
                f"Lease {lease.key!r} of lease table {table} was made by a KCL before 3.5, and whether a leader of "
                f"such a KCL keeps its lock in a table of its own may not be read: {legacy.denied} Without that right, "
                "this worker could take leases that a leader assigns."
            )
    return None


def _unreadable(scan: TableScan, legacy: LegacyRows | None, table: str) -> str | None:
    """A lock or a state that can't be read: whoever guesses at it makes a second leader."""
    rows = [(table, row) for row in scan.unreadable]
    rows += [(f"{table}'s legacy coordinator table", row) for row in (legacy.unreadable if legacy is not None else ())]
    for place, (key, reason) in rows:
        if key in COORDINATION_KEYS:
            return (
                f"Row {key!r} of lease table {place} can't be read, and what its workers have agreed on is unknown: "
                f"{reason}. Nothing of the table is touched. See who wrote that row, or give this app a lease table of "
                "its own with --lease-table."
            )
    return None
