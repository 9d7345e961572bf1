"""The measures of scale, small: that they measure what they say, and leave nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.scale import idle_shards
from tests.benchmarks.scale.stage import Stage

pytestmark = pytest.mark.integration


def test_a_few_idle_shards_are_measured_as_a_thousand_are():
    figures, goals = (
        idle_shards.measure(shards=20, rounds=1, settle_seconds=1.0)[name] for name in ("figures", "goals")
    )
    assert figures["tenures_ended"] == 0
    assert 10 < figures["polls_a_second"] < 60  # each is polled once a second, at first somewhat more often
    assert 1 < figures["lease_writes_a_second"] < 8  # each is renewed every five seconds
    assert figures["lease_requests_a_second"] < figures["lease_writes_a_second"]
    assert 0 < figures["share_of_a_core"] < 1
    assert 20 < figures["resident_megabytes"] < 200
    assert figures["boto3_microseconds_a_poll"] > 100
    assert [row["value"] is not None for row in goals] == [True] * 4


def test_a_worker_that_does_not_get_its_shards_is_told(tmp_path: Path):
    with Stage(tmp_path).serving("few", "idle-2") as (_, worker):
        with pytest.raises(TimeoutError, match="of 3 shards"):
            worker.until_reading(3, 4.0)
        process = Path(f"/proc/{worker.pid}")
        assert process.exists()
    assert not process.exists()
