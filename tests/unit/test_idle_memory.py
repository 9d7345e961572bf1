"""What an idle shard takes of a worker's memory: a worker that holds ten thousand of them must not grow unnoticed."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from pathlib import Path
from typing import Any, Final

import consumer
from consumer.processor import RecordProcessor
from consumer.testing.virtual_time import VirtualClock, run_virtual
from tests.unit.worker_stage import Stage

FEW, MANY = 42, 170  # both a little below where dictionaries grow: a shard's share of them is that of thousands
IDLE_SECONDS = 10.0
LEAST, MOST = 1500, 2280
"""It was 2,110 to 2,210 bytes when this was written (sets of keys grow in leaps), 360 of them a stream's iterator."""

OWN: Final = str(Path(consumer.__file__).parent)
OF_THE_STAGE: Final = f"{OWN}/testing/"


class Noop(RecordProcessor):
    def process_records(self, records: Any, checkpointer: Any) -> None:
        pass


def allocated(shards: int) -> int:
    """The bytes that ``consumer`` has allocated in a worker whose shards have long had nothing to do.

    Without rows of leases, which the table in memory has, too.
    """
    only = Noop()  # what a processor takes is its author's

    async def main() -> int:
        stage = Stage(VirtualClock(), shards=shards)
        async with stage.worker(lambda: only) as worker:
            work = asyncio.get_running_loop().create_task(worker.run())
            await asyncio.sleep(IDLE_SECONDS)
            assert [shard.stage for shard in worker.status().shards] == ["reading"] * shards
            stage.facts.clear()
            gc.collect()
            files = tracemalloc.take_snapshot().statistics("filename")
            worker.stop()
            await work
        by_file = {each.traceback[0].filename: each.size for each in files}
        return sum(size for name, size in by_file.items() if name.startswith(OWN) and OF_THE_STAGE not in name)

    tracemalloc.start()
    try:
        return run_virtual(main(), limit_seconds=3600)
    finally:
        tracemalloc.stop()


def test_an_idle_shard_takes_no_more_than_it_did():
    a_shard = (allocated(MANY) - allocated(FEW)) / (MANY - FEW)
    assert LEAST < a_shard < MOST, (
        f"An idle shard takes {a_shard:,.0f} bytes. python -m tests.benchmarks shard_memory tells what it comes to in "
        "a real worker; the goal there is 3 kB."
    )
