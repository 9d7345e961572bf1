"""The safeguards of a tenure one by one: each test stages the very moment in which its safeguard alone keeps the peace.

The judge of the lease world watches all of them: no two trust one lease, no short slices overlap, nothing is repeated
or left out, no checkpoint goes back.
"""

from __future__ import annotations

import asyncio

import pytest

from consumer.errors import LeaseLost
from lease_store import verbs
from lease_store.checkpoint import TRIM_HORIZON, Checkpoint
from lease_store.errors import LeaseTableThrottled
from tests.simulation.directed.stage import Fate, Stage, directed
from tests.simulation.leases.draw import Work
from tests.simulation.leases.process import SimWorker

F = 10.0
BUSY = Work(0.05, 0.0, 0.0, 1.0, 0.0, 0.0)
LATE_REPLY = 1.5  # within what a call may take


async def look(worker: SimWorker, key: str = "00") -> None:
    await worker.seam.call(worker.loop.read(key))


# -- only a counter that stood for a failover time is taken, and only as it was seen


@directed()
async def test_a_take_that_arrives_after_the_owner_renewed_is_refused(stage: Stage) -> None:
    owner, peer = await stage.owner_and_peer()
    stage.calls("renew", Fate(lost=True), of=owner, times=4)
    # The last renewal under trust is late by more than its time-out, and the peer's take later still.
    stage.calls("renew", Fate(there=1.5), of=owner)
    take = stage.calls("take", Fate(there=1.9), of=peer, times=20)
    await asyncio.sleep(3 * F)
    assert take.struck == 0 or stage.row().actual_owner == stage.holder()
    assert stage.holder() is not None


@directed()
async def test_a_live_owner_that_is_slow_keeps_its_lease_until_a_failover_time_has_passed(stage: Stage) -> None:
    """Renewals are lost until just before the peer may take: it must not have taken before."""
    owner, peer = await stage.owner_and_peer()
    renewed_at = stage.loop.time()
    moved = stage.row().counter
    stage.calls("renew", Fate(lost=True), of=owner, times=100)
    await stage.until(lambda: stage.row().counter != moved, 2 * F)
    assert stage.row().actual_owner == peer.name
    assert stage.loop.time() - renewed_at > F - 3.5  # the last renewal was at most a renewal's interval before


@directed(keys=1)
async def test_a_take_ends_the_hand_off_that_the_dead_owner_had_begun(stage: Stage) -> None:
    owner, receiver = await stage.owner_and_peer()
    third = stage.start()
    await asyncio.sleep(6.0)
    held = owner.loop.leases.held["00"]
    await owner.seam.call(held.start_hand_off(receiver.name))
    stage.crash(owner)
    stage.crash(receiver)
    await stage.until(lambda: stage.holder() == third.name, F + 2.5)
    assert (stage.row().owner, stage.row().checkpoint_owner) == (third.name, None)
    await asyncio.sleep(2 * F)
    assert stage.holder() == third.name


# -- where a tenure begins


@directed(work=BUSY, stale_seconds=8.0)
async def test_the_position_comes_from_the_reply_and_not_from_a_stale_scan(stage: Stage) -> None:
    owner, _ = await stage.owner_and_peer()
    await asyncio.sleep(5.0)
    owner.drain()
    await stage.until(lambda: stage.holder() not in (None, owner.name), 5.0)
    await asyncio.sleep(3.0)  # the judge: no record at or below the checkpoint, and no tenure at another position


@directed()
async def test_a_row_that_was_read_long_ago_is_accepted_only_by_a_write(stage: Stage) -> None:
    """The receiver's machine sleeps between the last read that shows it as owner and what it makes of that."""
    owner, receiver = await stage.owner_and_peer()
    third = stage.start()
    await asyncio.sleep(6.0)
    sleep = Fate(arrived=lambda: stage.freeze(receiver, 2 * F, asleep=True))
    # The first read is the poll that tells of the finish, the second that of the acceptance.
    stage.calls("finish_hand_off", Fate(arrived=lambda: stage.calls("read", sleep, of=receiver, nth=2)), of=owner)
    owner.drain()
    await stage.until(lambda: receiver.frozen, 10.0)
    assert stage.row().actual_owner == receiver.name
    await stage.until(lambda: stage.holder() == third.name, F + 3.5)
    await stage.until(lambda: not receiver.frozen, 2 * F)
    await asyncio.sleep(F)
    assert stage.holder() == third.name


# -- an unknown write is settled by a read


@directed()
async def test_renewals_that_never_arrive_are_not_taken_for_applied(stage: Stage) -> None:
    owner, peer = await stage.owner_and_peer()
    stage.calls("renew", Fate(lost=True), of=owner, times=1_000)
    await stage.until(lambda: stage.holder() == peer.name, F + 3.5)
    await asyncio.sleep(F)


@directed()
async def test_a_take_that_never_arrives_begins_nothing(stage: Stage) -> None:
    owner, peer = await stage.owner_and_peer()
    third = stage.start()
    await asyncio.sleep(6.0)
    stage.crash(owner)
    lost = stage.calls("take", Fate(lost=True), of=peer, times=1_000)
    await stage.until(lambda: stage.holder() == third.name, F + 4.5)
    assert lost.struck
    await asyncio.sleep(F)


@directed()
async def test_a_checkpoint_refused_after_a_late_renewal_whose_reply_was_lost_costs_nothing(stage: Stage) -> None:
    """The renewal is given up on, sent again and throttled; it arrives after all, and the counter is not as known."""
    owner, _ = await stage.owner_and_peer()
    held = owner.loop.leases.held["00"]
    await owner.seam.call(held.renew())  # so that no heartbeat is due meanwhile
    stage.calls("renew", Fate(there=1.75, unheard=True), of=owner)
    stage.calls("renew", Fate(refused=True), of=owner)
    with pytest.raises(LeaseTableThrottled):
        await owner.seam.call(held.renew())
    await asyncio.sleep(0.1)
    assert stage.row().counter == held.lease.counter + 1
    await owner.seam.call(owner.loop.checkpoint(held, Checkpoint("0")))
    assert held.over is None
    assert stage.row().checkpoint == Checkpoint("0")
    assert stage.judge.tenures == 1


# -- where a tenure ends


@directed(work=BUSY)
async def test_trust_ends_when_a_finish_is_sent_though_its_reply_is_late(stage: Stage) -> None:
    owner, receiver = await stage.owner_and_peer()
    stage.calls("finish_hand_off", Fate(back=LATE_REPLY), of=owner)
    held = owner.loop.leases.held["00"]
    await owner.seam.call(held.start_hand_off(receiver.name))
    await stage.until(lambda: stage.holder() == receiver.name, 5.0)
    assert not owner.trusts(held)
    await asyncio.sleep(3.0)


@directed(work=BUSY)
async def test_trust_ends_when_a_release_is_sent_though_its_reply_is_late(stage: Stage) -> None:
    owner = stage.start()
    await stage.until(lambda: stage.holder() == owner.name, 3.0)
    stage.calls("release", Fate(back=LATE_REPLY), of=owner)
    owner.drain()
    await stage.until(lambda: stage.row().owner is None, 5.0)
    peer = stage.start()
    await stage.until(lambda: stage.holder() == peer.name, 3.0)
    await asyncio.sleep(3.0)


@directed()
async def test_trust_runs_from_the_send_of_a_renewal_and_not_from_its_reply(stage: Stage) -> None:
    """The last renewal that arrives is applied at once; its reply is as late as it may be, and the peer saw it move."""
    owner, peer = await stage.owner_and_peer()
    held = owner.loop.leases.held["00"]
    renewed = stage.calls("renew", Fate(there=0.001, back=LATE_REPLY), of=owner)
    await stage.until(lambda: renewed.struck, F)
    sent = stage.loop.time()
    stage.calls("renew", Fate(lost=True), of=owner, times=1_000)
    stage.calls("read", Fate(lost=True), of=owner, times=1_000)
    await asyncio.sleep(0.01)
    await look(peer)
    await asyncio.sleep(LATE_REPLY)
    assert held.trusted_until - owner.clock.monotonic() <= sent + 9.0 - stage.loop.time() + 0.1
    await stage.until(lambda: stage.holder() == peer.name, F + 1.0)


@pytest.mark.parametrize("failover", [1.0, 2.0, 10.0, 60.0])
def test_the_margin_bears_clocks_one_percent_apart(failover: float) -> None:
    """The owner's clock is slow, the peer's fast; the peer looks right after the last write, and takes at its first
    chance.
    """

    @directed(failover=failover)
    async def play(stage: Stage) -> None:
        owner, peer = await stage.owner_and_peer(owner_rate=0.995, peer_rate=1.005)
        held = owner.loop.leases.held["00"]
        await owner.seam.call(held.renew())
        trusted_until = held.trusted_until
        stage.calls("renew", Fate(lost=True), of=owner, times=1_000)
        await look(peer)
        await stage.until(lambda: stage.row().actual_owner == peer.name, 2 * failover + 3.0)
        assert owner.clock.monotonic() > trusted_until
        await asyncio.sleep(1.0)

    play()


@directed(failover=10.0)
async def test_a_machine_that_slept_trusts_nothing_when_it_wakes(stage: Stage) -> None:
    owner, peer = await stage.owner_and_peer()
    held = owner.loop.leases.held["00"]
    stage.freeze(owner, 2 * F, asleep=True)
    await stage.until(lambda: stage.holder() == peer.name, F + 3.5)
    await asyncio.sleep(2 * F)
    assert not owner.trusts(held)
    assert stage.holder() == peer.name


# -- two ask, one answers


@directed(work=Work(0.05, 1.0, 2.5, 0.0, 0.0, 0.0))
async def test_a_start_that_arrives_on_a_pending_row_changes_nothing(stage: Stage) -> None:
    """A start towards a third was sent when the owner owned the lease; it arrives when the lease is on its way back."""
    owner, peer = await stage.owner_and_peer()
    third = stage.start()
    await asyncio.sleep(6.0)
    late = verbs.start_hand_off(stage.row(), third.name)
    held = owner.loop.leases.held["00"]
    await owner.seam.call(held.start_hand_off(peer.name))
    await stage.until(lambda: stage.holder() == peer.name, 20.0)
    back = peer.loop.leases.held["00"]
    await peer.seam.call(back.start_hand_off(owner.name))
    await peer.seam.call(back.renew())  # by which it learns of it, as of any
    assert (stage.row().owner, stage.row().checkpoint_owner) == (owner.name, peer.name)
    stage.table.write_as(third.name, late)
    await asyncio.sleep(1.5 * F)
    assert stage.holder() == owner.name


@directed()
async def test_a_release_that_meets_a_start_becomes_a_hand_over(stage: Stage) -> None:
    """The last worker leaves; the next one has just come and asks at that very moment."""
    owner = stage.start()
    await stage.until(lambda: stage.holder() == owner.name, 3.0)
    peer = stage.start()
    await asyncio.sleep(0.5)
    held = owner.loop.leases.held["00"]
    start = verbs.start_hand_off(stage.row(), peer.name)
    release = stage.calls("release", Fate(there=0.5), of=owner)
    owner.loop.leases.draining = True
    ending = asyncio.ensure_future(owner.seam.call(owner.loop.let_go(held, False)))
    await stage.until(lambda: release.struck, 1.0)
    stage.table.write_as(peer.name, start)
    await ending
    assert held.over == "handed_off"
    assert (stage.row().owner, stage.row().checkpoint_owner) == (peer.name, None)
    await stage.until(lambda: stage.holder() == peer.name, 2.0)


# -- lineage


@directed(work=Work(0.05, 0.0, 0.0, 0.0, 0.0, 1.0))
async def test_a_child_waits_for_its_parents_end_though_its_row_is_there(stage: Stage) -> None:
    """SHARD_END is on its way for as long as a call may take; the children's rows are there, and have owners."""
    stage._records["00"] = 3
    stage.calls("end_shard", Fate(there=LATE_REPLY))
    for _ in range(2):
        stage.start()
    await stage.until(lambda: stage.table.lease("00a") is not None, 10.0)
    assert not stage.row().is_finished
    await stage.until(lambda: stage.judge.ledger.done("00a") and stage.judge.ledger.done("00b"), 15.0)
    assert stage.row().is_finished


@pytest.mark.parametrize("fate", [Fate(refused=True), Fate(lost=True), Fate(unheard=True)])
def test_no_end_is_stored_before_the_rows_of_all_children_exist(fate: Fate) -> None:
    @directed(work=Work(0.05, 0.0, 0.0, 0.0, 0.0, 1.0))
    async def play(stage: Stage) -> None:
        stage._records["00"] = 3
        worker = stage.start()
        await stage.until(lambda: stage.holder() == worker.name, 5.0)
        stage.calls("create", fate, key="00b", times=3)
        await stage.until(lambda: stage.row().is_finished, 30.0)
        assert stage.table.lease("00a") is not None
        assert stage.table.lease("00b") is not None

    play()


@directed()
async def test_no_write_leaves_under_a_tenure_that_is_over(stage: Stage) -> None:
    """Nobody has taken the lease, and the table would accept the checkpoint."""
    owner, _ = await stage.owner_and_peer()
    held = owner.loop.leases.held["00"]
    stage.calls("renew", Fate(lost=True), of=owner, times=1_000)
    await stage.until(lambda: held.over == "expired", F)
    assert stage.row().actual_owner == owner.name
    with pytest.raises(LeaseLost):
        await owner.seam.call(owner.loop.checkpoint(held, Checkpoint("0")))
    assert stage.row().checkpoint == TRIM_HORIZON
