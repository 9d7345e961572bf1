"""What tests of delivery stand on: one shard of Kinesis records under drawn keys, a sink that fails as told."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from functools import partial

from consumer.dead_letters.envelope import decode
from consumer.outcomes import BatchFailures
from consumer.processor import RecordProcessor
from consumer.streams.kinesis_record import KinesisRecord
from tests.unit.shards.shard_fakes import CHILD, KINESIS, FakeSource, FakeTenure, Stage, numbers, page, virtual

__all__ = ["Sink", "kinesis", "letters_of", "pages", "play"]


def kinesis(number, key="k", *, timestamp=1_800_000_000.0, data=b"{}"):
    return KinesisRecord(str(number), data, key, timestamp)


def pages(*runs, ends=True):
    """Pages of ``(number, key)``; the last one ends the shard."""
    made = [page([kinesis(*each) if isinstance(each, tuple) else each for each in run]) for run in runs]
    if ends:
        made[-1] = page(made[-1].records, last=True, children=(CHILD,))
    return made


class Sink:
    """Effects, calls and failures of all processors of a stage.

    ``bad`` are numbers that always fail; ``how`` says in which way; ``down`` is asked before anything is done.
    ``retries`` are those of the processor's class.
    """

    def __init__(self, *bad, how="raise", seconds=0.0, down=None, retries=None):
        self.bad = set(bad)
        self.how = how
        self.seconds = seconds
        self.down = down or (lambda: False)
        self.effects = []
        self.calls = []
        self.busy = set()
        self.told = defaultdict(list)
        self.lanes = {}
        self.processor = partial(_Processor, self)
        self.processor.retries = retries or {}


class _Processor(RecordProcessor):
    def __init__(self, sink):
        self.sink = sink
        self.lane = None

    async def initialize(self, shard):
        self.lane = shard.lane
        self.sink.told[shard.lane].append("initialize")

    async def shard_ended(self, checkpointer):
        self.sink.told[self.lane].append("shard_ended")

    async def shutdown_requested(self, checkpointer):
        self.sink.told[self.lane].append("shutdown_requested")

    async def lease_lost(self):
        self.sink.told[self.lane].append("lease_lost")

    async def process_records(self, records, checkpointer):
        sink = self.sink
        assert self.lane not in sink.busy, "two calls at once on one processor"
        sink.busy.add(self.lane)
        try:
            sink.calls.append((asyncio.get_running_loop().time(), numbers(records)))
            for record in records:
                assert sink.lanes.setdefault(record.key, self.lane) == self.lane, "a key changed its lane"
            if sink.seconds:
                await asyncio.sleep(sink.seconds)
            if sink.down():
                raise ConnectionError("no route")
            return self._do(records)
        finally:
            sink.busy.discard(self.lane)

    def _do(self, records):
        sink = self.sink
        failed = []
        for record in records:
            number = int(record.sequence_number)
            if number not in sink.bad:
                sink.effects.append(number)
            elif sink.how == "raise":
                raise ValueError(f"secret of {number}")
            elif sink.how == "fail":
                record.fail(ValueError(f"secret of {number}"))
            else:
                failed.append(record)
        if not failed:
            return None
        if sink.how == "return":
            return BatchFailures(failed)
        raise BatchFailures(failed) from ValueError("secret")


def play(sink, script, *, seconds=600.0, dead_letters=None, check=None, tenure=None, **settings):
    """Run one shard for a while of virtual time, or to its end; returns the stage."""

    async def main():
        if dead_letters is not None:
            settings["dead_letters"] = "file:in-memory"  # a word for the judge of settings; the object is what counts
        stage = Stage(
            tenure or FakeTenure(),
            script if isinstance(script, FakeSource) else FakeSource(*script),
            sink.processor,
            stream=KINESIS,
            letters=dead_letters,
            **settings,
        )
        task = stage.start()
        await asyncio.wait({task}, timeout=seconds)
        if check is not None:
            check(stage)
        stage.ended_by = task.result() if task.done() else None
        if not task.done():
            stage.tenure.ask("lost")
            await task
        return stage

    return virtual(main, limit_seconds=100_000.0)


def letters_of(store):
    """Numbers and reasons of the letters in a store, by number."""
    letters = [decode(envelope) for envelope in store.envelopes.values()]
    return sorted((int(letter.sequence_number), letter.reason.value) for letter in letters)
