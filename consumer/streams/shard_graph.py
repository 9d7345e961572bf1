"""Which leases a stream's shards need, which may start, which may go: pure decisions over whatever the service shows.

Nothing here raises on an odd or incomplete graph; each answer is right for what is visible, and repeated calls
converge as more becomes visible. ``leases`` are always all lease rows of the table: rows whose ``stream`` is another
label belong to another incarnation (a re-enabled or recreated stream) and never mix. Rules and their reasons: a shard
that appears later than the group's start begins at TRIM_HORIZON, whatever the start was, or what was written between
its birth and its discovery would be lost; LATEST and AT_TIMESTAMP stand for one instant, the *pin*, written into every
row of the group as ``start_at``.

A ``shared`` table is one in which a KCL works, too, or may have worked. Its rows carry no pin, and its clean-up deletes
a finished shard's row as soon as the children have begun, although the shard is listed for as long as its records are
kept. So there a listed shard without a row, of whose descendants one has begun, is *passed*: it was read to its end, or
lies before the group's start, and must not be read again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from consumer.config import InitialPosition
from consumer.streams import incarnations
from consumer.streams.lineage import Lineage, merged, shard_created_at
from consumer.streams.source import NO_HASH_RANGE, Shard
from lease_store.checkpoint import AT_TIMESTAMP, LATEST, TRIM_HORIZON, Checkpoint
from lease_store.lease import Lease

__all__ = [
    "blocking_parents",
    "child_leases",
    "deletable",
    "done_with",
    "leases_to_create",
    "may_start",
    "pin_for",
    "replaceable",
    "unlisted_parents",
]

# Creation times in shard ids and timestamps of records come from different clocks of the service.
_CLOCK_TOLERANCE_SECONDS: Final = 60.0
# LATEST is the time of a listing, floored and less one: a listing that is not older than this may be that one.
_SAME_LISTING_SECONDS: Final = 2.0
_HORIZON: Final = InitialPosition("TRIM_HORIZON")
_RETENTION_SECONDS: Final = 24 * 3600.0  # of DynamoDB; the shortest of Kinesis


def pin_for(start: InitialPosition, server_time: float | None, now: float) -> float | None:
    """The instant (epoch seconds) that a new group's start stands for; None for TRIM_HORIZON.

    LATEST is the service's own time (``now`` only where it sent none), floored to the second and less one: records
    carry whole seconds, and one written just before the first look must not fall out.
    """
    if start.kind == "LATEST":
        return math.floor(now if server_time is None else server_time) - 1.0
    return start.timestamp


def leases_to_create(
    shards: Iterable[Shard],
    leases: Iterable[Lease],
    start: InitialPosition,
    label: str,
    *,
    pin: float | None = None,
    server_time: float | None = None,
    shared: bool = False,
) -> tuple[Lease, ...]:
    """The rows that are missing, to be created in this order: any first part of them leaves a table that converges.

    ``start`` and ``pin`` count only while ``label`` has no row (in a ``shared`` table, no row that tells): afterwards
    the rows say how the group started, and an incarnation that follows another starts at TRIM_HORIZON. Of the first row
    created, a refused ``create`` shows another worker's pin: call again with the new rows. Owner and ``created_at`` are
    left to the caller. Without ``server_time`` a group counts as young. Raises ValueError for a first LATEST or
    AT_TIMESTAMP without ``pin``.
    """
    table = _Table.of(leases, label, shared=shared)
    missing = _missing(merged(shards), table, start, pin, server_time)
    return tuple(lease for lease in missing if lease.key not in table.keys)


def replaceable(
    shards: Iterable[Shard], leases: Iterable[Lease], start: InitialPosition, label: str, *, pin: float | None = None
) -> tuple[tuple[Lease, Lease], ...]:
    """Pairs of a finished row of an older incarnation and the row that ``label`` needs under the same key.

    A recreated Kinesis stream repeats its shard ids. Each pair is one delete and one create, back to back; empty until
    the old incarnation is drained.
    """
    leases = tuple(leases)
    old = {lease.key: lease for lease in leases if incarnations.precedes(lease.stream, label) and lease.is_finished}
    if not old or not incarnations.old_stream_drained(leases, label):
        return ()
    table = _Table.of(leases, label)
    return tuple((old[row.key], row) for row in _missing(merged(shards), table, start, pin) if row.key in old)


def child_leases(children: Iterable[Shard], parent: Lease, leases: Iterable[Lease]) -> tuple[Lease, ...]:
    """The rows of a finishing shard's children that do not exist yet: always at TRIM_HORIZON, with the parent's pin.

    They must be stored before the parent's SHARD_END: a crash in between would leave a line without an heir.
    """
    taken = {lease.key for lease in leases}
    rows = []
    for child in merged(children).values():
        if child.id not in taken and child.id != parent.key:
            above = tuple(sorted({*child.parents, parent.key}))
            rows.append(_row(replace(child, parents=above), TRIM_HORIZON, parent.stream, parent.start_at))
    return tuple(sorted(rows, key=lambda row: row.key))


def unlisted_parents(
    names: Iterable[str], child: Lease, leases: Iterable[Lease], start: InitialPosition
) -> tuple[Lease, ...]:
    """Rows for parents of ``child`` of which nothing but the name is known: where the group starts, by the child's row.

    There they are read right on whichever side of the group's start they lie.
    """
    table = _Table.of((*leases, child), child.stream)
    word, start_at = _group_start(table, start, None)
    # All shards of DynamoDB have one range; what Kinesis gave such a parent, a KCL adds once it sees it listed.
    hash_range = child.hash_range if child.hash_range == NO_HASH_RANGE else None
    return tuple(_row(Shard(name, hash_range=hash_range), word, child.stream, start_at) for name in sorted(names))


def blocking_parents(
    lease: Lease,
    leases: Iterable[Lease],
    shards: Iterable[Shard] | None,
    *,
    start: InitialPosition = _HORIZON,
    server_time: float | None = None,
    shared: bool = False,
) -> tuple[str, ...]:
    """The parents that must reach SHARD_END before ``lease`` may be read, sorted; empty when it may.

    A parent without a row blocks while a complete listing (``shards``; None where there was none yet) shows it and it
    is still to get a row (by ``start``, as the group was told, once no row says so any more); otherwise it is gone. A
    lease with a sequence number has begun, so its parents were done.
    Parents of a loop block nobody.
    """
    if lease.checkpoint.is_number or lease.is_finished:
        return ()
    rows = {row.key: row for row in leases if row.stream == lease.stream}
    rows.setdefault(lease.key, lease)
    waiting = [parent for parent in lease.parents if not (parent in rows and rows[parent].is_finished)]
    if not waiting:
        return ()
    related = Lineage(shards or (), rows.values()).parents[lease.key]
    to_come: set[str] = set(waiting)
    if shards is not None:
        table = _Table(lease.stream, rows, frozenset(rows), has_past=False, shared=shared)
        # Who waits makes no rows, and needs no instant for what starts at LATEST.
        to_come = {row.key for row in _missing(merged(shards), table, start, math.inf, server_time)}
    return tuple(sorted(p for p in waiting if p in related and (p in rows or p in to_come)))


def may_start(
    lease: Lease,
    leases: Iterable[Lease],
    shards: Iterable[Shard] | None,
    *,
    start: InitialPosition = _HORIZON,
    server_time: float | None = None,
    shared: bool = False,
) -> bool:
    """Whether ``lease`` may be read now: what comes before it, in its lineage and older incarnations, is done."""
    if lease.is_finished:
        return False
    if lease.checkpoint.is_number:
        return True
    leases = tuple(leases)
    if not incarnations.old_stream_drained(leases, lease.stream):
        return False
    return not blocking_parents(lease, leases, shards, start=start, server_time=server_time, shared=shared)


def deletable(
    leases: Iterable[Lease],
    shards: Iterable[Shard],
    label: str,
    *,
    older_shards: Iterable[Shard] = (),
    server_time: float | None = None,
) -> tuple[Lease, ...]:
    """Finished rows that nobody needs any more, by a complete listing of ``label``, the stream's present incarnation.

    A row stays while its shard is listed, or may still have records by its age (DynamoDB keeps them for 24 h; judged
    where ``server_time`` is given), while a parent's row exists, and until every child has begun (or is gone as well).
    Rows of older incarnations stay until all of those are finished, ``label`` has rows, and ``older_shards``, what is
    listed of those incarnations, lacks their shards: deleted earlier they would be made anew, and read again. Where
    ``label`` lists a shard of that id again, its row is to be replaced. The group never loses its last row, which is
    its memory of having started.
    """
    leases = tuple(leases)
    rows = {lease.key: lease for lease in leases if lease.stream == label}
    listed = {shard.id for shard in shards}
    children = Lineage((), rows.values()).children

    def is_past(row: Lease) -> bool:
        created_at = shard_created_at(row.key)
        return server_time is None or created_at is None or server_time - created_at > _RETENTION_SECONDS

    def is_done_with(child: str) -> bool:
        row = rows.get(child)
        return child not in listed if row is None else row.checkpoint.is_number or row.is_finished

    found = [
        row
        for row in rows.values()
        if row.is_finished
        and row.key not in listed
        and is_past(row)
        and not any(parent in rows and parent != row.key for parent in row.parents)
        and all(is_done_with(child) for child in children.get(row.key, ()))
    ]
    found.sort(key=lambda row: row.key)
    if len(found) == len(rows):
        found = found[:-1]
    if rows and incarnations.old_stream_drained(leases, label):
        listed |= {shard.id for shard in older_shards}
        older = (row for row in leases if incarnations.precedes(row.stream, label) and row.key not in listed)
        found += sorted(older, key=lambda row: row.key)
    return tuple(found)


def done_with(leases: Iterable[Lease], label: str) -> tuple[Lease, ...]:
    """Finished rows that a KCL deletes by now although their shards are listed: for a shared table only.

    All children, as the row names them, have rows that have begun, and no parent has a row. A KCL 2.x counts a finished
    row as load, and takes it, for as long as it is there. Source: the KCL's LeaseCleanupManager.
    """
    rows = {lease.key: lease for lease in leases if lease.stream == label}
    below = {key: set(row.children) for key, row in rows.items() if row.is_finished and row.children}
    for key, row in rows.items() if below else ():
        for parent in below.keys() & set(row.parents) - {key}:
            below[parent].add(key)
    begun = {key for key, row in rows.items() if row.checkpoint not in (TRIM_HORIZON, AT_TIMESTAMP)}
    above = {key: rows.keys() & set(rows[key].parents) - {key} for key in below}
    return tuple(rows[key] for key in sorted(below) if begun >= below[key] and not above[key])


@dataclass(frozen=True, slots=True)
class _Table:
    """One incarnation's rows, the keys that any row occupies, and whether an older incarnation was read before."""

    label: str | None
    rows: Mapping[str, Lease]
    keys: frozenset[str]
    has_past: bool
    shared: bool = False

    @classmethod
    def of(cls, leases: Iterable[Lease], label: str | None, *, shared: bool = False) -> _Table:
        leases = tuple(leases)
        return cls(
            label,
            {lease.key: lease for lease in leases if lease.stream == label},
            frozenset(lease.key for lease in leases),
            any(incarnations.precedes(lease.stream, label) for lease in leases),
            shared,
        )


def _missing(
    listed: Mapping[str, Shard],
    table: _Table,
    start: InitialPosition,
    pin: float | None,
    server_time: float | None = None,
) -> list[Lease]:
    """Rows to create: at TRIM_HORIZON first, parents before children, then those at the pin, children before parents.

    In that order a crash leaves no shard that should start at the pin below one that has a row already, which would
    make it look like a shard that appeared later.
    """
    word, start_at = _group_start(table, start, pin)
    age = 0.0 if start_at is None or server_time is None else server_time - float(start_at)
    # When old, what had ended before the start is listed no more, but neither may be what links a shard to any row.
    is_old, is_late = age > _RETENTION_SECONDS, age >= _SAME_LISTING_SECONDS
    lineage = Lineage(listed.values(), table.rows.values())
    done, unwanted = _passed(lineage, table.rows) if table.shared else (set(), set())
    passed = {*table.rows, *done, *unwanted}
    new = [listed[name] for name in lineage.order if name in listed and name not in passed]
    if start_at is None:
        return [_row(shard, TRIM_HORIZON, table.label, None) for shard in new]
    later = lineage.descendants(table.rows)
    if word == LATEST:
        # Its sibling has begun, so their parent was done, and this one was overlooked: none of what is in it was read.
        later |= {name for name in lineage.descendants(done) if not lineage.children[name]}
    older = [
        shard for shard in new if shard.id not in later and (shard.created_at is None or shard.created_at < start_at)
    ]
    before = {shard.id for shard in older}
    at_horizon = [_row(shard, TRIM_HORIZON, table.label, start_at) for shard in new if shard.id not in before]
    stood_for = _stood_for(lineage, table.rows, start)
    older = [shard for shard in older if shard.created_at is not None or shard.id not in stood_for]
    below = {shard.id: [listed[child] for child in lineage.children[shard.id] if child in listed] for shard in older}
    at_pin = [shard for shard in older if is_old or _may_hold(below[shard.id], later, word, float(start_at))]
    if word == LATEST and is_late and any(shard.created_at is None and shard.parents for shard in at_pin):
        # What comes before such a shard had closed by the listing that LATEST stands for, but maybe not long before
        # this one. By the word AT_TIMESTAMP it is opened, now or once it is listed; a KCL that was told LATEST has no
        # instant for that word, and can't open the shard.
        word = word if table.shared else AT_TIMESTAMP
        at_pin = [
            shard for shard in older if is_old or _may_hold(below[shard.id], later, AT_TIMESTAMP, float(start_at))
        ]
    return at_horizon + [_row(shard, word, table.label, start_at) for shard in at_pin[::-1]]


def _stood_for(lineage: Lineage, rows: Mapping[str, Lease], start: InitialPosition) -> set[str]:
    """Shards that had closed by the listing that LATEST stands for: above a row at LATEST, or one that has begun.

    Made now, their rows would be read after what came later. Empty for a group that began otherwise.
    """
    if start.kind != "LATEST" and all(row.checkpoint != LATEST for row in rows.values()):
        return set()
    return lineage.ancestors(key for key, row in rows.items() if row.checkpoint not in (TRIM_HORIZON, AT_TIMESTAMP))


def _group_start(table: _Table, start: InitialPosition, pin: float | None) -> tuple[Checkpoint, Decimal | None]:
    """The word and the pin with which this incarnation started, or starts now."""
    words = {row.checkpoint for row in table.rows.values()}
    if pins := [row.start_at for row in table.rows.values() if row.start_at is not None]:
        if AT_TIMESTAMP in words or (LATEST not in words and start.kind == "AT_TIMESTAMP"):
            return AT_TIMESTAMP, min(pins)
        return LATEST, min(pins)
    # A KCL's rows have no pin: a word that is left tells how its group started, else the setting, which it shares.
    kind = "LATEST" if LATEST in words else start.kind
    if table.has_past or kind == "TRIM_HORIZON" or (table.rows and not table.shared):
        return TRIM_HORIZON, None
    pin = pin if start.timestamp is None else start.timestamp
    if pin is None:
        raise ValueError("A group that starts at LATEST needs the instant for which LATEST stands (pin_for).")
    return (LATEST if kind == "LATEST" else AT_TIMESTAMP), Decimal(str(pin))


def _passed(lineage: Lineage, rows: Mapping[str, Lease]) -> tuple[set[str], set[str]]:
    """What lies before rows that have begun, and before rows at which a KCL's group started.

    Where this worker's fleet starts at AT_TIMESTAMP it makes the rows of children first: such a row says nothing.
    """
    begun = [key for key, row in rows.items() if row.checkpoint.is_number or row.is_finished]
    first = [
        key
        for key, row in rows.items()
        if row.checkpoint == LATEST or (row.checkpoint == AT_TIMESTAMP and row.created_at is None)
    ]
    return lineage.ancestors(begun), lineage.ancestors(first)


def _may_hold(children: Sequence[Shard], later: AbstractSet[str], word: Checkpoint, pin: float) -> bool:
    """Whether a shard older than the pin may have records from the pin on: not when its children are older, too.

    A shard writes no more once its children exist. Kinesis does not tell when that was, but for a child of a shard that
    has a row (one of ``later``): under AT_TIMESTAMP the shard is then opened (it answers what it has), under LATEST its
    children stand for it.
    """
    if not children or any(child.id in later for child in children):
        return True
    ages = [child.created_at for child in children]
    if word == LATEST:
        return any(age is not None and age >= pin for age in ages)
    return any(age is None or age >= pin - _CLOCK_TOLERANCE_SECONDS for age in ages)


def _row(shard: Shard, checkpoint: Checkpoint, label: str | None, start_at: Decimal | None) -> Lease:
    return Lease(
        key=shard.id,
        checkpoint=checkpoint,
        parents=tuple(sorted({parent for parent in shard.parents if parent and parent != shard.id})),
        hash_range=shard.hash_range,
        stream=label,
        start_at=start_at,
    )
