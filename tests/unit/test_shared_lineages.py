"""Workers in a table half of whose rows are a KCL's, which cleans up finished ones, over resharding."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from consumer.clock import Clock
from consumer.config import InitialPosition, WorkerConfig
from consumer.delivery.threads import InlineThreads
from consumer.leasing.seam import LeasesInline
from consumer.processor import RecordProcessor
from consumer.testing.memory_source import MemoryRecordSource
from consumer.testing.shard_log import ShardLog
from consumer.testing.virtual_time import VirtualClock, run_virtual
from consumer.worker import Worker
from lease_store.checkpoint import LATEST, Checkpoint
from lease_store.coordination import ClientVersion, coordination_to_item
from lease_store.item import to_item
from lease_store.lease import Lease
from lease_store.memory import MemoryLeaseStore
from lease_store.store import Applied, WriteResult
from lease_store.verbs import Write

KEYS = 12


class SharedTable(MemoryLeaseStore):
    """Every other row that is made is one of a KCL's; finished rows go by the KCL's rule, unconditionally."""

    def __init__(self, random: Random, version: str) -> None:
        super().__init__("shared")
        self.put_item(
            coordination_to_item(ClientVersion(state=f"CLIENT_VERSION_{version}", modified_by="java", modified_at_ms=0))
        )
        self._random = random
        self.made: Counter[str] = Counter()

    def apply(self, write: Write) -> WriteResult:
        if write.verb == "create" and self._random.random() < 0.5:
            sets = {name: value for name, value in (write.sets or {}).items() if not name.startswith("leasehold")}
            write = replace(write, sets=sets)
        result = super().apply(write)
        if write.verb == "create" and isinstance(result, Applied):
            self.made[write.key] += 1
        return result

    def clean_up(self) -> None:
        rows = {lease.key: lease for lease in self.rows().leases}
        for row in rows.values():
            begun = [child in rows and rows[child].checkpoint.is_number for child in row.children]
            if row.is_finished and begun and all(begun) and not any(parent in rows for parent in row.parents):
                self.apply(Write("delete", row.key, deletes=True))


class World:
    def __init__(self, seed: int, service: str, clock: Clock, *, version: str = "3X") -> None:
        self.random = Random(seed)
        self.clock = clock
        self.table = SharedTable(Random(seed), version)
        self.log = ShardLog(clock.wall)
        self.source = f"{service}:clicks"
        if service == "kinesis":
            self.log.create_stream("clicks", 2)
        else:
            self.log.create_table("clicks", ["pk"])
        self.lineage = self.log.stream("clicks").lineage
        self.written: list[str] = []
        self.read: dict[str, list[str]] = defaultdict(list)

    def put(self) -> None:
        key = f"key-{self.random.randrange(KEYS)}"
        if self.source.startswith("kinesis"):
            number = self.log.put_record("clicks", key, b"x")
        else:
            number = self.log.put_item("clicks", new_image={"pk": {"S": key}})
        self.written.append(number)

    def reshard(self) -> None:
        """A split, a merge where two shards lie side by side, a rotation."""
        shards = sorted(self.lineage.open_shards(), key=lambda shard: shard.hash_range)
        if self.source.startswith("dynamodb"):
            self.lineage.rotate(self.random.choice(shards).id)
        elif len(shards) > 3 or (len(shards) > 1 and self.random.random() < 0.5):
            first = self.random.randrange(len(shards) - 1)
            self.lineage.merge(shards[first].id, shards[first + 1].id)
        else:
            self.lineage.split(self.random.choice(shards).id)

    def processor(self) -> RecordProcessor:
        world = self

        class Reader(RecordProcessor):
            async def process_records(self, records: Any, checkpointer: Any) -> None:
                for record in records:
                    key = getattr(record, "partition_key", None) or record.keys["pk"]
                    world.read[key].append(record.sequence_number)

        return Reader()

    async def worker(self, start: str, seconds: float) -> None:
        config = WorkerConfig(app="clicks", initial_position=InitialPosition.parse(start), lease_table="shared")
        source = MemoryRecordSource(self.log, self.source, clock=self.clock)
        parts: dict[str, Any] = {"seam": LeasesInline(), "threads": InlineThreads()}
        random = Random(self.random.random())
        async with Worker(source, self.table, self.processor, config, clock=self.clock, random=random, **parts) as each:
            run = asyncio.ensure_future(each.run())
            await self.clock.sleep(seconds)
            each.stop()
            await run


async def lived(world: World, start: str) -> None:
    """Two workers for 200 s, the second for a part of them; a reshard about every 20 s until the 120th."""
    workers = [
        asyncio.ensure_future(world.worker(start, 200.0)),
        asyncio.ensure_future(_later(world, start)),
    ]
    for second in range(170):
        for _ in range(3):
            world.put()
        if second % 20 == 15 and second < 120:
            world.reshard()
        world.table.clean_up()
        await world.clock.sleep(1.0)
    await asyncio.gather(*workers)


async def _later(world: World, start: str) -> None:
    await world.clock.sleep(40.0)
    await world.worker(start, 60.0)


@pytest.mark.parametrize("version", ["3X", "2X"])
@pytest.mark.parametrize(("seed", "service"), [(0, "kinesis"), (1, "kinesis"), (2, "dynamodb")])
def test_nothing_is_lost_repeats_or_changes_places_whoever_made_the_rows_and_cleans_them_up(
    seed: int, service: str, version: str
) -> None:
    worlds = []

    async def main() -> None:
        world = World(seed, service, VirtualClock(), version=version)
        worlds.append(world)
        await lived(world, "TRIM_HORIZON")

    run_virtual(main(), limit_seconds=1_000)
    (world,) = worlds
    read = [number for numbers in world.read.values() for number in numbers]
    assert Counter(read) == Counter(world.written)
    assert all(numbers == sorted(numbers, key=int) for numbers in world.read.values())
    assert set(world.table.made.values()) == {1}, "no row is made a second time"
    assert len(world.table.made) > len(world.table.rows().leases), "some were cleaned up"


def test_a_kcls_group_at_latest_loses_nothing_once_a_worker_of_ours_has_seen_its_rows() -> None:
    worlds = []

    async def main() -> None:
        world = World(1, "kinesis", VirtualClock())
        worlds.append(world)
        for shard in world.lineage.open_shards():
            keys = (str(shard.hash_range[0]), str(shard.hash_range[1]))
            world.table.put_item(to_item(Lease(key=shard.id, checkpoint=LATEST, hash_range=keys, owner="java")))
        world.put()
        await world.clock.sleep(60.0)
        world.written.clear()
        await lived(world, "LATEST")

    run_virtual(main(), limit_seconds=1_000)
    (world,) = worlds
    read = [number for numbers in world.read.values() for number in numbers]
    assert Counter(read) == Counter(world.written)
    assert {lease.checkpoint for lease in world.table.rows().leases} != {Checkpoint("LATEST")}
