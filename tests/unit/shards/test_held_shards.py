"""The shards that a worker holds, once it has given them all up."""

from __future__ import annotations

import asyncio

from consumer.processor import RecordProcessor
from consumer.shards.held_shards import HeldShards
from lease_store.lease import Lease
from tests.unit.shards.shard_fakes import DYNAMODB, FakeSource, FakeTenure, Stage, at, virtual


class Held:
    """As much of a held lease as a beginning needs."""

    def __init__(self, lease):
        self.first_lease = lease
        self.key = lease.key


def test_a_tenure_that_begins_when_all_were_abandoned_gets_no_user_code_and_leaves_no_task():
    """A worker that fails abandons its shards while its lease loop still takes leases."""

    async def main():
        made = []
        shared = Stage(FakeTenure(), FakeSource(), lambda: made.append(1) or RecordProcessor()).shared
        failed = []
        shards = HeldShards(shared, None, lambda _: DYNAMODB, stopped=None, failed=lambda *told: failed.append(told))
        await shards.abandon(1.0)
        shards.begin(Held(Lease(key="shard-2")))
        await at(5)
        assert (len(shards), made, failed) == (0, [], [])
        assert asyncio.all_tasks() == {asyncio.current_task()}

    virtual(main)
