"""The writes of the Java KCL to a lease table, each with its condition and its change, as it was recorded.

They are the KCL's, not ours: its checkpoint compares the counter alone, its deletion nothing. Counters that it *adds*
to, without having read them, are resolved where the request arrives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from lease_store.attributes import KEY_ATTRIBUTES, AttributeValue, Place
from lease_store.writes import Absent, Expect, Is, Write
from tests.simulation.kcl.rows import Item, JavaLease

__all__ = ["Request"]

Mode = Literal["update", "put", "upsert", "delete"]
_PENDING = ("pendingCheckpoint", "pendingCheckpointSubSequenceNumber", "pendingCheckpointState")


@dataclass(frozen=True, slots=True)
class Request:
    """One conditional write.

    ``update`` needs the row to exist, ``put`` replaces it, ``upsert`` makes it where there is none.
    """

    verb: str
    key: str
    expects: tuple[Expect, ...] = ()
    sets: Mapping[str, AttributeValue] = field(default_factory=dict)
    removes: tuple[str, ...] = ()
    adds: Mapping[str, int] = field(default_factory=dict)
    mode: Mode = "update"
    place: Place = "leases"

    def at(self, item: Item | None) -> Write:
        """The write that it comes to where it meets ``item``."""
        sets = {**self.sets, **{name: _added(item, name, by) for name, by in self.adds.items()}}
        if self.mode == "delete":
            return Write(self.verb, self.key, self.expects, deletes=True, place=self.place)
        if self.mode == "upsert":
            return Write(self.verb, self.key, self.expects, {**(item or {}), **sets}, puts=True, place=self.place)
        puts = self.mode == "put"
        return Write(self.verb, self.key, self.expects, sets, self.removes, puts=puts, place=self.place)

    def beside(self, place: Place) -> Request:
        """The same write to one of the tables of KCL 3.0 to 3.4, whose rows have other keys and say no type."""
        key = KEY_ATTRIBUTES[place]
        sets = {name: value for name, value in self.sets.items() if name not in ("leaseKey", "entityType")}
        if "leaseKey" in self.sets:
            sets[key] = {"S": self.key}
        expects = tuple(Absent(key) if each == Absent("leaseKey") else each for each in self.expects)
        return replace(self, sets=sets, expects=expects, place=place)


def _added(item: Item | None, name: str, by: int) -> AttributeValue:
    return {"N": str(int((item or {}).get(name, {"N": "0"})["N"]) + by)}


def _number(value: float) -> AttributeValue:
    return {"N": str(value)}


def _owned_by(attribute: str, owner: str | None) -> Expect:
    return Absent(attribute) if owner is None else Is(attribute, {"S": owner})


def create(lease: JavaLease, *, says_type: bool = True) -> Request:
    """A new row, which nobody owns; before 3.5 the KCL wrote no ``entityType``."""
    item: dict[str, AttributeValue] = {
        "leaseKey": {"S": lease.key},
        "leaseCounter": {"N": "0"},
        "ownerSwitchesSinceCheckpoint": {"N": "0"},
        "checkpoint": {"S": lease.checkpoint},
        "checkpointSubSequenceNumber": {"N": "0"},
    }
    if says_type:
        item["entityType"] = {"S": "LEASE"}
    if lease.parents:
        item["parentShardId"] = {"SS": sorted(lease.parents)}
    return Request("create", lease.key, (Absent("leaseKey"),), item, mode="put")


def renew(lease: JavaLease, *, looks_for_hand_off: bool, throughput: float | None = None) -> Request:
    """The heartbeat; from 3.x on it fails where somebody has started a hand-off, and so tells of it."""
    expects: tuple[Expect, ...] = (Is("leaseCounter", _number(lease.counter)),)
    if looks_for_hand_off:
        expects = (*expects, Absent("checkpointOwner"))
    sets = {"leaseCounter": _number(lease.counter + 1)}
    if throughput is not None:
        sets["throughputKBps"] = {"N": f"{throughput:.6f}"}
    return Request("renew", lease.key, expects, sets)


def checkpoint(lease: JavaLease, position: str) -> Request:
    """Progress: the counter is all that it compares."""
    sets = {
        "leaseCounter": _number(lease.counter + 1),
        "checkpoint": {"S": position},
        "checkpointSubSequenceNumber": {"N": "0"},
        "ownerSwitchesSinceCheckpoint": {"N": "0"},
    }
    return Request("checkpoint", lease.key, (Is("leaseCounter", _number(lease.counter)),), sets, _PENDING)


def start_hand_off(lease: JavaLease, to: str) -> Request:
    """The leader names the next owner; the counter stays."""
    expects = (Is("leaseKey", {"S": lease.key}), _owned_by("leaseOwner", lease.owner), Absent("checkpointOwner"))
    sets = {"leaseOwner": {"S": to}, "checkpointOwner": {"S": lease.owner or ""}}
    return Request("start_hand_off", lease.key, expects, sets)


def assign(lease: JavaLease, to: str) -> Request:
    """The leader gives a lease away, or its old owner at the end of a hand-off: both owners compared, no counter."""
    adds = {"leaseCounter": 1}
    if (lease.owner is not None and lease.owner != to) or lease.checkpoint_owner == to:
        adds["ownerSwitchesSinceCheckpoint"] = 1
    expects = (
        Is("leaseKey", {"S": lease.key}),
        _owned_by("leaseOwner", lease.owner),
        _owned_by("checkpointOwner", lease.checkpoint_owner),
    )
    return Request("assign", lease.key, expects, {"leaseOwner": {"S": to}}, ("checkpointOwner",), adds)


def take(lease: JavaLease, me: str, *, clears_checkpoint_owner: bool) -> Request:
    """The 2.x taker: by counter. 2.7.2 leaves ``checkpointOwner`` behind, KCL 3.x in its 2.x mode removes it."""
    adds = {"ownerSwitchesSinceCheckpoint": 1} if lease.owner not in (None, me) else {}
    sets = {"leaseOwner": {"S": me}, "leaseCounter": _number(lease.counter + 1)}
    removes = ("checkpointOwner",) if clears_checkpoint_owner else ()
    return Request("take", lease.key, (Is("leaseCounter", _number(lease.counter)),), sets, removes, adds)


def set_children(key: str, children: Sequence[str]) -> Request:
    """Before SHARD_END; the counter stays."""
    return Request("set_children", key, (Is("leaseKey", {"S": key}),), {"childShardIds": {"SS": sorted(children)}})


def delete(key: str) -> Request:
    """Whatever stands there."""
    return Request("delete", key, mode="delete")


def report(worker: str, now: int, metrics: Mapping[str, tuple[Sequence[float], float]]) -> Request:
    """A worker's metric row: ``metrics`` are its samples and the most it may reach, by name; ``now`` epoch seconds."""
    sets: dict[str, AttributeValue] = {
        "leaseKey": {"S": worker},
        "entityType": {"S": "WORKER_METRIC_STATS"},
        "lut": _number(now),
        "slu": _number(now),
        "sup": {"N": "1"},
        "sts": {"M": {name: {"L": [_number(each) for each in shares]} for name, (shares, _) in metrics.items()}},
        "opr": {"M": {name: {"L": [_number(most)]} for name, (_, most) in metrics.items()}},
    }
    return Request("report", worker, (), sets, mode="upsert")


def lock_of(owner: str, version: str, seconds: float) -> dict[str, AttributeValue]:
    """The lock row: all of it texts, the milliseconds too."""
    return {
        "leaseKey": {"S": "Leader"},
        "entityType": {"S": "LEADER"},
        "ownerName": {"S": owner},
        "leaseDuration": {"S": str(int(seconds * 1000))},
        "recordVersionNumber": {"S": version},
    }


def acquire_lock(seen_version: str | None, lock: Item) -> Request:
    """The whole row is replaced; None: there was none."""
    expect: Expect = Absent("leaseKey") if seen_version is None else Is("recordVersionNumber", {"S": seen_version})
    return Request("acquire_lock", "Leader", (expect,), lock, mode="put")


def heartbeat_lock(owner: str, version: str, new_version: str, seconds: float) -> Request:
    """A new version every thirty seconds."""
    sets = {"recordVersionNumber": {"S": new_version}, "leaseDuration": {"S": str(int(seconds * 1000))}}
    return Request("heartbeat_lock", "Leader", _mine(owner, version), sets)


def release_lock(owner: str, version: str) -> Request:
    """At an orderly end the row goes."""
    return Request("release_lock", "Leader", _mine(owner, version), mode="delete")


def _mine(owner: str, version: str) -> tuple[Expect, ...]:
    return (Is("recordVersionNumber", {"S": version}), Is("ownerName", {"S": owner}))


def put_client_version(worker: str, now_ms: int, state: str) -> Request:
    """A fresh fleet notes once which protocol it speaks."""
    before = {"M": {"cv": {"S": "CLIENT_VERSION_INIT"}, "mb": {"S": worker}, "mts": _number(now_ms)}}
    item: dict[str, AttributeValue] = {
        "leaseKey": {"S": "Migration3.0"},
        "entityType": {"S": "CLIENT_VERSION_MIGRATION"},
        "cv": {"S": state},
        "mb": {"S": worker},
        "mts": _number(now_ms),
        "h": {"L": [before]},
    }
    return Request("put_client_version", "Migration3.0", (Absent("leaseKey"),), item, mode="put")
