"""Every write a worker may make to a lease row: its condition, its change, as data.

A verb is a pure function from the lease *as last seen* to a ``Write``. Both stores apply the same ``Write``; nobody
else knows conditions. c is the counter as seen, L ``leaseOwner``, P ``checkpointOwner``; the *actual owner* is P if
present, else L.

==================  ========================================================  ==========================================
verb                condition (the row exists, unless it creates it)          change
==================  ========================================================  ==========================================
create              key absent                                                the whole row
take                counter = c, checkpoint not SHARD_END                     L = me, remove P, c + 1
renew               counter = c, actual owner = me, checkpoint not SHARD_END  c + 1, the load where given
set_checkpoint      counter = c, actual owner = me, checkpoint not SHARD_END  checkpoint, c + 1, the load where given
start_hand_off      L = as seen, P absent, checkpoint not SHARD_END           L = next, P = L as seen (c untouched)
finish_hand_off     counter = c, L = next, P = me                             remove P, c + 1
take_back           counter = c, P = me                                       L = me, remove P, taken back and c = c + 1
release             counter = c, L = me, P absent                             remove L, c + 1
pass_on             counter = c, L = me, P as seen                            L = next or removed, remove P, c + 1
prepare_checkpoint  counter = c, actual owner = me, checkpoint not SHARD_END  pending checkpoint and state, c + 1
assign              counter = c, L and P as seen                              L = next, remove P, c + 1
mark_rules          -                                                         leaseholdRules (c untouched)
announce            -                                                         leaseholdNewcomer (c untouched)
end_shard           counter = c, actual owner = me                            checkpoint = SHARD_END, children, L = me,
                                                                              remove P, c + 1
replace             counter = c, checkpoint = SHARD_END, same incarnation     the row of the next incarnation, c + 1
delete              counter = c, checkpoint = SHARD_END, same incarnation     the row goes
put_worker          the row's beat is absent or below the new one             the whole row
delete_worker       a worker's row, beat as seen (a KCL's: lut as seen)       the row goes
acquire_lock        no lock; or version as seen, and released if seen so      the whole row
heartbeat_lock      version as seen, owner = me                               the next version, the duration
release_lock        version as seen, owner = me                               the row goes
delete_row          every attribute as seen                                   the row goes
==================  ========================================================  ==========================================

Source: the Java KCL 3.5.1's conditional writes and its lock client's, made stricter (counter *and* actual owner, so
that a row deleted and recreated at a low counter can't match a zombie's write). Accepting a row that names me is
``renew`` from a consistent read; ``as_seen`` gives an owner's write a plainer condition. The last six may be about a
row of another table than the leases': ``Write.place``.
"""

from __future__ import annotations

import dataclasses
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from lease_store.attributes import KEY_ATTRIBUTES, LEASE_KEY, AttributeValue, Place, set_number
from lease_store.checkpoint import SHARD_END, Checkpoint
from lease_store.coordination import LOCK_KEY, ClientVersion, LeaderLock, TableMigration, coordination_to_item
from lease_store.item import item_of, to_item, worker_to_item
from lease_store.lease import WORKER_ENTITY, ForeignRow, Lease, WorkerRow
from lease_store.writes import Absent, ActualOwner, Below, Expect, Is, IsNot, Write

__all__ = [
    "Absent",
    "ActualOwner",
    "Below",
    "Expect",
    "Is",
    "IsNot",
    "Write",
    "acquire_lock",
    "announce",
    "as_seen",
    "assign",
    "create",
    "delete",
    "delete_row",
    "delete_worker",
    "end_shard",
    "finish_hand_off",
    "heartbeat_lock",
    "mark_rules",
    "pass_on",
    "prepare_checkpoint",
    "put_worker",
    "release",
    "release_lock",
    "renew",
    "replace",
    "set_checkpoint",
    "start_hand_off",
    "take",
    "take_back",
]

_PENDING = ("pendingCheckpoint", "pendingCheckpointSubSequenceNumber", "pendingCheckpointState")
_SIX_DECIMALS: Final = Decimal("0.000001")
_NOT_ENDED = IsNot("checkpoint", {"S": SHARD_END.sequence_number})


def _counter(lease: Lease) -> Is:
    return Is("leaseCounter", {"N": str(lease.counter)})


def _bumped(lease: Lease) -> dict[str, AttributeValue]:
    return {"leaseCounter": {"N": str(lease.counter + 1)}}


def _as_seen(attribute: str, worker_id: str | None) -> Expect:
    return Absent(attribute) if worker_id is None else Is(attribute, {"S": worker_id})


def _throughput(kbps: float | None) -> dict[str, AttributeValue]:
    item: dict[str, AttributeValue] = {}
    if kbps is not None:
        set_number(item, "throughputKBps", Decimal(repr(kbps)).quantize(_SIX_DECIMALS, ROUND_HALF_UP))
    return item


def create(lease: Lease) -> Write:
    """The row as given, if no row has its key; an owner in it starts that owner's tenure."""
    return Write("create", lease.key, (Absent(LEASE_KEY),), to_item(lease), puts=True)


def take(lease: Lease, me: str) -> Write:
    """An idle or expired lease becomes mine, if its counter has not moved since it was seen."""
    sets = _bumped(lease) | {"leaseOwner": {"S": me}}
    if lease.actual_owner not in (None, me):
        sets["ownerSwitchesSinceCheckpoint"] = {"N": str(lease.owner_switches_since_checkpoint + 1)}
    return Write("take", lease.key, (_counter(lease), _NOT_ENDED), sets, ("checkpointOwner",))


def renew(lease: Lease, me: str, throughput_kbps: float | None = None) -> Write:
    """The heartbeat of the actual owner; from a consistent read, also the acceptance of a row that names me.

    ``throughput_kbps`` (KB/s, stored to six decimals as a KCL does) is what a leader weighs the lease by.
    """
    sets = _bumped(lease) | _throughput(throughput_kbps)
    return Write("renew", lease.key, (_counter(lease), ActualOwner(me), _NOT_ENDED), sets)


def as_seen(write: Write, lease: Lease) -> Write:
    """An owner's write, for going together with others: all it asks is that the row is as ``lease`` shows it.

    Its condition is then counter = c, L, P and checkpoint as seen: a hand-off started meanwhile refuses it, and shows
    the row. PartiQL's plainest words are enough for that; what alternatives it takes in the condition of an UPDATE is
    nowhere written, nor what it says to the removal of what is not there: only what ``lease`` has is removed.
    What must not be done to a row that ended is refused by one that is seen so, too.
    """
    owners = (_as_seen("leaseOwner", lease.owner), _as_seen("checkpointOwner", lease.checkpoint_owner))
    place = Is("checkpoint", {"S": lease.checkpoint.sequence_number})
    ended = (_NOT_ENDED,) if lease.is_finished and _NOT_ENDED in write.expects else ()
    stored = to_item(lease) if write.removes else {}
    removes = tuple(name for name in write.removes if name in stored)
    return dataclasses.replace(write, expects=(_counter(lease), *owners, place, *ended), removes=removes)


def set_checkpoint(lease: Lease, me: str, checkpoint: Checkpoint, throughput_kbps: float | None = None) -> Write:
    """Progress, also a heartbeat; removes a pending checkpoint and zeroes the switch count, as the KCL does."""
    sets = _bumped(lease) | _throughput(throughput_kbps)
    sets |= {
        "checkpoint": {"S": checkpoint.sequence_number},
        "checkpointSubSequenceNumber": {"N": str(checkpoint.sub_sequence_number)},
        "ownerSwitchesSinceCheckpoint": {"N": "0"},
    }
    return Write("set_checkpoint", lease.key, (_counter(lease), ActualOwner(me), _NOT_ENDED), sets, _PENDING)


def prepare_checkpoint(lease: Lease, me: str, checkpoint: Checkpoint, state: bytes | None = None) -> Write:
    """A checkpoint laid down and not yet meant, and the user's own bytes beside it; an earlier one is replaced.

    The checkpoint itself and the switch count stay. The next ``set_checkpoint``, whatever it stores, removes it.
    """
    sets = _bumped(lease) | {
        "pendingCheckpoint": {"S": checkpoint.sequence_number},
        "pendingCheckpointSubSequenceNumber": {"N": str(checkpoint.sub_sequence_number)},
    }
    removes: tuple[str, ...] = ("pendingCheckpointState",)
    if state:
        sets["pendingCheckpointState"], removes = {"B": state}, ()
    return Write("prepare_checkpoint", lease.key, (_counter(lease), ActualOwner(me), _NOT_ENDED), sets, removes)


def assign(lease: Lease, to: str) -> Write:
    """The leader gives a lease away at once: a free one, or one whose owner is dead or has let a hand-off lapse.

    The KCL compares both owners and not the counter; with the counter, a decision made on an old scan does no harm.
    """
    owners = (_as_seen("leaseOwner", lease.owner), _as_seen("checkpointOwner", lease.checkpoint_owner))
    sets = _bumped(lease) | {"leaseOwner": {"S": to}}
    if lease.owner not in (None, to) or lease.checkpoint_owner == to:
        sets["ownerSwitchesSinceCheckpoint"] = {"N": str(lease.owner_switches_since_checkpoint + 1)}
    return Write("assign", lease.key, (_counter(lease), *owners), sets, ("checkpointOwner",))


def mark_rules(lease: Lease, rules: str | None) -> Write:
    """Say in the row by which protocol its group works; None: no longer. Nobody's heartbeat is disturbed."""
    if rules is None:
        return Write("mark_rules", lease.key, removes=("leaseholdRules",))
    return Write("mark_rules", lease.key, sets={"leaseholdRules": {"S": rules}})


def announce(lease: Lease, announcement: str) -> Write:
    """Say in anybody's row that I have come and hold nothing: where workers have no rows, nobody would know."""
    return Write("announce", lease.key, sets={"leaseholdNewcomer": {"S": announcement}})


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
    expects = (_counter(lease), Is("leaseOwner", {"S": me}), _as_seen("checkpointOwner", owner))
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


def put_worker(row: WorkerRow, place: Place = "leases") -> Write:
    """A worker's own row, whole. Its beat only grows: a put that arrives late does not undo a later one."""
    expects = () if row.beat is None else (Below("leaseholdBeat", row.beat),)
    return Write("put_worker", row.worker_id, expects, worker_to_item(row, place), puts=True, place=place)


def delete_worker(row: WorkerRow, place: Place = "leases") -> Write:
    """A dead worker's row goes, if it has not moved since: by its beat, or by the time of update in a KCL's row."""
    moved = Is("lut", {"N": str(row.updated_at)}) if row.beat is None else Is("leaseholdBeat", {"N": str(row.beat)})
    # The metrics' table holds nothing else, and rows of KCL 3.0 to 3.4 there say nothing of their kind.
    kind = () if place == "metrics" else (Is("entityType", {"S": WORKER_ENTITY}),)
    return Write("delete_worker", row.worker_id, (*kind, moved), deletes=True, place=place)


def acquire_lock(seen: LeaderLock | None, lock: LeaderLock, place: Place) -> Write:
    """The lock becomes ``lock.owner``'s: there is none, or the one seen was released, or stood still for too long.

    The whole row is replaced, as the lock client does.
    """
    if seen is None:
        expects: tuple[Expect, ...] = (Absent(KEY_ATTRIBUTES[place]),)
    else:
        expects = (_version(seen), Is("isReleased", {"S": "1"})) if seen.is_released else (_version(seen),)
    return Write("acquire_lock", LOCK_KEY, expects, coordination_to_item(lock, place), puts=True, place=place)


def heartbeat_lock(lock: LeaderLock, new_version: str, place: Place) -> Write:
    """The holder's sign of life: ``lock`` as it last wrote it gets ``new_version``."""
    duration = coordination_to_item(lock)["leaseDuration"]
    sets = {"recordVersionNumber": {"S": new_version}, "leaseDuration": duration}
    return Write("heartbeat_lock", LOCK_KEY, _still_mine(lock), sets, place=place)


def release_lock(lock: LeaderLock, place: Place) -> Write:
    """The holder gives the lock up; anybody may have it at once."""
    return Write("release_lock", LOCK_KEY, _still_mine(lock), deletes=True, place=place)


def _version(lock: LeaderLock) -> Is:
    return Is("recordVersionNumber", {"S": lock.version})


def _still_mine(lock: LeaderLock) -> tuple[Expect, ...]:
    return (_version(lock), Is("ownerName", {"S": lock.owner}))


def delete_row(
    row: WorkerRow | LeaderLock | ClientVersion | TableMigration | ForeignRow, place: Place = "leases"
) -> Write:
    """A row that is no lease goes, if every attribute is as it was read; a worker's, if it has not moved."""
    if isinstance(row, WorkerRow):
        return delete_worker(row, place)
    item = item_of(row, place)
    key = KEY_ATTRIBUTES[place]
    expects = tuple(Is(name, value) for name, value in sorted(item.items()) if name != key)
    return Write("delete_row", item[key]["S"], expects, deletes=True, place=place)
