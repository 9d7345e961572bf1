"""Rows of the lease table as values and back: the Java KCL's attributes, Leasehold's own, and the rest as it was.

Names, types and reading rules are those of the Java KCL 3.5.1 (its serialisers of leases and of worker metrics). Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from sys import intern
from typing import Final

from lease_store.attributes import (
    KEY_ATTRIBUTES,
    LEASE_KEY,
    AttributeValue,
    Fields,
    Place,
    canonical,
    set_float,
    set_names,
    set_number,
    set_series,
    set_text,
)
from lease_store.coordination import (
    COORDINATION_KEYS,
    ClientVersion,
    LeaderLock,
    TableMigration,
    coordination_row,
    coordination_to_item,
)
from lease_store.errors import InvalidRow
from lease_store.lease import WORKER_ENTITY, ForeignRow, Lease, PendingCheckpoint, TableScan, WorkerRow

__all__ = [
    "LEASE_ENTITY",
    "LEASE_KEY",
    "WORKER_ENTITY",
    "Row",
    "canonical",
    "from_item",
    "item_of",
    "lease_of",
    "lock_of",
    "row_of",
    "scan_of",
    "table_scan",
    "to_item",
    "worker_of",
    "worker_to_item",
]

LEASE_ENTITY: Final = "LEASE"

Row = Lease | WorkerRow | LeaderLock | ClientVersion | TableMigration | ForeignRow
"""What a row can be."""


def to_item(lease: Lease) -> dict[str, AttributeValue]:
    """The whole row of a lease, in wire form; None and empty are left out, as the KCL does."""
    item: dict[str, AttributeValue] = dict(lease.extra)
    item[LEASE_KEY] = {"S": lease.key}
    item["leaseCounter"] = {"N": str(lease.counter)}
    item["ownerSwitchesSinceCheckpoint"] = {"N": str(lease.owner_switches_since_checkpoint)}
    item["checkpoint"] = {"S": lease.checkpoint.sequence_number}
    item["checkpointSubSequenceNumber"] = {"N": str(lease.checkpoint.sub_sequence_number)}
    set_text(item, "entityType", lease.entity_type)
    set_text(item, "leaseOwner", lease.owner)
    set_text(item, "checkpointOwner", lease.checkpoint_owner)
    set_names(item, "parentShardId", lease.parents)
    set_names(item, "childShardIds", lease.children)
    if lease.hash_range is not None:
        item["startingHashKey"], item["endingHashKey"] = ({"S": bound} for bound in lease.hash_range)
    if lease.pending_checkpoint is not None:
        pending = lease.pending_checkpoint
        item["pendingCheckpoint"] = {"S": pending.checkpoint.sequence_number}
        item["pendingCheckpointSubSequenceNumber"] = {"N": str(pending.checkpoint.sub_sequence_number)}
        if pending.state is not None:
            item["pendingCheckpointState"] = {"B": pending.state}
    set_number(item, "throughputKBps", lease.throughput_kbps)
    set_text(item, "leaseholdStream", lease.stream)
    set_number(item, "leaseholdStartAt", lease.start_at)
    set_text(item, "leaseholdCreatedAt", lease.created_at)
    set_number(item, "leaseholdTakenBack", lease.taken_back)
    set_text(item, "leaseholdApp", lease.app)
    set_text(item, "leaseholdRules", lease.rules)
    set_text(item, "leaseholdNewcomer", lease.newcomer)
    return item


def worker_to_item(row: WorkerRow, place: Place = "leases") -> dict[str, AttributeValue]:
    """The whole row of a worker, keyed as in the table ``place``: a KCL's metric row, and our beat."""
    item: dict[str, AttributeValue] = {}
    set_series(item, "sts", row.samples)
    set_series(item, "opr", row.ranges)
    item |= row.extra
    item[KEY_ATTRIBUTES[place]] = {"S": row.worker_id}
    item["lut"] = {"N": str(row.updated_at)}
    set_text(item, "entityType", row.entity_type)
    set_number(item, "sup", row.support)
    set_number(item, "slu", row.support_updated_at)
    set_number(item, "leaseholdBeat", row.beat)
    if row.beat is not None or row.draining:
        item["leaseholdDraining"] = {"BOOL": row.draining}
    set_float(item, "leaseholdFailover", row.failover_seconds)
    set_number(item, "leaseholdMaxLeases", row.max_leases)
    return item


def item_of(row: Row, place: Place = "leases") -> Mapping[str, AttributeValue]:
    """Any row in wire form, as it would be put into the table ``place``."""
    match row:
        case Lease():
            return to_item(row)
        case WorkerRow():
            return worker_to_item(row, place)
        case ForeignRow():
            return row.item
        case _:
            return coordination_to_item(row, place)


def from_item(item: Mapping[str, AttributeValue], place: Place = "leases") -> Row:
    """A row of the table ``place`` as a value.

    ``entityType`` decides; a row without one is a lease (in the metrics' table a worker's) unless its key is the leader
    lock's or a migration state's. NULL, an empty string and an empty set count as absent. Raises InvalidRow, naming key
    and attribute, for a lease without counter or checkpoint and for a known attribute of another type:
    ``parentShardId`` kept as S, which the Java KCL reads as *no parents*, would let a child be consumed before its
    parents.
    """
    key_attribute = KEY_ATTRIBUTES[place]
    key = item.get(key_attribute, {}).get("S")
    if not isinstance(key, str) or not key:
        names = ", ".join(sorted(item))
        raise InvalidRow(f"A row of the lease table has no {key_attribute} of type S; its attributes are {names}.")
    fields = Fields(key, key_attribute, item)
    entity = None if fields.is_absent("entityType") else item["entityType"].get("S", "")
    if place != "metrics" and key in COORDINATION_KEYS:
        return coordination_row(key, fields)
    if place == "leases" and entity in (None, LEASE_ENTITY):
        return _lease(key, fields)
    if entity == WORKER_ENTITY or (place == "metrics" and entity is None):
        return _worker(key, fields)
    return ForeignRow(key, entity or None, dict(item))


def lease_of(item: Mapping[str, AttributeValue] | None, place: Place = "leases") -> Lease | None:
    """The lease in a row; None where there is no row, or it is not a lease's. Raises InvalidRow."""
    row = None if item is None else from_item(item, place)
    return row if isinstance(row, Lease) else None


def worker_of(item: Mapping[str, AttributeValue] | None, place: Place = "leases") -> WorkerRow | None:
    """The worker in a row; None where there is no row, or it is not a worker's. Raises InvalidRow."""
    row = None if item is None else from_item(item, place)
    return row if isinstance(row, WorkerRow) else None


def lock_of(item: Mapping[str, AttributeValue] | None, place: Place = "leases") -> LeaderLock | None:
    """The lock in a row; None where there is no row. Raises InvalidRow for a lock of a shape that no KCL writes."""
    row = None if item is None else from_item(item, place)
    return row if isinstance(row, LeaderLock) else None


def row_of(item: Mapping[str, AttributeValue], place: Place = "leases") -> Row | tuple[str, str]:
    """A row as a value; of one that can't be read its key and the reason."""
    try:
        return from_item(item, place)
    except InvalidRow as error:
        return str(item.get(KEY_ATTRIBUTES[place], {}).get("S", "")), str(error)


def table_scan(items: Iterable[Mapping[str, AttributeValue]], place: Place = "leases") -> TableScan:
    """All rows of a table by kind; a row that can't be read is named with the reason and hides no other."""
    return scan_of(row_of(item, place) for item in items)


def scan_of(rows: Iterable[Row | tuple[str, str]]) -> TableScan:
    """Rows, and (key, reason) of the unreadable, by kind, each sorted by key."""
    leases, workers, foreign, unreadable = [], [], [], []
    lock, client_version, table_migration = None, None, None
    for row in rows:
        match row:
            case Lease():
                leases.append(row)
            case WorkerRow():
                workers.append(row)
            case LeaderLock():
                lock = row
            case ClientVersion():
                client_version = row
            case TableMigration():
                table_migration = row
            case ForeignRow():
                foreign.append(row)
            case _:
                unreadable.append(row)
    return TableScan(
        leases=tuple(sorted(leases, key=lambda lease: lease.key)),
        workers=tuple(sorted(workers, key=lambda worker: worker.worker_id)),
        foreign=tuple(sorted(foreign, key=lambda row: row.key)),
        unreadable=tuple(sorted(unreadable)),
        lock=lock,
        client_version=client_version,
        table_migration=table_migration,
    )


def _lease(key: str, fields: Fields) -> Lease:
    counter = fields.integer("leaseCounter")
    if counter is None:
        raise InvalidRow(f"Row {key!r} of the lease table has no leaseCounter: no write to it can be safe.")
    checkpoint = fields.checkpoint("checkpoint", "checkpointSubSequenceNumber")
    if checkpoint is None:
        raise InvalidRow(
            f"Row {key!r} of the lease table has no checkpoint: nobody knows where to read its shard from."
        )
    return Lease(
        key=intern(key),
        counter=counter,
        owner=fields.shared_text("leaseOwner"),
        checkpoint_owner=fields.shared_text("checkpointOwner"),
        checkpoint=checkpoint,
        # Nothing decides by the switch count and the next checkpoint writes it: no reason to leave a shard unread.
        owner_switches_since_checkpoint=fields.integer("ownerSwitchesSinceCheckpoint") or 0,
        parents=fields.names("parentShardId"),
        children=fields.names("childShardIds"),
        hash_range=fields.hash_range(),
        pending_checkpoint=_pending_checkpoint(fields),
        throughput_kbps=fields.number("throughputKBps"),
        stream=fields.shared_text("leaseholdStream"),
        start_at=fields.number("leaseholdStartAt"),
        created_at=fields.text("leaseholdCreatedAt"),
        taken_back=fields.integer("leaseholdTakenBack"),
        app=fields.shared_text("leaseholdApp"),
        rules=fields.shared_text("leaseholdRules"),
        newcomer=fields.shared_text("leaseholdNewcomer"),
        entity_type=fields.shared_text("entityType"),
        extra=fields.unknown(),
    )


def _pending_checkpoint(fields: Fields) -> PendingCheckpoint | None:
    pending = fields.checkpoint("pendingCheckpoint", "pendingCheckpointSubSequenceNumber")
    return None if pending is None else PendingCheckpoint(pending, fields.binary("pendingCheckpointState"))


def _worker(key: str, fields: Fields) -> WorkerRow:
    return WorkerRow(
        worker_id=key,
        beat=fields.integer("leaseholdBeat"),
        draining=fields.flag("leaseholdDraining") or False,
        failover_seconds=fields.float_number("leaseholdFailover"),
        max_leases=fields.integer("leaseholdMaxLeases"),
        updated_at=fields.integer("lut") or 0,
        samples=fields.series("sts"),
        ranges=fields.series("opr"),
        support=fields.integer("sup"),
        support_updated_at=fields.integer("slu"),
        entity_type=fields.text("entityType"),
        extra=fields.unknown(),
    )
