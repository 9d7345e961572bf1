"""How a lease changes hands: mutants of suspicion, takes, hand-offs, drains, limits, and of a shard's end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lease_store.lease import Lease
from lease_store.verbs import Write
from tests.simulation.leases.draw import CALM_WORK
from tests.simulation.mutants.mixes import LOSSY, on_leases, whatever_the_counter
from tests.simulation.mutants.mutant import Function
from tests.simulation.network import Calm

__all__ = [
    "a_limit_is_a_wish",
    "another_owner_is_a_sign_of_life",
    "drained_once_nothing_is_held",
    "finish_for_whoever_waits",
    "parents_are_not_waited_for",
    "suspicion_from_the_request",
    "take_after_half_the_failover_time",
    "take_leaves_the_checkpoint_owner",
    "take_whatever_the_counter",
    "the_end_before_the_rows_of_the_children",
]


@on_leases(
    "lease_store.verbs:take",
    rule="A lease is taken only while its counter is the one that was seen.",
    caught_by=("one trusting worker", "each write moves the counter by one", "takes only after the failover time"),
    network=replace(LOSSY, late=0.2),
)
def take_whatever_the_counter(original: Function) -> Function:
    def take(lease: Lease, me: str) -> Write:
        return whatever_the_counter(original(lease, me))

    return take


@on_leases(
    "consumer.leasing.observation:Observation.free_at",
    rule="A lease is taken only after a failover time without a move.",
    caught_by=("one trusting worker", "takes only after the failover time"),
    happenings=("freeze",),
)
def take_after_half_the_failover_time(original: Function) -> Function:
    def free_at(self: Any, failover_seconds: float) -> float:
        return original(self, failover_seconds / 2)  # type: ignore[no-any-return]  # a Function answers Any

    return free_at


@on_leases(
    "lease_store.verbs:take",
    rule="A take removes the checkpoint owner, who is dead.",
    caught_by=("at rest in time", "no write under a tenure that is over"),
    happenings=("start", "crash", "crash", "drain"),
    safety_only=False,
)
def take_leaves_the_checkpoint_owner(original: Function) -> Function:
    def take(lease: Lease, me: str) -> Write:
        return replace(original(lease, me), removes=())

    return take


@on_leases(
    "consumer.leasing.table_watch:TableWatch.scan",
    rule="Suspicion of others runs from when the reply came.",
    caught_by=("one trusting worker", "takes only after the failover time"),
    network=replace(Calm(), late=0.3, late_seconds=6.0),
    happenings=("freeze",),
)
def suspicion_from_the_request(original: Function) -> Function:
    async def scan(self: Any) -> Any:
        began = self._leases.clock.monotonic()
        found = await original(self)
        known = self._leases.observations
        for lease in found.leases:
            seen = known.get(lease.key)
            if seen is not None and seen.lease is lease and seen.seen_at > began:
                known._by_key[lease.key] = seen._replace(seen_at=began)
        return found

    return scan


@on_leases(
    "consumer.leasing.observation:Observations.see",
    rule="Only a greater counter is a move: a hand-off that a dead owner never saw begins no new wait.",
    caught_by=("takeover within the failover time and 2 s",),
    # Whoever comes asks for leases, some of owners that die before they know of it.
    faults="none",
    failover=10.0,
    keys=12,
    pause=2.0,
    happenings=("start", "crash"),
)
def another_owner_is_a_sign_of_life(original: Function) -> Function:
    def see(self: Any, lease: Lease, now: float) -> bool:
        known = self.get(lease.key)
        if known is not None and known.lease.counter == lease.counter and known.lease.owner != lease.owner:
            self._by_key[lease.key] = known._replace(lease=lease, seen_at=now)
            return True
        return bool(original(self, lease, now))

    return see


@on_leases(
    "consumer.leasing.handoff:is_ready",
    rule="Before a finish the receiver's row is read: it must live, and not drain.",
    caught_by=("no lease for who leaves",),
    # Scans that show a mark late, and seconds between the looks at a receiver's own row.
    faults="none",
    network=Calm(stale_seconds=3.0),
    failover=10.0,
    keys=8,
    workers=4,
    work=replace(CALM_WORK, long=0.3, long_seconds=4.0),
    pause=0.7,
    happenings=("start", "drain"),
)
def finish_for_whoever_waits(_: Function) -> Function:
    async def is_ready(leases: Any, to: str) -> bool:
        return True

    return is_ready


@on_leases(
    "consumer.leasing.drain:Drain._is_over",
    rule="A worker leaves once a scan begun after its mark shows no row that names it.",
    caught_by=("no row names who has left",),
    # Workers that leave within a scan period of each other.
    faults="none",
    keys=12,
    workers=5,
    pause=0.7,
    happenings=("drain",),
)
def drained_once_nothing_is_held(_: Function) -> Function:
    def _is_over(self: Any, named_until: float) -> bool:
        return not self._leases.held

    return _is_over


@on_leases(
    "consumer.leasing.leases:Leases.may_hold_more",
    rule="A worker with max_leases takes no lease beyond them.",
    caught_by=("max_leases",),
    max_leases=3,
    keys=12,
    workers=4,
    pause=2.0,
    happenings=("drain", "start", "crash"),
)
def a_limit_is_a_wish(_: Function) -> Function:
    def may_hold_more(self: Any) -> bool:
        return True

    return may_hold_more


@on_leases(
    "consumer.leasing.lease_loop:LeaseLoop.parents_finished",
    rule="A child waits until every parent's row is at SHARD_END.",
    caught_by=("parents first",),
    # The rows of a merge's children are made while one parent still runs.
    work=replace(CALM_WORK, records=10.0),
)
def parents_are_not_waited_for(_: Function) -> Function:
    async def parents_finished(self: Any, held: Any) -> tuple[str, ...]:
        return ()

    return parents_finished


@on_leases(
    "consumer.leasing.lease_loop:LeaseLoop.end_shard",
    rule="The rows of the children exist before SHARD_END is stored.",
    caught_by=("children's rows before SHARD_END",),
    work=replace(CALM_WORK, records=10.0),
)
def the_end_before_the_rows_of_the_children(_: Function) -> Function:
    async def end_shard(self: Any, held: Any, children: Any) -> None:
        await held.end_shard(tuple(child.key for child in children))
        for child in children:
            await self.create(child)

    return end_shard
