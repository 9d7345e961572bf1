"""One round for all of a worker's leases: when each goes, with whom, and what a batch's fate means for each of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from consumer.hooks import Throttled
from lease_store import verbs
from lease_store.checkpoint import Checkpoint
from lease_store.errors import LeaseTableThrottled, LeaseTableUnavailable
from lease_store.lease import Lease
from lease_store.store import Unknown
from tests.unit.leasing.loop_stage import leases_on
from tests.unit.leasing.round_stage import TIMING, Round, on_round
from tests.unit.leasing.scripted_store import ME, Bench, on_bench, stand_still

R, TRUST = TIMING.renew_seconds, TIMING.trust_seconds
A, B, C, D = "a", "b", "c", "d"
# More than twice as many as may be under way.
_TWO_WAVES = 2 * 28 * 25 + 2


@on_round
async def test_those_due_together_go_in_one_request_when_they_are_due_and_never_before(play: Round) -> None:
    play.hold(A, B, C)
    await play.until(2 * R + 0.1)
    assert play.sent == [(R, [A, B, C]), (2 * R, [A, B, C])]


@on_round
async def test_one_that_is_due_by_itself_goes_as_a_plain_write(play: Round) -> None:
    play.hold(A)
    await play.until(R + 0.1)
    assert play.sent == [(R, [A])]
    assert play.bench.sent == ["renew"]


@on_round
async def test_one_that_is_due_waits_a_little_for_others_and_they_stay_together(play: Round) -> None:
    for key, at in ((A, 0.0), (B, 0.1), (C, 0.2), (D, 1.0)):
        await play.until(at)
        play.hold(key)
    await play.until(2 * R + 0.3)
    assert play.sent == [(R + 0.2, [A, B, C]), (R + 1.0, [D]), (2 * R + 0.2, [A, B, C])]


@on_round
async def test_a_request_has_room_for_25(play: Round) -> None:
    keys = [f"{number:02d}" for number in range(60)]
    play.hold(*keys)
    await play.until(R + 0.1)
    assert [len(sent) for _, sent in play.sent] == [25, 25, 10]
    assert sorted(key for _, sent in play.sent for key in sent) == keys, "each once"


@on_round
async def test_a_checkpoint_stands_for_a_renewal(play: Round) -> None:
    """Every 10 s: then the renewal between two checkpoints is the only one, and 720 writes an hour are enough."""
    (held,) = play.hold(A)
    for number in range(1, 7):
        await play.until(10.0 * number)
        await held.checkpoint(Checkpoint(str(number)))
    assert (play.bench.sent.count("renew"), play.bench.sent.count("set_checkpoint")) == (6, 6)


@on_round
async def test_a_lease_costs_at_most_720_writes_an_hour_idle_or_with_a_checkpoint_every_10_s(play: Round) -> None:
    """At a failover time of 10 s; a KCL makes 1,088 and 1,448 of it."""
    _, busy = play.hold(A, B)
    for number in range(1, 361):
        # As late as a worker's tick and its way to this loop may be.
        await play.until(10.0 * number + 0.02)
        await busy.checkpoint(Checkpoint(str(number)))
    written = Counter(key for _, keys in play.sent for key in keys)
    assert 680 <= written[A] <= 690
    assert written[B] <= 720


@on_round
async def test_what_was_checkpointed_meanwhile_is_left_out(play: Round) -> None:
    a, *_ = play.hold(A, B, C, D)
    await play.until(3.0)
    await a.checkpoint(Checkpoint("5"))
    await play.until(R + 0.1)
    assert play.sent[1:] == [(R, [B, C, D])]


@on_round
async def test_a_batch_takes_no_lease_that_is_being_written_and_waits_for_none(play: Round) -> None:
    """That one goes by itself when its turn comes, if it is still due."""
    a, *_ = play.hold(A, B, C, D)
    await a._turn.take()
    await play.until(R + 0.5)
    assert play.sent == [(R, [B, C, D])]
    a._turn.give_back()
    await play.until(R + 0.6)
    assert play.sent[1:] == [(R + 0.5, [A])]


@on_round
async def test_a_turn_that_is_taken_in_between_keeps_nobody_waiting(play: Round) -> None:
    a, b, c = play.hold(A, B, C)
    await play.until(R)
    await a._turn.take()
    assert a.begin_renewal(lambda _: None, together=True) is None
    await play.until(R + 0.1)
    assert sorted(key for _, keys in play.sent for key in keys) == [B, C]
    a._turn.give_back()
    await play.until(R + 0.2)
    assert {held.lease.counter for held in (a, b, c)} == {8}


@on_round
async def test_a_lost_batch_that_stands_is_settled_by_one_read_and_trust_runs_from_its_send(play: Round) -> None:
    leases = play.hold(A, B, C)
    play.fates = ["lost, applied"]
    await play.until(R + TIMING.call_seconds + 0.1)
    assert play.sent == [(R, [A, B, C])]
    assert play.reads == [[A, B, C]]
    assert {held.trusted_until - play.started for held in leases} == {R + TRUST}


@on_round
async def test_a_lost_batch_that_never_arrived_is_read_and_sent_again_together(play: Round) -> None:
    leases = play.hold(A, B, C)
    play.fates = ["lost"]
    again = R + TIMING.call_seconds
    await play.until(again + 0.1)
    assert [keys for _, keys in play.sent] == [[A, B, C]] * 2
    assert play.reads == [[A, B, C]]
    assert [held.trusted_until - play.started for held in leases] == [pytest.approx(again + TRUST)] * 3
    assert [held.lease.counter for held in leases] == [8, 8, 8]


@on_round
async def test_the_unsettled_of_a_batch_never_trust_beyond_their_oldest_send(play: Round) -> None:
    """Two sends, both lost: which of them was applied can't be told."""
    leases = play.hold(A, B, C)
    play.fates = ["lost", "lost, applied"]
    await play.until(R + 2 * TIMING.call_seconds + 0.2)
    assert play.reads == [[A, B, C]] * 2
    assert {held.trusted_until - play.started for held in leases} == {R + TRUST}


@on_round
async def test_one_whole_batch_may_be_lost_and_no_tenure_with_it(play: Round) -> None:
    leases = play.hold(A, B, C)
    play.fates = ["lost"]
    await play.until(3 * R)
    assert [held.over for held in leases] == [None] * 3


@on_round
async def test_each_statement_is_judged_by_itself_under_a_reply_that_is_well(play: Round) -> None:
    a, b, c, d = play.hold(A, B, C, D)
    play.bench.apply(verbs.take(b.lease, "thief"))
    fates: dict[str, Any] = {C: LeaseTableThrottled(), D: Unknown("the service failed")}
    play.fates = [lambda write: fates.get(write.key)]
    await play.until(R + 0.01)
    assert (a.over, a.lease.counter) == (None, 8)
    assert (b.over, b.lease.owner) == ("lost", "thief")
    assert Throttled(C, "renew") in play.bench.facts
    await play.until(R + 0.3)
    assert (c.over, c.lease.counter) == (None, 8)
    assert (d.over, d.lease.counter) == (None, 8)
    assert all(set(keys) <= {C, D} for _, keys in play.sent[1:]), "nobody else is written again"


@on_round
async def test_a_batch_that_was_refused_as_a_whole_is_tried_again_soon_and_nothing_is_lost(play: Round) -> None:
    leases = play.hold(A, B, C)
    play.fates = [lambda write: LeaseTableUnavailable()]
    await play.until(R + 1.0)
    assert [(held.over, held.lease.counter) for held in leases] == [(None, 8)] * 3


@on_round
async def test_a_hand_off_started_meanwhile_is_heard_of_and_the_renewal_goes_again(play: Round) -> None:
    a, *_ = play.hold(A, B, C)
    play.bench.apply(verbs.start_hand_off(a.lease, "next"))
    await play.until(R + 0.1)
    assert a.hand_off_to == "next"
    assert (a.over, a.lease.counter) == (None, 8)
    await play.until(2 * R + 0.1)
    assert sorted(keys for _, keys in play.sent[-2:]) == [[A], [B, C]], "while it is pending it goes by itself"


@on_round
async def test_a_table_that_answers_nothing_ends_each_tenure_when_its_trust_is_out(play: Round) -> None:
    leases = play.hold(A, B, C)
    play.fates = ["lost"] * 20

    async def silent(keys: Sequence[str]) -> list[Any]:
        await asyncio.Event().wait()
        return []

    play.bench.read_many = silent  # type: ignore[method-assign]
    await play.until(TRUST)
    assert all(held.trusted_until <= play.bench.clock.monotonic() for held in leases)
    await play.until(TRUST + TIMING.call_seconds)
    assert [held.over for held in leases] == ["expired"] * 3


@on_round
async def test_an_endpoint_that_takes_no_batches_gets_none(play: Round) -> None:
    type(play.bench).most_together = property(lambda _: 1)  # type: ignore[method-assign, assignment]
    try:
        play.hold(A, B, C, D)
        await play.until(R + 0.1)
        assert play.sent == [(R, [key]) for key in (A, B, C, D)]
    finally:
        del type(play.bench).most_together


@on_round
async def test_a_lease_that_is_over_is_forgotten(play: Round) -> None:
    a, *_ = play.hold(A, B, C)
    await a.release()
    await play.until(R + 0.1)
    assert play.sent[1:] == [(R, [B, C])]


@on_round
async def test_nothing_is_remembered_of_renewals_that_failed_once_their_lease_is_over(play: Round) -> None:
    a, b = play.hold(A, B)
    play.fates = [lambda write: LeaseTableThrottled()]
    await play.until(R + 0.01)
    assert play.renewals._troubles.keys() == {A, B}
    a.end("lost")
    await play.until(3 * R)
    assert b.over is None
    assert play.renewals._troubles == {}


@on_round
async def test_no_lease_costs_a_task(play: Round) -> None:
    await asyncio.sleep(0)
    before = len(asyncio.all_tasks())
    play.hold(*(f"{number:03d}" for number in range(500)))
    await play.until(R - 0.1)
    assert len(asyncio.all_tasks()) == before
    await play.until(3 * R - 0.1)
    assert len(asyncio.all_tasks()) == before


@on_round
async def test_renewals_are_late_once_they_go_later_than_a_call_may_take(play: Round) -> None:
    """So many hang that others have to wait for a place: then nothing more is taken on, until all go in time again."""
    play.fates = ["lost"] * 112
    play.hold(*(f"{number:04d}" for number in range(_TWO_WAVES)))
    await play.until(R + 1.0)
    assert len(play.sent) == 28
    await play.until(R + TIMING.gather_seconds + TIMING.call_seconds - 0.1)
    assert not play.renewals.are_late()
    await play.until(R + TIMING.gather_seconds + TIMING.call_seconds + 0.1)
    assert play.renewals.are_late()
    await play.until(3 * R)
    assert not play.renewals.are_late()


@on_round
async def test_nothing_is_late_where_nothing_is_held_any_more(play: Round) -> None:
    """A worker that stood still for long loses all it has, and then takes on again what it can get."""
    play.fates = ["lost"] * 100

    async def silent(keys: Sequence[str]) -> list[Any]:
        await asyncio.Event().wait()
        return []

    play.bench.read_many = silent  # type: ignore[method-assign]
    leases = play.hold(*(f"{number:04d}" for number in range(_TWO_WAVES)))
    await play.until(TRUST - 0.1)
    assert play.renewals.are_late()
    await play.until(TRUST + 3 * TIMING.call_seconds)  # their reads wait for places, and hang one after another
    assert {held.over for held in leases} == {"expired"}
    assert not play.renewals.are_late()


@on_round
async def test_being_late_passes_where_checkpoints_stand_for_all_renewals(play: Round) -> None:
    """No renewal is due any more that could go in time."""
    play.fates = ["lost"] * 100

    async def silent(keys: Sequence[str]) -> list[Any]:
        await asyncio.Event().wait()
        return []

    play.bench.read_many = silent  # type: ignore[method-assign]
    play.hold(*(f"{number:04d}" for number in range(_TWO_WAVES)))
    await play.until(TRUST - 1.0)
    (held,) = play.hold("new")
    assert play.renewals.are_late()
    for number in range(1, 12):
        await play.until(TRUST - 1.0 + number)
        await held.checkpoint(Checkpoint(str(number)))
    assert held.over is None
    assert not play.renewals.are_late()


@on_round
async def test_a_lost_reply_makes_nothing_late(play: Round) -> None:
    play.fates = ["lost", "lost"]
    play.hold(A, B, C)
    for _ in range(100):
        await play.bench.clock.sleep(0.1)
        assert not play.renewals.are_late()


@on_bench
async def test_no_tenure_begins_while_renewals_are_late(bench: Bench) -> None:
    leases = leases_on(bench)
    for key, owner in (("idle", None), ("mine", ME), ("robbed", "thief")):
        bench.apply(verbs.create(Lease(key=key, owner=owner, created_at="1")))
        await leases.read(key)
    await stand_still(leases, 11.0)
    leases.renewals_are_late = lambda: bench.clock.monotonic() < began + 3.0
    began = bench.clock.monotonic()
    bench.sent.clear()
    works = [bench.begin(work) for work in (leases.take("idle"), leases.accept("mine"), leases.rob("robbed", "thief"))]
    await bench.clock.sleep(2.9)
    assert bench.sent == []
    assert [await work for work in works] == [True, True, True]
    assert sorted(leases.held) == ["idle", "mine", "robbed"]
