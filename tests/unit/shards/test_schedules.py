"""Random shards, faults, stops and schedules: order, no gap, no needless repeat, no checkpoint above what is done."""

from __future__ import annotations

import asyncio
import random

import pytest

from consumer.delivery.threads import InlineThreads
from consumer.errors import DataTrimmed, IteratorExpired, LeaseStoreError, StreamThrottled, StreamUnavailable
from consumer.hooks import GapFound
from consumer.processor import RecordProcessor
from consumer.shards.budget import ByteBudget
from consumer.streams.source import Shard
from lease_store.checkpoint import SHARD_END, Checkpoint
from tests.unit.shards.shard_fakes import FakeSource, FakeTenure, Stage, numbers, page, records, virtual

FAULTS = (IteratorExpired, StreamThrottled, StreamUnavailable)


class Shelf:
    """A shard's content, read by place and not by script, so that a reader that loses its place is found out."""

    def __init__(self, draw, count):
        self.draw = draw
        self.numbers = sorted(draw.sample(range(1, 10 * count), count))

    def source(self):
        source = FakeSource()
        places = {}

        async def iterator(stream, shard_id, position):
            if self.draw.random() < 0.1:
                raise self.draw.choice(FAULTS[1:])()
            token = f"{len(places)}"
            places[token] = 0 if position.sequence_number is None else int(position.sequence_number)
            return type("Opened", (), {"iterator": token, "drop_before": None})()

        async def read(stream, shard_id, token, limit):
            await asyncio.sleep(self.draw.choice([0, 0, 0.01, 0.3]))
            if self.draw.random() < 0.2:
                raise self.draw.choice(FAULTS)()
            rest = [number for number in self.numbers if number > places[token]]
            batch = rest[: self.draw.choice([0, 1, 2, 5, 9])]
            following = f"{len(places)}"
            places[following] = batch[-1] if batch else places[token]
            last = len(batch) == len(rest)
            found = page(records(*batch), last=last, children=(Shard("child"),) if last else None)
            return found if last else type(found)(found.records, following, size_bytes=found.size_bytes)

        source.iterator, source.read = iterator, read
        return source


@pytest.mark.parametrize("seed", range(150))
def test_every_record_is_delivered_in_order_across_tenures_and_none_is_repeated_without_a_cause(seed):
    async def main():
        draw = random.Random(seed)
        shelf = Shelf(draw, draw.choice([0, 1, 30, 80]))
        delivered: list[int] = []
        finished = [0]

        class User(RecordProcessor):
            async def process_records(self, batch, checkpointer):
                await asyncio.sleep(draw.choice([0, 0.01, 0.5]))
                if draw.random() < 0.15:
                    raise draw.choice([ValueError, SystemExit, asyncio.CancelledError])
                delivered.extend(numbers(batch))
                finished[0] = delivered[-1]

        stored = Checkpoint("TRIM_HORIZON")
        for _ in range(200):
            tenure = FakeTenure(checkpoint=stored)
            store = tenure.checkpoint

            async def checked(place, store=store):
                assert int(place.sequence_number) <= finished[0], "a checkpoint passed a record in flight"
                await asyncio.sleep(draw.choice([0, 0.05, 1.5]))
                if draw.random() < 0.2:
                    raise LeaseStoreError
                await store(place)

            tenure.checkpoint = checked
            stage = Stage(
                tenure,
                shelf.source(),
                User,
                budget=ByteBudget(draw.choice([0, 500, 10_000])),
                threads=InlineThreads(),
                batch_size=draw.choice([1, 3, 1000]),
                checkpoint_interval_seconds=draw.choice([0.0, 0.2, 1.0]),
            )
            task = stage.start()
            for _ in range(draw.randrange(4)):
                await asyncio.sleep(draw.random() * 2)
                if task.done():
                    break
                tenure.ask(draw.choice([None, "hand_off"]))
                await asyncio.sleep(draw.choice([0, 0.1]))
                if not task.done():
                    tenure.ask(None)
            how = draw.choice(["drain", "drain", "run on", "cancel"])
            if how == "run on":
                await asyncio.wait({task}, timeout=30)
            if not task.done():
                task.cancel() if how == "cancel" else tenure.ask("drain")
            await asyncio.wait({task})
            if not task.cancelled():
                task.result()
            assert not stage.consumer.user_code_running
            if tenure.children is not None:
                stored = SHARD_END
                break
            if tenure.stored:
                stored = Checkpoint(tenure.stored[-1][1])
            done = 0 if not stored.is_number else int(stored.sequence_number)
            if how != "cancel":
                assert done == finished[0], "an orderly stop leaves nothing to repeat"
            del delivered[len([number for number in delivered if number <= done]) :]
            assert delivered == [number for number in shelf.numbers if number <= done]
            finished[0] = done
        assert stored == SHARD_END
        assert delivered == shelf.numbers

    virtual(main, seed=seed, limit_seconds=50_000)


@pytest.mark.parametrize("seed", range(20))
def test_a_gap_is_always_told(seed):
    async def main():
        draw = random.Random(seed)
        script = [records(number) for number in range(1, 20)]
        script.insert(draw.randrange(1, 20), DataTrimmed())
        script.append(page(last=True, children=(Shard("child"),)))

        class User(RecordProcessor):
            async def process_records(self, batch, checkpointer):
                await asyncio.sleep(draw.random())

        stage = Stage(FakeTenure(), FakeSource(*script), User)
        await stage.start()
        assert len(stage.of(GapFound)) == 1
        assert stage.consumer.records_processed == 19

    virtual(main, seed=seed)
