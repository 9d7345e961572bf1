"""Fleets of Java models alone keep the KCL's own promises, at the KCL's own times: else a mixed world proves nothing.

The times are those of a recorded run of KCL 3.5.1 with its defaults (failover 10 s), and of its code's intervals.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from tests.simulation.leases.draw import Work
from tests.simulation.mixed.calm import Scenario, played_calmly
from tests.simulation.mixed.draw import DEFAULT_TIMES
from tests.simulation.mixed.world import MixedWorld

SHORT_SHARDS = Work(0.3, 0.0, 0.0, 1.0, 0.0, 150.0)


def played(scenario: Scenario, seed: int = 1, **changes: Any) -> MixedWorld:
    """Clocks alike, as those of one machine."""
    return played_calmly(scenario, seed, **{"keys": 4, "skew": 0.0, "drift": 0.0, **changes})


@pytest.mark.parametrize("seed", range(2))
def test_the_timeline_of_two_workers_is_the_recorded_one(seed: int) -> None:
    """Recorded: first record after 75 s, hand-offs at 121 s and 181 s, the dead leader's shards again after 155 s."""

    async def scenario(world: MixedWorld) -> None:
        first = world.add_java()
        await asyncio.sleep(100.0)
        seen = world.judge.first_record_at
        assert all(61.0 <= at <= 100.0 for at in seen.values())
        assert len(seen) == 4
        second = world.add_java()
        await asyncio.sleep(259.0)
        moved = sorted(at for (worker, _), at in seen.items() if worker == second.name)
        assert len(moved) == 2
        assert moved[0] == pytest.approx(130.0, abs=22.0)
        assert moved[1] - moved[0] == pytest.approx(60.0, abs=12.0)
        assert world.judge.repeats == 0  # two hand-offs, and nothing came twice
        world.crash(first)
        await asyncio.sleep(240.0)
        assert len(world.judge.takeovers) == 2
        assert all(120.0 <= seconds <= 235.0 for seconds, _, _ in world.judge.takeovers)
        assert world.judge.unrest(world.workers) is None

    played(scenario, seed)


@pytest.mark.parametrize("seed", range(3))
def test_a_follower_that_dies_is_replaced_by_the_leader(seed: int) -> None:
    """In 20 to 53 s, or only once its report is a minute old: till then the leader may choose the dead one itself."""

    async def scenario(world: MixedWorld) -> None:
        world.add_java()
        await asyncio.sleep(100.0)
        second = world.add_java()
        await asyncio.sleep(200.0)
        world.crash(second)
        await asyncio.sleep(120.0)
        assert [20.0 <= seconds <= 100.0 for seconds, _, _ in world.judge.takeovers] == [True, True]
        assert world.judge.unrest(world.workers) is None

    played(scenario, seed)


def test_a_worker_that_leaves_in_good_order_gives_up_the_lock_and_leaves_its_leases_to_expire() -> None:
    async def scenario(world: MixedWorld) -> None:
        first = world.add_java()
        await asyncio.sleep(100.0)
        world.add_java()
        await asyncio.sleep(200.0)
        first.drain()
        await asyncio.sleep(10.0)
        assert first.state == "gone"
        assert world.table.get("Leader") is None
        await asyncio.sleep(110.0)
        assert world.judge.repeats == 0
        assert world.judge.unrest(world.workers) is None

    played(scenario)


@pytest.mark.parametrize("by_count", [False, True])
def test_load_is_levelled_by_throughput_and_by_count(by_count: bool) -> None:
    async def scenario(world: MixedWorld) -> None:
        for _ in range(3):
            world.add_java()
            await asyncio.sleep(90.0)
        await asyncio.sleep(200.0)
        held = sorted(len(worker.held_keys) for worker in world.java())
        assert held == [2, 2, 2] if by_count else (sum(held) == 6 and held[0] >= 1)
        assert world.judge.repeats == 0

    played(scenario, keys=6, times=replace(DEFAULT_TIMES, by_count=by_count))


@pytest.mark.parametrize("protocol", ["3x", "2x"])
def test_children_are_read_once_and_after_their_parents_and_ended_rows_are_deleted(protocol: str) -> None:
    async def scenario(world: MixedWorld) -> None:
        world.add_java()
        await asyncio.sleep(100.0)
        world.add_java()
        await asyncio.sleep(1400.0)
        rows = {row.key: row for row in world.table.rows().leases}
        assert {f"{key}{child}" for key in world.keys for child in ("ma", "mb")} <= rows.keys()
        assert not set(world.keys) & rows.keys()

    world = played(scenario, keys=2, protocol=protocol, work=SHORT_SHARDS)
    assert world.judge.repeats == 0 or protocol == "2x"  # a 2.x worker is robbed in the middle of a batch


def test_a_2x_fleet_takes_a_dead_workers_leases_and_levels_by_robbing() -> None:
    async def scenario(world: MixedWorld) -> None:
        first = world.add_java()
        await asyncio.sleep(100.0)
        world.add_java()
        await asyncio.sleep(100.0)
        assert [len(worker.held_keys) for worker in world.java()] == [2, 2]
        world.crash(first)
        await asyncio.sleep(60.0)
        assert [10.0 <= seconds <= 41.0 for seconds, _, _ in world.judge.takeovers] == [True, True]
        assert world.judge.unrest(world.workers) is None

    played(scenario, protocol="2x")


@pytest.mark.parametrize("row", ["Leader", "w9"])
def test_one_row_that_is_no_lease_stops_every_take_of_a_2x_fleet(row: str) -> None:
    """As seen of 2.7.2: until it is deleted, nobody's leases are taken over."""

    async def scenario(world: MixedWorld) -> None:
        first = world.add_java()
        second = world.add_java()
        await asyncio.sleep(100.0)
        entity = "LEADER" if row == "Leader" else "WORKER_METRIC_STATS"
        world.table.put_item({"leaseKey": {"S": row}, "entityType": {"S": entity}})
        world.crash(first)
        await asyncio.sleep(120.0)
        assert world.judge.takeovers == []
        assert second.thrown > 3

    played(scenario, protocol="2x")
