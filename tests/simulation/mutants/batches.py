"""Renewals, and many of them in one request: mutants of when they go, with whom, and what their replies mean."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from consumer.leasing.held_lease import HeldLease
from consumer.leasing.lease_calls import Send, Writing
from lease_store.item import lease_of, to_item
from lease_store.lease import Lease
from lease_store.store import Applied, Refused, Unknown
from lease_store.verbs import Write
from tests.simulation.leases.draw import CALM_WORK
from tests.simulation.mutants.mixes import LOSSY, NO_RENEWALS, on_leases, whatever_the_counter
from tests.simulation.mutants.mutant import Function
from tests.simulation.network import Calm

__all__ = [
    "a_batch_waits_for_turns",
    "a_lost_batch_of_takes_wins",
    "a_lost_batch_stands",
    "a_refused_statement_stands",
    "let_go_whoever_holds_it",
    "one_lease_twice_in_a_batch",
    "renewals_before_they_are_due",
    "renewals_when_trust_is_out",
    "take_many_whatever_the_counter",
    "trust_from_the_reply_of_a_batch",
]


def _as_written(lease: Lease, write: Write) -> Lease:
    item = {**to_item(lease), **(write.sets or {})}
    row = lease_of({name: value for name, value in item.items() if name not in write.removes})
    assert row is not None
    return row


@on_leases(
    "consumer.leasing.renewals:Renewals._renew",
    rule="A batch takes leases whose turn to write is free, and never waits for one while it has another's.",
    caught_by=("a renewal goes when it is due", "no tenure is lost in peace"),
    faults="none",
    failover=2.0,
    keys=12,
    workers=1,
    # Many are busy with a checkpoint when others are due.
    network=Calm(usual_seconds=0.08),
    work=replace(CALM_WORK, usual_seconds=0.9, checkpoint=0.7),
    happenings=("nothing",),
)
def a_batch_waits_for_turns(_: Function) -> Function:
    async def _renew(self: Any, group: Sequence[HeldLease]) -> None:
        def ended(held: HeldLease, writing: Writing) -> None:
            held._turn.give_back()
            self._ended(held, writing)

        begun = []
        for held in group:
            await held._turn.take()
            begun.append(Writing(held._renewal_if_due(together=True), partial(ended, held)))
        await self._calls.carry(begun)
        self._under_way -= 1

    return _renew


@on_leases(
    "consumer.leasing.lease_calls:LeaseCalls._send",
    rule="A batch without a reply leaves its leases unknown; a read settles them.",
    caught_by=("a renewal is a write that stands",),
    network=NO_RENEWALS,
    keys=12,
    happenings=("nothing",),
)
def a_lost_batch_stands(original: Function) -> Function:
    return _unknown_stands(original, "renew", _is_a_tenures)


def _is_a_tenures(send: Send) -> bool:
    """Not one that may begin a tenure."""
    return send.until < math.inf


def _misheard(original: Function, hear: Callable[[Send, Any], Any]) -> Function:
    """Sends whose results are taken for others where several share a request; one by itself is left alone."""

    async def _send(self: Any, sends: Sequence[Send]) -> Any:
        results = await original(self, sends)
        if len(sends) == 1:
            return results
        return [hear(send, result) for send, result in zip(sends, results, strict=True)]

    return _send


def _unknown_stands(original: Function, verb: str, is_of: Callable[[Send], bool] = lambda _: True) -> Function:
    def hear(send: Send, result: Any) -> Any:
        if isinstance(result, Unknown) and send.write.verb == verb and send.seen is not None and is_of(send):
            return Applied(_as_written(send.seen, send.write))
        return result

    return _misheard(original, hear)


@on_leases(
    "lease_store.verbs:as_seen",
    rule="Many leases are let go under the conditions of one: each is still this tenure's.",
    caught_by=("each write moves the counter by one", "no write under a tenure that is over"),
    keys=12,
    places=1,
    # User code ends at once, so that those who let go meet; their requests come when others own the leases.
    failover=2.0,
    network=replace(
        Calm(usual_seconds=0.05),
        late_seconds=8.0,
        sites={f"{verb}.{what}": 0.3 for verb in ("release", "finish_hand_off") for what in ("late", "lost_reply")},
    ),
    work=replace(CALM_WORK, usual_seconds=0.01),
    happenings=("start", "drain"),
)
def let_go_whoever_holds_it(original: Function) -> Function:
    def as_seen(write: Write, lease: Lease) -> Write:
        if write.verb in ("release", "finish_hand_off"):
            return replace(write, expects=())
        return original(write, lease)  # type: ignore[no-any-return]  # a Function answers Any

    return as_seen


@on_leases(
    "lease_store.verbs:as_seen",
    rule="Many leases are taken under the conditions of one: none has moved since it was seen.",
    caught_by=("one trusting worker", "each write moves the counter by one", "takes only after the failover time"),
    keys=12,
    places=1,
    network=replace(LOSSY, late=0.2),
)
def take_many_whatever_the_counter(original: Function) -> Function:
    def as_seen(write: Write, lease: Lease) -> Write:
        seen: Write = original(write, lease)
        return whatever_the_counter(seen) if write.verb == "take" else seen

    return as_seen


@on_leases(
    "consumer.leasing.lease_calls:LeaseCalls._send",
    rule="A batch of takes without a reply wins nothing: who owns the rows is read.",
    caught_by=("one trusting worker", "a tenure starts at the stored checkpoint", "nothing done with comes again"),
    keys=12,
    places=1,
    network=replace(LOSSY, lost_request=0.3),
    happenings=("crash", "start"),
)
def a_lost_batch_of_takes_wins(original: Function) -> Function:
    return _unknown_stands(original, "take")


@on_leases(
    "consumer.leasing.lease_calls:LeaseCalls._send",
    rule="A statement that is refused under HTTP 200 is refused.",
    caught_by=("a renewal is a write that stands",),
    failover=10.0,
    keys=12,
    # Owners hear of hand-offs by refusals, since they seldom see the table.
    network=replace(Calm(), sites={"scan.refused": 0.6}),
    work=replace(CALM_WORK, checkpoint=0.0),
    phase=150.0,
    pause=15.0,
    happenings=("start", "drain"),
)
def a_refused_statement_stands(original: Function) -> Function:
    def hear(send: Send, result: Any) -> Any:
        return Applied(result.lease) if _is_a_tenures(send) and isinstance(result, Refused) and result.lease else result

    return _misheard(original, hear)


@on_leases(
    "consumer.leasing.held_lease:HeldLease.begin_renewal",
    rule="Trust runs from the send of a batch, not from its reply.",
    caught_by=("one trusting worker", "short slices do not overlap"),
    failover=10.0,
    keys=12,
    # Replies as late as they may be, and after them none for long.
    network=replace(Calm(usual_seconds=0.005), late_seconds=1.6, sites={"renew.late": 0.5, "renew.lost_request": 0.6}),
    work=replace(CALM_WORK, checkpoint=0.0),
    phase=150.0,
    pause=20.0,
    happenings=("nothing",),
)
def trust_from_the_reply_of_a_batch(original: Function) -> Function:
    def begin_renewal(self: Any, on_end: Any, *, together: bool) -> Any:
        def ended(writing: Writing) -> None:
            if together and self.over is None and writing.error is None:
                self.trusted_until = self._terms.clock.monotonic() + self._terms.timing.trust_seconds
            on_end(writing)

        return original(self, ended, together=together)

    return begin_renewal


@on_leases(
    "consumer.leasing.renewals:Renewals._begun",
    rule="A request has one write a lease at most.",
    caught_by=("one write a lease in a request",),
    keys=12,
    happenings=("nothing",),
)
def one_lease_twice_in_a_batch(original: Function) -> Function:
    def _begun(self: Any, group: Sequence[HeldLease]) -> list[Writing]:
        begun: list[Writing] = original(self, group)
        again = Writing(group[0]._renewal(together=True), lambda _: None)
        return [*begun, again] if len(begun) > 1 else begun

    return _begun


@on_leases(
    "consumer.leasing.held_row:HeldRow.renew_due_at",
    rule="No renewal goes before it is due: writes are what leases cost.",
    caught_by=("no renewal before it is due",),
    faults="none",
    happenings=("nothing",),
)
def renewals_before_they_are_due(original: Function) -> Function:
    def renew_due_at(self: Any) -> float:
        return float(original(self)) - 0.05 * float(self._terms.timing.renew_seconds)

    return renew_due_at


@on_leases(
    "consumer.leasing.timing:LeaseTiming.renew_seconds",
    rule="A renewal is due early enough for its reply, and for another if that is lost.",
    caught_by=("no tenure is lost in peace",),
    faults="none",
    work=replace(CALM_WORK, checkpoint=0.0),
    happenings=("nothing",),
)
def renewals_when_trust_is_out(_: Function) -> Function:
    def renew_seconds(self: Any) -> float:
        return float(self.trust_seconds) - 0.005

    return renew_seconds
