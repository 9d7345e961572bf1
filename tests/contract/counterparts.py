"""Which verb of ours does what a recorded write of the KCL does, and where its condition is meant to differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lease_store import LeaderLock, Lease, WorkerRow, Write, verbs
from lease_store.coordination import COORDINATION_KEYS, LOCK_KEY
from lease_store.item import from_item
from tests.golden.recordings import Item, Recorded

# What our condition asks beyond the KCL's, by verb. DynamoDB's "this row exists" is in each of ours.
STRICTER: Mapping[str, frozenset[str]] = {
    "take": frozenset({"checkpoint"}),
    "renew": frozenset({"actual owner", "checkpoint"}),
    "set_checkpoint": frozenset({"actual owner", "checkpoint"}),
    "prepare_checkpoint": frozenset({"actual owner", "checkpoint"}),
    "end_shard": frozenset({"actual owner"}),
    "start_hand_off": frozenset({"checkpoint"}),
    "finish_hand_off": frozenset({"leaseCounter"}),
    "assign": frozenset({"leaseCounter"}),
    "delete": frozenset({"leaseCounter", "checkpoint"}),
    "delete_worker": frozenset({"entityType"}),
}
# And what it leaves out: every reply to a renewal of ours shows the whole row, a pending hand-off included.
LOOSER: Mapping[str, frozenset[str]] = {"renew": frozenset({"checkpointOwner"})}

# What ours removes beyond the KCL's: 2.7.2 knows no checkpointOwner, and leaves a worker there that owns nothing.
TIDIER: Mapping[str, frozenset[str]] = {"take": frozenset({"checkpointOwner"})}

NOT_OURS: Mapping[str, str] = {
    "state": "a worker of ours follows the states of migration and never advances one",
    "metadata": "children are written with the shard's end, hash ranges with the row",
}

_RANGE = frozenset({"startingHashKey", "endingHashKey"})
# What a KCL writes again as it has it in memory, by verb.
REPEATED: Mapping[str, frozenset[str]] = {
    "set_checkpoint": _RANGE,
    "end_shard": _RANGE,
    "prepare_checkpoint": _RANGE | {"checkpoint", "checkpointSubSequenceNumber", "ownerSwitchesSinceCheckpoint"},
    "take": _RANGE | {"checkpointOwner"},
    "assign": frozenset({"leaseOwner", "checkpointOwner"}),
    "acquire_lock": frozenset({"entityType"}),
    "heartbeat_lock": frozenset({"leaseDuration"}),
}

_FILLING: Item = {
    "leaseCounter": {"N": "7"},
    "ownerSwitchesSinceCheckpoint": {"N": "3"},
    "checkpoint": {"S": "100"},
    "checkpointSubSequenceNumber": {"N": "2"},
    "startingHashKey": {"S": "0"},
    "endingHashKey": {"S": "99"},
    "leaseOwner": {"S": "w8"},
    "entityType": {"S": "LEASE"},
    "custom": {"S": "kept"},
}
_PENDING: Item = {
    "pendingCheckpoint": {"S": "90"},
    "pendingCheckpointSubSequenceNumber": {"N": "5"},
    "pendingCheckpointState": {"B": b"state"},
}


@dataclass(frozen=True)
class Counterpart:
    """A write of ours for the same row, as made by a worker that had seen ``before``."""

    before: Item | None
    write: Write


def kind_of(recorded: Recorded) -> str:
    """What a recorded write is: a verb's name, a key of NOT_OURS, or a shape that nobody has judged: AssertionError."""
    changes = recorded.changes
    actions = {name: action for name, (action, _) in changes.items()}
    if recorded.key in COORDINATION_KEYS and recorded.place != "metrics":
        if recorded.key != LOCK_KEY:
            return "state"
        return {"PutItem": "acquire_lock", "UpdateItem": "heartbeat_lock", "DeleteItem": "release_lock"}[
            recorded.operation
        ]
    if "lut" in changes or "lut" in recorded.expects:
        return "delete_worker" if recorded.operation == "DeleteItem" else "put_worker"
    if recorded.operation == "DeleteItem":
        return "delete"
    if recorded.operation == "PutItem" and "checkpoint" in changes:
        return "create"
    if actions.get("leaseOwner") == "PUT":
        if actions.get("checkpointOwner") == "PUT":
            return "start_hand_off"
        if actions.get("leaseCounter") == "ADD":
            return "assign"
        return "take"
    if "pendingCheckpoint" in actions and actions["pendingCheckpoint"] == "PUT":
        return "prepare_checkpoint"
    if "checkpoint" in actions:
        return "end_shard" if changes["checkpoint"][1] == {"S": "SHARD_END"} else "set_checkpoint"
    if actions.keys() <= {"childShardIds", "startingHashKey", "endingHashKey"}:
        return "metadata"
    assert "leaseCounter" in actions, f"{recorded.name}: a write of a shape that nobody has judged"
    return "renew"


def seed(recorded: Recorded) -> Item | None:
    """A row that the recorded write's condition lets through, and on which each of its changes shows."""
    if recorded.row_before is not None:
        return dict(recorded.row_before)
    kind = kind_of(recorded)
    absent_row = recorded.key_attribute in recorded.expects
    if kind == "create" or absent_row or (kind == "put_worker" and not recorded.expects):
        return None
    row: Item = {recorded.key_attribute: {"S": recorded.key}}
    if kind in ("acquire_lock", "heartbeat_lock", "release_lock"):
        row |= {"ownerName": {"S": "w8"}, "leaseDuration": {"S": "5000"}, "recordVersionNumber": {"S": "v"}}
        row |= {"entityType": {"S": "LEADER"}}
    elif kind == "delete_worker":
        row |= {"entityType": {"S": "WORKER_METRIC_STATS"}}
    else:
        row |= _FILLING | _lease_details(recorded, kind)
    row |= {name: value for name, value in recorded.expects.items() if value is not None}
    return {name: value for name, value in row.items() if name not in recorded.expects or recorded.expects[name]}


def _lease_details(recorded: Recorded, kind: str) -> Item:
    """What a holder had in its row already when it wrote, so that only what it meant to change differs."""
    names = REPEATED.get(kind, frozenset()) - {"leaseOwner", "checkpointOwner"}
    repeated = {name: change[1] for name, change in recorded.changes.items() if name in names and change[1] is not None}
    if kind in ("set_checkpoint", "prepare_checkpoint", "end_shard"):
        return dict(_PENDING) | repeated
    if kind == "delete":
        return repeated | {"checkpoint": {"S": "SHARD_END"}}
    if kind == "take":
        before = {"leaseOwner": {"S": "w8"}} if "ownerSwitchesSinceCheckpoint" in recorded.changes else {}
        return repeated | before
    return repeated


def counterparts(recorded: Recorded) -> Iterator[Counterpart]:
    """Each verb of ours that means what the recorded write means."""
    kind, before = kind_of(recorded), seed(recorded)
    if kind == "take" and before is not None and "ownerSwitchesSinceCheckpoint" not in recorded.changes:
        before = {name: value for name, value in before.items() if name != "leaseOwner"}
    for write in _writes(recorded, kind, before):
        yield Counterpart(before, write)


def _writes(recorded: Recorded, kind: str, before: Item | None) -> Iterator[Write]:
    after = recorded.after(before)
    row = None if before is None else from_item(before, recorded.place)
    if isinstance(row, Lease) or kind == "create":
        yield from _lease_writes(recorded, kind, row if isinstance(row, Lease) else None, after or {})
    elif kind == "put_worker":
        worker = from_item(after or {}, recorded.place)
        assert isinstance(worker, WorkerRow)
        yield verbs.put_worker(worker, recorded.place)
    elif kind == "delete_worker":
        assert isinstance(row, WorkerRow)
        yield verbs.delete_worker(row, recorded.place)
    else:
        yield _lock_write(recorded, kind, row if isinstance(row, LeaderLock) else None, after)


def _lock_write(recorded: Recorded, kind: str, seen: LeaderLock | None, after: Item | None) -> Write:
    if kind == "acquire_lock":
        mine = from_item(after or {}, recorded.place)
        assert isinstance(mine, LeaderLock)
        return verbs.acquire_lock(seen, mine, recorded.place)
    assert seen is not None
    if kind == "release_lock":
        return verbs.release_lock(seen, recorded.place)
    held = from_item(after or {}, recorded.place)
    assert isinstance(held, LeaderLock)
    written = replace(seen, duration_seconds=held.duration_seconds)
    return verbs.heartbeat_lock(written, held.version, recorded.place)


def _lease_writes(recorded: Recorded, kind: str, seen: Lease | None, after: Item) -> Iterator[Write]:
    new = from_item(after, recorded.place) if after else None
    if kind == "create":
        assert isinstance(new, Lease)
        yield verbs.create(new)
        return
    assert seen is not None
    me = seen.actual_owner or ""
    if kind == "delete":
        yield verbs.delete(seen)
        return
    assert isinstance(new, Lease)
    if kind == "take":
        yield verbs.take(seen, new.owner or "")
    elif kind == "assign":
        yield verbs.assign(seen, new.owner or "")
        if seen.is_pending and seen.owner == new.owner:
            yield verbs.finish_hand_off(seen, me)
    elif kind == "start_hand_off":
        yield verbs.start_hand_off(seen, new.owner or "")
    elif kind == "renew":
        kbps = new.throughput_kbps if "throughputKBps" in recorded.changes else None
        yield verbs.renew(seen, me, None if kbps is None else float(kbps))
    elif kind == "prepare_checkpoint":
        assert new.pending_checkpoint is not None
        yield verbs.prepare_checkpoint(seen, me, new.pending_checkpoint.checkpoint, new.pending_checkpoint.state)
    elif kind == "end_shard":
        yield verbs.end_shard(seen, me, new.children)
    else:
        yield verbs.set_checkpoint(seen, me, new.checkpoint)


def condition(write: Write) -> dict[str, Mapping[str, Any] | None]:
    """Our condition as a recorded one: None is *absent*, and what a KCL has no word for, a value of its own."""
    found: dict[str, Mapping[str, Any] | None] = {}
    for expect in write.expects:
        match expect:
            case verbs.Is(attribute, value):
                found[attribute] = value
            case verbs.Absent(attribute):
                found[attribute] = None
            case verbs.IsNot(attribute, value):
                found[attribute] = {"not": value}
            case verbs.Below(attribute, number):
                found[attribute] = {"below": number}
            case verbs.ActualOwner(worker_id):
                found["actual owner"] = {"S": worker_id}
    return found
