"""Whole lease loops whose workers are not equally busy: a leader of ours evens that out, peers leave it."""

from __future__ import annotations

import logging
import re

import pytest

from consumer.hooks import HandOffTakenBack
from lease_store import verbs
from lease_store.lease import Lease
from tests.unit.leasing.kcl_3x import Kcl3x
from tests.unit.leasing.two_x_stage import Python, Shared, in_shared_table

KB = 1024


class Machine:
    """One worker's machine: each lease costs so many percent of its CPU, and its records come in all the time."""

    def __init__(self, percent_a_lease: float) -> None:
        self.percent_a_lease = percent_a_lease
        self.worker: Python | None = None

    async def read(self) -> float | None:
        return 0.0 if self.worker is None else min(100.0, self.percent_a_lease * len(self.worker.held))


async def fleet_of(shared: Shared, costs: list[float], **fields: object) -> list[Python]:
    for number in range(4 * len(costs)):
        shared.store.apply(verbs.create(Lease(key=f"shard-{number:02d}", stream="clicks@1", created_at="1-a")))
    workers = []
    for number, cost in enumerate(costs):
        machine = Machine(cost)
        machine.worker = shared.python(f"py-{number}", cpu=machine, **fields)  # type: ignore[arg-type]
        workers.append(machine.worker)
        await shared.clock.sleep(0.7)
    shared.begin(_carry(shared, workers))
    await shared.until(lambda: [len(worker.held) for worker in workers] == [4] * len(costs), within=120.0)
    return workers


async def _carry(shared: Shared, workers: list[Python]) -> None:
    while True:
        for worker in workers:
            for held in worker.loop.leases.held.values():
                held.throughput.delivered_bytes += 300 * KB
        await shared.clock.sleep(1.0)


def test_a_leader_moves_leases_away_from_a_worker_with_high_cpu_and_leaves_it_at_that(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, "leasehold.leasing"):
        in_shared_table(_relieved)()
    told = [message for message in caplog.messages if "has borne" in message]
    assert 1 <= len(told) <= 3
    assert re.match(r"Worker py-0-\w+ has borne 5\d % more than the fleet's mean for minutes", told[0])


async def _relieved(shared: Shared) -> None:
    await fleet_of(shared, [20.0, 10.0, 10.0], coordination="leader")
    await shared.stays(lambda: shared.loads()["py-0"] == 4, seconds=90.0, every=5.0)
    await shared.until(lambda: shared.loads()["py-0"] < 4, within=120.0)
    await shared.clock.sleep(200.0)
    loads = shared.loads()
    assert loads["py-0"] in (2, 3)
    await shared.stays(lambda: shared.loads() == loads, seconds=300.0, every=5.0)


@in_shared_table
async def test_peers_share_by_number_however_busy_one_of_them_is(shared: Shared) -> None:
    """Each plans by itself; thresholds on figures that change every second would have each mean another."""
    workers = await fleet_of(shared, [20.0, 10.0, 10.0])
    await shared.stays(lambda: set(shared.loads().values()) == {4}, seconds=250.0, every=5.0)
    cpu = workers[1].loop.leases.cpu()
    assert [round(cpu[worker.name] or 0.0) for worker in workers] == [80, 40, 40]


@in_shared_table
async def test_a_leader_moves_leases_from_a_hot_worker_of_ours_to_a_kcl(shared: Shared) -> None:
    java = Kcl3x("java", shared.store, shared.clock, samples=(10.0, 10.0))
    shared.enter("java", java.run())
    await shared.clock.sleep(2.0)
    hot = Machine(22.0)
    await fleet_of(shared, [10.0])
    hot.worker = shared.python("hot", cpu=hot)
    for number in range(10, 18):
        shared.store.apply(verbs.create(Lease(key=f"shard-{number}", stream="clicks@1", created_at="1-a")))
    shared.begin(_carry(shared, [hot.worker]))
    await shared.until(lambda: set(shared.loads().values()) == {4} and len(shared.loads()) == 3, within=120.0)
    await shared.until(lambda: len(java.held) > 4 and shared.loads()["hot"] < 4, within=400.0)


@in_shared_table
async def test_what_leaves_a_hot_worker_is_not_taken_back_because_its_batch_is_long(shared: Shared) -> None:
    """By number the fleet is even without it, and so each such hand-off would end where it began."""
    workers = await fleet_of(shared, [10.0, 20.0, 10.0], coordination="leader", batch_seconds=15.0)
    hot = workers[1]
    await shared.clock.sleep(30.0)
    hot.facts.clear()
    await shared.until(lambda: shared.loads()["py-1"] < 4, within=400.0)
    await shared.until(lambda: len(hot.held) < 4, within=40.0)
    assert [fact for fact in hot.facts if isinstance(fact, HandOffTakenBack)] == []
