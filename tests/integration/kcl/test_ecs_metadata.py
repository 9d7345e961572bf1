"""The metadata endpoint of the tests tells what a worker's own reader understands."""

from __future__ import annotations

import pytest

from consumer.operate.cpu import MachineCpu
from tests.integration.kcl.ecs_metadata import EcsMetadata
from tests.integration.worker_stage import ShiftedClock


async def test_a_worker_reads_the_cpu_that_the_endpoint_was_told() -> None:
    clock = ShiftedClock()
    async with EcsMetadata(20.0, clock) as metadata:
        reader = MachineCpu(clock, environ={"ECS_CONTAINER_METADATA_URI_V4": metadata.url})
        assert await reader.read() is None
        clock.ahead += 30.0
        assert await reader.read() == pytest.approx(20.0)
        metadata.be_busy(95.0)
        clock.ahead += 30.0
        assert await reader.read() == pytest.approx(95.0, abs=1.0)
