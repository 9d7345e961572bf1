"""What this worker publishes of its load: averages as a Java leader reads them, and none that would shut it out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.hooks import CpuMeasured, Fact, Hooks
from consumer.leasing.observation import Peer
from consumer.leasing.worker_metrics import CpuAverages, WorkerMetrics
from consumer.testing.virtual_time import VirtualClock, run_virtual
from lease_store.lease import WorkerRow

ROW = WorkerRow(worker_id="me", beat=3)


def averages(*samples: float | None, every: float = 5.0) -> tuple[float, ...]:
    kept = CpuAverages()
    for number, sample in enumerate(samples):
        kept.add(sample, number * every)
    return kept.values()


def test_the_first_sample_is_published_at_once_and_then_the_average_of_each_half_minute() -> None:
    assert averages(None, None, 80.0) == (80.0,)
    assert averages(80.0, *[10.0] * 3, *[30.0] * 2) == (80.0,)
    assert averages(80.0, *[10.0] * 3, *[30.0] * 3) == (80.0, 20.0)


def test_samples_that_failed_are_left_out_of_their_average() -> None:
    assert averages(80.0, None, 10.0, None, 20.0, None, None) == (80.0, 15.0)


def test_half_minutes_without_a_sample_are_left_out_and_after_ten_nothing_is_left() -> None:
    assert averages(80.0, *[None] * 6, *[10.0] * 6) == (80.0, 10.0)
    assert averages(80.0, *[None] * 54) == (80.0,)
    assert averages(80.0, *[None] * 60) == ()
    assert averages(80.0, *[None] * 60, 7.0) == (7.0,)


@given(st.lists(st.none() | st.floats(), max_size=200))
def test_whatever_is_sampled_at_most_ten_percentages_are_published(samples: list[float | None]) -> None:
    values = averages(*samples)
    assert len(values) <= 10
    assert all(0.0 <= value <= 100.0 and value == round(value, 6) for value in values)


def test_the_oldest_of_eleven_goes() -> None:
    samples = [float(number // 6 + 1) for number in range(6 * 10)]
    assert averages(0.0, *samples) == tuple(float(number) for number in range(1, 11))


class Reader:
    def __init__(self, read: Callable[[], Awaitable[float | None]]) -> None:
        self._read = read
        self.asked_at: list[float] = []

    async def read(self) -> float | None:
        self.asked_at.append(asyncio.get_running_loop().time())
        return await self._read()


def published(reader: Reader, seconds: float, *alive: Peer, facts: list[Fact] | None = None) -> WorkerRow:
    async def main() -> WorkerRow:
        metrics = WorkerMetrics(reader, VirtualClock(), Hooks([] if facts is None else [facts.append]))
        running = asyncio.ensure_future(metrics.run())
        await asyncio.sleep(seconds)
        assert not running.done()
        running.cancel()
        return metrics.filled(ROW, alive)

    return run_virtual(main())


async def _ninety() -> float | None:
    return 90.0


def kcl(**samples: tuple[float, ...]) -> Peer:
    return Peer(WorkerRow(worker_id="java", beat=None, updated_at=1, samples=samples), 0.0)


def test_a_sample_every_few_seconds_is_enough() -> None:
    reader, facts = Reader(_ninety), list[Fact]()
    row = published(reader, 62.0, facts=facts)
    assert reader.asked_at == [5.0 * number for number in range(13)]
    assert facts == [CpuMeasured("", 90.0)] * 3
    assert row.samples == {"C": (90.0, 90.0, 90.0)}
    assert row.ranges == {"C": (100.0,)}


def test_without_a_sample_the_maps_are_empty() -> None:
    async def nothing() -> float | None:
        return None

    facts = list[Fact]()
    assert published(Reader(nothing), 100.0, facts=facts) == ROW
    assert facts == []


def test_a_reader_that_raises_or_hangs_costs_its_samples_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    replies = iter([50.0, ValueError("a sensor's own"), None, 70.0, 70.0, 70.0, 70.0, 70.0, 70.0])

    async def read() -> float | None:
        reply = next(replies)
        if isinstance(reply, Exception):
            raise reply
        if reply is None:
            await asyncio.Event().wait()
        return reply

    with caplog.at_level(logging.WARNING, "leasehold.leasing"):
        row = published(Reader(read), 40.0)
    assert row.samples == {"C": (50.0, 70.0)}
    assert len(caplog.messages) == 1
    assert "ValueError: a sensor's own" in caplog.messages[0]


def test_beside_kcl_workers_that_publish_no_cpu_this_one_publishes_none() -> None:
    """Their leader would compare it with itself alone, and give it no lease to even out the fleet."""
    assert published(Reader(_ninety), 5.0, kcl()) == ROW
    assert published(Reader(_ninety), 5.0, kcl(), kcl(C=(20.0, -1.0))).samples == {"C": (90.0,)}
    ours = Peer(WorkerRow(worker_id="a", beat=1), 0.0)
    assert published(Reader(_ninety), 5.0, ours).samples == {"C": (90.0,)}
