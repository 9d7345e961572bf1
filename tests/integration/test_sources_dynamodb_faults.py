"""The DynamoDB Streams source and everything that goes wrong, against the project's stream server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from consumer.errors import (
    LeaseholdError,
    StreamAccessDenied,
    StreamCredentials,
    StreamThrottled,
    StreamUnavailable,
    StreamUnreachable,
)
from consumer.streams import DynamoDBRecord, DynamoDBStreamsSource
from consumer.testing.faults import Fault, Mangling
from consumer.testing.mangling import IMPOSTORS
from consumer.testing.stream_rules import StreamOptions
from consumer.testing.stream_server import StreamServer
from tests.integration.stream_sources import (
    HORIZON,
    SESSION,
    MovableClock,
    ask,
    numbers,
    only_shard,
    point_at,
    put,
    read_place,
)

Expected = tuple[type[LeaseholdError], str]


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch, clock: MovableClock) -> AsyncIterator[StreamServer]:
    async with StreamServer(clock=clock) as running:
        point_at(monkeypatch, running)
        running.log.create_table("orders")
        yield running


@pytest.fixture(params=["direct", "plain"])
async def source(server: StreamServer, request: pytest.FixtureRequest) -> AsyncIterator[DynamoDBStreamsSource]:
    """Read from once, so that pages are read in the way that the test is about."""
    made = DynamoDBStreamsSource("dynamodb:orders", describes_per_second=1000.0, session=SESSION)
    async with made.open("plain" if request.param == "plain" else "auto"):
        await ask(made, "read", await read_place(made))
        assert made.data_path == request.param
        yield made


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (lambda: Fault.error("ThrottlingException"), (StreamThrottled, "rate")),
        (lambda: Fault.error("LimitExceededException"), (StreamThrottled, "rate")),
        (lambda: Fault.error("InternalServerError", status=500), (StreamUnavailable, "InternalServerError")),
        (lambda: Fault.error("AccessDeniedException"), (StreamAccessDenied, "dynamodb:")),
        (lambda: Fault.error("UnrecognizedClientException"), (StreamCredentials, "AWS_ACCESS_KEY_ID")),
        (Fault.drop, (StreamUnavailable, "no usable reply")),
        (Fault.half_body, (StreamUnavailable, "no usable reply")),
        (lambda: Fault.malformed(Mangling.NOT_JSON), (StreamUnavailable, "no usable reply")),
    ],
)
@pytest.mark.parametrize("call", ["resolve", "list_shards", "children", "iterator", "read"])
async def test_each_fault_on_each_call_is_one_error_and_the_next_call_works(
    server: StreamServer, source: DynamoDBStreamsSource, fault: Callable[[], Fault], expected: Expected, call: str
) -> None:
    put(server, 1)
    place = await read_place(source)
    server.faults.arm(fault())
    with pytest.raises(expected[0], match=expected[1]) as caught:
        await ask(source, call, place)
    assert type(caught.value) is expected[0]
    await ask(source, call, place)


@pytest.mark.parametrize(
    ("operation", "call", "path"),
    [
        ("DescribeTable", "resolve", "Table"),
        ("DescribeStream", "resolve", "StreamDescription"),
        ("DescribeStream", "list_shards", "StreamDescription.Shards"),
        ("DescribeStream", "list_shards", "StreamDescription.Shards.*"),
        ("DescribeStream", "list_shards", "StreamDescription.Shards.*.ShardId"),
        ("GetShardIterator", "iterator", "ShardIterator"),
        ("GetRecords", "read", "Records"),
    ],
)
async def test_a_reply_without_its_heart_is_worth_another_try(
    server: StreamServer, source: DynamoDBStreamsSource, operation: str, call: str, path: str
) -> None:
    place = await read_place(source)
    server.faults.arm(Fault.malformed(Mangling.NULL, operation, path=path))
    with pytest.raises(StreamUnavailable):
        await ask(source, call, place)
    await ask(source, call, place)


async def test_a_lost_next_iterator_does_not_end_an_open_shard(
    server: StreamServer, source: DynamoDBStreamsSource
) -> None:
    written = put(server, 1, 2)
    stream, shard_id = await only_shard(source)
    opened = await source.iterator(stream, shard_id, HORIZON)
    for mangling in (Mangling.MISSING, Mangling.NULL):
        server.faults.arm(Fault.malformed(mangling, "GetRecords", path="NextShardIterator"))
        page = await source.read(stream, shard_id, opened.iterator, 10)
        assert numbers(page) == written
        assert page.next_iterator is not None


async def test_entries_that_are_no_records_are_asked_for_again_then_counted(
    server: StreamServer, source: DynamoDBStreamsSource
) -> None:
    written = put(server, *range(4))
    stream, shard_id = await only_shard(source)
    opened = await source.iterator(stream, shard_id, HORIZON)
    server.faults.arm(Fault.malformed(Mangling.NULL, "GetRecords", path="Records.*.dynamodb"))
    once = await source.read(stream, shard_id, opened.iterator, 10)
    assert (numbers(once), once.skipped) == (written, 0), "a glitch costs no record"
    for mangling in (Mangling.NOT_RECORDS, Mangling.NOT_STRUCTURES):
        server.faults.clear()
        server.faults.arm(Fault.malformed(mangling, "GetRecords", times=None))
        always = await source.read(stream, shard_id, opened.iterator, 10)
        assert (numbers(always), always.skipped) == (written, len(IMPOSTORS[mangling]))
        assert always.next_iterator is not None


async def test_unknown_fields_and_empty_pages_are_nothing(server: StreamServer, source: DynamoDBStreamsSource) -> None:
    written = put(server, 1)
    server.faults.arm(Fault.malformed(Mangling.UNKNOWN_FIELDS, times=None))
    stream, shard_id = await only_shard(source)
    opened = await source.iterator(stream, shard_id, HORIZON)
    page = await source.read(stream, shard_id, opened.iterator, 10)
    assert (numbers(page), page.skipped) == (written, 0)
    record = page.records[0]
    assert isinstance(record, DynamoDBRecord)
    assert record.keys == {"pk": "k1"}
    server.faults.clear()
    server.faults.arm(Fault.malformed(Mangling.EMPTY_PAGE, "GetRecords"))
    page = await source.read(stream, shard_id, opened.iterator, 10)
    assert (page.records, page.next_iterator) == ([], opened.iterator)


async def test_the_shard_is_over_when_the_service_says_so_twice(server: StreamServer) -> None:
    server.log.create_table("short", options=StreamOptions(empty_last_page=True))
    server.log.put_item("short", new_image={"pk": "a"})
    source = DynamoDBStreamsSource("dynamodb:short", describes_per_second=1000.0)
    async with source.open():
        stream, shard_id = await only_shard(source)
        server.log.stream("short").lineage.rotate()
        opened = await source.iterator(stream, shard_id, HORIZON)
        first = await source.read(stream, shard_id, opened.iterator, 10)
        assert (len(first.records), first.next_iterator is None) == (1, False)
        last = await source.read(stream, shard_id, first.next_iterator or "", 10)
        assert (len(last.records), last.next_iterator) == (0, None)


async def test_an_endpoint_that_nobody_serves_is_named(monkeypatch: pytest.MonkeyPatch, server: StreamServer) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB_STREAMS", "http://127.0.0.1:9")
    source = DynamoDBStreamsSource(server.log.stream("orders").arn)
    async with source.open():
        with pytest.raises(StreamUnreachable, match=r"http://127\.0\.0\.1:9.*AWS_ENDPOINT_URL_DYNAMODB_STREAMS"):
            await source.resolve()


async def test_without_credentials_the_variables_are_named(
    monkeypatch: pytest.MonkeyPatch, server: StreamServer, tmp_path: object
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", f"{tmp_path}/none")
    monkeypatch.setenv("AWS_CONFIG_FILE", f"{tmp_path}/none")
    source = DynamoDBStreamsSource("dynamodb:orders")
    async with source.open():
        with pytest.raises(StreamCredentials, match="AWS_ACCESS_KEY_ID=local"):
            await source.resolve()
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(StreamCredentials, match="AWS_DEFAULT_REGION"):
        async with DynamoDBStreamsSource("dynamodb:orders").open():
            pass


async def test_two_workers_share_a_source_and_the_last_one_closes_it(server: StreamServer) -> None:
    source = DynamoDBStreamsSource("dynamodb:orders")
    first, second = source.open(), source.open()
    await first.__aenter__()
    await second.__aenter__()
    await first.__aexit__(None, None, None)
    await source.resolve()
    await second.__aexit__(None, None, None)
    with pytest.raises(RuntimeError, match="not open"):
        await source.resolve()
    async with source.open():
        await source.resolve()
