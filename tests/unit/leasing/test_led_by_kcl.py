"""Under the lock of a KCL 3.5: assignments accepted, hand-offs obeyed, nothing taken, and what its death costs."""

from __future__ import annotations

from typing import Any

import pytest

from consumer.hooks import LeaseTaken, ModeChanged
from lease_store import verbs
from lease_store.checkpoint import SHARD_END
from lease_store.lease import Lease
from tests.unit.leasing.kcl_3x import Kcl3x
from tests.unit.leasing.two_x_stage import Python, Shared, in_shared_table

F = 10.0
LOCK_SECONDS = 120.0


async def led(shared: Shared, leases: int = 4, **fields: Any) -> Kcl3x:
    """A KCL that holds the lock and all leases."""
    java = Kcl3x("java", shared.store, shared.clock, leads=True, **fields)
    java.make(leases, owner="java")
    shared.enter("java", java.run())
    await shared.clock.sleep(12.0)
    assert len(java.held) == leases
    return java


async def follower(shared: Shared, name: str = "py-0") -> Python:
    worker = shared.python(name)
    await shared.clock.sleep(5.0)
    return worker


@in_shared_table
async def test_what_a_kcl_assigns_is_begun_at_the_next_look(shared: Shared) -> None:
    java = await led(shared)
    ours = await follower(shared)
    assert ours.loop.leases.table.mode == "leader"
    java.assign("shard-00", ours.name)
    await shared.until(lambda: ours.held == ["shard-00"], within=1.2)


@in_shared_table
async def test_what_a_kcl_takes_from_a_live_worker_of_ours_is_begun_when_that_one_can_trust_it_no_more(
    shared: Shared,
) -> None:
    """It compares no counter: by a late scan, or with its hand-offs switched off, it gives away what moved just now."""
    java = await led(shared)
    one, other = await follower(shared, "py-0"), await follower(shared, "py-1")
    java.assign("shard-00", one.name)
    await shared.until(lambda: one.held == ["shard-00"], within=1.2)
    counter = shared.row("shard-00").counter
    await shared.until(lambda: shared.row("shard-00").counter > counter, within=F, every=0.01)
    renewed_at = shared.clock.monotonic()
    await shared.clock.sleep(2.0)
    java.assign("shard-00", other.name)
    counter = shared.row("shard-00").counter
    await shared.until(lambda: shared.row("shard-00").counter >= counter + 3, within=4.0)
    assert not other.held, "meanwhile it shows the leader that it lives"
    await shared.until(lambda: other.held == ["shard-00"], within=2 * F, every=0.01)
    assert renewed_at + F - 0.05 <= shared.clock.monotonic() <= renewed_at + F + 2.2
    assert not one.held


@in_shared_table
async def test_what_a_kcl_takes_from_a_dead_worker_of_ours_is_begun_at_once(shared: Shared) -> None:
    java = await led(shared)
    dead, other = await follower(shared, "py-0"), await follower(shared, "py-1")
    java.assign("shard-00", dead.name)
    await shared.until(lambda: dead.held == ["shard-00"], within=1.2)
    await shared.clock.sleep(F)
    shared.kill(dead.name)
    await shared.clock.sleep(F + 1.0)
    java.assign("shard-00", other.name)
    await shared.until(lambda: other.held == ["shard-00"], within=1.2)


@in_shared_table
async def test_in_a_table_that_is_looked_at_rarely_the_index_tells_of_it_as_soon(shared: Shared) -> None:
    """With a few thousand rows a fleet's looks are many seconds apart, by its budget of read units."""
    java = await led(shared)
    await shared.store.ensure_owner_index()
    for number in range(400):
        shared.store.apply(verbs.create(Lease(key=f"old-{number}", owner="gone", checkpoint=SHARD_END)))
    ours = shared.python("py-0", read_units=2.0)
    await shared.clock.sleep(31.0)
    java.assign("shard-00", ours.name)
    await shared.until(lambda: ours.held == ["shard-00"], within=1.2)
    assert ours.loop.leases.looked_at < shared.clock.monotonic() - 1.2


@in_shared_table
async def test_what_the_index_has_of_finished_shards_is_not_read_again_and_again(shared: Shared) -> None:
    """A finished row names its owner for a day; with each ask of the index there would be a read of each."""
    java = await led(shared)
    await shared.store.ensure_owner_index()
    ours = shared.python("py-0", read_units=2.0)
    for number in range(400):
        shared.store.apply(verbs.create(Lease(key=f"old-{number}", owner=ours.name, checkpoint=SHARD_END)))
    await shared.clock.sleep(31.0)
    read, reading = set[str](), shared.store.read

    async def noted(key: str) -> Lease | None:
        read.add(key)
        return await reading(key)

    shared.store.read = noted  # type: ignore[method-assign]
    java.assign("shard-00", ours.name)
    await shared.until(lambda: ours.held == ["shard-00"], within=1.2)
    await shared.clock.sleep(30.0)
    assert read == {"shard-00"}


@in_shared_table
async def test_a_hand_off_to_us_is_begun_when_the_kcl_has_let_go(shared: Shared) -> None:
    java = await led(shared)
    ours = await follower(shared)
    java.hand_off("shard-00", ours.name)
    await shared.until(lambda: "shard-00" not in java.held, within=8.0, every=0.02)
    await shared.until(lambda: ours.held == ["shard-00"], within=0.3, every=0.02)


@in_shared_table
async def test_a_hand_off_from_us_is_learnt_of_and_finished_after_the_batch(shared: Shared) -> None:
    java = await led(shared)
    ours = await follower(shared)
    java.assign("shard-00", ours.name)
    await shared.until(lambda: ours.held == ["shard-00"], within=2.0)
    await shared.clock.sleep(5.0)
    java.hand_off("shard-00", "java")
    await shared.until(lambda: not ours.held, within=1.5)
    row = shared.row("shard-00")
    assert (row.owner, row.checkpoint_owner) == ("java", None)
    assert ours.ends() == {"handed_off": 1}
    await shared.until(lambda: "shard-00" in java.held, within=10.0)


@in_shared_table
async def test_a_follower_takes_nothing_while_the_leader_lives(shared: Shared) -> None:
    """Neither what is free nor what stood still for long: only the leader knows why it waits."""
    await led(shared)
    for key, owner in (("free", None), ("still", "gone")):
        shared.store.apply(verbs.create(Lease(key=key, owner=owner, counter=3)))
    ours = await follower(shared)
    await shared.stays(lambda: not ours.held, seconds=100.0)


@in_shared_table
async def test_after_a_kcl_leaders_death_its_leases_move_long_before_its_lock_is_free(shared: Shared) -> None:
    """A KCL alone: 153 to 155 s, measured."""
    await led(shared, 6)
    workers = [await follower(shared, f"py-{number}") for number in range(2)]
    await shared.clock.sleep(7.0)
    shared.kill("java")
    died_at = shared.clock.monotonic()
    await shared.until(lambda: sum(len(worker.held) for worker in workers) == 6, within=3 * F + 2.0)
    assert shared.clock.monotonic() - died_at > 2 * F, "the leader was not known to be gone"
    await shared.until(lambda: _leads(shared, workers), within=LOCK_SECONDS)
    assert shared.clock.monotonic() - died_at > LOCK_SECONDS - 30.0
    await shared.until(lambda: sorted(shared.loads().values()) == [3, 3], within=15.0)


def _leads(shared: Shared, workers: list[Python]) -> bool:
    lock = shared.store.rows().lock
    return lock is not None and lock.owner in {worker.name for worker in workers}


@pytest.mark.parametrize("how", ["dies", "stops"])
def test_a_kcl_leader_that_is_gone_and_had_no_lease_is_given_none(how: str) -> None:
    """Its metric row looks fresh for a minute: seen, two leases were given to it 8 s after its death."""

    @in_shared_table
    async def main(shared: Shared) -> None:
        for number in range(4):
            shared.store.apply(verbs.create(Lease(key=f"shard-{number:02d}", stream="clicks@1", created_at="1-a")))
        ours = shared.python("py-0")
        await shared.until(lambda: len(ours.held) == 4, within=8.0)
        java = Kcl3x("java", shared.store, shared.clock, leads=True, lock_seconds=6.0, beat_seconds=2.0)
        shared.enter("java", java.run())
        await shared.clock.sleep(20.0)
        shared.kill("java")
        lock = shared.store.rows().lock
        assert lock is not None
        if how == "stops":
            shared.store.apply(verbs.release_lock(lock, "leases"))
        await shared.until(lambda: _leads(shared, [ours]), within=7.5)
        await shared.stays(lambda: shared.loads() == {"py-0": 4}, seconds=70.0)

    main()


@in_shared_table
async def test_the_first_row_of_a_kcl_3x_ends_planning_among_peers_within_a_look(shared: Shared) -> None:
    for number in range(6):
        shared.store.apply(verbs.create(Lease(key=f"shard-{number:02d}", stream="clicks@1", created_at="1-a")))
    peers = [shared.python(f"py-{number}") for number in range(2)]
    await shared.until(lambda: sum(len(peer.held) for peer in peers) == 6, within=15.0)
    java = Kcl3x("java", shared.store, shared.clock, leads=True)
    shared.enter("java", java.run())
    await shared.until(lambda: {peer.loop.leases.table.mode for peer in peers} == {"leader"}, within=1.1)
    for peer in peers:
        changes = [fact for fact in peer.facts if isinstance(fact, ModeChanged)]
        assert [(fact.previous, fact.mode) for fact in changes] == [(None, "peer"), ("peer", "leader")]
        peer.facts.clear()
    shared.kill("py-1")
    await shared.stays(lambda: len(peers[0].held) == 3, seconds=2 * F)
    assert not [fact for fact in peers[0].facts if isinstance(fact, LeaseTaken)]
    workers = {row.worker_id: row for row in shared.store.rows().workers}
    assert workers[peers[0].name].beat is not None
    assert workers[peers[0].name].support == 1


@in_shared_table
async def test_in_a_kcl_3_0s_layout_our_row_lies_in_the_metrics_table_and_leaves_the_lease_table(
    shared: Shared,
) -> None:
    """A metric row in the lease table makes a KCL 3.3.0 log an error every 20 s."""
    ours = shared.python("py-0")
    await shared.clock.sleep(5.0)
    assert [row.worker_id for row in shared.store.rows().workers] == [ours.name]
    shared.store.add_legacy_tables()
    java = Kcl3x("java", shared.store, shared.clock, leads=True, places=("coordinator", "metrics"))
    java.make(2, owner="java")
    shared.enter("java", java.run())
    await shared.until(lambda: not shared.store.rows().workers, within=1.2)
    await shared.clock.sleep(0.05)
    assert ours.loop.leases.table.mode == "leader"
    await shared.until(lambda: _metrics(shared) == {"java", ours.name}, within=1.0)
    java.assign("shard-00", ours.name)
    await shared.until(lambda: ours.held == ["shard-00"], within=1.2)
    await shared.begin(ours.loop.drain(20.0))
    await shared.begin(ours.loop.leave())
    assert _metrics(shared) == {"java"}


@in_shared_table
async def test_a_kcl_leader_gives_nothing_back_to_a_worker_that_drains(shared: Shared) -> None:
    """Seen with KCL 3.5.1 and 3.3.0: it started hand-offs back 0.4 s later, and these leases stood still for 9 s."""
    java = await led(shared)
    ours = await follower(shared)
    java.assign("shard-00", ours.name)
    await shared.until(lambda: ours.held == ["shard-00"], within=2.0)
    draining = shared.begin(ours.loop.drain(25.0))
    await shared.clock.sleep(0.01)
    assert ours.held == ["shard-00"], "the mark comes before all else"
    (row,) = (row for row in shared.store.rows().workers if row.worker_id == ours.name)
    assert row.draining
    assert 60 < shared.clock.wall() - row.updated_at < 86_400, "stale for a leader, and not yet deleted by it"
    await shared.until(draining.done, within=20.0)


def _metrics(shared: Shared) -> set[str]:
    rows = shared.store.legacy_rows()
    assert rows is not None
    return {row.worker_id for row in rows.workers}


@in_shared_table
async def test_a_dead_worker_of_ours_leaves_no_row_to_which_a_kcl_leader_would_give_leases(shared: Shared) -> None:
    """It goes by the time in a row, for a minute: a Java leader was seen to give a dead worker's lease back to it."""
    await led(shared)
    dead, _ = await follower(shared, "py-0"), await follower(shared, "py-1")
    shared.kill(dead.name)
    await shared.until(lambda: dead.name not in {row.worker_id for row in shared.store.rows().workers}, within=2.5 * F)
