"""User code of the measures of scale."""

from __future__ import annotations

import gc
import os
import signal
import time
import tracemalloc
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, Self

from consumer import RecordProcessor
from tests.benchmarks.contenders.counting import COUNTER, Slots, from_payload, slot_of

__all__ = ["PAUSE", "TRACED", "Burning", "Noop"]

PAUSE: Final = "BENCH_PAUSE"
"""While the file that this names exists, ``Burning`` rests."""

TRACED: Final = "BENCH_TRACED"
"""Where this names a file, and PYTHONTRACEMALLOC is set, SIGUSR1 has the bytes allocated now written into it.

Without those of connections, of which there are as many as calls are under way.
"""

_CONNECTIONS: Final = ("/consumer/streams/direct", "/aiohttp/", "/aiohappyeyeballs/", "/asyncio/")
_BURN_NANOSECONDS: Final = 20_000
_payload: Final = attrgetter("data")


class Noop(RecordProcessor):
    """Does nothing. One object for all shards: what a processor takes of memory is its author's."""

    _only: Self | None = None

    def __new__(cls) -> Self:
        cls._only = cls._only or super().__new__(cls)
        return cls._only

    def process_records(self, records: Any, checkpointer: Any) -> None:
        pass


class Burning(RecordProcessor):
    """Takes 20 microseconds of its thread's CPU time for each record, and checks that each came in its place."""

    slots = Slots.from_environment() if COUNTER in os.environ else None
    pause = Path(os.environ.get(PAUSE, ""))
    slot = 0

    def initialize(self, shard: Any) -> None:
        self.slot = slot_of(shard.shard_id)

    def process_records(self, records: Sequence[Any], checkpointer: Any) -> None:
        assert self.slots is not None
        while self.pause.exists():
            time.sleep(0.2)
        # CPU time, not the clock's: what waits for a core does not burn.
        until = time.thread_time_ns() + _BURN_NANOSECONDS * len(records)
        self.slots.hand_over(self.slot, list(map(_payload, records)), from_payload)
        while time.thread_time_ns() < until:
            pass


def _write_traced(*_: object) -> None:
    gc.collect()
    by_file = {each.traceback[0].filename: each.size for each in tracemalloc.take_snapshot().statistics("filename")}
    own = sum(size for name, size in by_file.items() if not any(part in name for part in _CONNECTIONS))
    told = Path(os.environ[TRACED])
    beside = told.with_suffix(".part")
    beside.write_text(str(own))
    beside.rename(told)


if TRACED in os.environ:
    signal.signal(signal.SIGUSR1, _write_traced)
