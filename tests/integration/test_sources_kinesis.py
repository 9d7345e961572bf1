"""The Kinesis source over HTTP, against the project's stream server, faults included."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from consumer.errors import (
    IteratorExpired,
    LeaseholdError,
    PositionRefused,
    ShardNotFound,
    StreamAccessDenied,
    StreamMissing,
    StreamThrottled,
    StreamUnavailable,
)
from consumer.streams import KinesisRecord, KinesisSource, Position, StreamIdentity
from consumer.testing.faults import Fault, Mangling
from consumer.testing.mangling import IMPOSTORS
from consumer.testing.stream_rules import StreamOptions
from consumer.testing.stream_server import StreamServer
from tests.integration.stream_sources import HORIZON, SESSION, MovableClock, numbers, point_at


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch, clock: MovableClock) -> AsyncIterator[StreamServer]:
    async with StreamServer(clock=clock) as running:
        point_at(monkeypatch, running)
        running.log.create_stream("clicks")
        yield running


@pytest.fixture(params=["auto", "plain"])
async def source(
    server: StreamServer, clock: MovableClock, request: pytest.FixtureRequest
) -> AsyncIterator[KinesisSource]:
    made = KinesisSource("kinesis:clicks", clock=clock, session=SESSION)
    async with made.open(request.param):
        yield made


def put(server: StreamServer, *numbers: int) -> list[str]:
    return [server.log.put_record("clicks", f"k{number}", b"%d" % number) for number in numbers]


async def only_shard(source: KinesisSource) -> tuple[StreamIdentity, str]:
    stream = await source.resolve()
    (shard,) = (await source.list_shards(stream)).shards
    return stream, shard.id


async def test_the_label_carries_the_creation_time(server: StreamServer, source: KinesisSource) -> None:
    arn = server.log.stream("kinesis:clicks").arn
    assert await source.resolve() == StreamIdentity(arn=arn, label=f"{arn}@1795000000", base=arn)
    by_arn = KinesisSource(arn)
    async with by_arn.open():
        assert (await by_arn.resolve()).label == f"{arn}@1795000000"
        stream, shard_id = await only_shard(by_arn)
        put(server, 1)
        opened = await by_arn.iterator(stream, shard_id, HORIZON)
        assert len((await by_arn.read(stream, shard_id, opened.iterator, 10)).records) == 1


async def test_a_stream_that_is_not_there_is_said(server: StreamServer) -> None:
    source = KinesisSource("kinesis:nothing")
    async with source.open():
        with pytest.raises(StreamMissing, match="kinesis:nothing does not exist"):
            await source.resolve()


async def test_records_come_in_order_page_by_page(server: StreamServer, source: KinesisSource) -> None:
    written = put(server, *range(5))
    stream, shard_id = await only_shard(source)
    opened = await source.iterator(stream, shard_id, HORIZON)
    first = await source.read(stream, shard_id, opened.iterator, 3)
    second = await source.read(stream, shard_id, first.next_iterator or "", 100_000)
    assert numbers(first) + numbers(second) == written
    assert second.millis_behind_latest == 0
    assert first.millis_behind_latest is not None
    record = first.records[1]
    assert isinstance(record, KinesisRecord)
    assert (record.data, record.partition_key, record.sub_sequence_number) == (b"1", "k1", 0)
    assert record.timestamp == 1_795_000_000.25
    assert (first.children, first.skipped) == (None, 0)
    assert first.size_bytes >= 9


async def test_every_position(server: StreamServer, source: KinesisSource, clock: MovableClock) -> None:
    written = put(server, 0, 1)
    clock.ahead += 0.5
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
    assert await at(Position("AT_TIMESTAMP", timestamp=clock.wall() - 0.1)) == written[2:], "milliseconds count"
    with pytest.raises(PositionRefused):
        await at(Position("AT_SEQUENCE_NUMBER", "not-a-number"))


async def test_an_instant_ahead_of_the_services_clock_is_read_from_its_now(
    server: StreamServer, source: KinesisSource, clock: MovableClock
) -> None:
    stream, shard_id = await only_shard(source)
    opened = await source.iterator(stream, shard_id, Position("AT_TIMESTAMP", timestamp=clock.wall() + 30))
    assert opened.drop_before == clock.wall() + 30
    written = put(server, 1)
    assert numbers(await source.read(stream, shard_id, opened.iterator, 10)) == written


async def test_the_last_page_names_the_children(server: StreamServer, source: KinesisSource) -> None:
    put(server, 1)
    stream, shard_id = await only_shard(source)
    opened = await source.iterator(stream, shard_id, HORIZON)
    log = server.log.stream("kinesis:clicks")
    left, right = log.lineage.split(shard_id)
    before = server.faults.calls["GetRecords"]
    page = await source.read(stream, shard_id, opened.iterator, 10)
    assert server.faults.calls["GetRecords"] == before + 1, "an end that names children is believed at once"
    assert (len(page.records), page.next_iterator) == (1, None)
    listing = {shard.id: shard for shard in (await source.list_shards(stream)).shards}
    assert page.children is not None
    assert {child.id for child in page.children} == {left, right}
    for child in page.children:
        assert (child.parents, child.hash_range) == ((shard_id,), listing[child.id].hash_range)
    assert set(await source.children(stream, shard_id)) == {listing[left], listing[right]}
    assert not listing[shard_id].is_open
    merged = log.lineage.merge(left, right)
    opened = await source.iterator(stream, left, HORIZON)
    last = await source.read(stream, left, opened.iterator, 10)
    assert last.children is not None
    assert [(child.id, child.parents) for child in last.children] == [(merged, tuple(sorted((left, right))))]


async def test_an_end_without_children_is_asked_for_again(server: StreamServer, source: KinesisSource) -> None:
    written = put(server, 1)
    stream, shard_id = await only_shard(source)
    opened = await source.iterator(stream, shard_id, HORIZON)
    server.faults.arm(Fault.malformed(Mangling.MISSING, "GetRecords", path="NextShardIterator"))
    page = await source.read(stream, shard_id, opened.iterator, 10)
    assert (numbers(page), page.next_iterator is None) == (written, False), "an open shard goes on"
    server.log.stream("kinesis:clicks").lineage.split(shard_id)
    server.faults.arm(Fault.malformed(Mangling.NULL, "GetRecords", path="ChildShards", times=None))
    page = await source.read(stream, shard_id, opened.iterator, 10)
    assert (numbers(page), page.next_iterator, page.children) == (written, None, None)
    assert len(await source.children(stream, shard_id)) == 2


async def test_a_listing_of_many_pages_is_whole(server: StreamServer) -> None:
    server.log.create_stream("wide", 2500)
    source = KinesisSource("kinesis:wide")
    async with source.open():
        stream = await source.resolve()
        listing = await source.list_shards(stream)
    assert len({shard.id for shard in listing.shards}) == 2500
    assert server.faults.calls["ListShards"] == 3
    assert listing.server_time == 1_795_000_000


async def test_a_recreated_stream_is_another_one(
    server: StreamServer, source: KinesisSource, clock: MovableClock
) -> None:
    put(server, 1)
    stream, shard_id = await only_shard(source)
    server.log.kinesis.delete("clicks")
    server.log.create_stream("clicks", 2)
    clock.ahead += 11
    with pytest.raises(ShardNotFound, match="deleted with its stream"):
        await source.iterator(stream, shard_id, HORIZON)
    with pytest.raises(StreamMissing, match="another one now"):
        await source.list_shards(stream)
    again = await source.resolve()
    assert (again.base, again.label == stream.label) == (stream.base, False)
    assert len((await source.list_shards(again)).shards) == 2


async def test_a_stream_that_is_being_deleted_is_not_enabled(server: StreamServer) -> None:
    server.log.create_stream("leaving", options=StreamOptions(transition_seconds=0.0))
    stream = server.log.kinesis.stream("leaving")
    source = KinesisSource("kinesis:leaving")
    async with source.open():
        assert (await source.resolve()).enabled
        stream.status, stream.status_until = "DELETING", float("inf")
        assert not (await source.resolve()).enabled


async def test_an_iterator_expires_after_five_minutes(
    server: StreamServer, source: KinesisSource, clock: MovableClock
) -> None:
    stream, shard_id = await only_shard(source)
    opened = await source.iterator(stream, shard_id, HORIZON)
    clock.ahead += 301
    with pytest.raises(IteratorExpired, match=shard_id):
        await source.read(stream, shard_id, opened.iterator, 10)
    with pytest.raises(IteratorExpired, match="does not accept the iterator"):
        await source.read(stream, shard_id, "made-up", 10)


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        (Fault.error("ProvisionedThroughputExceededException", "GetRecords"), StreamThrottled, "rate"),
        (Fault.error("AccessDeniedException", "GetRecords"), StreamAccessDenied, "kinesis:GetRecords"),
        (Fault.error("KMSDisabledException", "GetRecords"), StreamAccessDenied, "encryption key"),
        (Fault.error("InternalFailureException", "GetRecords", status=500), StreamUnavailable, "HTTP 500"),
        (Fault.drop("GetRecords"), StreamUnavailable, "no usable reply"),
        (Fault.half_body("GetRecords"), StreamUnavailable, "no usable reply"),
        (Fault.malformed(Mangling.NOT_JSON, "GetRecords"), StreamUnavailable, "no usable reply"),
        (Fault.malformed(Mangling.NULL, "GetRecords", path="Records"), StreamUnavailable, "without a list of records"),
    ],
)
async def test_each_fault_is_one_error_and_the_next_read_works(
    server: StreamServer, source: KinesisSource, fault: Fault, kind: type[LeaseholdError], said: str
) -> None:
    written = put(server, 1)
    stream, shard_id = await only_shard(source)
    opened = await source.iterator(stream, shard_id, HORIZON)
    server.faults.arm(fault)
    with pytest.raises(kind, match=said):
        await source.read(stream, shard_id, opened.iterator, 10)
    assert numbers(await source.read(stream, shard_id, opened.iterator, 10)) == written


@pytest.mark.parametrize(
    ("operation", "path"),
    [
        ("DescribeStreamSummary", "StreamDescriptionSummary"),
        ("DescribeStreamSummary", "StreamDescriptionSummary.StreamARN"),
        ("DescribeStreamSummary", "StreamDescriptionSummary.StreamCreationTimestamp"),
        ("ListShards", "Shards"),
        ("ListShards", "Shards.*"),
        ("ListShards", "Shards.*.ShardId"),
        ("GetShardIterator", "ShardIterator"),
    ],
)
async def test_a_reply_without_its_heart_is_worth_another_try(
    server: StreamServer, source: KinesisSource, operation: str, path: str
) -> None:
    stream, shard_id = await only_shard(source)

    async def ask() -> object:
        if operation == "DescribeStreamSummary":
            return await source.resolve()
        if operation == "ListShards":
            return await source.list_shards(stream)
        return await source.iterator(stream, shard_id, HORIZON)

    server.faults.arm(Fault.malformed(Mangling.NULL, operation, path=path))
    with pytest.raises(StreamUnavailable):
        await ask()
    await ask()


@pytest.mark.parametrize("path", ["HashKeyRange", "SequenceNumberRange", "ParentShardId"])
async def test_fields_that_matter_little_may_be_missing(server: StreamServer, source: KinesisSource, path: str) -> None:
    stream = await source.resolve()
    server.faults.arm(Fault.malformed(Mangling.MISSING, "ListShards", path=f"Shards.*.{path}"))
    (shard,) = (await source.list_shards(stream)).shards
    assert shard.is_open


async def test_entries_that_are_no_records_are_counted_and_the_rest_is_delivered(
    server: StreamServer, source: KinesisSource
) -> None:
    written = put(server, *range(4))
    stream, shard_id = await only_shard(source)
    opened = await source.iterator(stream, shard_id, HORIZON)
    for mangling in (Mangling.NOT_RECORDS, Mangling.NOT_STRUCTURES):
        server.faults.clear()
        server.faults.arm(Fault.malformed(mangling, "GetRecords", times=None))
        page = await source.read(stream, shard_id, opened.iterator, 10)
        assert (numbers(page), page.skipped) == (written, len(IMPOSTORS[mangling]))
