"""Rows that are not held: taken, accepted and created; each row of the protocol table that begins a tenure."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from consumer.leasing.held_lease import HeldLease
from consumer.leasing.leases import Leases
from consumer.leasing.tenure import StopReason
from consumer.leasing.timing import LeaseTiming, scan_period_seconds
from lease_store import verbs
from lease_store.checkpoint import SHARD_END, Checkpoint
from lease_store.lease import Lease, WorkerRow
from lease_store.store import Applied
from tests.unit.leasing.loop_stage import leases_on
from tests.unit.leasing.scripted_store import ME, Bench, Step, on_bench, stand_still

TRUST = 9.0
ROW = Lease(key="s", owner="a", counter=7, created_at="1")


class Told:
    """A listener that keeps what it hears."""

    def __init__(self) -> None:
        self.began: list[HeldLease] = []
        self.stops: list[StopReason | None] = []

    def tenure_began(self, held: HeldLease) -> None:
        self.began.append(held)

    def stop_changed(self, held: HeldLease, reason: StopReason | None) -> None:
        self.stops.append(reason)


def with_row(bench: Bench, row: Lease) -> Leases:
    bench.apply(verbs.create(row))
    leases = leases_on(bench)
    leases.see(row)
    return leases


@on_bench
async def test_a_take_begins_a_tenure_trusted_from_its_send(bench: Bench) -> None:
    leases = with_row(bench, ROW)
    await stand_still(leases, 10.0)
    sent = bench.clock.monotonic()
    bench.script.append(Step(seconds=1.0))
    assert await leases.take("s")
    assert leases.held["s"].trusted_until == sent + TRUST
    assert bench.row.owner == ME


@on_bench
async def test_a_take_that_waited_for_its_turn_does_not_take_what_moved_meanwhile(bench: Bench) -> None:
    """Simulation seed 1091: the counter had been seen anew, so the condition held, and a live owner was robbed."""
    leases = with_row(bench, ROW)
    await stand_still(leases, 10.0)
    bench.other(lambda lease: verbs.renew(lease, "a"))
    leases.see(bench.row)
    assert not await leases.take("s")
    assert bench.row.owner == "a"


@on_bench
async def test_a_lease_that_nobody_looked_at_has_not_stood_still(bench: Bench) -> None:
    """Scans of large tables are further apart than the failover time: every live lease looked expired in between."""
    leases = with_row(bench, ROW)
    await bench.write_worker(WorkerRow(worker_id="a", beat=1))
    leases.peers.see(WorkerRow(worker_id="a", beat=1), bench.clock.monotonic())
    leases.looked_at = bench.clock.monotonic()
    await bench.clock.sleep(30.0)
    assert not leases.view().leases[0].is_free
    assert [worker.worker_id for worker in leases.workers()] == ["a", ME]
    assert not await leases.take("s")
    leases.looked_at = bench.clock.monotonic()
    assert leases.view().leases[0].is_free
    assert [worker.worker_id for worker in leases.workers()] == [ME]
    assert await leases.take("s")


@on_bench
async def test_a_refused_take_is_an_observation(bench: Bench) -> None:
    leases = with_row(bench, ROW)
    await stand_still(leases, 10.0)
    bench.other(lambda lease: verbs.renew(lease, "a"))
    assert not await leases.take("s")
    assert leases.observations["s"].lease.counter == 8
    assert leases.observations["s"].seen_at == bench.clock.monotonic()


@on_bench
async def test_an_unknown_take_counts_only_through_a_renewal_from_a_consistent_read(bench: Bench) -> None:
    leases = with_row(bench, ROW)
    await stand_still(leases, 10.0)
    bench.script.append(Step(lost=True))
    assert await leases.take("s")
    assert bench.sent == ["take", "read", "renew"]
    assert leases.held["s"].trusted_until == bench.clock.monotonic() + TRUST
    assert bench.row.counter == 9


@on_bench
async def test_an_unknown_take_that_was_not_applied_is_no_tenure(bench: Bench) -> None:
    leases = with_row(bench, ROW)
    await stand_still(leases, 10.0)
    bench.script.append(Step(applied=False))
    assert not await leases.take("s")
    assert not leases.held


@on_bench
async def test_the_position_comes_from_the_reply_and_not_from_a_scan(bench: Bench) -> None:
    leases = with_row(bench, replace(ROW, checkpoint=Checkpoint("5")))
    bench.other(lambda lease: verbs.set_checkpoint(lease, "a", Checkpoint("9")))
    bench.other(lambda lease: verbs.start_hand_off(lease, ME))
    bench.other(lambda lease: verbs.finish_hand_off(lease, "a"))
    assert await leases.accept("s")
    assert leases.held["s"].first_lease.checkpoint == Checkpoint("9")


@on_bench
async def test_the_row_that_began_a_tenure_is_kept_until_it_was_started_from(bench: Bench) -> None:
    """Scale: ten thousand rows as they once were."""
    leases = with_row(bench, ROW)
    await stand_still(leases, 10.0)
    assert await leases.take("s")
    held = leases.held["s"]
    await held.checkpoint(Checkpoint("9"))
    assert held.first_lease.checkpoint == ROW.checkpoint
    held.started()
    assert held.first_lease is held.lease
    assert held.fencing_token == 8


@on_bench
async def test_of_a_lease_that_is_held_one_row_is_kept(bench: Bench) -> None:
    """Scale: ten thousand rows as the tenure knew them, and ten thousand as they had been seen in the last scan."""
    leases = with_row(bench, ROW)
    await stand_still(leases, 10.0)
    assert await leases.take("s")
    held = leases.held["s"]
    await bench.clock.sleep(3.0)
    await held.renew()
    assert leases.observations["s"].lease is held.lease
    assert leases.observations["s"].seen_at == bench.clock.monotonic()
    scanned = replace(held.lease)
    leases.observations.see_scan([scanned], bench.clock.monotonic(), began=bench.clock.monotonic())
    leases.share_rows()
    assert leases.observations["s"].lease is held.lease is scanned
    leases.observations.see_scan([replace(scanned, owner="a")], bench.clock.monotonic(), began=0.0)
    leases.share_rows()
    assert held.lease is scanned


@on_bench
async def test_a_row_that_was_made_has_its_texts_in_common_with_what_it_was_made_from(bench: Bench) -> None:
    leases = leases_on(bench)
    reply = replace(ROW, created_at="".join(["1795-", "a"]), hash_range=("0", str(2**127)))
    assert reply.created_at is not (made := replace(reply, created_at="".join(["1795", "-a"]))).created_at
    bench.apply = lambda write: Applied(reply)  # type: ignore[method-assign]
    assert await leases.create(made)
    known = leases.observations["s"].lease
    assert known is reply
    assert known.created_at is made.created_at
    assert known.hash_range is made.hash_range


@on_bench
async def test_a_reply_that_comes_after_its_own_trust_begins_nothing(bench: Bench) -> None:
    leases = with_row(bench, ROW)
    await stand_still(leases, 10.0)
    bench.script.append(Step(seconds=9.0))
    assert not await leases.take("s")
    assert not leases.held
    assert bench.row.owner == ME


@pytest.mark.parametrize(
    "row",
    [
        replace(ROW, owner="a"),
        replace(ROW, owner=ME, checkpoint_owner="a"),
        replace(ROW, owner=ME, checkpoint=SHARD_END),
    ],
)
def test_only_a_row_whose_actual_owner_i_am_is_accepted(row: Lease) -> None:
    async def test(bench: Bench) -> None:
        leases = with_row(bench, row)
        assert not await leases.accept("s")
        assert "renew" not in bench.sent

    on_bench(test)()


@on_bench
async def test_a_pending_row_of_mine_is_accepted_and_its_consumer_told_to_stop(bench: Bench) -> None:
    bench.apply(verbs.create(replace(ROW, owner="next", checkpoint_owner=ME)))
    told = Told()
    assert await leases_on(bench, told).accept("s")
    assert told.stops == ["hand_off"]


@on_bench
async def test_nothing_is_taken_or_accepted_while_user_code_of_an_ended_tenure_runs(bench: Bench) -> None:
    leases = with_row(bench, replace(ROW, owner=ME))
    assert await leases.accept("s")
    held = leases.held["s"]
    held.end("restarted")
    assert not await leases.accept("s")
    await bench.clock.sleep(20.0)
    assert not await leases.take("s")
    leases.consumer_stopped(held)
    assert await leases.accept("s")


@on_bench
async def test_a_draining_worker_takes_and_accepts_nothing(bench: Bench) -> None:
    leases = with_row(bench, replace(ROW, owner=ME))
    leases.draining = True
    await bench.clock.sleep(20.0)
    assert not await leases.take("s")
    assert not await leases.accept("s")
    assert bench.sent == []


@on_bench
async def test_a_repeated_create_with_its_reply_lost_begins_no_second_tenure(bench: Bench) -> None:
    """Simulation seeds 14 and 93: two tenures of one lease in one worker."""
    told = Told()
    leases = leases_on(bench, told)
    child = Lease(key="s", owner=ME, created_at="1")
    assert await leases.create(child)
    bench.script.append(Step(lost=True))
    assert await leases.create(child)
    assert len(told.began) == 1


@on_bench
async def test_two_parents_that_end_at_once_make_one_child_with_one_tenure(bench: Bench) -> None:
    told = Told()
    leases = leases_on(bench, told)
    bench.script.extend([Step(lost=True), Step()])
    first, second = (Lease(key="s", owner=ME, created_at=each) for each in "12")
    assert await asyncio.gather(leases.create(first), leases.create(second)) == [True, True]
    assert len(told.began) == 1


@on_bench
async def test_an_unknown_create_of_nobodys_row_is_read(bench: Bench) -> None:
    leases = leases_on(bench)
    bench.script.append(Step(applied=False))
    assert not await leases.create(Lease(key="s"))
    bench.script.append(Step(lost=True))
    assert await leases.create(Lease(key="s"))


@on_bench
async def test_the_limit_counts_what_is_held_what_comes_and_what_is_about_to_be_taken(bench: Bench) -> None:
    leases = leases_on(bench, max_leases=3)
    leases.see(replace(ROW, key="coming", owner=ME, checkpoint_owner="a"))
    assert leases.has_room(leases.claimed())
    assert leases.has_room(leases.claimed() | {"x"})
    assert not leases.has_room(leases.claimed() | {"x", "y"})


@on_bench
async def test_a_full_worker_may_take_what_a_dead_owner_was_handing_to_it(bench: Bench) -> None:
    """Simulation seed 11283: counted as coming, it left no room for itself, and nobody else's lease either."""
    leases = leases_on(bench, max_leases=1)
    leases.see(replace(ROW, key="coming", owner=ME, checkpoint_owner="a"))
    assert leases.has_room(leases.claimed(), "coming")
    assert not leases.has_room(leases.claimed(), "another")


@on_bench
async def test_a_lease_taken_back_rests_for_a_minute(bench: Bench) -> None:
    leases = leases_on(bench)
    leases.see(replace(ROW, taken_back=7))
    assert not leases.view().leases[0].may_move
    await bench.clock.sleep(60.0)
    assert leases.view().leases[0].may_move


@pytest.mark.parametrize("failover", [1.0, 2.0, 10.0, 60.0])
def test_trust_ends_before_others_may_take_whatever_the_clocks_do(failover: float) -> None:
    """Observed the moment it was written, by a clock 0.5 % fast, an owner's 0.5 % slow: still apart."""
    timing = LeaseTiming(failover)
    trust_ends, taken_at = timing.trust_seconds / 0.995, failover / 1.005
    assert trust_ends < taken_at
    assert timing.renew_seconds < timing.trust_seconds


def test_scans_are_a_second_apart_until_they_would_cost_more_than_the_budget() -> None:
    assert scan_period_seconds(0, 1, 50.0) == 1.0
    assert scan_period_seconds(1000, 4, 50.0) > scan_period_seconds(1000, 1, 50.0) == 1.47
