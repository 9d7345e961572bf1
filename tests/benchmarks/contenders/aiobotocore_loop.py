"""The same loop on asyncio: aiobotocore with its defaults, a task and a connection for each shard."""

from __future__ import annotations

import asyncio
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from tests.benchmarks.contenders.counting import Slots, slot_of
from tests.benchmarks.contenders.plain_loop import Reading

_CONNECTIONS = 100  # the default of 10 would have most shards wait for one


async def _read(client: Any, reading: Reading, slots: Slots, shard_id: str) -> None:
    slot = slot_of(shard_id)
    begun = await client.get_shard_iterator(**reading.described_by, ShardId=shard_id, ShardIteratorType="TRIM_HORIZON")
    iterator = begun["ShardIterator"]
    while True:
        reply = await client.get_records(ShardIterator=iterator, Limit=1000)
        slots.hand_over(slot, reading.marks(reply), reading.number_of)
        iterator = reply["NextShardIterator"]


async def main() -> None:
    """Read for ever."""
    reading, slots = Reading.from_environment(), Slots.from_environment()
    config = AioConfig(max_pool_connections=_CONNECTIONS)
    async with get_session().create_client(reading.client, config=config) as client, asyncio.TaskGroup() as tasks:
        described = (await client.describe_stream(**reading.described_by))["StreamDescription"]
        for shard in described["Shards"]:
            tasks.create_task(_read(client, reading, slots, shard["ShardId"]))


asyncio.run(main())
