"""The metadata endpoint of the tests tells what a worker's own reader understands."""

from __future__ import annotations

import pytest

from consumer.clock import SystemClock
from consumer.operate.cpu import MachineCpu
from tests.integration.kcl.ecs_metadata import EcsMetadata


async def test_a_worker_reads_the_cpu_that_the_endpoint_was_told() -> None:
    async with EcsMetadata(20.0) as metadata:
        reader = MachineCpu(SystemClock(), environ={"ECS_CONTAINER_METADATA_URI_V4": metadata.url})
        assert await reader.read() is None
        assert await reader.read() == pytest.approx(20.0, abs=0.5)
        metadata.be_busy(95.0)
        assert await reader.read() == pytest.approx(95.0, abs=2.0)
