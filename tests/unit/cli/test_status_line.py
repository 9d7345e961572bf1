"""A line a minute, each telling what has come since the one before."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import pytest

from consumer.cli.work import tell_status
from consumer.operate.status import WorkerStatus
from consumer.testing.virtual_time import VirtualClock, run_virtual


def test_a_line_a_minute_with_what_is_new_since_the_last(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "leasehold.cli")
    counts = iter([5, 12])

    async def two_and_a_half_minutes() -> None:
        status = lambda: WorkerStatus(worker_id="w", records_processed=next(counts))  # noqa: E731 - one use
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(150):
                await tell_status(status, VirtualClock())

    run_virtual(two_and_a_half_minutes())
    assert [message.partition(", lag")[0] for message in caplog.messages] == [
        "0 shards held, 5 records (5 in 60 s)",
        "0 shards held, 12 records (7 in 60 s)",
    ]
