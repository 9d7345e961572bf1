"""What a tenure's owner may believe: mutants of its beginning, its trust and its writes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lease_store import verbs
from lease_store.item import lease_of, to_item
from lease_store.lease import Lease
from lease_store.store import Applied, Unknown
from lease_store.verbs import Write
from tests.simulation.leases.draw import CALM_WORK
from tests.simulation.mutants.mixes import LOSSY, NO_RENEWALS, on_leases, whatever_the_counter
from tests.simulation.mutants.mutant import Function
from tests.simulation.network import Calm

__all__ = [
    "a_clock_that_sleeps",
    "a_row_that_names_me_is_mine",
    "an_unknown_take_stands",
    "an_unknown_write_stands",
    "no_margin",
    "occupied_leases_are_won_again",
    "release_whosever_it_is",
    "renew_whatever_the_counter",
    "settled_by_the_counter_alone",
    "the_position_as_seen_before",
    "trust_from_the_reply",
    "trust_lasts_beyond_the_finish",
    "two_writes_in_flight",
    "unconditional_checkpoints",
]


def _as_written(lease: Lease, write: Write) -> Lease:
    """The row as ``write`` would leave it."""
    item = {**to_item(lease), **(write.sets or {})}
    row = lease_of({name: value for name, value in item.items() if name not in write.removes})
    assert row is not None
    return row


@on_leases(
    "consumer.leasing.leases:Leases._accept_read",
    rule="A tenure begins only with a counter write of its owner.",
    caught_by=("one trusting worker", "no write under a tenure that is over"),
    network=LOSSY,
    happenings=("start", "drain", "freeze"),
)
def a_row_that_names_me_is_mine(_: Function) -> Function:
    def _accept_read(self: Any, key: str) -> Any:
        sent = self.clock.monotonic()
        lease = yield from self._looking(key)
        if lease is None or lease.actual_owner != self.me or lease.is_finished or self.draining:
            return False
        return bool(self._begin(lease, sent, "accepted", None))

    return _accept_read


@on_leases(
    "consumer.leasing.leases:Leases._accept_read",
    rule="The position to start from is read in the reply that begins the tenure.",
    caught_by=("a tenure starts at the stored checkpoint",),
    # Tenures that run out with a checkpoint whose reply was lost.
    network=replace(Calm(), lost_reply=0.4, refused=0.3),
    work=replace(CALM_WORK, checkpoint=1.0),
)
def the_position_as_seen_before(original: Function) -> Function:
    def _accept_read(self: Any, key: str) -> Any:
        seen = self.observations.get(key)
        lease = yield from self._looking(key)
        if lease is None or lease.actual_owner != self.me or lease.is_finished or self.draining:
            return False
        sent = self.clock.monotonic()
        result = yield from self._sending(verbs.renew(lease, self.me))
        if not isinstance(result, Applied) or result.lease is None:
            return False
        position = result.lease.checkpoint if seen is None else seen.lease.checkpoint
        return bool(self._begin(replace(result.lease, checkpoint=position), sent, "accepted", None))

    return _accept_read


@on_leases(
    "consumer.leasing.held_row:HeldRow._attempt",
    rule="An unknown write is settled by a read, never assumed.",
    caught_by=("a renewal is a write that stands",),
    network=NO_RENEWALS,
    happenings=("nothing",),
)
def an_unknown_write_stands(original: Function) -> Function:
    def _attempt(self: Any, write: Write, deadline: float, ends: bool, together: bool) -> Any:
        result = yield from original(self, write, deadline, ends, together)
        return Applied(_as_written(self.lease, write)) if isinstance(result, Unknown) else result

    return _attempt


@on_leases(
    "consumer.leasing.leases:Leases._heard",
    rule="An unknown take is never counted as a success.",
    caught_by=("one trusting worker", "a tenure starts at the stored checkpoint", "nothing done with comes again"),
    network=replace(LOSSY, lost_request=0.3),
    happenings=("crash", "start"),
)
def an_unknown_take_stands(original: Function) -> Function:
    def _heard(self: Any, write: Write, result: Any) -> Any:
        result = original(self, write, result)
        if isinstance(result, Unknown) and write.verb == "take":
            return Applied(_as_written(self.observations[write.key].lease, write))
        return result

    return _heard


@on_leases(
    "consumer.leasing.held_row:HeldRow._attempt",
    rule="The send of a finish ends the tenure, whatever the reply.",
    caught_by=("one trusting worker",),
    network=replace(Calm(), late=0.2, late_seconds=1.0),
    happenings=("start", "drain"),
)
def trust_lasts_beyond_the_finish(original: Function) -> Function:
    def _attempt(self: Any, write: Write, deadline: float, ends: bool, together: bool) -> Any:
        return (yield from original(self, write, deadline, False, together))

    return _attempt


@on_leases(
    "consumer.leasing.held_row:HeldRow._settled",
    rule="Trust runs from the send of the write that carries it.",
    caught_by=("one trusting worker",),
    network=replace(Calm(), late=0.3, late_seconds=1.2),
    happenings=("freeze",),
)
def trust_from_the_reply(original: Function) -> Function:
    def _settled(self: Any, lease: Lease, trust_from: float, extends_trust: bool) -> None:
        original(self, lease, self._terms.clock.monotonic(), extends_trust)

    return _settled


@on_leases(
    "consumer.leasing.timing:LeaseTiming.trust_seconds",
    rule="Trust ends a margin before others may take the lease: clocks drift by 1 %.",
    caught_by=("one trusting worker", "short slices do not overlap"),
    # Renewals that never arrive, scans right after the last write, a slow clock here and a fast one there.
    failover=10.0,
    keys=12,
    drift=0.005,
    network=replace(NO_RENEWALS, usual_seconds=0.005),
    phase=120.0,
    pause=20.0,
    happenings=("nothing",),
)
def no_margin(_: Function) -> Function:
    def trust_seconds(self: Any) -> float:
        return float(self.failover_seconds)

    return trust_seconds


@on_leases(
    "consumer.testing.virtual_time:VirtualClock.monotonic",
    rule="The clock runs on while the machine sleeps, and the trust of its workers out.",
    caught_by=("one trusting worker",),
    happenings=("suspend", "nothing"),
)
def a_clock_that_sleeps(original: Function) -> Function:
    def monotonic(self: Any) -> float:
        return float(original(self)) - self.slept_seconds

    return monotonic


@on_leases(
    "consumer.leasing.leases:Leases.may_acquire",
    rule="No tenure begins while user code of an ended one still runs here.",
    caught_by=("user code of one tenure at a time",),
    work=replace(CALM_WORK, long=0.1, long_seconds=30.0),
    workers=1,
    happenings=("freeze",),
)
def occupied_leases_are_won_again(_: Function) -> Function:
    def may_acquire(self: Any, key: str) -> bool:
        return key not in self.held and key not in self._acquiring

    return may_acquire


@on_leases(
    "consumer.leasing.held_row:HeldRow._stands",
    rule="A lost write succeeded only where every field stands and its writer is the owner.",
    caught_by=("one trusting worker", "a renewal is a write that stands"),
    # Frozen with a renewal that is lost, and awake again soon after another worker's take.
    failover=10.0,
    keys=12,
    network=replace(Calm(), sites={"renew.lost_request": 0.5}),
    work=replace(CALM_WORK, checkpoint=0.0),
    phase=150.0,
    pause=6.0,
    happenings=("freeze",),
)
def settled_by_the_counter_alone(original: Function) -> Function:
    def _stands(self: Any, write: Write, row: Lease, ends: bool) -> bool:
        counter = (write.sets or {}).get("leaseCounter")
        return row.counter == int(counter["N"]) if counter else bool(original(self, write, row, ends))

    return _stands


@on_leases(
    "consumer.leasing.turn:Turn.take_if_free",
    rule="At most one write of a lease is in flight.",
    caught_by=("no tenure is lost in peace",),
    faults="none",
    failover=2.0,
    network=Calm(usual_seconds=0.15),
    happenings=("nothing",),
)
def two_writes_in_flight(_: Function) -> Function:
    def take_if_free(self: Any) -> bool:
        return True

    return take_if_free


@on_leases(
    "lease_store.verbs:set_checkpoint",
    rule="A checkpoint is written under the condition that the tenure still stands.",
    caught_by=("each write moves the counter by one", "checkpoints never go back"),
    network=LOSSY,
    happenings=("freeze", "start", "drain"),
)
def unconditional_checkpoints(original: Function) -> Function:
    def set_checkpoint(lease: Lease, me: str, checkpoint: Any, throughput_kbps: Any = None) -> Write:
        return replace(original(lease, me, checkpoint, throughput_kbps), expects=())

    return set_checkpoint


@on_leases(
    "lease_store.verbs:release",
    rule="A release is conditional: it frees nobody else's lease.",
    caught_by=("each write moves the counter by one", "no write under a tenure that is over"),
    # Where everybody has all that he may own, who leaves can only release.
    max_leases=2,
    keys=12,
    network=replace(Calm(), late=0.3, late_seconds=4.0, doubled=0.3),
    happenings=("drain", "start"),
)
def release_whosever_it_is(original: Function) -> Function:
    def release(lease: Lease, me: str) -> Write:
        return replace(original(lease, me), expects=())

    return release


@on_leases(
    "lease_store.verbs:renew",
    rule="A renewal is conditional on the counter: a late copy of it moves nothing.",
    caught_by=("each write moves the counter by one",),
    network=replace(Calm(), late=0.2, late_seconds=4.0, doubled=0.1),
    happenings=("nothing",),
)
def renew_whatever_the_counter(original: Function) -> Function:
    def renew(lease: Lease, me: str, throughput_kbps: Any = None) -> Write:
        return whatever_the_counter(original(lease, me, throughput_kbps))

    return renew
