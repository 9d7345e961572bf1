"""Every write a worker may make to a lease row: its condition, its change, as data.

A verb is a pure function from the lease *as last seen* to a ``Write``. Both stores apply the same ``Write``; nobody
else knows conditions. c is the counter as seen, L ``leaseOwner``, P ``checkpointOwner``; the *actual owner* is P if
present, else L.

=================  =======================================================  ==========================================
verb               condition (the row exists, unless it creates it)          change
=================  =======================================================  ==========================================
create             key absent                                               the whole row
take               counter = c, checkpoint not SHARD_END                    L = me, remove P, c + 1
renew              counter = c, actual owner = me, checkpoint not SHARD_END c + 1
set_checkpoint     counter = c, actual owner = me, checkpoint not SHARD_END checkpoint, c + 1
start_hand_off     L = as seen, P absent, checkpoint not SHARD_END          L = next, P = as seen L (counter untouched)
finish_hand_off    counter = c, L = next, P = me                            remove P, c + 1
take_back          counter = c, P = me                                      L = me, remove P, taken back = c + 1, c + 1
release            counter = c, L = me, P absent                            remove L, c + 1
pass_on            counter = c, L = me, P as seen                           L = next or removed, remove P, c + 1
end_shard          counter = c, actual owner = me                           checkpoint = SHARD_END, children, L = me,
                                                                            remove P, c + 1
replace            counter = c, checkpoint = SHARD_END, same incarnation    the row of the next incarnation, c + 1
delete             counter = c, checkpoint = SHARD_END, same incarnation    the row goes
put_worker         the row's beat is absent or below the new one            the whole row
delete_worker      a worker's row, beat as seen (a KCL's: lut as seen)      the row goes
=================  =======================================================  ==========================================

Source: the Java KCL 3.5.1's conditional writes, made stricter (counter *and* actual owner, so that a row deleted and
recreated at a low counter can't match a zombie's write). Accepting a row that names me is ``renew`` from a consistent
read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lease_store.checkpoint import SHARD_END, Checkpoint
from lease_store.item import LEASE_KEY, WORKER_ENTITY, canonical, to_item, worker_to_item
from lease_store.lease import AttributeValue, Lease, WorkerRow

__all__ = [
    "Absent",
    "ActualOwner",
    "Below",
    "Expect",
    "Is",
    "IsNot",
    "Write",
    "create",
    "delete",
    "delete_worker",
    "end_shard",
    "finish_hand_off",
    "pass_on",
    "put_worker",
    "release",
    "renew",
    "replace",
    "set_checkpoint",
    "start_hand_off",
    "take",
    "take_back",
]


@dataclass(frozen=True, slots=True)
class Is:
    """The stored attribute equals ``value``."""

    attribute: str
    value: AttributeValue


@dataclass(frozen=True, slots=True)
class IsNot:
    """The stored attribute is present or absent, but does not equal ``value``."""

    attribute: str
    value: AttributeValue


@dataclass(frozen=True, slots=True)
class Absent:
    """The attribute is not stored."""

    attribute: str


@dataclass(frozen=True, slots=True)
class Below:
    """The attribute is a number less than ``number``, or is not stored."""

    attribute: str
    number: int


@dataclass(frozen=True, slots=True)
class ActualOwner:
    """``checkpointOwner`` = worker, or it is absent and ``leaseOwner`` = worker."""

    worker_id: str


Expect = Is | IsNot | Absent | Below | ActualOwner


@dataclass(frozen=True, slots=True)
class Write:
    """One conditional write: all of ``expects`` must hold, then ``sets`` and ``removes`` are applied at once.

    ``puts``: ``sets`` is the whole row, and no row need be there before. ``deletes``: the row goes. Otherwise the row
    must exist.
    """

    verb: str
    key: str
    expects: tuple[Expect, ...] = ()
    sets: Mapping[str, AttributeValue] | None = None
    removes: tuple[str, ...] = ()
    puts: bool = False
    deletes: bool = False

    def stands_in(self, item: Mapping[str, AttributeValue] | None) -> bool:
        """Whether a row, as read after a lost reply, holds every field this write wrote: only then did it succeed."""
        if item is None:
            return self.deletes
        sets = self.sets or {}
        return (
            not self.deletes
            and all(name in item and canonical(item[name]) == canonical(value) for name, value in sets.items())
            and not any(name in item for name in self.removes)
        )


_PENDING = ("pendingCheckpoint", "pendingCheckpointSubSequenceNumber", "pendingCheckpointState")
_NOT_ENDED = IsNot("checkpoint", {"S": SHARD_END.sequence_number})


def _counter(lease: Lease) -> Is:
    return Is("leaseCounter", {"N": str(lease.counter)})


def _bumped(lease: Lease) -> dict[str, AttributeValue]:
    return {"leaseCounter": {"N": str(lease.counter + 1)}}


def create(lease: Lease) -> Write:
    """The row as given, if no row has its key; an owner in it starts that owner's tenure."""
    return Write("create", lease.key, (Absent(LEASE_KEY),), to_item(lease), puts=True)


def take(lease: Lease, me: str) -> Write:
    """An idle or expired lease becomes mine, if its counter has not moved since it was seen."""
    sets = _bumped(lease) | {"leaseOwner": {"S": me}}
    if lease.actual_owner not in (None, me):
        sets["ownerSwitchesSinceCheckpoint"] = {"N": str(lease.owner_switches_since_checkpoint + 1)}
    return Write("take", lease.key, (_counter(lease), _NOT_ENDED), sets, ("checkpointOwner",))


def renew(lease: Lease, me: str) -> Write:
    """The heartbeat of the actual owner; from a consistent read, also the acceptance of a row that names me."""
    return Write("renew", lease.key, (_counter(lease), ActualOwner(me), _NOT_ENDED), _bumped(lease))


def set_checkpoint(lease: Lease, me: str, checkpoint: Checkpoint) -> Write:
    """Progress, also a heartbeat; removes a pending checkpoint and zeroes the switch count, as the KCL does."""
    sets = _bumped(lease) | {
        "checkpoint": {"S": checkpoint.sequence_number},
        "checkpointSubSequenceNumber": {"N": str(checkpoint.sub_sequence_number)},
        "ownerSwitchesSinceCheckpoint": {"N": "0"},
    }
    return Write("set_checkpoint", lease.key, (_counter(lease), ActualOwner(me), _NOT_ENDED), sets, _PENDING)


def start_hand_off(lease: Lease, to: str) -> Write:
    """Name the next owner; the present one goes on until it finishes.

    The counter must not move, or the present owner's heartbeat would fail.
    ``lease.owner`` must not be None and no hand-off may be pending: ValueError otherwise.
    """
    if lease.owner is None or lease.is_pending:
        owners = f"{lease.owner}/{lease.checkpoint_owner}"
        raise ValueError(f"A hand-off of {lease.key} needs an owner and no hand-off pending, not {owners}.")
    return Write(
        "start_hand_off",
        lease.key,
        (Is("leaseOwner", {"S": lease.owner}), Absent("checkpointOwner"), _NOT_ENDED),
        {"leaseOwner": {"S": to}, "checkpointOwner": {"S": lease.owner}},
    )


def finish_hand_off(lease: Lease, me: str) -> Write:
    """The old owner lets go; the lease is the next owner's from here on."""
    return Write(
        "finish_hand_off",
        lease.key,
        (_counter(lease), Is("leaseOwner", {"S": lease.owner or ""}), Is("checkpointOwner", {"S": me})),
        _bumped(lease) | {"leaseOwner": {"S": lease.owner or ""}},
        ("checkpointOwner",),
    )


def take_back(lease: Lease, me: str) -> Write:
    """The old owner ends a hand-off that led nowhere, and says so in the row: balancing leaves it alone for a while."""
    expects = (_counter(lease), Is("checkpointOwner", {"S": me}))
    sets = _bumped(lease) | {"leaseOwner": {"S": me}, "leaseholdTakenBack": {"N": str(lease.counter + 1)}}
    return Write("take_back", lease.key, expects, sets, ("checkpointOwner",))


def release(lease: Lease, me: str) -> Write:
    """Give the lease up to whoever comes first."""
    expects = (_counter(lease), Is("leaseOwner", {"S": me}), Absent("checkpointOwner"))
    return Write("release", lease.key, expects, _bumped(lease), ("leaseOwner",))


def pass_on(lease: Lease, me: str, to: str | None) -> Write:
    """A row that names me, which I never held and can't take on, goes to a peer or to whoever comes first.

    Where a hand-off to me is pending it ends so, too: only to be asked once its owner has let a failover time pass.
    """
    owner = lease.checkpoint_owner
    pending = Absent("checkpointOwner") if owner is None else Is("checkpointOwner", {"S": owner})
    expects = (_counter(lease), Is("leaseOwner", {"S": me}), pending)
    gone = () if owner is None else ("checkpointOwner",)
    if to is None:
        return Write("pass_on", lease.key, expects, _bumped(lease), ("leaseOwner", *gone))
    return Write("pass_on", lease.key, expects, _bumped(lease) | {"leaseOwner": {"S": to}}, gone)


def end_shard(lease: Lease, me: str, children: tuple[str, ...]) -> Write:
    """Everything in the shard is done and its children's rows exist."""
    sets = set_checkpoint(lease, me, SHARD_END).sets or {}
    sets = dict(sets) | {"leaseOwner": {"S": me}}
    if children:
        sets["childShardIds"] = {"SS": sorted(children)}
    return Write("end_shard", lease.key, (_counter(lease), ActualOwner(me)), sets, (*_PENDING, "checkpointOwner"))


def replace(old: Lease, new: Lease) -> Write:
    """A finished row of an older incarnation becomes the present one's row of the same key, in one step.

    A recreated Kinesis stream repeats its shard ids, and between a delete and a create the table could be without any
    row: a crash there would make the group forget that it ever started.
    """
    sets = to_item(new) | _bumped(old)
    sets.pop(LEASE_KEY)
    gone = sorted(to_item(old).keys() - sets.keys() - {LEASE_KEY})
    return Write("replace", old.key, _finished_as_judged(old), sets, tuple(gone))


def delete(lease: Lease) -> Write:
    """A finished row goes, if it is still the row that was judged."""
    return Write("delete", lease.key, _finished_as_judged(lease), deletes=True)


def _finished_as_judged(lease: Lease) -> tuple[Expect, ...]:
    expects: tuple[Expect, ...] = (_counter(lease), Is("checkpoint", {"S": SHARD_END.sequence_number}))
    if lease.created_at is not None:
        expects += (Is("leaseholdCreatedAt", {"S": lease.created_at}),)
    return expects


def put_worker(row: WorkerRow) -> Write:
    """A worker's own row, whole. Its beat only grows: a put that arrives late does not undo a later one."""
    expects = () if row.beat is None else (Below("leaseholdBeat", row.beat),)
    return Write("put_worker", row.worker_id, expects, worker_to_item(row), puts=True)


def delete_worker(row: WorkerRow) -> Write:
    """A dead worker's row goes, if it has not moved since: by its beat, or by the time of update in a KCL's row."""
    moved = Is("lut", {"N": str(row.updated_at)}) if row.beat is None else Is("leaseholdBeat", {"N": str(row.beat)})
    return Write("delete_worker", row.worker_id, (Is("entityType", {"S": WORKER_ENTITY}), moved), deletes=True)
