"""The loop that people write first: boto3 with its defaults, one shard after the other in turn, a page at a time."""

from __future__ import annotations

import boto3

from tests.benchmarks.contenders.counting import Slots, slot_of
from tests.benchmarks.contenders.plain_loop import Reading


def main() -> None:
    """Read for ever."""
    reading, slots = Reading.from_environment(), Slots.from_environment()
    client = boto3.client(reading.client)
    described = client.describe_stream(**reading.described_by)["StreamDescription"]
    ids = [shard["ShardId"] for shard in described["Shards"]]
    iterators = {
        each: client.get_shard_iterator(**reading.described_by, ShardId=each, ShardIteratorType="TRIM_HORIZON")
        for each in ids
    }
    nexts = {each: reply["ShardIterator"] for each, reply in iterators.items()}
    while True:
        for each in ids:
            reply = client.get_records(ShardIterator=nexts[each], Limit=1000)
            slots.hand_over(slot_of(each), reading.marks(reply), reading.number_of)
            nexts[each] = reply["NextShardIterator"]


main()
