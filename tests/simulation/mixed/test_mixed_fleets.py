"""Fleets of Python and Java workers, one thing after the other: joins, hand-offs, deaths, each within its time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from tests.simulation.leases.draw import Work
from tests.simulation.mixed.calm import played_calmly
from tests.simulation.mixed.draw import DEFAULT_TIMES, QUICK_TIMES
from tests.simulation.mixed.world import MixedWorld

pytestmark = pytest.mark.usefixtures("nothing_logged")

SHORT_SHARDS = Work(0.3, 0.0, 0.0, 1.0, 0.5, 80.0)


def held_by(*workers: Any) -> int:
    return sum(len(worker.held_keys) for worker in workers)


@pytest.mark.parametrize("seed", range(2))
def test_peers_turn_to_a_leader_at_the_first_3x_row_and_finish_what_they_began(seed: int) -> None:
    """Three peers, of which one has just joined so that leases are on their way to it; then a KCL 3.x starts."""

    async def scenario(world: MixedWorld) -> None:
        for _ in range(2):
            world.add_worker()
        await asyncio.sleep(12.0)
        third = world.add_worker()
        await world.judge.hand_off_began.wait()
        java = world.add_java()
        await asyncio.sleep(4.0)
        assert set(world.judge.modes.values()) == {"leader"}
        assert all(world.table.worker(worker.name) is not None for worker in world.python())
        assert not world.judge.is_anything_pending
        assert world.leader() in (java, *world.python())
        await asyncio.sleep(120.0)
        assert held_by(java) >= 1
        assert held_by(*world.python()) >= 3
        assert third.held_keys
        assert world.judge.repeats == 0
        assert world.judge.unrest(world.workers) is None

    played_calmly(scenario, seed)


@pytest.mark.parametrize("seed", range(2))
def test_a_dead_java_leaders_leases_are_read_by_python_within_three_failover_times(seed: int) -> None:
    """A KCL alone needs 153 to 155 s: its lock lasts for 120 s, and nobody may lead before."""

    async def scenario(world: MixedWorld) -> None:
        java = world.add_java()
        await asyncio.sleep(100.0)
        world.add_worker()
        await asyncio.sleep(2.0)
        world.add_worker()
        await asyncio.sleep(150.0)
        assert world.leader() is java
        keys = sorted(java.held_keys)
        assert keys
        world.crash(java)
        await asyncio.sleep(45.0)
        assert sorted(key for _, key, _ in world.judge.takeovers) == keys
        assert max(seconds for seconds, _, _ in world.judge.takeovers) <= 3 * 10.0 * 1.01 + 3.0
        assert world.judge.unrest(world.workers) is None

    played_calmly(scenario, seed)


@pytest.mark.parametrize("kill", ["leader", "follower"])
def test_an_all_python_fleet_under_a_leader_replaces_a_dead_one_within_a_failover_time_and_2_seconds(kill: str) -> None:
    async def scenario(world: MixedWorld) -> None:
        for _ in range(3):
            world.add_worker()
        await asyncio.sleep(25.0)
        dead = next(each for each in world.python() if (each is world.leader()) == (kill == "leader"))
        keys = sorted(dead.held_keys)
        assert keys
        world.crash(dead)
        await asyncio.sleep(14.0)
        assert sorted(key for _, key, _ in world.judge.takeovers) == keys
        assert max(seconds for seconds, _, _ in world.judge.takeovers) <= 12.1
        await asyncio.sleep(20.0)
        assert world.judge.unrest(world.workers) is None

    played_calmly(scenario, java=0, coordination="leader")


def test_leases_go_over_to_python_and_back_without_a_repeat_and_children_after_their_parents() -> None:
    async def scenario(world: MixedWorld) -> None:
        first = world.add_java()
        await asyncio.sleep(30.0)
        python = [world.add_worker(), world.add_worker()]
        await asyncio.sleep(60.0)
        assert held_by(*python)
        first.drain()  # every Java worker stops, and Python goes on
        await asyncio.sleep(45.0)
        assert world.judge.unrest(world.workers) is None
        back = world.add_java()
        await asyncio.sleep(60.0)
        assert back.held_keys
        for worker in python:
            worker.drain()  # every Python worker stops, and Java goes on
        await asyncio.sleep(20.0)
        assert [worker.state for worker in python] == ["gone", "gone"]
        await asyncio.sleep(120.0)
        assert world.judge.unrest(world.workers) is None
        assert world.judge.repeats == 0

    played_calmly(scenario, keys=3, failover=2.0, times=QUICK_TIMES, work=SHORT_SHARDS)


def test_beside_a_kcl_with_three_tables_python_keeps_its_row_where_theirs_are_and_takes_over() -> None:
    async def scenario(world: MixedWorld) -> None:
        java = world.add_java()
        await asyncio.sleep(100.0)
        python = world.add_worker()
        await asyncio.sleep(150.0)
        assert world.leader() is java
        assert java.held_keys
        assert python.held_keys
        assert world.table.worker(python.name, "metrics") is not None
        stored = {row["leaseKey"]["S"]: int(row["checkpoint"]["S"]) for row in world.table.items_as_of(lambda: 0.0)}
        not_stored = sum(world.judge.ledger.done(key) - stored[key] for key in java.held_keys)
        world.crash(java)
        await asyncio.sleep(150.0)
        assert max(seconds for seconds, _, _ in world.judge.takeovers) <= 33.4
        assert world.leader() is python
        assert len(python.held_keys) == 6
        leases = {row["leaseKey"]["S"] for row in world.table.items_as_of(lambda: 0.0)}
        assert leases == set(world.keys)
        assert world.judge.repeats == not_stored  # of each shard what the dead one had not stored

    played_calmly(scenario, times=replace(DEFAULT_TIMES, legacy=True))


def test_in_a_2x_fleet_python_writes_leases_only_shares_them_and_goes_on_alone() -> None:
    async def scenario(world: MixedWorld) -> None:
        java = world.add_java()
        await asyncio.sleep(40.0)
        python = [world.add_worker(), world.add_worker()]
        await asyncio.sleep(120.0)
        assert sorted(held_by(each) for each in (java, *python)) == [2, 2, 2]
        assert java.thrown == 0
        world.crash(java)
        await asyncio.sleep(60.0)
        assert sorted(held_by(each) for each in python) == [3, 3]
        assert {row["leaseKey"]["S"] for row in world.table.items_as_of(lambda: 0.0)} == set(world.keys)

    world = played_calmly(scenario, protocol="2x", keys=6)
    assert set(world.judge.modes.values()) == {"2x"}
