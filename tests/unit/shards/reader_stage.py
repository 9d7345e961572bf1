"""What tests of a shard's reader stand on: user code that keeps or holds what it gets, and one consumer for a time."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from consumer.processor import RecordProcessor
from tests.unit.shards.shard_fakes import FakeSource, FakeTenure, Stage, at, numbers, virtual


class Sink(RecordProcessor):
    def __init__(self):
        self.seen = []
        self.batches = []

    async def process_records(self, records, checkpointer):
        self.batches.append(records)
        self.seen.extend(numbers(records))


class Blocked(Sink):
    async def process_records(self, records, checkpointer):
        await asyncio.sleep(1_000_000)


def run_for(seconds, source, *, sink=None, tenure=None, check=None, **settings):
    """Run one consumer for a time, look at it, then take its lease away; returns the stage."""
    sink = sink or Sink()

    async def main():
        stage = Stage(tenure() if tenure else FakeTenure(), source, lambda: sink, **settings)
        task = stage.start()
        await at(seconds)
        if check:
            check(stage)
        stage.tenure.ask("lost")
        if isinstance(sink, Blocked):
            task.cancel()
            await asyncio.wait({task})
        else:
            await task
        return stage

    return virtual(main, limit_seconds=seconds + 3_600), sink


def source(*script, **more):
    """A source made outside of a loop, for scripts that need none of its events."""
    return FakeSource(*script, **more)


def gaps(reads):
    return [round(later - earlier, 6) for earlier, later in pairwise(reads)]
