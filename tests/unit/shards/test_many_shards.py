"""Many shards of one worker, on few places and little memory, faults and stops drawn: all are read to their end."""

from __future__ import annotations

import asyncio
import contextvars
import random

import pytest

from consumer.delivery.policy import made_policy
from consumer.delivery.threads import InlineThreads
from consumer.errors import IteratorExpired, LeaseLost, LeaseStoreError, StreamThrottled, StreamUnavailable
from consumer.processor import RecordProcessor
from consumer.shards.budget import ByteBudget
from consumer.shards.checkpoint_rounds import CheckpointRounds
from consumer.shards.lifecycle import Event
from consumer.shards.progress import StuckWatch
from consumer.shards.scope import Shared
from consumer.shards.shard_consumer import ShardConsumer
from consumer.shards.wheel import PollWheel
from consumer.streams.source import Opened, Shard
from consumer.testing.virtual_time import VirtualClock
from lease_store.checkpoint import SHARD_END, Checkpoint
from tests.unit.shards.shard_fakes import DYNAMODB, FakeSource, FakeTenure, config, numbers, page, records, virtual

FAULTS = (IteratorExpired, StreamThrottled, StreamUnavailable)
HANGS = 1_000_000.0


class Shelves(FakeSource):
    """All shards of a stream, read by place; a read may fail, or hang until it is given up."""

    def __init__(self, draw, shards):
        super().__init__(rate=draw.choice([None, 5.0]))
        self.draw = draw
        self.content = {key: sorted(draw.sample(range(1, 400), draw.choice([0, 3, 40]))) for key in shards}
        self.under_way = self.most_under_way = 0

    async def iterator(self, stream, shard_id, position):
        await self.way(0.05)
        return Opened(position.sequence_number or "0")

    async def read(self, stream, shard_id, iterator, limit):
        await self.way(0.15)
        left = [number for number in self.content[shard_id] if number > int(iterator)]
        taken = left[: self.draw.choice([0, 1, 2, 5, 9])]
        if taken == left:
            return page(records(*taken), last=True, children=(Shard(f"child of {shard_id}"),))
        found = page(records(*taken))
        return type(found)(found.records, str(taken[-1]) if taken else iterator, size_bytes=found.size_bytes)

    async def way(self, chance_of_fault):
        self.under_way += 1
        self.most_under_way = max(self.under_way, self.most_under_way)
        try:
            await asyncio.sleep(self.draw.choice([0, 0, 0.01, 0.3]))
            if self.draw.random() < 0.01:
                await self.hang()
            if self.draw.random() < chance_of_fault:
                raise self.draw.choice(FAULTS)()
        finally:
            self.under_way -= 1

    async def hang(self):
        try:
            await asyncio.sleep(HANGS)
        finally:
            await asyncio.sleep(self.draw.choice([0, 0.5, 2.5]))


class World:
    """One worker's shared things, and the tenures of its shards one after another."""

    def __init__(self, draw):
        self.draw = draw
        self.keys = [f"shard-{number}" for number in range(draw.choice([2, 7, 15]))]
        self.source = Shelves(draw, self.keys)
        self.delivered = {key: [] for key in self.keys}
        self.clock = clock = VirtualClock()
        self.facts = []
        self.places = draw.choice([1, 2, 4])
        context = contextvars.copy_context()
        settings = config(batch_size=draw.choice([1, 3, 1000]), checkpoint_interval_seconds=draw.choice([0.0, 0.2, 5]))
        self.shared = Shared(
            source=self.source,
            factory=lambda: User(self),
            config=settings,
            worker_id="me",
            clock=clock,
            random=draw,
            hooks=self.facts.append,
            threads=InlineThreads(),
            policy=made_policy(
                settings,
                None,
                DYNAMODB,
                worker_id="me",
                clock=clock,
                random=draw,
                hooks=self.facts.append,
                dead_letters=None,
            ),
            budget=ByteBudget(draw.choice([0, 60, 500, 10_000])),
            wheel=PollWheel(clock, self.places, patience_seconds=5.0),
            openings=PollWheel(clock, 1, patience_seconds=5.0),
            rounds=CheckpointRounds(self.store_many, clock, draw, settings.checkpoint_interval_seconds, context),
            watch=StuckWatch(clock, self.facts.append, settings.stuck_after_seconds),
            context=context,
        )

    async def store_many(self, wanted, told):
        async def store(tenure, place):
            try:
                await tenure.checkpoint(place)
            except (LeaseLost, LeaseStoreError) as error:
                told(tenure, error)
            else:
                told(tenure, None)

        await asyncio.gather(*(store(tenure, place) for tenure, place in wanted))

    async def live(self, key):
        """One shard through as many tenures as it takes."""
        stored = Checkpoint("TRIM_HORIZON")
        # Ends with the shard; a tenure that gets nowhere for ever is the virtual clock's limit to find.
        while stored != SHARD_END:
            tenure = FakeTenure(key=key, checkpoint=stored)
            self.checked(tenure)
            ended = asyncio.get_running_loop().create_future()
            consumer = ShardConsumer(
                tenure, DYNAMODB, self.shared, on_end=lambda *told, ended=ended: ended.set_result(told)
            )
            tenure.request_stop = consumer.request_stop
            consumer.begin()
            await self.disturb(tenure, consumer, ended)
            _, event, error = await ended
            assert error is None, error
            assert not consumer.user_code_running
            if tenure.stored:
                stored = Checkpoint(tenure.stored[-1][1])
            done = int(stored.sequence_number) if stored.is_number else 0
            seen = self.delivered[key]
            if event is Event.LET_GO:
                assert not seen or seen[-1] <= done, "an orderly stop leaves nothing to repeat"
            seen[:] = [number for number in seen if number <= done]
            assert seen == [number for number in self.source.content[key] if number <= done]
            if tenure.children is not None:
                stored = SHARD_END
        assert self.delivered[key] == self.source.content[key]

    def checked(self, tenure):
        store = tenure.checkpoint

        async def checkpoint(place):
            await asyncio.sleep(self.draw.choice([0, 0.05, 1.5]))
            if self.draw.random() < 0.1:
                raise LeaseStoreError
            await store(place)

        tenure.checkpoint = checkpoint

    async def disturb(self, tenure, consumer, ended):
        for _ in range(self.draw.randrange(5)):
            await asyncio.wait({ended}, timeout=self.draw.random() * 6)
            if ended.done():
                break
            what = self.draw.choice(["look", "hand_off", "taken back", "lost", "drain", "abandon"])
            if what == "abandon":
                consumer.abandon()
                break
            if what != "look":
                tenure.ask("hand_off" if what == "taken back" else what)
            if what == "taken back":
                await asyncio.wait({ended}, timeout=self.draw.choice([0, 0.01, 1.0]))
                if not ended.done():
                    tenure.ask(None)


class User(RecordProcessor):
    def __init__(self, world):
        self.world = world

    async def process_records(self, batch, checkpointer):
        draw = self.world.draw
        await asyncio.sleep(draw.choice([0, 0, 0.01, 0.5]))
        if draw.random() < 0.1:
            raise draw.choice([ValueError, SystemExit, asyncio.CancelledError])
        if draw.random() < 0.1:
            self.world.delivered[batch.shard_id].extend(numbers(batch))
            await checkpointer.checkpoint()
        else:
            self.world.delivered[batch.shard_id].extend(numbers(batch))


@pytest.mark.parametrize("seed", range(30))
def test_all_shards_are_read_to_their_ends_and_nothing_is_left_behind(seed):
    async def main():
        world = World(random.Random(seed))
        await asyncio.gather(*(world.live(key) for key in world.keys))
        assert world.source.most_under_way <= world.places + 1
        assert (world.shared.wheel.under_way, world.shared.openings.under_way) == (0, 0)
        assert world.shared.budget.used_bytes == 0
        await asyncio.sleep(5)  # for a write of a shard that was abandoned, which learns its fate without it
        assert asyncio.all_tasks() == {asyncio.current_task()}

    virtual(main, seed=seed, limit_seconds=50_000)
