"""The DynamoDB Streams source over HTTP, against the project's stream server, faults included."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from aiobotocore.session import get_session

from consumer.errors import (
    DataTrimmed,
    IteratorExpired,
    LeaseholdError,
    ShardNotFound,
    StreamAccessDenied,
    StreamCredentials,
    StreamDisabled,
    StreamMissing,
    StreamThrottled,
    StreamUnavailable,
    StreamUnreachable,
)
from consumer.record import ViewType
from consumer.streams import DynamoDBRecord, DynamoDBStreamsSource, Page, Position, StreamIdentity
from consumer.testing.faults import Fault, Mangling
from consumer.testing.mangling import IMPOSTORS
from consumer.testing.stream_rules import Staleness, StreamOptions
from consumer.testing.stream_server import StreamServer

HORIZON = Position("TRIM_HORIZON")
# Service models are read once, not for each of a hundred tests.
SESSION = get_session()
Place = tuple[StreamIdentity, str, str]
Expected = tuple[type[LeaseholdError], str]


class MovableClock:
    """The server's time: real, plus what a test adds."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time() + self.ahead

    def wall(self) -> float:
        return 1_795_000_000.0 + self.ahead

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def timeout(self, seconds: float | None) -> asyncio.Timeout:
        return asyncio.timeout(seconds)


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch, clock: MovableClock) -> AsyncIterator[StreamServer]:
    async with StreamServer(clock=clock) as running:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "local")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.endpoint_url)
        running.log.create_table("orders")
        yield running


@pytest.fixture
async def source(server: StreamServer) -> AsyncIterator[DynamoDBStreamsSource]:
    made = DynamoDBStreamsSource("dynamodb:orders", describes_per_second=1000.0, session=SESSION)
    async with made.open():
        yield made


def put(server: StreamServer, *numbers: int) -> list[str]:
    return [server.log.put_item("orders", new_image={"pk": f"k{number}", "n": number}) for number in numbers]


def numbers(page: Page) -> list[str]:
    return [record.sequence_number for record in page.records]


async def only_shard(source: DynamoDBStreamsSource) -> tuple[StreamIdentity, str]:
    stream = await source.resolve()
    (shard,) = (await source.list_shards(stream)).shards
    return stream, shard.id


async def read_place(source: DynamoDBStreamsSource) -> Place:
    stream, shard_id = await only_shard(source)
    return stream, shard_id, (await source.iterator(stream, shard_id, HORIZON)).iterator


async def ask(source: DynamoDBStreamsSource, call: str, place: Place) -> object:
    """One call of the source by its name."""
    stream, shard_id, iterator = place
    if call == "resolve":
        return await source.resolve()
    if call == "list_shards":
        return await source.list_shards(stream)
    if call == "children":
        return await source.children(stream, shard_id)
    if call == "iterator":
        return await source.iterator(stream, shard_id, HORIZON)
    return await source.read(stream, shard_id, iterator, 10)


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
    assert await at(Position("AT_TIMESTAMP", timestamp=clock.wall() + 0.9)) == written[2:], (
        "records carry whole seconds"
    )


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
        assert server.faults.calls["DescribeStream"] - before <= 6, "two asked alone; 120 shards are two pages"
        server.faults.arm(Fault.error("ThrottlingException", "DescribeStream", times=3))
        answers = await asyncio.gather(*(source.children(stream, each) for each in parents), return_exceptions=True)
        assert {type(answer) for answer in answers} == {StreamThrottled}
        assert len(await source.children(stream, parents[0])) == 1


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
