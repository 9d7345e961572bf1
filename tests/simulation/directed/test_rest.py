"""Liveness where it is hardest: right after the faults a worker dies and two leave, while every scan is still stale."""

from __future__ import annotations

import asyncio

import pytest

from consumer.leasing.timing import LeaseTiming, scan_period_seconds
from tests.simulation.directed.stage import Fate, Stage, directed
from tests.simulation.leases.draw import CALM_WORK

F = 5.0
STALE = 3.0
# The dead one's leases are free after a failover time, seen late; then the new owners even the load out.
REST_WITHIN = 1.01 * F + 2.0 + 2 * STALE + 5.0


@pytest.mark.parametrize("order", ["123", "132", "231", "312", "543", "154", "415", "513", "254", "345"])
def test_one_dies_and_two_drain_within_2_s_after_the_faults_and_the_fleet_comes_to_rest(order: str) -> None:
    """Every shard is owned, the load even within one lease, who drains is gone, and then nothing moves."""

    @directed(failover=F, keys=9, stale_seconds=STALE, work=CALM_WORK)
    async def play(stage: Stage) -> None:
        for _ in range(4):
            stage.start()
        await asyncio.sleep(12.0)
        stage.start()  # hand-offs towards it are under way when the table goes away
        await asyncio.sleep(4.0)
        stage.calls(None, Fate(there=1.2, unheard=True), times=25)
        stage.calls("read", Fate(lost=True), times=10)
        stage.calls("beat", Fate(unheard=True), times=8)
        await asyncio.sleep(1.0)
        stage.script.rules.clear()
        dead, first, second = (stage.workers[int(each) - 1] for each in order)
        stage.crash(dead)
        await asyncio.sleep(0.7)
        first.drain()
        await asyncio.sleep(1.0)
        second.drain()

        def at_rest() -> bool:
            gone = first.state == second.state == "gone"
            return gone and stage.judge.unrest(stage.workers) is None

        await stage.until(at_rest, REST_WITHIN)
        moves = stage.judge.moves
        await asyncio.sleep(2 * F)
        assert stage.judge.moves == moves
        assert at_rest()

    play()


@pytest.mark.parametrize("budget", [50.0, 0.75, 0.3, 0.1])
def test_a_takeover_takes_no_longer_than_show_config_says(budget: float) -> None:
    """Scans 1 to 30 s apart, at a failover time of 5 s; no live lease is tried for meanwhile."""

    @directed(failover=F, keys=6, work=CALM_WORK)
    async def play(stage: Stage) -> None:
        workers = [stage.start() for _ in range(3)]
        for worker in workers:
            worker.loop._watch._read_units_per_second = budget
        period = scan_period_seconds(9, 3, budget)
        await asyncio.sleep(60.0 + 3 * period)
        takes = [worker.store.calls.get("take", 0) for worker in workers]
        await asyncio.sleep(5 * period)
        assert takes == [worker.store.calls.get("take", 0) for worker in workers]
        stage.crash(workers[0])
        stage.judge.orphaned_at.clear()  # its own promise is for scans a second apart
        took = await stage.passes(
            lambda: all(stage.row(key).owner != workers[0].name for key in stage.keys),
            1.01 * LeaseTiming(F).takeover_seconds(period),
        )
        assert took, stage.last_steps()

    play()
