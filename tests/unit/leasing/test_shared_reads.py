"""Many who ask for one row at once share a read, of which none was begun before it was asked for."""

from __future__ import annotations

import asyncio

import pytest

from consumer.leasing.shared_reads import SharedReads
from consumer.testing.virtual_time import VirtualClock
from lease_store.errors import LeaseStoreError, LeaseTableThrottled
from tests.unit.leasing.scripted_store import Bench, on_bench


class Rows:
    """Reads take a second each, and show when they were begun."""

    def __init__(self, clock: VirtualClock) -> None:
        self.reads: list[tuple[str, float]] = []
        self.fails = False
        self._clock = clock

    async def read(self, name: str) -> float | None:
        began_at = self._clock.monotonic()
        self.reads.append((name, began_at))
        await self._clock.sleep(1.0)
        if self.fails:
            raise LeaseTableThrottled
        return began_at


@on_bench
async def test_those_of_one_moment_share_a_read_and_who_comes_later_has_a_later_one(bench: Bench) -> None:
    clock, rows = bench.clock, Rows(bench.clock)
    shared = SharedReads(rows.read, clock)
    began = clock.monotonic()
    first = [bench.begin(shared.take("a")) for _ in range(100)]
    await clock.sleep(0.5)
    later = [bench.begin(shared.take("a")) for _ in range(100)]
    other = bench.begin(shared.take("b"))
    assert {await each for each in first} == {began}
    assert {await each for each in later} == {began + 1.0}
    assert await other == began + 0.5
    assert len(rows.reads) == 3
    assert await shared.take("a") == began + 2.0, "nothing is kept for those who did not ask"


@on_bench
async def test_a_failure_is_shared_too_and_no_longer_than_that(bench: Bench) -> None:
    """Five hundred that ask must not wait for as many time-outs, one after another."""
    rows = Rows(bench.clock)
    shared = SharedReads(rows.read, bench.clock)
    rows.fails = True
    outcomes = await asyncio.gather(*(shared.take("a") for _ in range(500)), return_exceptions=True)
    assert all(isinstance(each, LeaseStoreError) for each in outcomes)
    assert len(rows.reads) == 1
    rows.fails = False
    assert await shared.take("a") is not None


@on_bench
async def test_who_reads_for_others_may_be_cancelled(bench: Bench) -> None:
    rows = Rows(bench.clock)
    shared = SharedReads(rows.read, bench.clock)
    reader, other = bench.begin(shared.take("a")), bench.begin(shared.take("a"))
    await bench.clock.sleep(0.5)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert await other == rows.reads[1][1]
