"""A shard log on a clock that moves when told."""

from __future__ import annotations

import pytest

from consumer.testing.shard_log import ShardLog
from tests.unit.testing.log_stage import HandClock


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def log(clock: HandClock) -> ShardLog:
    return ShardLog(clock, seed=1)
