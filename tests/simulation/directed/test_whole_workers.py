"""Safeguards of whole workers, played on the catalogue's stage: who a worker is, and what it asks before each batch."""

from __future__ import annotations

import asyncio
import time

import pytest

from consumer.clock import SystemClock
from tests.catalogue.stage import Stage, staged
from tests.simulation.network import Network

F = 10.0
CUT_OFF = Network(0.001, 0.02, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0)


@staged()
async def test_two_processes_of_one_name_are_two_workers(stage: Stage) -> None:
    """A container that hangs and the one that replaces it have one host name, one PID 1 and one --worker-id."""
    group = stage.group(worker_id="w")
    first = await group.start()
    stage.put(times=3)
    await group.until_given()
    first.freeze(2 * F)
    second = await group.start()
    assert first.id != second.id
    assert first.id.startswith("w-")
    assert second.id.startswith("w-")
    await stage.until(lambda: second.held, "the lease is taken over", F + 3.0)
    stage.put(times=3)
    await stage.advance(2 * F)  # the zombie wakes among rows that would be its own
    stage.put(times=3)
    await group.until_given()
    assert not first.held
    assert not group.repeated()


@staged()
async def test_a_worker_cut_off_from_its_table_stops_before_others_may_begin(stage: Stage) -> None:
    """It reads its stream well all the while."""
    group = stage.group(failover_seconds=F)
    worker = await group.start()
    stage.put(times=3)
    await group.until_given()
    cut_at = stage.now
    worker.network = CUT_OFF
    for _ in range(40):
        stage.put()
        await stage.advance(0.5)
    last = max(each.at for each in group.given)
    assert cut_at + 1.0 < last < cut_at + F - 0.9
    worker.network = None
    await group.until_given()


@pytest.mark.parametrize("seed", range(4))
def test_a_woken_zombie_begins_no_batch_before_it_asks_for_its_trust(seed: int) -> None:
    """Its next batch is ready when it wakes, and nothing has told it yet that its time is over."""

    @staged(seed=seed)
    async def play(stage: Stage) -> None:
        group = stage.group(failover_seconds=F, batch_size=1)
        zombie = await group.start(work=lambda batch: asyncio.sleep(0.2))
        stage.put(times=60)
        await stage.until(lambda: len(group.given) > 5, "the first records")
        await stage.advance(0.05)
        zombie.freeze(2 * F)
        second = await group.start()
        await stage.advance(2 * F - 0.5)
        assert second.held
        woken_at = stage.now
        await stage.advance(5.0)
        assert [each for each in group.given if each.worker == zombie.name and each.at > woken_at] == []
        await group.until_given()

    play()


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="this kernel has no clock that runs on in sleep")
def test_the_clock_of_leases_is_the_one_that_runs_on_while_the_machine_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """What trust makes of such a clock: ``test_a_machine_that_slept_trusts_nothing_when_it_wakes``."""
    times = {time.CLOCK_BOOTTIME: 7_000.0}
    monkeypatch.setattr(time, "clock_gettime", lambda which: times.get(which, 1.0))
    assert SystemClock().monotonic() == 7_000.0
