"""Checkpoints that fall due at one moment: in few requests, each with its own fate, and nobody waits for another."""

from __future__ import annotations

import asyncio
from typing import Any

from consumer.errors import LeaseLost
from consumer.leasing.held_lease import HeldLease
from lease_store import verbs
from lease_store.checkpoint import Checkpoint
from lease_store.errors import LeaseStoreError, LeaseTableThrottled
from tests.unit.leasing.round_stage import TIMING, Round, on_round

A, B, C, D = "a", "b", "c", "d"
Heard = dict[str, LeaseLost | LeaseStoreError | None]


def store(play: Round, leases: list[HeldLease], number: str = "5") -> tuple[asyncio.Task[Any], Heard]:
    """Begin to store a checkpoint under each; what was heard so far."""
    heard: Heard = {}

    def told(held: HeldLease, error: LeaseLost | LeaseStoreError | None) -> None:
        assert held.key not in heard, "once each"
        heard[held.key] = error

    wanted = [(held, Checkpoint(number)) for held in leases]
    return play.bench.begin(play.checkpoints.store(wanted, told)), heard


@on_round
async def test_they_go_in_one_request_and_stand_for_renewals(play: Round) -> None:
    leases = play.hold(A, B, C)
    await play.until(1.0)
    task, heard = store(play, leases)
    await task
    assert heard == dict.fromkeys((A, B, C))
    assert play.sent == [(1.0, [A, B, C])]
    assert {held.lease.checkpoint for held in leases} == {Checkpoint("5")}
    await play.until(TIMING.renew_seconds + 0.9)
    assert len(play.sent) == 1, "their heartbeats are due when so much time has passed since"


@on_round
async def test_sixty_take_three_requests_and_one_alone_is_a_plain_write(play: Round) -> None:
    leases = play.hold(*(f"{number:02d}" for number in range(60)))
    await store(play, leases)[0]
    await store(play, leases[:1], "6")[0]
    assert [len(keys) for _, keys in play.sent] == [25, 25, 10, 1]
    assert play.bench.sent == ["set_checkpoint"]


@on_round
async def test_each_statement_has_a_fate_of_its_own(play: Round) -> None:
    a, b, c = play.hold(A, B, C)
    play.bench.apply(verbs.take(b.lease, "thief"))
    play.fates = [lambda write: LeaseTableThrottled() if write.key == C else None]
    task, heard = store(play, [a, b, c])
    await task
    assert heard[A] is None
    assert isinstance(heard[B], LeaseLost)
    assert isinstance(heard[C], LeaseTableThrottled)
    assert [held.lease.checkpoint.is_number for held in (a, c)] == [True, False]


@on_round
async def test_one_that_another_write_has_in_hand_waits_by_itself(play: Round) -> None:
    a, b, c = play.hold(A, B, C)
    await a._turn.take()
    task, heard = store(play, [a, b, c])
    await play.until(0.1)
    assert heard == dict.fromkeys((B, C))
    assert not task.done()
    a._turn.give_back()
    await task
    assert heard == dict.fromkeys((A, B, C))
    assert [keys for _, keys in play.sent] == [[B, C], [A]]


@on_round
async def test_a_lost_batch_of_checkpoints_is_settled_by_one_read(play: Round) -> None:
    leases = play.hold(A, B, C)
    play.fates = ["lost, applied"]
    task, heard = store(play, leases)
    await task
    assert heard == dict.fromkeys((A, B, C))
    assert (len(play.sent), play.reads) == (1, [[A, B, C]])
    assert {held.trusted_until for held in leases} == {play.started + TIMING.trust_seconds}


@on_round
async def test_what_is_being_handed_over_goes_by_itself(play: Round) -> None:
    a, b, c, d = play.hold(A, B, C, D)
    await d.start_hand_off("next")
    task, heard = store(play, [a, b, c, d])
    await task
    assert heard == dict.fromkeys((A, B, C, D))
    assert sorted(keys for _, keys in play.sent[1:]) == [[A, B, C], [D]]


@on_round
async def test_who_asked_and_went_away_leaves_no_turn_taken(play: Round) -> None:
    leases = play.hold(A, B, C)
    play.fates = ["lost"]
    task, _ = store(play, leases)
    await play.until(0.5)
    task.cancel()
    await asyncio.wait({task})
    await store(play, leases, "6")[0]
    assert {held.lease.checkpoint for held in leases} == {Checkpoint("6")}


@on_round
async def test_who_went_away_leaves_nobody_waiting_for_a_turn(play: Round) -> None:
    a, b, c = play.hold(A, B, C)
    await a._turn.take()
    play.fates = ["lost"]
    task, heard = store(play, [a, b, c])
    await play.until(0.1)
    task.cancel()
    await asyncio.wait({task})
    a._turn.give_back()
    await play.until(1.0)
    assert heard == {}
    assert [keys for _, keys in play.sent] == [[B, C]]


@on_round
async def test_a_checkpoint_that_was_given_up_on_may_be_in_the_table_and_is_not_told_as_stored(play: Round) -> None:
    """Its counter is this tenure's own: the next write must not take it for somebody else's."""
    leases = play.hold(A, B, C)
    play.fates = ["lost, applied"]
    task, heard = store(play, leases)
    await play.until(0.5)
    task.cancel()
    await asyncio.wait({task})
    assert heard == {}
    await store(play, leases, "6")[0]
    assert {(held.over, held.lease.checkpoint) for held in leases} == {(None, Checkpoint("6"))}


@on_round
async def test_those_whose_trust_ends_at_different_times_go_together_while_all_have_time_enough(play: Round) -> None:
    leases = []
    for number, key in enumerate((A, B, C, D)):
        await play.until(float(number))
        leases += play.hold(key)
    await play.until(3.5)
    await store(play, leases)[0]
    assert play.sent == [(3.5, [A, B, C, D])]


@on_round
async def test_one_whose_trust_ends_soon_cuts_the_time_of_no_other(play: Round) -> None:
    """It has a request of its own, which may wait for the reply no longer than that."""
    leases = play.hold(A)
    play.renewals._due.clear()  # as if its renewals failed
    await play.until(TIMING.trust_seconds - 0.5)
    leases += play.hold(B, C)
    await store(play, leases)[0]
    assert sorted(keys for _, keys in play.sent) == [[A], [B, C]]
