"""Rows of the lease table as values and back: the Java KCL's attributes, Leasehold's own, and the rest as it was.

Names, types and reading rules are those of the Java KCL 3.5.1 (its serialisers of leases and of worker metrics). Pure.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from lease_store.checkpoint import Checkpoint, is_sequence_number
from lease_store.errors import InvalidRow
from lease_store.lease import AttributeValue, ForeignRow, Lease, PendingCheckpoint, TableScan, WorkerRow

__all__ = [
    "LEASE_ENTITY",
    "LEASE_KEY",
    "WORKER_ENTITY",
    "canonical",
    "from_item",
    "lease_of",
    "table_scan",
    "to_item",
    "worker_of",
    "worker_to_item",
]

LEASE_KEY: Final = "leaseKey"
LEASE_ENTITY: Final = "LEASE"
WORKER_ENTITY: Final = "WORKER_METRIC_STATS"

# A KCL before 3.5 wrote these without an entityType; any other row without one is a lease.
_LARGEST_EXPONENT: Final = 130
_WELL_KNOWN_KEYS: Final = frozenset({"Leader", "Migration3.0", "TableMigration3.5"})


def to_item(lease: Lease) -> dict[str, AttributeValue]:
    """The whole row of a lease, in wire form; None and empty are left out, as the KCL does."""
    item: dict[str, AttributeValue] = dict(lease.extra)
    item[LEASE_KEY] = {"S": lease.key}
    item["leaseCounter"] = {"N": str(lease.counter)}
    item["ownerSwitchesSinceCheckpoint"] = {"N": str(lease.owner_switches_since_checkpoint)}
    item["checkpoint"] = {"S": lease.checkpoint.sequence_number}
    item["checkpointSubSequenceNumber"] = {"N": str(lease.checkpoint.sub_sequence_number)}
    _set_text(item, "entityType", lease.entity_type)
    _set_text(item, "leaseOwner", lease.owner)
    _set_text(item, "checkpointOwner", lease.checkpoint_owner)
    _set_names(item, "parentShardId", lease.parents)
    _set_names(item, "childShardIds", lease.children)
    if lease.hash_range is not None:
        item["startingHashKey"], item["endingHashKey"] = ({"S": bound} for bound in lease.hash_range)
    if lease.pending_checkpoint is not None:
        pending = lease.pending_checkpoint
        item["pendingCheckpoint"] = {"S": pending.checkpoint.sequence_number}
        item["pendingCheckpointSubSequenceNumber"] = {"N": str(pending.checkpoint.sub_sequence_number)}
        if pending.state is not None:
            item["pendingCheckpointState"] = {"B": pending.state}
    _set_number(item, "throughputKBps", lease.throughput_kbps)
    _set_text(item, "leaseholdStream", lease.stream)
    _set_number(item, "leaseholdStartAt", lease.start_at)
    _set_text(item, "leaseholdCreatedAt", lease.created_at)
    _set_number(item, "leaseholdTakenBack", lease.taken_back)
    _set_text(item, "leaseholdApp", lease.app)
    return item


def worker_to_item(row: WorkerRow) -> dict[str, AttributeValue]:
    """The whole row of a worker: a KCL metric row without a metric, which a Java leader accepts, and our beat."""
    item: dict[str, AttributeValue] = {
        "entityType": {"S": WORKER_ENTITY},
        "sts": {"M": {}},
        "opr": {"M": {}},
        "sup": {"N": "1"},
        "slu": {"N": str(row.updated_at)},
        **row.extra,
        LEASE_KEY: {"S": row.worker_id},
        "lut": {"N": str(row.updated_at)},
    }
    _set_number(item, "leaseholdBeat", row.beat)
    if row.beat is not None or row.draining:
        item["leaseholdDraining"] = {"BOOL": row.draining}
    if row.failover_seconds is not None:
        # repr is the shortest text that reads back as the same float.
        _set_number(item, "leaseholdFailover", Decimal(repr(row.failover_seconds)))
    _set_number(item, "leaseholdMaxLeases", row.max_leases)
    return item


def from_item(item: Mapping[str, AttributeValue]) -> Lease | WorkerRow | ForeignRow:
    """A row as a value.

    ``entityType`` decides; a row without one is a lease unless its key is the leader lock's or a migration state's.
    NULL, an empty string and an empty set count as absent. Raises InvalidRow, naming key and attribute, for a lease
    without counter or checkpoint and for a known attribute of another type: ``parentShardId`` kept as S, which the
    Java KCL reads as *no parents*, would let a child be consumed before its parents.
    """
    key_attribute = item.get(LEASE_KEY)
    key = key_attribute.get("S") if key_attribute else None
    if not isinstance(key, str) or not key:
        names = ", ".join(sorted(item))
        raise InvalidRow(f"A row of the lease table has no {LEASE_KEY} of type S; its attributes are {names}.")
    fields = _Fields(key, item)
    entity = None if fields.is_absent("entityType") else item["entityType"].get("S", "")
    if entity == LEASE_ENTITY or (entity is None and key not in _WELL_KNOWN_KEYS):
        return _lease(key, fields)
    if entity == WORKER_ENTITY:
        return _worker(key, fields)
    return ForeignRow(key, entity or None, dict(item))


def lease_of(item: Mapping[str, AttributeValue] | None) -> Lease | None:
    """The lease in a row; None where there is no row, or it is not a lease's. Raises InvalidRow."""
    row = None if item is None else from_item(item)
    return row if isinstance(row, Lease) else None


def worker_of(item: Mapping[str, AttributeValue] | None) -> WorkerRow | None:
    """The worker in a row; None where there is no row, or it is not a worker's. Raises InvalidRow."""
    row = None if item is None else from_item(item)
    return row if isinstance(row, WorkerRow) else None


def table_scan(items: Iterable[Mapping[str, AttributeValue]]) -> TableScan:
    """All rows of a table by kind; a row that can't be read is named with the reason and hides no other."""
    leases, workers, foreign, unreadable = [], [], [], []
    for item in items:
        try:
            row = from_item(item)
        except InvalidRow as error:
            unreadable.append((str(item.get(LEASE_KEY, {}).get("S", "")), str(error)))
            continue
        match row:
            case Lease():
                leases.append(row)
            case WorkerRow():
                workers.append(row)
            case ForeignRow():
                foreign.append(row)
    return TableScan(
        leases=tuple(sorted(leases, key=lambda lease: lease.key)),
        workers=tuple(sorted(workers, key=lambda worker: worker.worker_id)),
        foreign=tuple(sorted(foreign, key=lambda row: row.key)),
        unreadable=tuple(sorted(unreadable)),
    )


def canonical(value: AttributeValue) -> Hashable:
    """An attribute in a form that is equal exactly where DynamoDB calls two attributes equal.

    Numbers compare by value (``7`` is ``7.0``), sets without order, all else literally; the type always counts.
    """
    if len(value) != 1:
        return tuple(sorted(value))  # Botocore hands over nothing of a type that it does not know.
    ((kind, content),) = value.items()
    match kind:
        case "N":
            return kind, _value(content)
        case "NS":
            return kind, frozenset(_value(number) for number in content)
        case "SS" | "BS":
            return kind, frozenset(content)
        case "B":
            return kind, bytes(content)
        case "L":
            return kind, tuple(canonical(element) for element in content)
        case "M":
            return kind, frozenset((name, canonical(element)) for name, element in content.items())
        case _:
            return kind, content


def _value(number: str) -> Hashable:
    try:
        return Decimal(number)
    except InvalidOperation:
        return number  # no number of DynamoDB's: equal to itself and nothing else


def _lease(key: str, fields: _Fields) -> Lease:
    counter = fields.integer("leaseCounter")
    if counter is None:
        raise InvalidRow(f"Row {key!r} of the lease table has no leaseCounter: no write to it can be safe.")
    checkpoint = fields.checkpoint("checkpoint", "checkpointSubSequenceNumber")
    if checkpoint is None:
        raise InvalidRow(
            f"Row {key!r} of the lease table has no checkpoint: nobody knows where to read its shard from."
        )
    return Lease(
        key=key,
        counter=counter,
        owner=fields.text("leaseOwner"),
        checkpoint_owner=fields.text("checkpointOwner"),
        checkpoint=checkpoint,
        # Nothing decides by the switch count and the next checkpoint writes it: no reason to leave a shard unread.
        owner_switches_since_checkpoint=fields.integer("ownerSwitchesSinceCheckpoint") or 0,
        parents=fields.names("parentShardId"),
        children=fields.names("childShardIds"),
        hash_range=fields.hash_range(),
        pending_checkpoint=fields.pending_checkpoint(),
        throughput_kbps=fields.number("throughputKBps"),
        stream=fields.text("leaseholdStream"),
        start_at=fields.number("leaseholdStartAt"),
        created_at=fields.text("leaseholdCreatedAt"),
        taken_back=fields.integer("leaseholdTakenBack"),
        app=fields.text("leaseholdApp"),
        entity_type=fields.text("entityType"),
        extra=fields.rest,
    )


def _worker(key: str, fields: _Fields) -> WorkerRow:
    updated_at = fields.integer("lut") or 0
    failover = fields.number("leaseholdFailover")
    row = WorkerRow(
        worker_id=key,
        beat=fields.integer("leaseholdBeat"),
        draining=fields.flag("leaseholdDraining") or False,
        failover_seconds=None if failover is None else float(failover),
        max_leases=fields.integer("leaseholdMaxLeases"),
        updated_at=updated_at,
        extra=fields.rest,
    )
    # What every row gets anyway is not worth carrying along: a row of ours reads back as the value it was written from.
    for name, value in worker_to_item(WorkerRow(worker_id=key, beat=None, updated_at=updated_at)).items():
        if name in fields.rest and canonical(fields.rest[name]) == canonical(value):
            del fields.rest[name]
    return row


class _Fields:
    """Takes known attributes out of a row, checking types; what is unknown or says nothing stays in ``rest``."""

    def __init__(self, key: str, item: Mapping[str, AttributeValue]) -> None:
        self._key = key
        self.rest = {name: value for name, value in item.items() if name != LEASE_KEY}

    def text(self, name: str) -> str | None:
        value: str | None = self._take(name, "S")
        return value

    def binary(self, name: str) -> bytes | None:
        value = self._take(name, "B")
        return None if value is None else bytes(value)

    def flag(self, name: str) -> bool | None:
        value: bool | None = self._take(name, "BOOL")
        return value

    def names(self, name: str) -> tuple[str, ...]:
        return tuple(sorted(self._take(name, "SS") or ()))

    def number(self, name: str) -> Decimal | None:
        text = self._take(name, "N")
        if text is None:
            return None
        try:
            value = Decimal(text)
        except InvalidOperation:
            raise self._wrong(name, f"{text!r} is not a number") from None
        # DynamoDB's numbers end below 1E+126; what is greater took a wrong way here, and costs as many digits to write.
        if not value.is_finite() or abs(value.adjusted()) > _LARGEST_EXPONENT:
            raise self._wrong(name, f"{text[:200]!r} is no number of DynamoDB's")
        return value

    def integer(self, name: str) -> int | None:
        value = self.number(name)
        if value is None:
            return None
        if value != value.to_integral_value():
            raise self._wrong(name, f"{value} is not a whole number")
        return int(value)

    def checkpoint(self, name: str, sub_name: str) -> Checkpoint | None:
        if self.is_absent(name):
            return None
        sequence_number = self.text(name) or ""
        try:
            return Checkpoint(sequence_number, self.integer(sub_name) or 0)
        except InvalidRow as error:
            raise self._wrong(name, str(error)) from None

    def pending_checkpoint(self) -> PendingCheckpoint | None:
        pending = self.checkpoint("pendingCheckpoint", "pendingCheckpointSubSequenceNumber")
        return None if pending is None else PendingCheckpoint(pending, self.binary("pendingCheckpointState"))

    def hash_range(self) -> tuple[str, str] | None:
        """Only a pair counts, and only one whose start lies below its end; anything else is kept and says nothing."""
        pair = tuple(self.rest.get(name, {}).get("S", "") for name in ("startingHashKey", "endingHashKey"))
        if not all(is_sequence_number(bound) for bound in pair) or int(pair[0]) >= int(pair[1]):
            return None
        del self.rest["startingHashKey"], self.rest["endingHashKey"]
        return pair[0], pair[1]

    def is_absent(self, name: str) -> bool:
        attribute = self.rest.get(name)
        if attribute is None or "NULL" in attribute:
            return True
        return any(content is None or content in ("", b"") or content == [] for content in attribute.values())

    def _take(self, name: str, kind: str) -> Any:
        if self.is_absent(name):
            return None
        attribute = self.rest[name]
        if kind not in attribute:
            raise self._wrong(name, f"it is stored as {', '.join(attribute)} where a lease table has {kind}")
        del self.rest[name]
        return attribute[kind]

    def _wrong(self, name: str, reason: str) -> InvalidRow:
        return InvalidRow(f"Row {self._key!r} of the lease table can't be read at {name}: {reason}")


def _set_text(item: dict[str, AttributeValue], name: str, value: str | None) -> None:
    if value:
        item[name] = {"S": value}


def _set_names(item: dict[str, AttributeValue], name: str, values: tuple[str, ...]) -> None:
    if values:
        item[name] = {"SS": sorted(set(values))}


def _set_number(item: dict[str, AttributeValue], name: str, value: Decimal | int | None) -> None:
    if value is not None:
        # Never an exponent: every implementation reads plain digits.
        item[name] = {"N": format(value, "f") if isinstance(value, Decimal) else str(value)}
