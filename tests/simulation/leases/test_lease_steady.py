"""A fleet in which nothing goes wrong: what it costs, and how few leases move."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from consumer.leasing.timing import LeaseTiming
from tests.simulation.leases.draw import LeaseDraw, Work
from tests.simulation.leases.process import SimWorker
from tests.simulation.leases.world import LeaseWorld
from tests.simulation.network import Calm

pytestmark = pytest.mark.usefixtures("nothing_logged")

# Nothing goes wrong, and user code never checkpoints: every write has its reason in leasing alone.
STEADY = LeaseDraw(
    faults="none",
    failover=10.0,
    network=Calm(),
    work=Work(0.3, 0.0, 0.0, 0.0, 0.0, 0.0),
    keys=12,
    max_leases=None,
    hand_off_timeout=30.0,
    drain_timeout=None,
    workers=0,
    stagger=0.0,
    phase=0.0,
    pause=1.0,
    happenings=(),
    skew=500.0,
    drift=0.005,
    ends=False,
)


def in_calm_world(
    leases: int, failover_seconds: float, scenario: Callable[[LeaseWorld], Coroutine[Any, Any, None]]
) -> LeaseWorld:
    world = LeaseWorld(1, replace(STEADY, keys=leases, failover=failover_seconds))
    world.play(scenario(world))
    assert world.judge.violations == []
    return world


async def calls_in(worker: SimWorker, seconds: float) -> dict[str, float]:
    """Store calls a second, by what they do."""
    before = dict(worker.store.calls)
    await asyncio.sleep(seconds)
    made = {what: (count - before.get(what, 0)) / seconds for what, count in worker.store.calls.items()}
    return {what: rate for what, rate in made.items() if rate}


@pytest.mark.parametrize("failover_seconds", [1.0, 10.0])
def test_one_worker_with_a_hundred_leases_renews_beats_and_scans_and_does_nothing_else(failover_seconds: float) -> None:
    async def scenario(world: LeaseWorld) -> None:
        worker = world.add_worker()
        await asyncio.sleep(20.0)
        assert len(worker.loop.leases.held) == 100
        rates = await calls_in(worker, 60.0)
        assert set(rates) == {"renew", "batch", "beat", "scan"}
        assert rates["renew"] == pytest.approx(100 / LeaseTiming(failover_seconds).renew_seconds, rel=0.03)
        assert rates["renew"] < 25 * rates["batch"] < 2.0 * rates["renew"], "a request has room for 25"
        assert rates["beat"] == pytest.approx(3 / failover_seconds, rel=0.1)
        assert rates["scan"] <= 1.12

    in_calm_world(100, failover_seconds, scenario)


def test_a_second_worker_costs_the_fewest_moves_and_then_nothing_moves() -> None:
    async def scenario(world: LeaseWorld) -> None:
        first = world.add_worker()
        await asyncio.sleep(5.0)
        moves = world.judge.moves
        second = world.add_worker()
        await asyncio.sleep(15.0)
        assert (len(first.loop.leases.held), len(second.loop.leases.held)) == (11, 10)
        assert world.judge.moves - moves == 10
        assert set(await calls_in(second, 60.0)) == {"renew", "batch", "beat", "scan"}

    in_calm_world(21, 10.0, scenario)


def test_four_workers_that_start_at_once_are_balanced_at_once() -> None:
    async def scenario(world: LeaseWorld) -> None:
        workers = [world.add_worker() for _ in range(4)]
        await asyncio.sleep(6.0)
        assert sorted(len(worker.loop.leases.held) for worker in workers) == [5, 5, 5, 5]

    in_calm_world(20, 10.0, scenario)


def test_a_drained_worker_leaves_no_row_no_task_and_short_silences() -> None:
    async def scenario(world: LeaseWorld) -> None:
        first, _ = world.add_worker(), world.add_worker()
        await asyncio.sleep(15.0)
        first.drain()
        await asyncio.sleep(6.0)
        assert first.state == "gone"
        assert world.judge.table.get(first.name) is None
        assert all(lease.owner != first.name for lease in world.judge.table.rows().leases)
        assert [task for task in asyncio.all_tasks() if task in first._tasks] == []
        assert world.judge.unrest(world.workers) is None
        assert 0.0 < world.judge.longest_gap <= 0.5

    in_calm_world(12, 10.0, scenario)


def test_a_dead_workers_leases_are_elsewhere_within_the_failover_time_and_2_seconds() -> None:
    async def scenario(world: LeaseWorld) -> None:
        first, *_ = (world.add_worker() for _ in range(3))
        await asyncio.sleep(15.0)
        key = min(first.loop.leases.held)
        counter = world.judge.table.lease(key).counter
        for _ in range(1000):
            await asyncio.sleep(0.01)
            if world.judge.table.lease(key).counter > counter:
                break
        world.crash(first)  # of all moments the worst for this lease, which was renewed right now
        await asyncio.sleep(12.0)
        assert world.judge.orphaned_at == {}
        assert world.judge.unrest(world.workers) is None

    in_calm_world(12, 10.0, scenario)
