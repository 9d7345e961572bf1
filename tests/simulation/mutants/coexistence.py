"""How Python shares a table with a Java KCL: mutants of the mode, hand-offs, the leader's lock, a 2.x fleet."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from lease_store.lease import Lease, TableScan
from lease_store.writes import Write
from tests.simulation.mutants.mixes import on_mixed
from tests.simulation.mutants.mutant import Function
from tests.simulation.network import Calm

__all__ = [
    "a_finish_that_does_not_count",
    "a_start_that_counts",
    "a_worker_row_among_2x_leases",
    "begins_at_once_what_was_forced",
    "hand_offs_go_unheard",
    "keeps_planning_as_a_peer",
    "rubbish_is_believed",
    "slow_to_notice_a_leader",
    "the_lock_lasts_as_long_as_mine",
]

_LOOKS_MISSED: Final = 15
_PLANS: Final = ("only the leader plans", "takes only where nobody leads")
_BESIDE_2X: Final = {"protocol": "2x", "first": "java", "java": 2, "python": 2, "happenings": ("join", "kill")}


@on_mixed(
    "consumer.leasing.mode_watch:ModeWatch.judge",
    rule="The first 3.x row is noticed by the next look, and obeyed from then on.",
    caught_by=_PLANS,
)
def slow_to_notice_a_leader(original: Function) -> Function:
    def judge(self: Any, scan: TableScan, legacy: Any) -> None:
        marked = scan.lock is not None or scan.client_version is not None
        self.missed = getattr(self, "missed", 0) + marked
        if marked and self.missed < _LOOKS_MISSED:
            ours = tuple(worker for worker in scan.workers if worker.beat is not None)
            scan = replace(scan, lock=None, client_version=None, workers=ours)
        original(self, scan, legacy)

    return judge


@on_mixed(
    "consumer.leasing.mode_watch:ModeWatch._change",
    rule="Who notices a leader plans no more as a peer.",
    caught_by=_PLANS,
)
def keeps_planning_as_a_peer(original: Function) -> Function:
    def _change(self: Any, table: Any, previous: Any) -> None:
        if previous is None:
            original(self, table, previous)

    return _change


@on_mixed(
    "lease_store.verbs:start_hand_off",
    rule="The start of a hand-off leaves the counter alone: its owner's next renewal must pass.",
    caught_by=("each write moves the counter by one",),
)
def a_start_that_counts(original: Function) -> Function:
    def start_hand_off(lease: Lease, to: str) -> Write:
        write: Write = original(lease, to)
        return replace(write, sets={**(write.sets or {}), "leaseCounter": {"N": str(lease.counter + 1)}})

    return start_hand_off


@on_mixed(
    "lease_store.verbs:finish_hand_off",
    rule="The end of a hand-off moves the counter: what its old owner still has on the way must fail.",
    caught_by=("each write moves the counter by one",),
)
def a_finish_that_does_not_count(original: Function) -> Function:
    def finish_hand_off(lease: Lease, me: str) -> Write:
        write: Write = original(lease, me)
        kept = {name: value for name, value in (write.sets or {}).items() if name != "leaseCounter"}
        return replace(write, sets=kept)

    return finish_hand_off


@on_mixed(
    "consumer.leasing.held_row:HeldRow.hand_off_to",
    rule="Each reply is looked at for a hand-off that somebody started: the owner lets go within a batch.",
    caught_by=("a hand-off is heard of",),
)
def hand_offs_go_unheard(original: Function) -> Function:
    def hand_off_to(self: Any) -> str | None:
        return None

    return hand_off_to


@on_mixed(
    "consumer.leasing.lock:may_acquire",
    rule="The lock is obeyed for as long as its row says, not for as long as one's own would last.",
    caught_by=("the lock is obeyed as stored",),
    first="java",
    happenings=("kill_leader", "join"),
)
def the_lock_lasts_as_long_as_mine(original: Function) -> Function:
    def may_acquire(seen: Any, me: str, now: float) -> bool:
        if seen.lock is not None:
            seen = replace(seen, lock=replace(seen.lock, duration_seconds=1.8))
        return bool(original(seen, me, now))

    return may_acquire


@on_mixed(
    "consumer.leasing.sight:Sight.sole_from",
    rule="What a KCL's leader takes from a live worker of ours is begun when that one can trust it no more.",
    caught_by=("one trusting worker", "one worker a record", "short slices do not overlap"),
    faults="mild",
    first="java",
    network=Calm(stale_seconds=2.0),
    happenings=("nothing",),
)
def begins_at_once_what_was_forced(original: Function) -> Function:
    def sole_from(self: Any, key: str) -> float:
        return float("-inf")

    return sole_from


@on_mixed(
    "consumer.leasing.sight:Sight.believed",
    rule="Beside a KCL 2.x no checkpointOwner is believed: 2.7.2 leaves it behind in rows that it takes.",
    caught_by=("at rest in time",),
    **{
        **_BESIDE_2X,
        "happenings": ("join",),
        "rubbish": True,
        "safety_only": False,
        "phase": 10.0,
        "keys": 6,
        "java": 1,
    },
)
def rubbish_is_believed(original: Function) -> Function:
    def believed(self: Any, lease: Lease) -> Lease:
        return lease

    return believed


@on_mixed(
    "consumer.leasing.own_row:OwnRow._place",
    rule="In a 2.x fleet's table we write lease rows only: any other stops its takers.",
    caught_by=("lease rows only beside 2.x",),
    **_BESIDE_2X,
)
def a_worker_row_among_2x_leases(original: Function) -> Function:
    def _place(self: Any) -> Any:
        return original(self) or "leases"

    return _place
