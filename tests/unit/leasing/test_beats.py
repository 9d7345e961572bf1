"""A worker's own row: written again and again, and settled by what stands where a write was refused."""

from __future__ import annotations

import logging

import pytest

from consumer.leasing.own_row import OwnRow
from consumer.leasing.timing import LeaseTiming
from lease_store.attributes import Place
from lease_store.lease import WorkerRow
from tests.unit.leasing.loop_stage import leases_on, loop_on
from tests.unit.leasing.scripted_store import ME, Bench, on_bench


def test_a_beat_that_the_network_carried_twice_stands(caplog: pytest.LogCaptureFixture) -> None:
    """The reply is the second one's: a refusal, by the row that the first one wrote."""

    @on_bench
    async def main(bench: Bench) -> None:
        write = bench.write_worker

        async def carried_twice(row: WorkerRow, place: Place = "leases") -> bool:
            return await write(row, place) and await write(row, place)

        bench.write_worker = carried_twice  # type: ignore[method-assign]
        loop_on(bench)
        await bench.clock.sleep(20.0)
        assert bench.rows().workers[0].beat in range(6, 10)  # three at once, then every 3.3 s

    main()
    assert caplog.messages == []


def test_a_row_that_somebody_else_wrote_is_beaten_and_told(caplog: pytest.LogCaptureFixture) -> None:
    @on_bench
    async def main(bench: Bench) -> None:
        await bench.write_worker(WorkerRow(worker_id=ME, beat=40, draining=True))
        loop_on(bench)
        await bench.clock.sleep(5.0)
        (row,) = bench.rows().workers
        assert not row.draining
        assert row.beat in range(41, 45)

    with caplog.at_level(logging.WARNING, "leasehold.leasing"):
        main()
    assert caplog.messages == [
        "Could not write this worker's own row, trying again: This worker's own row is at beat 40 already."
    ]


@on_bench
async def test_however_long_the_failover_time_a_beat_comes_every_20_s(bench: Bench) -> None:
    """A KCL's leader gives nothing to a worker whose row is a minute old by its clock."""
    leases = leases_on(bench)
    leases.timing = LeaseTiming(3600.0)
    bench.begin(OwnRow(leases).beat_forever())
    await bench.clock.sleep(5.0)
    for _ in range(100):
        await bench.clock.sleep(1.0)
        (row,) = bench.rows().workers
        assert bench.clock.wall() - row.updated_at < 22.0
