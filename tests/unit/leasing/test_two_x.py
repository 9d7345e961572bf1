"""A KCL 2.x fleet and ours in one table: shares even out by takes and releases, and only lease rows are written."""

from __future__ import annotations

from consumer.hooks import LeaseTaken
from consumer.leasing.names import made_name
from consumer.leasing.timing import scan_period_seconds
from lease_store import verbs
from lease_store.checkpoint import LATEST, SHARD_END, Checkpoint
from lease_store.lease import Lease, WorkerRow
from tests.unit.leasing.two_x_stage import Python, Shared, in_shared_table

TAKER_SECONDS = 20.05  # how often a KCL 2.x looks, at a failover time of 10 s


def at_rest(shared: Shared, *loads: int) -> bool:
    found = shared.loads()
    return "" not in found and tuple(sorted(found.values())) == loads


async def rests(shared: Shared, *workers: Python, seconds: float = 90.0) -> None:
    """Nothing moves for several passes of a KCL's taker."""
    before = [(worker.takes(), worker.ends()) for worker in workers]
    await shared.clock.sleep(seconds)
    assert [(worker.takes(), worker.ends()) for worker in workers] == before
    assert "" not in shared.loads()


@in_shared_table
async def test_beside_a_kcl_it_robs_its_way_in_and_comes_to_rest(shared: Shared) -> None:
    shared.make(6)
    java = shared.java("java-1")
    await shared.clock.sleep(30.0)
    python = shared.python("py-1")
    seconds = await shared.until(lambda: at_rest(shared, 3, 3), within=40.0)
    assert seconds >= 8.0  # one after the other, and not all three of one look
    await rests(shared, python)
    assert len(java.lost) == 3
    assert java.errors == 0


@in_shared_table
async def test_a_kcl_that_joins_is_given_its_share_and_robs_for_the_first_lease_only(shared: Shared) -> None:
    shared.make(6)
    python = shared.python("py-1")
    await shared.until(lambda: len(python.held) == 6, within=5.0)
    await shared.clock.sleep(60.0)
    java = shared.java("java-1")
    await shared.until(lambda: at_rest(shared, 3, 3), within=2.5 * TAKER_SECONDS)
    assert (python.ends()["lost"], python.ends()["released"]) == (1, 2)
    assert [previous for _, _, previous in java.took] == [python.name, None, None]
    assert java.errors == 0
    await rests(shared, python)


@in_shared_table
async def test_what_is_let_go_for_a_kcl_lies_idle_for_no_longer_than_a_batch_may_take(shared: Shared) -> None:
    """Its taker looks every 20 s, when it was last seen to take is known, and until then we go on reading."""
    shared.make(6)
    python = shared.python("py-1", batch_seconds=2.0)
    await shared.until(lambda: len(python.held) == 6, within=5.0)
    shared.java("java-1", looks_first_at=3.0)
    await shared.until(lambda: python.ends()["released"] == 2, within=30.0)
    idle = await shared.until(lambda: at_rest(shared, 3, 3), within=TAKER_SECONDS)
    assert idle <= 5.0
    assert python.ends()["lost"] == 1


@in_shared_table
async def test_what_was_to_be_let_go_stays_where_nobody_needs_it_any_more(shared: Shared) -> None:
    shared.make(4)
    python = shared.python("py-1", batch_seconds=30.0)
    await shared.until(lambda: len(python.held) == 4, within=5.0)
    shared.java("java-1")
    await shared.until(lambda: any(map(python.loop.leases.is_releasing, python.held)), within=60.0)
    shared.kill("java-1")
    await shared.until(lambda: len(python.held) == 4, within=60.0)
    await rests(shared, python)
    assert (python.ends()["released"], python.ends()["restarted"]) == (0, 0)


@in_shared_table
async def test_a_kcl_is_robbed_only_after_it_was_the_only_way_for_a_while(shared: Shared) -> None:
    """To lack one of three for two is no ground, however long: what counts is since when there is no other way."""
    shared.make(3)
    java = shared.java("java-1")
    await shared.clock.sleep(1.0)
    python = shared.python("py-1")
    await shared.until(lambda: at_rest(shared, 1, 2), within=30.0)
    await shared.clock.sleep(30.0)
    lost = len(java.lost)
    (key,) = python.held
    await python.loop.end_shard(python.loop.leases.held[key], [])
    await shared.stays(lambda: not python.held, seconds=4.5)
    await shared.until(lambda: at_rest(shared, 1, 1), within=15.0)
    await shared.until(lambda: len(java.lost) == lost + 1, within=4.0)


@in_shared_table
async def test_what_stands_at_latest_still_is_not_let_go_beside_a_kcl(shared: Shared) -> None:
    """It would begin at the end that the shard has when it comes to it, and leave out what was written meanwhile."""
    shared.make(4, checkpoint=LATEST)
    python = shared.python("py-1")
    await shared.until(lambda: len(python.held) == 4, within=5.0)
    shared.java("java-1")
    await shared.until(lambda: at_rest(shared, 2, 2), within=60.0)
    await shared.until(lambda: python.ends()["lost"] == 2, within=4.0)
    assert python.ends()["released"] == 0
    shared.kill("java-1")
    await shared.until(lambda: shared.loads() == {"py-1": 4}, within=15.0)
    shared.python("py-2")  # for one of ours LATEST is an instant
    await shared.until(lambda: at_rest(shared, 2, 2), within=60.0)


@in_shared_table
async def test_what_is_let_go_has_ended_its_batch_and_stored_its_checkpoint(shared: Shared) -> None:
    shared.make(2)
    python = shared.python("py-1", batch_seconds=5.0)
    await shared.until(lambda: len(python.held) == 2, within=5.0)
    await shared.clock.sleep(40.0)
    key = "shard-01"
    counter = shared.row(key).counter
    shared.store.apply(verbs.take(shared.row("shard-00"), "java-0"))  # and its owner is seen to move
    java = shared.java("java-0")
    java.held["shard-00"] = shared.row("shard-00").counter
    shared.make(4)  # the two exist: two more come, unowned, and each worker's share is two
    await shared.until(lambda: at_rest(shared, 2, 2), within=2.5 * TAKER_SECONDS)
    assert shared.row(key).counter > counter


@in_shared_table
async def test_what_a_dead_kcl_held_is_read_again_within_a_failover_time_and_two_seconds(shared: Shared) -> None:
    """A KCL 2.x finds it after 20 to 40 s; so we take the other's share as well, and give it back in peace."""
    shared.make(9)
    shared.java("java-1")
    await shared.clock.sleep(25.0)
    other = shared.java("java-2")
    python = shared.python("py-1")
    await shared.until(lambda: at_rest(shared, 3, 3, 3), within=200.0)
    await shared.until(lambda: shared.clock.monotonic() < other.looked_at + 0.2, within=TAKER_SECONDS + 1.0)
    shared.kill("java-1")
    dead = [lease.key for lease in shared.store.rows().leases if lease.owner == "java-1"]
    await shared.until(lambda: not any(shared.row(key).owner == "java-1" for key in dead), within=12.0)
    assert len(python.held) == 6
    await shared.stays(lambda: python.ends()["released"] == 0, seconds=25.0)
    await shared.until(lambda: at_rest(shared, 4, 5), within=3 * TAKER_SECONDS)
    await rests(shared, python)
    assert other.errors == 0


@in_shared_table
async def test_two_of_ours_and_two_kcls_share_alike_and_the_last_one_left_has_all(shared: Shared) -> None:
    shared.make(8)
    pythons = [shared.python("py-1"), shared.python("py-2")]
    for name in ("java-1", "java-2"):
        shared.java(name, looks_first_at=shared.random.uniform(0.0, 20.0))
    await shared.until(lambda: at_rest(shared, 2, 2, 2, 2), within=120.0)
    await rests(shared, *pythons)
    for name in ("java-1", "java-2", "py-2"):
        shared.kill(name)
    await shared.until(lambda: shared.loads() == {"py-1": 8}, within=12.0)


@in_shared_table
async def test_a_kcl_that_takes_less_than_its_share_is_not_offered_it_again_and_again(shared: Shared) -> None:
    shared.make(8)
    shared.java("java-1", max_leases=2)
    python = shared.python("py-1")
    await shared.until(lambda: at_rest(shared, 2, 6), within=120.0)
    await shared.clock.sleep(60.0)
    before = python.ends()["released"]
    await shared.clock.sleep(300.0)
    assert python.ends()["released"] == before
    assert at_rest(shared, 2, 6)


@in_shared_table
async def test_what_a_kcl_leaves_in_a_row_is_not_believed(shared: Shared) -> None:
    """2.7.2 takes a lease that is being handed over, and leaves ``checkpointOwner`` behind: it names one long gone."""
    shared.make(2, owner="java-1", checkpoint_owner="gone")
    java = shared.java("java-1")
    java.held.update({"shard-00": 0, "shard-01": 0})
    python = shared.python("py-1")
    await shared.until(lambda: at_rest(shared, 1, 1), within=30.0)
    assert shared.row(python.held[0]).checkpoint_owner is None
    shared.kill("java-1")
    await shared.until(lambda: len(python.held) == 2, within=12.0)
    assert [lease.checkpoint_owner for lease in shared.store.rows().leases] == [None, None]


@in_shared_table
async def test_no_row_but_leases_is_ever_written_and_children_are_marked(shared: Shared) -> None:
    shared.make(1)
    java = shared.java("java-1", looks_first_at=15.0)
    python = shared.python("py-1")
    await shared.until(lambda: bool(python.held), within=5.0)
    held = python.loop.leases.held["shard-00"]
    await python.loop.end_shard(held, [Lease(key=f"child-{n}", parents=("shard-00",), stream="clicks@1") for n in "ab"])
    children = [lease for lease in shared.store.rows().leases if lease.parents]
    assert [(child.owner, child.rules) for child in children] == [(python.name, "2.x")] * 2
    await shared.stays(lambda: not shared.store.rows().workers, seconds=60.0)
    assert java.errors == 0
    # The KCL took the finished row, as it does with all that stands still, and one child once it had let that go.
    assert shared.row("shard-00").owner == "java-1"
    assert shared.row("shard-00").checkpoint == SHARD_END


@in_shared_table
async def test_finished_rows_that_a_kcl_keeps_are_part_of_its_load(shared: Shared) -> None:
    """Let go for a worker that has its share by its own count, a lease would lie idle until it is very old."""
    shared.make(8)
    java = shared.java("java-1")
    await shared.clock.sleep(1.0)
    python = shared.python("py-1")
    await shared.until(lambda: at_rest(shared, 4, 4), within=200.0)
    await shared.until(lambda: len(java.held) == 4, within=4.0)  # of what was robbed it hears by its next renewal
    for key in list(java.held)[:3]:
        java.end_shard(key)
    await rests(shared, python, seconds=120.0)
    assert python.ends()["released"] == 0


@in_shared_table
async def test_leaving_lets_everything_go_without_a_row_and_without_waiting_for_anybody(shared: Shared) -> None:
    shared.make(4)
    java = shared.java("java-1", looks_first_at=10.0)
    python, other = shared.python("py-1"), shared.python("py-2")
    await shared.until(lambda: bool(python.held and other.held), within=30.0)
    await shared.clock.sleep(3.0)
    left = shared.begin(python.loop.drain(25.0))
    await shared.until(left.done, within=1.5)
    assert not shared.store.rows().workers
    assert "py-1" not in shared.loads()
    await shared.until(lambda: "" not in shared.loads(), within=2 * TAKER_SECONDS)
    assert java.errors == 0


@in_shared_table
async def test_a_table_that_only_ours_share_by_these_rules_is_taken_over_at_the_failover_time(shared: Shared) -> None:
    shared.make(9, entity_type="LEASE", created_at="1", stream="clicks@1", rules="2.x")
    workers = [shared.python(f"py-{number}") for number in range(3)]
    await shared.until(lambda: at_rest(shared, 3, 3, 3), within=60.0)
    await rests(shared, *workers)
    shared.kill("py-0")
    await shared.until(lambda: set(shared.loads()) == {"py-1", "py-2"}, within=12.0)
    await shared.until(lambda: at_rest(shared, 4, 5), within=60.0)
    taken = [fact for worker in workers[1:] for fact in worker.facts if isinstance(fact, LeaseTaken)]
    assert sum(fact.previous_owner == workers[0].name for fact in taken) >= 3


@in_shared_table
async def test_one_of_ours_that_joins_is_given_its_share_and_robs_nobody(shared: Shared) -> None:
    """On the real thing two of ours robbed each other of a dozen records, which came twice."""
    shared.make(6)
    first = shared.python("py-1", batch_seconds=3.0)
    await shared.until(lambda: len(first.held) == 6, within=5.0)
    await shared.clock.sleep(5.0)
    second = shared.python("py-2", batch_seconds=3.0)
    await shared.until(lambda: at_rest(shared, 3, 3), within=15.0)
    third = shared.python("py-3", batch_seconds=3.0)
    await shared.until(lambda: at_rest(shared, 2, 2, 2), within=15.0)
    assert [worker.ends()["lost"] for worker in (first, second, third)] == [0, 0, 0]
    await rests(shared, first, second, third)


@in_shared_table
async def test_one_of_ours_that_joins_a_mixed_fleet_robs_the_kcl_only(shared: Shared) -> None:
    shared.make(12)
    java = shared.java("java-1")
    await shared.clock.sleep(1.0)
    first = shared.python("py-1")
    await shared.until(lambda: at_rest(shared, 6, 6), within=60.0)
    second = shared.python("py-2")
    await shared.until(lambda: at_rest(shared, 4, 4, 4), within=60.0)
    assert first.ends()["lost"] == 0
    await rests(shared, first, second)
    assert len(java.lost) == 6 + 2


@in_shared_table
async def test_where_all_have_just_their_share_one_of_ours_gives_to_who_lacks_two(shared: Shared) -> None:
    """On the real thing it took back at once what it had let go, lacking one then, and was robbed after all."""
    shared.make(4)
    java = shared.java("java-1")
    await shared.clock.sleep(1.0)
    first = shared.python("py-1")
    await shared.until(lambda: at_rest(shared, 2, 2), within=40.0)
    await shared.clock.sleep(15.0)
    lost = len(java.lost)
    second = shared.python("py-2")
    await shared.until(lambda: at_rest(shared, 1, 1, 2), within=20.0)
    await rests(shared, first, second)
    assert (first.ends(), len(java.lost)) == ({"released": 1}, lost)


@in_shared_table
async def test_who_loses_its_only_lease_by_a_merge_waits_as_a_newcomer_does(shared: Shared) -> None:
    """It lacked one all the while, rightly: three leases for two. What counts is how long it had to rob."""
    shared.make(3)
    first = shared.python("py-1")
    await shared.until(lambda: len(first.held) == 3, within=5.0)
    second = shared.python("py-2")
    await shared.until(lambda: at_rest(shared, 1, 2), within=20.0)
    await shared.clock.sleep(60.0)
    (key,) = second.held
    await second.loop.end_shard(second.loop.leases.held[key], [])
    await shared.until(lambda: at_rest(shared, 1, 1), within=20.0)
    assert (first.ends()["lost"], first.ends()["released"]) == (0, 2)
    assert first.takes() == 3


@in_shared_table
async def test_what_a_newcomer_that_died_was_to_have_is_taken_back(shared: Shared) -> None:
    shared.make(4)
    first = shared.python("py-1", batch_seconds=3.0)
    await shared.until(lambda: len(first.held) == 4, within=5.0)
    shared.python("py-2")
    await shared.until(lambda: any(lease.newcomer for lease in shared.store.rows().leases), within=3.0)
    shared.kill("py-2")
    await shared.clock.sleep(20.0)
    await shared.until(lambda: shared.loads() == {"py-1": 4}, within=30.0)
    await rests(shared, first)


@in_shared_table
async def test_a_finished_row_goes_once_its_children_have_begun_and_no_kcl_hoards_it(shared: Shared) -> None:
    """Rows that stand still are taken by a KCL 2.x and counted: with three of them it read nothing for minutes."""
    shared.make(4)
    java = shared.java("java-1", looks_first_at=15.0)
    python = shared.python("py-1")
    await shared.until(lambda: len(python.held) == 4, within=5.0)
    loop = python.loop
    for number in range(3):
        key = f"shard-{number:02d}"
        child = Lease(key=f"child-{number}", parents=(key,), stream="clicks@1")
        await loop.end_shard(loop.leases.held[key], [child])
    await shared.clock.sleep(3.0)
    assert len(shared.store.rows().leases) == 7  # no child has begun
    for number in range(3):
        await loop.checkpoint(loop.leases.held[f"child-{number}"], Checkpoint("7"))
    await shared.until(lambda: len(shared.store.rows().leases) == 4, within=3.0)
    await shared.until(lambda: at_rest(shared, 2, 2), within=60.0)
    assert len(java.held) == 2
    assert (await loop.state()).shared


@in_shared_table
async def test_the_row_of_a_dead_worker_of_ours_does_not_stop_the_kcls_for_long(shared: Shared) -> None:
    shared.make(2)
    await shared.store.write_worker(WorkerRow(worker_id="dead", beat=9, failover_seconds=10.0))
    java = shared.java("java-1")
    python = shared.python("py-1")
    await shared.until(lambda: not shared.store.rows().workers, within=22.0)
    await shared.until(lambda: at_rest(shared, 1, 1), within=45.0)
    assert java.errors > 0
    await shared.until(lambda: len(python.held) == 1, within=4.0)


@in_shared_table
async def test_scans_of_ours_keep_to_their_budget_though_nobody_has_a_row(shared: Shared) -> None:
    owners = [made_name("py", shared.random) for _ in range(40)] + [f"java-{number}" for number in range(40)]
    for number, owner in enumerate(owners):
        shared.store.apply(verbs.create(Lease(key=f"shard-{number:02d}", owner=owner, entity_type=None)))
    python = shared.python("py-1")
    await shared.clock.sleep(3.0)
    assert python.loop._watch.scan_period_seconds == scan_period_seconds(80, 41, 50.0) > 4.0


@in_shared_table
async def test_who_syncs_shards_is_the_shuffle_s_leader_if_it_lives(shared: Shared) -> None:
    shared.make(3)
    for number, owner in enumerate(("w00", "w01", "w02")):
        shared.store.apply(verbs.take(shared.row(f"shard-{number:02d}"), owner))
    python = shared.python("w04")  # of three that would be, by the JVM's own shuffle, the last by name
    await shared.until(lambda: len(python.held) == 3, within=15.0)
    assert (await python.loop.state()).is_describer
    for number, owner in enumerate(("w00", "w01")):
        shared.store.apply(verbs.take(shared.row(f"shard-{number:02d}"), owner))
    await shared.clock.sleep(2.0)
    assert (await python.loop.state()).is_describer
    shared.store.apply(verbs.create(Lease(key="shard-05", owner="w05", hash_range=("0", "1"), entity_type=None)))
    await shared.clock.sleep(2.0)
    assert not (await python.loop.state()).is_describer
    await shared.clock.sleep(15.0)  # w05 never moved
    ended = Lease(key="shard-06", owner="a-dead", checkpoint=SHARD_END, hash_range=("0", "1"), entity_type=None)
    shared.store.apply(verbs.create(ended))
    await shared.clock.sleep(15.0)
    assert set(shared.loads()) == {"w04"}
    assert (await python.loop.state()).is_describer
