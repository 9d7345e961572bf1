"""What a lease's row says of its shard's load: the KCL's average, whatever the distance between two writes."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.leasing.throughput import Throughput, smoothed_kbps
from lease_store.checkpoint import Checkpoint
from tests.unit.leasing.scripted_store import Bench, Step, on_bench

INTERVAL = 10.0 / 3
MB = 1024 * 1024


def test_at_the_kcls_interval_it_is_the_kcls_average() -> None:
    """Half of the old and half of the new: 300, then (300 + 100) / 2, then (200 + 0) / 2 KB/s."""
    kbps = smoothed_kbps(None, int(300 * 1024 * INTERVAL), INTERVAL, INTERVAL)
    assert kbps == pytest.approx(300.0, abs=0.001)
    kbps = smoothed_kbps(kbps, int(100 * 1024 * INTERVAL), INTERVAL, INTERVAL)
    assert kbps == pytest.approx(200.0, abs=0.001)
    assert smoothed_kbps(kbps, 0, INTERVAL, INTERVAL) == pytest.approx(100.0, abs=0.001)


@given(st.lists(st.floats(0.01, 5.0), min_size=1, max_size=20), st.floats(0.0, 5_000.0))
def test_a_steady_rate_gives_the_same_average_however_often_it_is_asked_for(parts: list[float], before: float) -> None:
    """A busy shard's row is written by its checkpoints, every second or oftener, and not at renewals."""
    whole = smoothed_kbps(before, round(sum(parts) * MB), sum(parts), INTERVAL)
    kbps = before
    for seconds in parts:
        kbps = smoothed_kbps(kbps, round(seconds * MB), seconds, INTERVAL)
    assert kbps == pytest.approx(whole, rel=0.001, abs=0.01)


def test_one_large_batch_right_after_the_start_is_no_high_rate() -> None:
    throughput = Throughput(None, 100.0)
    assert throughput.kbps_at(160.0, INTERVAL) is None
    throughput.delivered_bytes += MB
    assert throughput.kbps_at(160.05, INTERVAL) == pytest.approx(1024 / INTERVAL)
    assert throughput.kbps_at(160.05, INTERVAL) == pytest.approx(1024 / INTERVAL)


@on_bench
async def test_a_quiet_lease_says_nothing_until_something_was_delivered(bench: Bench) -> None:
    held = bench.hold()
    await bench.clock.sleep(3.0)
    await held.renew()
    assert bench.row.throughput_kbps is None
    held.throughput.delivered_bytes += int(10 * 1024 * INTERVAL)
    await bench.clock.sleep(INTERVAL)
    await held.renew()
    assert bench.row.throughput_kbps == pytest.approx(Decimal(10), abs=Decimal("0.001"))


@on_bench
async def test_the_stored_value_is_where_a_tenure_begins(bench: Bench) -> None:
    held = bench.hold(throughput_kbps=Decimal("80.5"))
    await bench.clock.sleep(INTERVAL)
    await held.renew()
    assert bench.row.throughput_kbps == Decimal("40.250000")
    await bench.clock.sleep(INTERVAL)
    await held.renew()
    assert bench.row.throughput_kbps == Decimal("20.125000")


@on_bench
async def test_checkpoints_carry_it_since_they_stand_for_renewals(bench: Bench) -> None:
    held = bench.hold()
    for number in range(1, 11):
        held.throughput.delivered_bytes += 50 * 1024
        await bench.clock.sleep(1.0)
        await held.checkpoint(Checkpoint(str(number)))
    assert bench.sent == ["set_checkpoint"] * 10
    assert bench.row.throughput_kbps == pytest.approx(Decimal(50), abs=Decimal(6))


@on_bench
async def test_a_renewal_that_is_sent_again_is_the_same_renewal(bench: Bench) -> None:
    """Its first sending may arrive late, and must then be known for mine by every field."""
    held = bench.hold()
    held.throughput.delivered_bytes += MB
    await bench.clock.sleep(3.0)
    bench.script.extend([Step(applied=False, late=2.0), Step(seconds=0.6)])
    await held.renew()
    assert bench.sent == ["renew", "read", "renew", "read"]
    assert held.over is None
    assert held.lease.counter == 8


def test_it_never_falls_below_zero_and_a_clock_that_stands_still_changes_nothing() -> None:
    throughput = Throughput(5.0, 10.0)
    throughput.delivered_bytes += MB
    assert throughput.kbps_at(10.0, INTERVAL) == 5.0
    assert throughput.kbps_at(9.0, INTERVAL) == 5.0
    later = throughput.kbps_at(11.0, INTERVAL)
    assert later is not None
    assert later > 5.0, "what came meanwhile is counted once time moves"
    quiet = throughput.kbps_at(100_000.0, INTERVAL)
    assert quiet is not None
    assert 0.0 <= quiet < 1e-6
