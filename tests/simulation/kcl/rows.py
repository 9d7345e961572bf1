"""Rows as the Java KCL reads them, which is less forgiving than Leasehold's own codec, and what it logs as an ERROR."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from lease_store.lease import AttributeValue

__all__ = ["Item", "JavaLease", "Unreadable", "complaint_of", "is_lease", "lease_in", "metrics_in"]

Item = Mapping[str, AttributeValue]

SHARD_END: Final = "SHARD_END"
_WORDS: Final = ("TRIM_HORIZON", "LATEST", "AT_TIMESTAMP", SHARD_END)
_ENTITIES: Final = ("LEADER", "CLIENT_VERSION_MIGRATION", "TABLE_MIGRATION", "STREAM")
_BY_KEY: Final = {
    "Leader": "LEADER",
    "Migration3.0": "CLIENT_VERSION_MIGRATION",
    "TableMigration3.5": "TABLE_MIGRATION",
}
_LOCK_TEXTS: Final = ("ownerName", "leaseDuration", "recordVersionNumber")


class Unreadable(ValueError):
    """A row from which the KCL's reader fails."""


@dataclass(frozen=True, slots=True)
class JavaLease:
    """A lease as the KCL holds it in memory. ``checkpoint`` is a sequence number or one of four words."""

    key: str
    counter: int
    switches: int
    checkpoint: str
    owner: str | None = None
    checkpoint_owner: str | None = None
    parents: tuple[str, ...] = ()
    children: tuple[str, ...] = ()
    throughput: float | None = None

    @property
    def actual_owner(self) -> str | None:
        """Who processes it: ``checkpointOwner`` if present, else ``leaseOwner``."""
        return self.checkpoint_owner or self.owner

    @property
    def is_finished(self) -> bool:
        return self.checkpoint == SHARD_END

    @property
    def records(self) -> int:
        """How many records its checkpoint covers, where positions count from 1."""
        return int(self.checkpoint) if self.checkpoint.isdigit() else 0


def entity_of(item: Item) -> str:
    """What kind of row it is: by ``entityType``, by a well-known key, else a lease."""
    key = item["leaseKey"]["S"]
    return item.get("entityType", {}).get("S") or _BY_KEY.get(key, "LEASE")


def is_lease(item: Item) -> bool:
    return entity_of(item) == "LEASE"


def lease_in(item: Item) -> JavaLease:
    """The lease in a row. Raises Unreadable where the KCL can't make one of it.

    A set of names stored as text reads as *no names*, without an error: that is for ``complaint_of`` to find.
    """
    key = item["leaseKey"]["S"]
    for name in ("leaseCounter", "ownerSwitchesSinceCheckpoint"):
        if "N" not in item.get(name, {}):
            raise Unreadable(f"{key} has no number {name}")
    return JavaLease(
        key=key,
        counter=int(item["leaseCounter"]["N"]),
        switches=int(item["ownerSwitchesSinceCheckpoint"]["N"]),
        checkpoint=item.get("checkpoint", {}).get("S", ""),
        owner=item.get("leaseOwner", {}).get("S"),
        checkpoint_owner=item.get("checkpointOwner", {}).get("S"),
        parents=_names(item, "parentShardId"),
        children=_names(item, "childShardIds"),
        throughput=float(item["throughputKBps"]["N"]) if "throughputKBps" in item else None,
    )


def _names(item: Item, name: str) -> tuple[str, ...]:
    return tuple(sorted(item.get(name, {}).get("SS", ())))


def metrics_in(item: Item) -> tuple[float, dict[str, tuple[tuple[float, ...], float]]] | None:
    """When a worker reported (epoch seconds), and by metric its samples and the most it may reach.

    None where the leader drops the row: no time, or a metric without a range.
    """
    if "lut" not in item:
        return None
    samples, ranges = item.get("sts", {}).get("M", {}), item.get("opr", {}).get("M", {})
    metrics = {}
    for name, values in samples.items():
        bounds = [float(each["N"]) for each in ranges.get(name, {}).get("L", ())]
        shares = tuple(float(each["N"]) for each in values.get("L", ()))
        if not bounds or bounds[0] == 0 or not shares:
            return None
        metrics[name] = (shares, bounds[0])
    return float(item["lut"]["N"]), metrics


def complaint_of(item: Item) -> str | None:
    """What a KCL 3.x says of a row that it can't use, or reads otherwise than it was meant; None where all is well."""
    key, entity = item["leaseKey"]["S"], entity_of(item)
    if entity == "LEADER":
        return next((f"{key} has no text {name}" for name in _LOCK_TEXTS if "S" not in item.get(name, {})), None)
    if entity == "WORKER_METRIC_STATS":
        return None if metrics_in(item) is not None else f"{key} is no metric row"
    if entity in _ENTITIES:
        return None
    if entity != "LEASE":
        return f"{key} has the unknown type {entity}"
    return _complaint_of_lease(item)


def _complaint_of_lease(item: Item) -> str | None:
    try:
        lease = lease_in(item)
    except Unreadable as error:
        return str(error)
    if not (lease.checkpoint.isdigit() or lease.checkpoint in _WORDS):
        return f"{lease.key} has the checkpoint {lease.checkpoint!r}"
    if "N" not in item.get("checkpointSubSequenceNumber", {}):
        return f"{lease.key} has no number checkpointSubSequenceNumber"
    for name in ("parentShardId", "childShardIds"):
        if name in item and not item[name].get("SS"):
            return f"{lease.key} keeps its {name} otherwise than as a set of texts"
    if any(value in ({"S": ""}, {"SS": []}) for value in item.values()):
        return f"{lease.key} has an empty text"
    return None
