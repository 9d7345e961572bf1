"""The in-memory source: the same records, positions and failures as a real one, in virtual time."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from consumer.errors import (
    ConfigError,
    DataTrimmed,
    IteratorExpired,
    PositionRefused,
    ShardNotFound,
    StreamAccessDenied,
    StreamDisabled,
    StreamError,
    StreamMissing,
    StreamThrottled,
    StreamUnavailable,
)
from consumer.record import ViewType
from consumer.streams.dynamodb_record import DynamoDBRecord
from consumer.streams.kinesis_record import KinesisRecord
from consumer.streams.source import Position, RecordSource, StreamIdentity
from consumer.testing.faults import Fault, FaultPlan, Mangling
from consumer.testing.memory_source import MemoryRecordSource
from consumer.testing.shard_log import ShardLog
from consumer.testing.stream_rules import Staleness
from consumer.testing.virtual_time import VirtualClock, run_virtual

HORIZON = Position("TRIM_HORIZON")


class World:
    """A log with a table and a Kinesis stream, and a source of each, on one virtual clock."""

    def __init__(self, latency_seconds: float = 0.0) -> None:
        self.clock = VirtualClock()
        self.log = ShardLog(self.clock.wall)
        self.log.create_table("orders")
        self.log.create_stream("clicks")
        self.faults = FaultPlan(random.Random(0), now=self.clock.monotonic)
        settings: dict[str, Any] = {
            "clock": self.clock,
            "faults": self.faults,
            "latency_seconds": latency_seconds,
        }
        self.orders = MemoryRecordSource(self.log, "dynamodb:orders", **settings)
        self.clicks = MemoryRecordSource(self.log, "kinesis:clicks", **settings)

    async def opened(self, source: MemoryRecordSource, position: Position = HORIZON) -> tuple[StreamIdentity, str, str]:
        """The stream, its first shard, and an iterator there."""
        stream = await source.resolve()
        shard = (await source.list_shards(stream)).shards[0].id
        return stream, shard, (await source.iterator(stream, shard, position)).iterator


def virtual(test: Callable[[World], Any]) -> Callable[[], None]:
    """Run an async test in virtual time, with a world of its own."""

    def run() -> None:
        async def main() -> None:
            world = World()
            async with world.orders.open(), world.clicks.open():
                await test(world)

        run_virtual(main(), seed=1)

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@virtual
async def test_it_is_a_record_source(world: World) -> None:
    assert isinstance(world.orders, RecordSource)
    async with world.orders.open():
        assert (world.orders.name, world.orders.max_reads_per_second) == ("dynamodb:orders", None)
    assert world.clicks.max_reads_per_second == 5.0


@virtual
async def test_a_table_resolves_to_its_latest_stream(world: World) -> None:
    first = await world.orders.resolve()
    assert first.arn == first.label == world.log.stream("orders").arn
    assert first.arn.startswith(first.base + "/stream/")
    assert (first.view_type, first.enabled) == (ViewType.NEW_AND_OLD_IMAGES, True)
    world.log.tables.disable("orders")
    assert (await world.orders.resolve()).enabled is False
    world.log.tables.enable("orders", "KEYS_ONLY")
    second = await world.orders.resolve()
    assert (second.base, second.view_type) == (first.base, ViewType.KEYS_ONLY)
    assert second.label != first.label
    by_arn = MemoryRecordSource(world.log, first.arn, clock=world.clock)
    async with by_arn.open():
        assert (await by_arn.resolve()).arn == first.arn


@virtual
async def test_a_kinesis_stream_made_again_is_another_incarnation(world: World) -> None:
    first = await world.clicks.resolve()
    world.log.kinesis.delete("clicks")
    with pytest.raises(StreamMissing):
        await world.clicks.resolve()
    world.log.create_stream("clicks")
    second = await world.clicks.resolve()
    assert (first.arn, first.base, first.view_type) == (second.arn, second.base, None)
    assert first.label != second.label
    with pytest.raises(ShardNotFound):
        await world.clicks.iterator(first, "shardId-000000000000", HORIZON)


@virtual
async def test_missing_and_streamless_tables_are_told_apart(world: World) -> None:
    world.log.tables.create_table("plain", view_type=None)
    for name, error in (("nobody", StreamMissing), ("plain", StreamDisabled)):
        source = MemoryRecordSource(world.log, f"dynamodb:{name}", clock=world.clock)
        async with source.open():
            with pytest.raises(error):
                await source.resolve()
    with pytest.raises(ConfigError, match="orders"):
        MemoryRecordSource(world.log, "orders", clock=world.clock)


@virtual
async def test_records_of_a_table_are_read_to_the_end_of_the_shard(world: World) -> None:
    world.log.put_item("orders", new_image={"pk": "a", "n": 1})
    stream, shard, token = await world.opened(world.orders)
    page = await world.orders.read(stream, shard, token, 1000)
    (record,) = page.records
    assert isinstance(record, DynamoDBRecord)
    assert (record.event_name, record.keys, record.new_image) == ("INSERT", {"pk": "a"}, {"pk": "a", "n": 1})
    assert page.size_bytes > record.size_bytes > 0
    assert (page.millis_behind_latest, page.children) == (None, None)
    assert page.next_iterator is not None
    (child,) = world.log.stream("orders").lineage.rotate()
    assert (await world.orders.read(stream, shard, page.next_iterator, 1000)).next_iterator is None
    (found,) = await world.orders.children(stream, shard)
    assert (found.id, found.parents, found.is_open) == (child, (shard,), True)
    assert found.created_at is not None
    assert abs(found.created_at - world.clock.wall()) < 1


@virtual
async def test_records_of_a_kinesis_stream_end_with_their_children(world: World) -> None:
    world.log.put_record("clicks", "a", b"1")
    stream, shard, token = await world.opened(world.clicks)
    world.log.stream("clicks").lineage.split()
    page = await world.clicks.read(stream, shard, token, 1000)
    (record,) = page.records
    assert isinstance(record, KinesisRecord)
    assert (record.data, record.partition_key) == (b"1", "a")
    assert page.next_iterator is None
    assert page.millis_behind_latest == 0
    assert page.children is not None
    assert {child.parents for child in page.children} == {(shard,)}
    assert page.children[0].hash_range is not None


@virtual
async def test_listings_cost_a_call_a_page_and_tell_the_servers_time(world: World) -> None:
    world.log.create_table("wide", shard_count=250)
    wide = MemoryRecordSource(world.log, "dynamodb:wide", clock=world.clock, faults=world.faults)
    async with wide.open():
        stream = await wide.resolve()
        assert world.faults.calls == {"DescribeTable": 1, "DescribeStream": 1}
        listing = await wide.list_shards(stream)
    assert len({shard.id for shard in listing.shards}) == 250
    assert world.faults.calls["DescribeStream"] == 4
    assert listing.server_time is not None
    assert 0 <= world.clock.wall() - listing.server_time < 1.0


@virtual
async def test_stale_listings_hide_children_from_both_calls(world: World) -> None:
    stream, shard, _ = await world.opened(world.orders)
    world.faults.staleness = Staleness(child_late_calls=2)
    world.log.stream("orders").lineage.rotate()
    assert await world.orders.children(stream, shard) == ()
    assert len((await world.orders.list_shards(stream)).shards) == 1
    assert len(await world.orders.children(stream, shard)) == 1


@virtual
async def test_refused_timestamps_become_the_horizon_with_what_to_drop(world: World) -> None:
    stream, shard, _ = await world.opened(world.orders)
    at = Position("AT_TIMESTAMP", timestamp=world.clock.wall() - 5)
    assert (await world.orders.iterator(stream, shard, at)).drop_before is None
    world.faults.arm(Fault.refuse_at_timestamp())
    for _ in range(2):
        assert (await world.orders.iterator(stream, shard, at)).drop_before == math.floor(at.timestamp or 0)
    assert world.faults.fired == {"error": 1}
    stream, shard, _ = await world.opened(world.clicks)
    world.faults.arm(Fault.refuse_at_timestamp("kinesis"))
    with pytest.raises(PositionRefused):
        await world.clicks.iterator(stream, shard, at)


@virtual
async def test_positions_that_can_not_be(world: World) -> None:
    stream, shard, token = await world.opened(world.orders)
    with pytest.raises(PositionRefused):
        await world.orders.iterator(stream, shard, Position("AFTER_SEQUENCE_NUMBER", sequence_number="1"))
    with pytest.raises(IteratorExpired):
        await world.orders.read(stream, shard, token[:-4], 1000)
    with pytest.raises(ShardNotFound):
        await world.orders.iterator(stream, "shardId-00000001800000000000-00000000", HORIZON)


@virtual
async def test_time_expires_iterators_and_trims_records(world: World) -> None:
    old = world.log.put_item("orders", new_image={"pk": "a"})
    stream, shard, token = await world.opened(world.orders)
    await world.clock.sleep(15 * 60 + 1)
    with pytest.raises(IteratorExpired):
        await world.orders.read(stream, shard, token, 1000)
    await world.clock.sleep(24 * 3600)
    with pytest.raises(DataTrimmed):
        await world.orders.iterator(stream, shard, Position("AFTER_SEQUENCE_NUMBER", sequence_number=old))
    world.log.stream("orders").lineage.rotate()
    await world.clock.sleep(24 * 3600)
    with pytest.raises(ShardNotFound):
        await world.orders.iterator(stream, shard, HORIZON)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.error("ThrottlingException"), StreamThrottled),
        (Fault.error("LimitExceededException"), StreamThrottled),
        (Fault.error("ProvisionedThroughputExceededException"), StreamThrottled),
        (Fault.error("InternalServerError"), StreamUnavailable),
        (Fault.error("AccessDeniedException"), StreamAccessDenied),
        (Fault.error("ExpiredIteratorException"), IteratorExpired),
        (Fault.error("TrimmedDataAccessException"), DataTrimmed),
        (Fault.error("ResourceNotFoundException"), ShardNotFound),
        (Fault.error("ValidationException"), IteratorExpired),
        (Fault.drop(), StreamUnavailable),
        (Fault.half_body(), StreamUnavailable),
        (Fault.malformed(Mangling.MISSING, path="Records"), StreamUnavailable),
        (Fault.malformed(Mangling.NOT_JSON), StreamUnavailable),
    ],
)
def test_faults_are_the_errors_that_a_real_source_raises(fault: Fault, error: type[StreamError]) -> None:
    async def main() -> None:
        world = World()
        world.log.put_item("orders", new_image={"pk": "a"})
        async with world.orders.open():
            stream, shard, token = await world.opened(world.orders)
            world.faults.arm(fault)
            with pytest.raises(StreamError) as caught:
                await world.orders.read(stream, shard, token, 1000)
            assert type(caught.value) is error
            # A fault ends a call, never a record.
            assert len((await world.orders.read(stream, shard, token, 1000)).records) == 1

    run_virtual(main(), seed=1)


@virtual
async def test_empty_pages_impostors_and_lost_fields_lose_nothing(world: World) -> None:
    world.log.put_item("orders", new_image={"pk": "a"})
    stream, shard, token = await world.opened(world.orders)

    async def read(*faults: Fault) -> tuple[int, int, bool]:
        world.faults.arm(*faults)
        page = await world.orders.read(stream, shard, token, 1000)
        assert world.faults.armed == ()
        return len(page.records), page.skipped, page.next_iterator is None

    assert await read(Fault.malformed(Mangling.EMPTY_PAGE)) == (0, 0, False)
    assert await read(Fault.malformed(Mangling.UNKNOWN_FIELDS)) == (1, 0, False)
    # An odd page is asked for twice: one bad reply goes unnoticed, of two the second counts.
    for mangling, impostors in ((Mangling.NOT_RECORDS, 4), (Mangling.NOT_STRUCTURES, 2)):
        assert await read(Fault.malformed(mangling)) == (1, 0, False)
        assert await read(Fault.malformed(mangling, times=2)) == (1, impostors, False)
    lost = Fault.malformed(Mangling.MISSING, path="NextShardIterator")
    assert await read(lost) == (1, 0, False)
    assert await read(lost, lost) == (1, 0, True)


def test_latency_and_delays_pass_on_the_clock() -> None:
    async def main() -> None:
        world = World(latency_seconds=0.2)
        begun = world.clock.monotonic()
        async with world.clicks.open():
            await world.clicks.resolve()
            assert world.clock.monotonic() - begun == pytest.approx(0.2)
            world.faults.arm(Fault.delay(10.0), Fault.delay(3600.0))
            await world.clicks.resolve()
            assert world.clock.monotonic() - begun == pytest.approx(10.4)
            with pytest.raises(StreamUnavailable):
                await world.clicks.resolve()
            assert world.clock.monotonic() - begun < 60

    run_virtual(main(), seed=1)


@virtual
async def test_a_call_that_is_late_itself_sees_what_came_meanwhile(world: World) -> None:
    stream, shard, iterator = await world.opened(world.orders)
    for applied, seen in ((True, 0), (False, 1)):
        world.faults.arm(Fault.delay(5.0, "GetRecords", applied=applied))
        reading = asyncio.ensure_future(world.orders.read(stream, shard, iterator, 10))
        await world.clock.sleep(1.0)
        world.log.put_item("orders", new_image={"pk": "a", "applied": applied})
        assert not reading.done()
        assert len((await reading).records) == seen + (not applied)


@virtual
async def test_the_fleet_keeps_to_the_limit_of_describe_stream(world: World) -> None:
    fleet = [MemoryRecordSource(world.log, "dynamodb:orders", clock=world.clock, faults=world.faults) for _ in range(4)]
    async with AsyncExitStack() as stack:
        for source in fleet:
            await stack.enter_async_context(source.open())
            source.share(len(fleet))
        stream = await world.orders.resolve()
        await asyncio.gather(*(source.list_shards(stream) for source in fleet for _ in range(20)))
    assert world.faults.calls["DescribeStream"] == 81
    instants = world.faults.times("DescribeStream")
    assert 80 / (instants[-1] - instants[0]) < 10
