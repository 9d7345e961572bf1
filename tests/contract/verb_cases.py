"""Each verb with a row that meets its condition, the row it must leave, and every alteration that must refuse it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from lease_store import SHARD_END, Checkpoint, Lease, Write, verbs
from lease_store.item import to_item
from tests.contract.bench import Item

OWNED = Lease(
    key="shard-1",
    counter=7,
    owner="w1",
    checkpoint=Checkpoint("100", 2),
    owner_switches_since_checkpoint=1,
    parents=("shard-0",),
    hash_range=("0", "99"),
    stream="stream@1",
    start_at=Decimal("1700000000.5"),
    created_at="mark",
    extra={"custom": {"M": {"a": {"L": [{"N": "1"}, {"NULL": True}]}}}, "odd.name-1": {"SS": ["b", "a"]}},
)
PENDING = replace(OWNED, owner="w2", checkpoint_owner="w1")
IDLE = replace(OWNED, owner=None)
ENDED = replace(OWNED, checkpoint=SHARD_END)
PREPARED = {
    "pendingCheckpoint": {"S": "90"},
    "pendingCheckpointSubSequenceNumber": {"N": "0"},
    "pendingCheckpointState": {"B": b"\x00state"},
}


@dataclass(frozen=True)
class Case:
    """A row, a write whose condition it meets, and what the row must be afterwards, written out by hand."""

    before: Lease
    write: Write
    changes: Mapping[str, Any]
    removed: tuple[str, ...] = ()
    also: Mapping[str, Any] | None = None

    @property
    def row(self) -> Item:
        return to_item(self.before) | dict(self.also or {})

    @property
    def row_after(self) -> Item:
        return {name: value for name, value in (self.row | dict(self.changes)).items() if name not in self.removed}


C8 = {"leaseCounter": {"N": "8"}}
STORED = {
    "checkpoint": {"S": "150"},
    "checkpointSubSequenceNumber": {"N": "3"},
    "ownerSwitchesSinceCheckpoint": {"N": "0"},
}
RECREATED = Lease(key="shard-1", stream="stream@2", created_at="mark 2", hash_range=("0", "9"))
CASES = {
    "replace": Case(
        ENDED,
        verbs.replace(ENDED, RECREATED),
        C8
        | {
            "checkpoint": {"S": "TRIM_HORIZON"},
            "checkpointSubSequenceNumber": {"N": "0"},
            "ownerSwitchesSinceCheckpoint": {"N": "0"},
            "startingHashKey": {"S": "0"},
            "endingHashKey": {"S": "9"},
            "leaseholdStream": {"S": "stream@2"},
            "leaseholdCreatedAt": {"S": "mark 2"},
        },
        removed=("leaseOwner", "parentShardId", "leaseholdStartAt", "custom", "odd.name-1"),
    ),
    "take from another": Case(
        OWNED,
        verbs.take(OWNED, "me"),
        C8 | {"leaseOwner": {"S": "me"}, "ownerSwitchesSinceCheckpoint": {"N": "2"}},
    ),
    "take idle": Case(IDLE, verbs.take(IDLE, "me"), C8 | {"leaseOwner": {"S": "me"}}),
    "take my own": Case(OWNED, verbs.take(OWNED, "w1"), C8),
    "take pending": Case(
        PENDING,
        verbs.take(PENDING, "w2"),
        C8 | {"ownerSwitchesSinceCheckpoint": {"N": "2"}},
        removed=("checkpointOwner",),
    ),
    "renew": Case(OWNED, verbs.renew(OWNED, "w1"), C8),
    "renew while pending": Case(PENDING, verbs.renew(PENDING, "w1"), C8),
    "set_checkpoint": Case(
        OWNED,
        verbs.set_checkpoint(OWNED, "w1", Checkpoint("150", 3)),
        C8 | STORED,
        removed=tuple(PREPARED),
        also=PREPARED,
    ),
    "set_checkpoint while pending": Case(
        PENDING, verbs.set_checkpoint(PENDING, "w1", Checkpoint("150", 3)), C8 | STORED
    ),
    "renew with its load": Case(
        OWNED, verbs.renew(OWNED, "w1", 12.3456785), C8 | {"throughputKBps": {"N": "12.345679"}}
    ),
    "set_checkpoint with its load": Case(
        OWNED,
        verbs.set_checkpoint(OWNED, "w1", Checkpoint("150", 3), 0.0),
        C8 | STORED | {"throughputKBps": {"N": "0"}},
    ),
    "prepare_checkpoint": Case(
        OWNED,
        verbs.prepare_checkpoint(OWNED, "w1", Checkpoint("120", 1), b"\x00new"),
        C8
        | {
            "pendingCheckpoint": {"S": "120"},
            "pendingCheckpointSubSequenceNumber": {"N": "1"},
            "pendingCheckpointState": {"B": b"\x00new"},
        },
        also=PREPARED,
    ),
    "prepare_checkpoint without a state": Case(
        PENDING,
        verbs.prepare_checkpoint(PENDING, "w1", Checkpoint("120")),
        C8 | {"pendingCheckpoint": {"S": "120"}, "pendingCheckpointSubSequenceNumber": {"N": "0"}},
        removed=("pendingCheckpointState",),
        also=PREPARED,
    ),
    "assign a free one": Case(IDLE, verbs.assign(IDLE, "w3"), C8 | {"leaseOwner": {"S": "w3"}}),
    "assign a dead owner's": Case(
        OWNED, verbs.assign(OWNED, "w3"), C8 | {"leaseOwner": {"S": "w3"}, "ownerSwitchesSinceCheckpoint": {"N": "2"}}
    ),
    "assign a lapsed hand-off to its receiver": Case(
        PENDING, verbs.assign(PENDING, "w2"), C8, removed=("checkpointOwner",)
    ),
    "assign a lapsed hand-off to a third": Case(
        PENDING,
        verbs.assign(PENDING, "w3"),
        C8 | {"leaseOwner": {"S": "w3"}, "ownerSwitchesSinceCheckpoint": {"N": "2"}},
        removed=("checkpointOwner",),
    ),
    "assign a lapsed hand-off back": Case(
        PENDING,
        verbs.assign(PENDING, "w1"),
        C8 | {"leaseOwner": {"S": "w1"}, "ownerSwitchesSinceCheckpoint": {"N": "2"}},
        removed=("checkpointOwner",),
    ),
    "assign a row that names one worker twice": Case(
        replace(OWNED, checkpoint_owner="w1"),
        verbs.assign(replace(OWNED, checkpoint_owner="w1"), "w1"),
        C8 | {"ownerSwitchesSinceCheckpoint": {"N": "2"}},
        removed=("checkpointOwner",),
    ),
    "mark_rules": Case(OWNED, verbs.mark_rules(OWNED, "2.x"), {"leaseholdRules": {"S": "2.x"}}),
    "mark_rules no longer": Case(
        replace(OWNED, rules="2.x"), verbs.mark_rules(OWNED, None), {}, removed=("leaseholdRules",)
    ),
    "announce": Case(OWNED, verbs.announce(OWNED, "w9"), {"leaseholdNewcomer": {"S": "w9"}}),
    "start_hand_off": Case(
        OWNED, verbs.start_hand_off(OWNED, "w2"), {"leaseOwner": {"S": "w2"}, "checkpointOwner": {"S": "w1"}}
    ),
    "finish_hand_off": Case(PENDING, verbs.finish_hand_off(PENDING, "w1"), C8, removed=("checkpointOwner",)),
    "take_back": Case(
        PENDING,
        verbs.take_back(PENDING, "w1"),
        C8 | {"leaseOwner": {"S": "w1"}, "leaseholdTakenBack": {"N": "8"}},
        removed=("checkpointOwner",),
    ),
    "release": Case(OWNED, verbs.release(OWNED, "w1"), C8, removed=("leaseOwner",)),
    "pass_on to a peer": Case(OWNED, verbs.pass_on(OWNED, "w1", "w3"), C8 | {"leaseOwner": {"S": "w3"}}),
    "pass_on to nobody": Case(OWNED, verbs.pass_on(OWNED, "w1", None), C8, removed=("leaseOwner",)),
    "pass_on of a dead owner's": Case(
        PENDING, verbs.pass_on(PENDING, "w2", "w3"), C8 | {"leaseOwner": {"S": "w3"}}, removed=("checkpointOwner",)
    ),
    "pass_on of a dead owner's to nobody": Case(
        PENDING, verbs.pass_on(PENDING, "w2", None), C8, removed=("leaseOwner", "checkpointOwner")
    ),
    "end_shard": Case(
        OWNED,
        verbs.end_shard(OWNED, "w1", ("shard-3", "shard-2")),
        C8
        | {
            "checkpoint": {"S": "SHARD_END"},
            "checkpointSubSequenceNumber": {"N": "0"},
            "ownerSwitchesSinceCheckpoint": {"N": "0"},
            "childShardIds": {"SS": ["shard-2", "shard-3"]},
        },
        removed=tuple(PREPARED),
        also=PREPARED,
    ),
    "end_shard while pending": Case(
        PENDING,
        verbs.end_shard(PENDING, "w1", ()),
        C8
        | {
            "leaseOwner": {"S": "w1"},
            "checkpoint": {"S": "SHARD_END"},
            "checkpointSubSequenceNumber": {"N": "0"},
            "ownerSwitchesSinceCheckpoint": {"N": "0"},
        },
        removed=("checkpointOwner",),
    ),
}
DELETE = Case(ENDED, verbs.delete(ENDED), {})


# Alterations of a row, None for removing: written by hand from the table of verbs, never derived from a write itself.
OTHER_OWNER = {"leaseOwner": {"S": "w9"}}
OTHER_NOW = {"leaseOwner": {"S": "w1"}, "checkpointOwner": {"S": "w9"}}
NO_OWNER = {"leaseOwner": None, "checkpointOwner": None}
NOT_ACTUAL_OWNER = (OTHER_OWNER | {"checkpointOwner": None}, OTHER_NOW, NO_OWNER)
COUNTER = ({"leaseCounter": {"N": "6"}}, {"leaseCounter": {"N": "9"}})
FINISHED = ({"checkpoint": {"S": "SHARD_END"}},)
PENDING_NOW = ({"checkpointOwner": {"S": "w9"}}, {"checkpointOwner": {"S": "w1"}})
NOT_NEXT_OR_NOW = (OTHER_OWNER, {"leaseOwner": None}, {"checkpointOwner": {"S": "w2"}}, {"checkpointOwner": None})

NOT_AS_JUDGED = (
    *COUNTER,
    {"checkpoint": {"S": "100"}},
    {"leaseholdCreatedAt": {"S": "another mark"}},
    {"leaseholdCreatedAt": None},
)

REFUSED_BY: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "take from another": (*COUNTER, *FINISHED),
    "take idle": (*COUNTER, *FINISHED),
    "take my own": (*COUNTER, *FINISHED),
    "take pending": (*COUNTER, *FINISHED),
    "renew": (*COUNTER, *NOT_ACTUAL_OWNER, *FINISHED),
    "renew while pending": (*COUNTER, *NOT_ACTUAL_OWNER, *FINISHED),
    "set_checkpoint": (*COUNTER, *NOT_ACTUAL_OWNER, *FINISHED),
    "set_checkpoint while pending": (*COUNTER, *NOT_ACTUAL_OWNER, *FINISHED),
    "start_hand_off": (*FINISHED, *PENDING_NOW, OTHER_OWNER, NO_OWNER),
    "finish_hand_off": (*COUNTER, *NOT_NEXT_OR_NOW),
    "take_back": (*COUNTER, {"checkpointOwner": {"S": "w2"}}, {"checkpointOwner": None}),
    "release": (*COUNTER, *PENDING_NOW, OTHER_OWNER, NO_OWNER),
    "pass_on to a peer": (*COUNTER, *PENDING_NOW, OTHER_OWNER, NO_OWNER),
    "pass_on to nobody": (*COUNTER, *PENDING_NOW, OTHER_OWNER, NO_OWNER),
    "pass_on of a dead owner's": (*COUNTER, *NOT_NEXT_OR_NOW),
    "pass_on of a dead owner's to nobody": (*COUNTER, *NOT_NEXT_OR_NOW),
    "end_shard": (*COUNTER, *NOT_ACTUAL_OWNER),
    "end_shard while pending": (*COUNTER, *NOT_ACTUAL_OWNER),
    "renew with its load": (*COUNTER, *NOT_ACTUAL_OWNER, *FINISHED),
    "set_checkpoint with its load": (*COUNTER, *NOT_ACTUAL_OWNER, *FINISHED),
    "prepare_checkpoint": (*COUNTER, *NOT_ACTUAL_OWNER, *FINISHED),
    "prepare_checkpoint without a state": (*COUNTER, *NOT_ACTUAL_OWNER, *FINISHED),
    "assign a free one": (*COUNTER, OTHER_OWNER, {"checkpointOwner": {"S": "w9"}}),
    "assign a dead owner's": (*COUNTER, OTHER_OWNER, NO_OWNER, *PENDING_NOW),
    "assign a lapsed hand-off to its receiver": (*COUNTER, *NOT_NEXT_OR_NOW),
    "assign a lapsed hand-off to a third": (*COUNTER, *NOT_NEXT_OR_NOW),
    "assign a lapsed hand-off back": (*COUNTER, *NOT_NEXT_OR_NOW),
    "assign a row that names one worker twice": (*COUNTER, *NOT_NEXT_OR_NOW),
    "mark_rules": (),
    "mark_rules no longer": (),
    "announce": (),
    "replace": NOT_AS_JUDGED,
    "delete": NOT_AS_JUDGED,
}
CONDITIONAL = {**CASES, "delete": DELETE}


def violations(name: str) -> dict[str, Item]:
    """Rows that must refuse a case's write, each by what was altered in it."""
    row = CONDITIONAL[name].row
    return {
        ", ".join(f"{n} {next(iter(v.values())) if v else None}" for n, v in alteration.items()): {
            each: value for each, value in (row | dict(alteration)).items() if value is not None
        }
        for alteration in REFUSED_BY[name]
    }
