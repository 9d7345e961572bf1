"""Whole fleets under a leader of ours: what a death costs, who takes and who does not, and leaving."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from consumer.hooks import LeaseTaken
from lease_store import verbs
from lease_store.checkpoint import LATEST, Checkpoint
from lease_store.lease import Lease
from tests.unit.leasing.kcl_3x import Kcl3x
from tests.unit.leasing.two_x_stage import Python, Shared, in_shared_table

F = 10.0


def make(shared: Shared, count: int, **fields: Any) -> None:
    for number in range(count):
        lease = Lease(key=f"shard-{number:02d}", stream="clicks@1", created_at="1-a", **fields)
        shared.store.apply(verbs.create(lease))


def leader_of(shared: Shared) -> str | None:
    lock = shared.store.rows().lock
    return None if lock is None else lock.owner


def held_by(workers: list[Python]) -> int:
    return sum(len(worker.held) for worker in workers)


async def fleet_of(shared: Shared, count: int, leases: int, **settings: Any) -> list[Python]:
    """At rest, led by one of them; only the first one was told that there is to be a leader."""
    make(shared, leases)
    workers = [shared.python("py-0", coordination="leader", **settings)]
    await shared.clock.sleep(0.7)
    workers += [shared.python(f"py-{number}", **settings) for number in range(1, count)]
    await shared.until(lambda: held_by(workers) == leases and len(shared.loads()) == count, within=40.0)
    await shared.clock.sleep(30.0)
    return workers


@pytest.mark.parametrize("who", ["leader", "follower"])
@pytest.mark.parametrize("phase", [0.0, 1.7, 3.2])
def test_whoever_dies_its_leases_are_held_elsewhere_within_a_failover_time_and_2_s(phase: float, who: str) -> None:
    @in_shared_table
    async def main(shared: Shared) -> None:
        workers = await fleet_of(shared, 3, 12)
        await shared.clock.sleep(phase)
        dead = next(worker for worker in workers if (worker.name == leader_of(shared)) == (who == "leader"))
        rest = [worker for worker in workers if worker is not dead]
        shared.kill(dead.name)
        await shared.until(lambda: held_by(rest) == 12, within=F + 2.0, every=0.05)
        await shared.stays(lambda: shared.loads() == {shared.known_as(worker.name): 6 for worker in rest}, seconds=30.0)

    main()


@in_shared_table
async def test_a_row_of_the_leader_turns_peers_into_followers_that_take_nothing(shared: Shared) -> None:
    make(shared, 8)
    peers = [shared.python(f"py-{number}") for number in range(3)]
    await shared.until(lambda: held_by(peers) == 8, within=15.0)
    await shared.clock.sleep(20.0)
    assert {peer.loop.leases.table.mode for peer in peers} == {"peer"}
    joins = shared.python("py-3", coordination="leader")
    await shared.until(lambda: leader_of(shared) == joins.name, within=3.0)
    await shared.until(lambda: {each.loop.leases.table.mode for each in peers} == {"leader"}, within=1.1)
    for peer in peers:
        peer.facts.clear()
    await shared.until(lambda: len(joins.held) == 2, within=15.0)
    shared.kill("py-2")
    await shared.until(lambda: held_by([*peers[:2], joins]) == 8, within=F + 2.0)
    taken = [fact for peer in peers for fact in peer.facts if isinstance(fact, LeaseTaken)]
    assert {fact.how for fact in taken} <= {"accepted"}


@in_shared_table
async def test_a_leader_that_drains_gives_up_its_lock_at_once_and_its_leases_without_an_expiry(shared: Shared) -> None:
    workers = await fleet_of(shared, 3, 9)
    (leaver,) = (worker for worker in workers if worker.name == leader_of(shared))
    rest = [worker for worker in workers if worker is not leaver]
    draining = shared.begin(leaver.loop.drain(25.0))
    await shared.clock.sleep(0.05)
    assert leader_of(shared) != leaver.name
    await shared.until(lambda: leader_of(shared) in {worker.name for worker in rest}, within=1.1)
    await shared.until(lambda: held_by(rest) == 9, within=5.0)
    await shared.until(draining.done, within=10.0)
    assert set(leaver.ends()) == {"handed_off"}


def test_what_has_no_place_within_the_limits_is_told_and_placed_when_somebody_comes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @in_shared_table
    async def main(shared: Shared) -> None:
        make(shared, 6)
        shared.python("py-0", coordination="leader", max_leases=4)
        await shared.clock.sleep(20.0)
        assert shared.loads() == {"py-0": 4, "": 2}
        late = shared.python("py-1")
        await shared.until(lambda: len(late.held) >= 2, within=8.0)
        await shared.until(lambda: shared.loads() == {"py-0": 3, "py-1": 3}, within=15.0)

    with caplog.at_level(logging.WARNING, "leasehold.leasing"):
        main()
    (told,) = caplog.messages
    assert told.startswith("2 shards are read by nobody, since every worker holds as many as its limit allows")


@in_shared_table
async def test_what_a_leader_moves_is_silent_for_a_poll_only(shared: Shared) -> None:
    """The receiver has not asked: named and let go of between two of its looks, a shard would be read by nobody."""
    workers = await fleet_of(shared, 2, 36)
    late = shared.python("py-2")
    silent = longest = 0.0
    while len(late.held) < 12:
        await shared.clock.sleep(0.02)
        silent = silent + 0.02 if held_by([*workers, late]) < 36 else 0.0
        longest = max(longest, silent)
    assert longest <= 0.3


@in_shared_table
async def test_who_has_missed_a_beat_is_given_nothing_and_a_gift_to_the_dead_is_taken_up_at_once(
    shared: Shared,
) -> None:
    """A worker that dies within a failover time of another looks alive when that one's leases are given away."""
    workers = await fleet_of(shared, 4, 12)
    alive = [worker for worker in workers if worker.name == leader_of(shared)]
    alive += [worker for worker in workers if worker not in alive][:1]
    first, second = [worker for worker in workers if worker not in alive]
    shared.kill(first.name)
    await shared.clock.sleep(F - 3.0)
    shared.kill(second.name)
    died_at = shared.clock.monotonic()
    gone = {shared.known_as(first.name)}
    await shared.until(lambda: not shared.loads().keys() & gone, within=5.0)
    await shared.until(lambda: held_by(alive) == 12, within=F + 2.0 - (shared.clock.monotonic() - died_at))


@in_shared_table
async def test_who_has_just_begun_leaves_the_lock_to_whoever_has_watched_for_longer(shared: Shared) -> None:
    """It would see what is free a failover time after it was."""
    workers = await fleet_of(shared, 3, 6)
    leader = next(worker for worker in workers if worker.name == leader_of(shared))
    other, dead = [worker for worker in workers if worker is not leader]
    shared.kill(dead.name)
    died_at = shared.clock.monotonic()
    await shared.clock.sleep(6.0)
    newcomers = [shared.python(f"new-{number}") for number in range(4)]
    await shared.clock.sleep(1.0)
    shared.begin(leader.loop.drain(25.0))
    await shared.until(lambda: leader_of(shared) not in (None, leader.name), within=2.0)
    assert leader_of(shared) == other.name
    left = [other, *newcomers]
    await shared.until(lambda: held_by(left) == 6, within=F + 2.0 - (shared.clock.monotonic() - died_at))


# -- a KCL among them


async def joined(shared: Shared, **fields: Any) -> tuple[list[Python], Kcl3x]:
    """Two of ours, one of them the leader, and a KCL that joined them and has its share."""
    workers = await fleet_of(shared, 2, 6)
    java = Kcl3x("java", shared.store, shared.clock, **fields)
    shared.enter("java", java.run())
    await shared.until(lambda: len(java.held) == 2, within=40.0)
    return workers, java


@in_shared_table
async def test_a_kcl_is_given_its_share_by_hand_off_and_the_time_it_takes_to_hear_of_it(shared: Shared) -> None:
    """Its first renewal of a lease may come 13 s after it was given: no earlier is it suspected."""
    workers, _java = await joined(shared)
    await shared.stays(lambda: shared.loads() == {"py-0": 2, "py-1": 2, "java": 2}, seconds=90.0)
    assert {reason for worker in workers for reason in worker.ends()} == {"handed_off"}


@in_shared_table
async def test_a_kcl_that_dies_is_replaced_in_a_failover_time_and_given_nothing_more(shared: Shared) -> None:
    workers, _ = await joined(shared)
    await shared.clock.sleep(20.0)
    shared.kill("java")
    await shared.until(lambda: held_by(workers) == 6, within=F + 2.0)
    await shared.stays(lambda: held_by(workers) == 6, seconds=90.0)


@in_shared_table
async def test_a_dead_kcls_row_is_deleted_and_a_living_ones_comes_again(shared: Shared) -> None:
    """Seen: the next KCL leader gave leases to it by a row 30 s old; they were read by nobody for 33 s."""
    workers, java = await joined(shared)
    await shared.clock.sleep(20.0)
    shared.kill("java")
    await shared.until(lambda: held_by(workers) == 6, within=F + 2.0)
    await shared.until(lambda: "java" not in {row.worker_id for row in shared.store.rows().workers}, within=2.0)
    java.held.clear()
    shared.enter("java", java.run())
    await shared.until(lambda: len(java.held) == 2, within=40.0)
    assert "java" in {row.worker_id for row in shared.store.rows().workers}


@in_shared_table
async def test_a_kcl_that_does_not_let_go_is_cut_off_after_its_own_leaders_time(shared: Shared) -> None:
    _, java = await joined(shared, batch_seconds=1e6)
    third = shared.python("py-2")
    fourth = shared.python("py-3")
    fifth = shared.python("py-4")
    began = shared.clock.monotonic()
    await shared.until(lambda: len(java.held) == 1, within=60.0)
    assert shared.clock.monotonic() - began >= 30.0 + F
    await shared.until(lambda: held_by([third, fourth, fifth]) >= 3, within=15.0)


@in_shared_table
async def test_a_kcl_whose_newest_sample_failed_is_given_nothing(shared: Shared) -> None:
    workers = await fleet_of(shared, 2, 6)
    java = Kcl3x("java", shared.store, shared.clock, samples=(20.0, -1.0))
    shared.enter("java", java.run())
    await shared.stays(lambda: held_by(workers) == 6, seconds=60.0)


@in_shared_table
async def test_a_shard_of_which_nothing_is_read_yet_from_latest_on_is_not_handed_to_a_kcl(shared: Shared) -> None:
    """It begins at the tip, when it gets there: what came meanwhile would be read by nobody."""
    make(shared, 4, checkpoint=LATEST)
    ours = shared.python("py-0", coordination="leader")
    await shared.until(lambda: len(ours.held) == 4, within=10.0)
    java = Kcl3x("java", shared.store, shared.clock)
    shared.enter("java", java.run())
    await shared.stays(lambda: len(ours.held) == 4, seconds=40.0)
    for key in ("shard-00", "shard-01"):
        await ours.loop.leases.held[key].checkpoint(Checkpoint("7"))
    await shared.until(lambda: sorted(java.held) == ["shard-00", "shard-01"], within=40.0)


@in_shared_table
async def test_a_leader_beside_a_kcl_has_the_index_made_that_the_kcl_asks(shared: Shared) -> None:
    await joined(shared)
    assert await shared.store.owned_by("java") is not None


@in_shared_table
async def test_who_drains_hands_its_leases_to_a_kcl(shared: Shared) -> None:
    make(shared, 4)
    ours = shared.python("py-0", coordination="leader")
    await shared.until(lambda: len(ours.held) == 4, within=10.0)
    java = Kcl3x("java", shared.store, shared.clock)
    shared.enter("java", java.run())
    await shared.clock.sleep(35.0)
    draining = shared.begin(ours.loop.drain(60.0))
    await shared.until(lambda: shared.loads() == {"java": 4}, within=5.0)
    await shared.until(lambda: len(java.held) == 4, within=12.0)
    await shared.until(draining.done, within=20.0)
    assert "expired" not in ours.ends()
