"""A table is made fit for a KCL 2.x under a working Python fleet, and given back to it: nobody pauses."""

from __future__ import annotations

from collections.abc import Coroutine

from consumer.cli.table import prepare
from consumer.hooks import ModeChanged
from lease_store import verbs
from lease_store.lease import Lease
from tests.unit.leasing.two_x_stage import Python, Shared, in_shared_table


def make_ours(shared: Shared, count: int) -> None:
    for number in range(count):
        shared.store.apply(verbs.create(Lease(key=f"shard-{number:02d}", stream="clicks@1", created_at=f"{number}")))


async def done(shared: Shared, work: Coroutine[None, None, int]) -> int:
    codes: list[int] = []

    async def run() -> None:
        codes.append(await work)

    shared.begin(run())
    await shared.until(lambda: bool(codes), within=240.0)
    return codes[0]


def modes(python: Python) -> list[str]:
    return [fact.mode for fact in python.facts if isinstance(fact, ModeChanged)]


@in_shared_table
async def test_a_fleet_of_peers_goes_over_to_2x_and_back_without_losing_a_tenure(shared: Shared) -> None:
    make_ours(shared, 6)
    pythons = [shared.python("py-1"), shared.python("py-2")]
    await shared.until(lambda: shared.loads() == {"py-1": 3, "py-2": 3}, within=30.0)
    ends = [each.ends() for each in pythons]
    assert await done(shared, prepare(shared.store, shared.clock, apply=True)) == 0
    assert not shared.store.rows().workers
    assert [modes(each) for each in pythons] == [["peer", "2x"]] * 2
    await shared.stays(lambda: shared.loads() == {"py-1": 3, "py-2": 3}, seconds=30.0)
    assert [each.ends() for each in pythons] == ends
    java = shared.java("java-1")
    await shared.until(lambda: sorted(shared.loads().values()) == [2, 2, 2], within=90.0)
    assert java.errors == 0
    shared.kill("java-1")
    await shared.until(lambda: set(shared.loads()) == {"py-1", "py-2"}, within=15.0)
    assert await done(shared, prepare(shared.store, shared.clock, for_2x=False, apply=True)) == 0
    await shared.until(lambda: len(shared.store.rows().workers) == 2, within=5.0)
    assert [modes(each)[-1] for each in pythons] == ["peer", "peer"]
    await shared.until(lambda: shared.loads() == {"py-1": 3, "py-2": 3}, within=30.0)
    third = shared.python("py-3")
    await shared.until(lambda: sorted(shared.loads().values()) == [2, 2, 2], within=30.0)
    assert third.ends()["lost"] == 0
    assert (await third.loop.state()).shared  # what was cleaned up under the KCL's rules is not made again


@in_shared_table
async def test_under_a_leader_it_is_refused_and_nothing_changes(shared: Shared) -> None:
    make_ours(shared, 4)
    python = shared.python("py-1", coordination="leader")
    await shared.until(lambda: len(python.held) == 4, within=30.0)
    assert await done(shared, prepare(shared.store, shared.clock, apply=True)) == 1
    assert shared.store.rows().lock is not None
    assert [lease.rules for lease in shared.store.rows().leases] == [None] * 4


@in_shared_table
async def test_a_worker_that_is_told_2x_keeps_its_own_new_table_fit(shared: Shared) -> None:
    python = shared.python("py-1", coordination="2x")
    await shared.clock.sleep(2.0)
    for number in range(4):
        await python.loop.create(Lease(key=f"shard-{number:02d}", stream="clicks@1"))
    java = shared.java("java-1", looks_first_at=5.0)
    await shared.until(lambda: sorted(shared.loads().values()) == [2, 2], within=60.0)
    assert (java.errors, {lease.rules for lease in shared.store.rows().leases}) == (0, {"2.x"})
