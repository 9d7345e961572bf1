"""The DynamoDB Streams source over HTTP, against the project's stream server."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator

import pytest

from consumer.errors import (
    DataTrimmed,
    IteratorExpired,
    LeaseholdError,
    ShardNotFound,
    StreamDisabled,
    StreamMissing,
    StreamThrottled,
    StreamUnavailable,
    StreamUnreachable,
)
from consumer.record import ViewType
from consumer.streams import DynamoDBRecord, DynamoDBStreamsSource, Position, StreamIdentity
from consumer.testing.faults import Fault
from consumer.testing.stream_rules import Staleness
from consumer.testing.stream_server import StreamServer
from tests.integration.stream_sources import HORIZON, SESSION, MovableClock, numbers, only_shard, point_at, put


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch, clock: MovableClock) -> AsyncIterator[StreamServer]:
    async with StreamServer(clock=clock) as running:
        point_at(monkeypatch, running)
        running.log.create_table("orders")
        yield running


@pytest.fixture
async def source(server: StreamServer) -> AsyncIterator[DynamoDBStreamsSource]:
    made = DynamoDBStreamsSource("dynamodb:orders", describes_per_second=1000.0, session=SESSION)
    async with made.open():
        yield made


async def test_a_table_is_resolved_to_its_latest_stream(server: StreamServer, source: DynamoDBStreamsSource) -> None:
    log = server.log.stream("orders")
    stream = await source.resolve()
    assert stream == StreamIdentity(
        arn=log.arn,
        label=log.arn,
        base=log.arn.partition("/stream/")[0],
        view_type=ViewType.NEW_AND_OLD_IMAGES,
        enabled=True,
    )
    server.log.tables.disable("orders")
    assert await source.resolve() == StreamIdentity(log.arn, log.arn, stream.base, stream.view_type, enabled=False)
    server.log.tables.enable("orders", "KEYS_ONLY")
    again = await source.resolve()
    assert (again.base, again.enabled, again.view_type) == (stream.base, True, ViewType.KEYS_ONLY)
    assert again.label > stream.label


async def test_a_stream_arn_is_taken_as_it_is(server: StreamServer) -> None:
    old = server.log.stream("orders").arn
    server.log.tables.disable("orders")
    server.log.tables.enable("orders")
    source = DynamoDBStreamsSource(old)
    async with source.open():
        assert (await source.resolve()).arn == old
    assert server.faults.calls["DescribeTable"] == 0
    by_table_arn = DynamoDBStreamsSource(old.partition("/stream/")[0])
    async with by_table_arn.open():
        assert (await by_table_arn.resolve()).arn == server.log.stream("orders").arn


@pytest.mark.parametrize(
    ("address", "kind", "said"),
    [
        ("dynamodb:nothing", StreamMissing, "Table nothing does not exist"),
        ("dynamodb:streamless", StreamDisabled, "update-table --table-name streamless"),
        ("arn:aws:dynamodb:eu-west-1:000000000000:table/orders/stream/2000", StreamMissing, "stream/2000"),
    ],
)
async def test_what_is_not_there_is_said(
    server: StreamServer, address: str, kind: type[LeaseholdError], said: str
) -> None:
    server.log.tables.create_table("streamless", view_type=None)
    source = DynamoDBStreamsSource(address)
    async with source.open():
        with pytest.raises(kind, match=said):
            await source.resolve()


async def test_records_come_in_order_page_by_page_with_their_images(
    server: StreamServer, source: DynamoDBStreamsSource
) -> None:
    written = put(server, *range(5))
    stream, shard_id = await only_shard(source)
    opened = await source.iterator(stream, shard_id, HORIZON)
    first = await source.read(stream, shard_id, opened.iterator, 3)
    assert first.next_iterator is not None
    second = await source.read(stream, shard_id, first.next_iterator, 3)
    assert numbers(first) + numbers(second) == written
    record = first.records[1]
    assert isinstance(record, DynamoDBRecord)
    assert (record.event_name, record.keys, record.new_image, record.old_image) == (
        "INSERT",
        {"pk": "k1"},
        {"pk": "k1", "n": 1},
        None,
    )
    assert first.size_bytes >= sum(record.size_bytes for record in first.records) > 0
    assert (first.millis_behind_latest, first.children, first.skipped) == (None, None, 0)


async def test_a_limit_above_what_the_service_takes_is_lowered(
    server: StreamServer, source: DynamoDBStreamsSource
) -> None:
    put(server, 1)
    stream, shard_id = await only_shard(source)
    opened = await source.iterator(stream, shard_id, HORIZON)
    assert len((await source.read(stream, shard_id, opened.iterator, 10_000)).records) == 1


@pytest.mark.parametrize("view", list(ViewType))
async def test_the_four_view_types(server: StreamServer, view: ViewType) -> None:
    server.log.create_table("viewed", view_type=view.value)
    server.log.put_item("viewed", new_image={"pk": "a", "n": 2}, old_image={"pk": "a", "n": 1})
    source = DynamoDBStreamsSource("dynamodb:viewed")
    async with source.open():
        stream, shard_id = await only_shard(source)
        assert stream.view_type is view
        opened = await source.iterator(stream, shard_id, HORIZON)
        (record,) = (await source.read(stream, shard_id, opened.iterator, 10)).records
    assert isinstance(record, DynamoDBRecord)
    assert (record.new_image is not None) == (view in (ViewType.NEW_IMAGE, ViewType.NEW_AND_OLD_IMAGES))
    assert (record.old_image is not None) == (view in (ViewType.OLD_IMAGE, ViewType.NEW_AND_OLD_IMAGES))
    assert record.keys == {"pk": "a"}


async def test_a_ttl_delete_is_marked(server: StreamServer, source: DynamoDBStreamsSource) -> None:
    server.log.put_item("orders", old_image={"pk": "a"}, ttl=True)
    server.log.put_item("orders", old_image={"pk": "b"})
    stream, shard_id = await only_shard(source)
    opened = await source.iterator(stream, shard_id, HORIZON)
    page = await source.read(stream, shard_id, opened.iterator, 10)
    assert [isinstance(record, DynamoDBRecord) and record.is_ttl_delete for record in page.records] == [True, False]


async def test_every_position(server: StreamServer, source: DynamoDBStreamsSource, clock: MovableClock) -> None:
    written = put(server, 0, 1)
    clock.ahead += 100
    written += put(server, 2, 3)
    stream, shard_id = await only_shard(source)

    async def at(position: Position) -> list[str]:
        opened = await source.iterator(stream, shard_id, position)
        assert opened.drop_before is None
        return numbers(await source.read(stream, shard_id, opened.iterator, 10))

    assert await at(HORIZON) == written
    assert await at(Position("LATEST")) == []
    assert await at(Position("AT_SEQUENCE_NUMBER", written[1])) == written[1:]
    assert await at(Position("AFTER_SEQUENCE_NUMBER", written[1])) == written[2:]
    assert await at(Position("AT_TIMESTAMP", timestamp=clock.wall())) == written[2:]
    assert await at(Position("AT_TIMESTAMP", timestamp=clock.wall() + 0.7)) == written[2:], "whole seconds"


async def test_an_instant_ahead_of_the_services_clock_is_read_from_its_now(
    server: StreamServer, source: DynamoDBStreamsSource, clock: MovableClock
) -> None:
    stream, shard_id = await only_shard(source)
    ahead = clock.wall() + 30
    for asked in (2, 4):
        opened = await source.iterator(stream, shard_id, Position("AT_TIMESTAMP", timestamp=ahead))
        assert opened.drop_before == math.floor(ahead)
        assert server.faults.calls["GetShardIterator"] == asked, "AT_TIMESTAMP is not given up for that"
    written = put(server, 1)
    assert numbers(await source.read(stream, shard_id, opened.iterator, 10)) == written


async def test_without_at_timestamp_the_horizon_is_read_and_what_to_drop_is_said(
    server: StreamServer, source: DynamoDBStreamsSource
) -> None:
    server.faults.arm(Fault.refuse_at_timestamp())
    put(server, 1)
    stream, shard_id = await only_shard(source)
    for asked in (2, 3):
        opened = await source.iterator(stream, shard_id, Position("AT_TIMESTAMP", timestamp=1_795_000_000.7))
        assert opened.drop_before == 1_795_000_000.0
        assert len((await source.read(stream, shard_id, opened.iterator, 10)).records) == 1
        assert server.faults.calls["GetShardIterator"] == asked, "refused once, then remembered"


async def test_closed_shards_children_and_the_last_page(server: StreamServer, source: DynamoDBStreamsSource) -> None:
    written = put(server, 1, 2)
    stream, shard_id = await only_shard(source)
    assert await source.children(stream, shard_id) == ()
    log = server.log.stream("orders")
    log.lineage.split(shard_id)
    listing = await source.list_shards(stream)
    by_id = {shard.id: shard for shard in listing.shards}
    assert not by_id[shard_id].is_open
    children = await source.children(stream, shard_id)
    assert len(children) == 2
    assert {child.parents for child in children} == {(shard_id,)}
    assert all(child.is_open and child.created_at is not None for child in children)
    assert children == tuple(by_id[child.id] for child in children)
    assert listing.server_time is not None
    opened = await source.iterator(stream, shard_id, HORIZON)
    page = await source.read(stream, shard_id, opened.iterator, 10)
    assert numbers(page) == written, "the last page carries records"
    assert page.next_iterator is None


async def test_a_listing_of_many_pages_is_whole_and_paced(server: StreamServer) -> None:
    server.log.create_table("wide", shard_count=250)
    source = DynamoDBStreamsSource("dynamodb:wide", describes_per_second=20.0)
    async with source.open():
        stream = await source.resolve()
        listing = await source.list_shards(stream)
        assert len({shard.id for shard in listing.shards}) == 250
        assert server.faults.calls["DescribeStream"] == 4
        started = asyncio.get_running_loop().time()
        await source.list_shards(stream)
        assert asyncio.get_running_loop().time() - started >= 0.09, "three pages, one of them from the burst"


@pytest.mark.parametrize("code", ["ValidationException", "ignored"])
async def test_without_the_filter_for_children_the_listing_answers(
    server: StreamServer, source: DynamoDBStreamsSource, code: str
) -> None:
    stream, shard_id = await only_shard(source)
    server.log.stream("orders").lineage.rotate()
    if code != "ignored":
        server.faults.arm(Fault.error(code, "DescribeStream"))
    (child,) = await source.children(stream, shard_id)
    assert child.parents == (shard_id,)
    assert len(await source.children(stream, child.id)) == 0


async def test_a_wave_of_ends_shares_one_listing(server: StreamServer) -> None:
    server.log.create_table("wide", shard_count=60)
    source = DynamoDBStreamsSource("dynamodb:wide", describes_per_second=1000.0)
    async with source.open():
        stream = await source.resolve()
        parents = [shard.id for shard in (await source.list_shards(stream)).shards]
        server.log.stream("wide").lineage.rotate()
        before = server.faults.calls["DescribeStream"]
        found = await asyncio.gather(*(source.children(stream, parent) for parent in parents))
        assert [child.parents for (child,) in found] == [(parent,) for parent in parents]
        assert server.faults.calls["DescribeStream"] - before <= 2, "120 shards are two pages"
        server.faults.arm(Fault.error("ThrottlingException", "DescribeStream"))
        answers = await asyncio.gather(*(source.children(stream, each) for each in parents), return_exceptions=True)
        assert {type(answer) for answer in answers} == {StreamThrottled}
        assert len(await source.children(stream, parents[0])) == 1


async def test_children_are_looked_for_at_the_end_of_a_long_list_and_then_by_the_filter(
    server: StreamServer, source: DynamoDBStreamsSource, clock: MovableClock
) -> None:
    stream, _ = await only_shard(source)
    lineage = server.log.stream("orders").lineage
    for _ in range(250):
        clock.ahead += 0.01  # ids begin with the millisecond, by which lists are in order
        lineage.rotate()
    last, newest = [shard.id for shard in (await source.list_shards(stream)).shards][-2:]
    before = server.faults.calls["DescribeStream"]
    assert [child.id for child in await source.children(stream, last)] == [newest]
    assert server.faults.calls["DescribeStream"] - before == 1, "one page of three"
    assert await source.children(stream, newest) == ()
    before = server.faults.calls["DescribeStream"]
    clock.ahead += 0.01
    (child,) = lineage.rotate()
    assert [each.id for each in await source.children(stream, newest)] == [child]
    assert server.faults.calls["DescribeStream"] - before == 1, "whose children were not seen asks with the filter"


async def test_an_asker_that_gives_up_does_not_take_the_shared_listing_along(
    server: StreamServer, source: DynamoDBStreamsSource
) -> None:
    stream, shard_id = await only_shard(source)
    server.log.stream("orders").lineage.rotate()
    server.faults.arm(Fault.delay(0.2, "DescribeStream", times=None))
    askers = [asyncio.create_task(source.children(stream, shard_id)) for _ in range(6)]
    await asyncio.sleep(0.05)
    askers[2].cancel()
    results = await asyncio.gather(*askers, return_exceptions=True)
    assert isinstance(results[2], asyncio.CancelledError)
    assert all(isinstance(each, tuple) and len(each) == 1 for each in results[:2] + results[3:])


async def test_closing_ends_a_shared_listing(server: StreamServer) -> None:
    source = DynamoDBStreamsSource("dynamodb:orders", describes_per_second=1000.0)
    async with source.open():
        stream, shard_id = await only_shard(source)
        server.faults.arm(Fault.delay(3.0, "DescribeStream", times=None))
        askers = [asyncio.create_task(source.children(stream, shard_id)) for _ in range(4)]
        await asyncio.sleep(0.05)
    results = await asyncio.gather(*askers, return_exceptions=True)
    assert {type(each) for each in results} <= {StreamUnavailable, StreamUnreachable}


async def test_a_stale_listing_shows_children_late(server: StreamServer, source: DynamoDBStreamsSource) -> None:
    stream, shard_id = await only_shard(source)
    server.log.stream("orders").lineage.rotate()
    server.faults.staleness = Staleness(child_late_calls=2)
    seen = [len(await source.children(stream, shard_id)) for _ in range(4)]
    assert seen == [0, 0, 1, 1]


async def test_trimmed_and_expired_and_gone(
    server: StreamServer, source: DynamoDBStreamsSource, clock: MovableClock
) -> None:
    (first,) = put(server, 1)
    stream, shard_id = await only_shard(source)
    opened = await source.iterator(stream, shard_id, HORIZON)
    clock.ahead += 16 * 60
    with pytest.raises(IteratorExpired, match=shard_id):
        await source.read(stream, shard_id, opened.iterator, 10)
    clock.ahead += 25 * 3600
    put(server, 2)
    with pytest.raises(DataTrimmed, match=shard_id):
        await source.iterator(stream, shard_id, Position("AFTER_SEQUENCE_NUMBER", first))
    with pytest.raises(ShardNotFound, match="does not exist any more"):
        await source.iterator(stream, "shardId-00000001795000000000-00000007", HORIZON)
