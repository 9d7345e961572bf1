"""Catalogue: what needs real threads, or the memory of a real process."""

from __future__ import annotations

import asyncio
import ctypes
import threading
from random import Random
from typing import Any

from consumer.clock import SystemClock
from consumer.config import InitialPosition, WorkerConfig
from consumer.processor import RecordProcessor
from consumer.testing.memory_source import MemoryRecordSource
from consumer.testing.shard_log import ShardLog
from consumer.worker import Outcome, Worker
from lease_store.memory import MemoryLeaseStore

CLOCK = SystemClock()
CONFIG = WorkerConfig(app="threads", initial_position=InitialPosition("TRIM_HORIZON"), retry_limit_seconds=0.2)


class _Killed(RecordProcessor):
    """Its first call spins until its thread is told to die; each call notes its batch and its thread."""

    calls: list[tuple[int, list[str]]]
    loop: asyncio.AbstractEventLoop
    spinning: asyncio.Event
    done: asyncio.Event

    def process_records(self, records: Any, checkpointer: Any) -> None:
        self.calls.append((threading.get_ident(), [record.keys["pk"] for record in records]))
        if len(self.calls) == 1:
            self.loop.call_soon_threadsafe(self.spinning.set)
            while True:
                pass
        self.loop.call_soon_threadsafe(self.done.set)


async def test_c50_a_handler_whose_thread_is_told_to_die_is_called_again_with_the_same_batch() -> None:
    log = ShardLog(CLOCK.wall)
    log.create_table("orders")
    for key in ("a", "b", "c"):
        log.put_item("orders", new_image={"pk": key})
    _Killed.calls, _Killed.loop = [], asyncio.get_running_loop()
    _Killed.spinning, _Killed.done = asyncio.Event(), asyncio.Event()
    source = MemoryRecordSource(log, "dynamodb:orders", clock=CLOCK)
    async with CLOCK.timeout(30.0), Worker(source, MemoryLeaseStore(), _Killed, CONFIG, random=Random(1)) as worker:
        running = asyncio.ensure_future(worker.run())
        await _Killed.spinning.wait()
        thread = ctypes.c_ulong(_Killed.calls[0][0])
        assert ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(SystemExit)) == 1
        await _Killed.done.wait()
        worker.stop()
        assert await running is Outcome.CLEAN
    assert [keys for _, keys in _Killed.calls] == [["a", "b", "c"]] * 2
