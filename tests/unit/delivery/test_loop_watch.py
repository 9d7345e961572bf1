"""An ``async def`` that never awaits: a thread tells where it stands, while nothing else of the worker can."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from consumer.clock import SystemClock
from consumer.config import InitialPosition, WorkerConfig
from consumer.delivery.callbacks import call_user_code
from consumer.delivery.loop_watch import LoopWatch
from consumer.delivery.threads import InlineThreads
from consumer.processor import RecordProcessor
from consumer.testing.memory_source import MemoryRecordSource
from consumer.testing.shard_log import ShardLog
from consumer.testing.virtual_time import VirtualClock
from consumer.worker import Worker
from lease_store.memory import MemoryLeaseStore


class HandClock(VirtualClock):
    """Its hands are moved by the test."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


async def test_what_blocks_the_loop_is_named_by_file_line_and_function(caplog: pytest.LogCaptureFixture) -> None:
    clock = HandClock()

    async def process_records() -> None:
        clock.now = 31.0
        looking = threading.Thread(target=watch.look)
        looking.start()
        looking.join()

    with LoopWatch(30.0, clock) as watch:
        await call_user_code(InlineThreads(), process_records)
    assert "batch_timeout_seconds is 30" in caplog.text
    assert "< test_loop_watch.py:" in caplog.text
    assert "in process_records" in caplog.text
    assert "callbacks.py" not in caplog.text, "user code's frames, and not those that call it"


async def test_it_is_told_once_a_minute_and_when_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    clock = HandClock()
    with LoopWatch(30.0, clock) as watch:
        for clock.now in (29.0, 30.0, 31.0, 89.0, 90.0):
            watch.look()
        assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
        watch._turns()
        watch.look()
        watch.look()
    assert [record.getMessage() for record in caplog.records][2:] == ["The worker's loop turns again."]


def watching() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "leasehold-loop-watch"]


class Orders(RecordProcessor):
    def process_records(self, records: Any, checkpointer: Any) -> None:
        """Never called."""


@pytest.mark.parametrize(("seconds", "threads"), [(None, 0), (5.0, 1)])
async def test_a_worker_has_one_where_calls_have_a_limit_and_it_ends_with_the_worker(
    seconds: float | None, threads: int
) -> None:
    log = ShardLog(SystemClock().wall)
    log.create_stream("orders", 1)
    config = WorkerConfig(app="audit", initial_position=InitialPosition("TRIM_HORIZON"), batch_timeout_seconds=seconds)
    source = MemoryRecordSource(log, "kinesis:orders", clock=SystemClock())
    async with Worker(source, MemoryLeaseStore(), Orders, config):
        begun = watching()
        assert len(begun) == threads
    for each in begun:
        each.join(10)
    assert watching() == []
