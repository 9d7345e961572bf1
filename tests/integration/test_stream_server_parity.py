"""The in-memory source against the real ones on the stream server: same log, same faults, same answers."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest

from consumer.clock import SystemClock
from consumer.errors import LeaseholdError
from consumer.streams.dynamodb_streams import DynamoDBStreamsSource
from consumer.streams.kinesis import KinesisSource
from consumer.streams.source import Page, Position, RecordSource, Shard
from consumer.testing.faults import Fault, FaultPlan, Mangling
from consumer.testing.memory_source import MemoryRecordSource
from consumer.testing.stream_rules import StreamOptions
from consumer.testing.stream_server import StreamServer

HORIZON = Position("TRIM_HORIZON")


class Pair:
    """A real source and an in-memory one over one log, each with a fault plan of its own."""

    def __init__(self, server: StreamServer, name: str) -> None:
        self.server = server
        clock = SystemClock()
        self.real: RecordSource = (
            KinesisSource(name, clock=clock)
            if name.startswith("kinesis")
            else DynamoDBStreamsSource(name, clock=clock, describes_per_second=1000.0)
        )
        self.memory = MemoryRecordSource(
            server.log,
            name,
            clock=clock,
            faults=FaultPlan(random.Random(0), now=clock.monotonic),
            describes_per_second=1000.0,
        )

    async def both(self, act: Callable[[RecordSource], Any], *faults: Fault) -> Any:
        """What ``act`` gives or raises with ``faults`` armed, which must be the same for both."""
        seen = []
        for source, plan in ((self.real, self.server.faults), (self.memory, self.memory.faults)):
            plan.arm(*faults)
            try:
                seen.append(_comparable(await act(source)))
            except LeaseholdError as error:
                seen.append(type(error))
            plan.clear()
        assert seen[0] == seen[1]
        return seen[0]


def _comparable(value: Any) -> Any:
    """Iterators differ by when they were issued, sizes by the JSON around the records; the rest has to be equal."""
    if isinstance(value, Page):
        records = [(type(record), record.sequence_number, record.raw) for record in value.records]
        return records, value.next_iterator is None, value.children, value.skipped
    return value


@pytest.fixture(params=["dynamodb:orders", "kinesis:clicks"])
async def pair(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(StreamServer(options=StreamOptions(gone_listed_seconds=60)))
        server.log.create_table("orders", shard_count=2)
        server.log.create_stream("clicks", 2)
        for n in range(20):
            server.log.put_item("orders", new_image={"pk": f"k{n}", "n": n, "raw": b"\x00"}, ttl=False)
            server.log.put_record("clicks", f"k{n}", b"%d" % n)
        for name, value in {
            "AWS_ENDPOINT_URL": server.endpoint_url,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_DEFAULT_REGION": "eu-west-1",
        }.items():
            monkeypatch.setenv(name, value)
        pair = Pair(server, request.param)
        await stack.enter_async_context(pair.real.open())
        await stack.enter_async_context(pair.memory.open())
        yield pair


async def first_shard(pair: Pair) -> tuple[Any, str]:
    stream = await pair.both(lambda source: source.resolve())
    listing = await pair.memory.list_shards(stream)
    return stream, listing.shards[0].id


async def read_from(source: RecordSource, stream: Any, shard: str, position: Position = HORIZON) -> Page:
    opened = await source.iterator(stream, shard, position)
    return await source.read(stream, shard, opened.iterator, 1000)


async def test_identity_shards_and_records_are_the_same(pair: Pair) -> None:
    stream, shard = await first_shard(pair)
    lineage = pair.server.log.stream(pair.real.name).lineage
    lineage.split(shard)
    listed = await pair.both(lambda source: _shards(source, stream))
    assert len(listed) == 4
    records, ended, children, _ = await pair.both(lambda source: read_from(source, stream, shard))
    assert ended
    assert records
    assert (children is None) == pair.real.name.startswith("dynamodb")
    named: tuple[Shard, ...] = await pair.both(lambda source: source.children(stream, shard))
    assert len(named) == 2


async def _shards(source: RecordSource, stream: Any) -> list[Shard]:
    listing = await source.list_shards(stream)
    assert listing.server_time is not None
    # The id tells the millisecond; how a float comes out of it does not matter.
    return [replace(shard, created_at=round(shard.created_at or 0.0, 3)) for shard in listing.shards]


CODES = [
    "AccessDeniedException",
    "ExpiredIteratorException",
    "InternalServerError",
    "InvalidArgumentException",
    "LimitExceededException",
    "ProvisionedThroughputExceededException",
    "ResourceNotFoundException",
    "ThrottlingException",
    "TrimmedDataAccessException",
    "UnrecognizedClientException",
    "ValidationException",
]


@pytest.mark.parametrize("code", CODES)
async def test_errors_mean_the_same_in_every_call(pair: Pair, code: str) -> None:
    stream, shard = await first_shard(pair)
    fault = Fault.error(code, times=None)
    for act in (
        lambda source: source.resolve(),
        lambda source: source.list_shards(stream),
        lambda source: source.iterator(stream, shard, HORIZON),
    ):
        assert isinstance(await pair.both(act, fault), type)
    reading = Fault.error(code, "GetRecords", times=None)
    assert isinstance(await pair.both(lambda source: read_from(source, stream, shard), reading), type)


@pytest.mark.parametrize(
    "fault",
    [
        Fault.drop("GetRecords", times=None),
        Fault.half_body("GetRecords", times=None),
        Fault.malformed(Mangling.MISSING, "GetRecords", path="Records", times=None),
        Fault.malformed(Mangling.NULL, "GetRecords", path="Records", times=None),
        Fault.malformed(Mangling.MISSING, "GetRecords", path="NextShardIterator", times=None),
        Fault.malformed(Mangling.MISSING, "GetRecords", path="NextShardIterator"),
        Fault.malformed(Mangling.EMPTY_PAGE, "GetRecords"),
        Fault.malformed(Mangling.UNKNOWN_FIELDS, "GetRecords"),
        Fault.malformed(Mangling.NOT_JSON, "GetRecords", times=None),
        Fault.malformed(Mangling.NOT_RECORDS, "GetRecords"),
        Fault.malformed(Mangling.NOT_RECORDS, "GetRecords", times=None),
        Fault.malformed(Mangling.NOT_STRUCTURES, "GetRecords", times=None),
        Fault.drop("GetShardIterator", times=None),
    ],
    ids=lambda fault: "-".join(filter(None, (fault.kind, fault.mangling, fault.path, str(fault.times)))),
)
async def test_broken_replies_mean_the_same(pair: Pair, fault: Fault) -> None:
    stream, shard = await first_shard(pair)
    await pair.both(lambda source: read_from(source, stream, shard), fault)


async def test_positions_and_lost_shards_mean_the_same(pair: Pair) -> None:
    stream, shard = await first_shard(pair)
    numbers = [record.sequence_number for record in (await read_from(pair.memory, stream, shard)).records]
    now = pair.server.clock.wall()
    for position in (
        Position("AT_SEQUENCE_NUMBER", sequence_number=numbers[1]),
        Position("AFTER_SEQUENCE_NUMBER", sequence_number=numbers[1]),
        Position("AFTER_SEQUENCE_NUMBER", sequence_number="1" * 21),
        Position("LATEST"),
        Position("AT_TIMESTAMP", timestamp=now - 60),
        Position("AT_TIMESTAMP", timestamp=now + 3600),
    ):
        await pair.both(lambda source, position=position: read_from(source, stream, shard, position))
    nobody = shard[:-1] + ("1" if shard[-1] != "1" else "2")
    unknown = nobody if pair.real.name.startswith("dynamodb") else "shardId-000000000999"
    assert isinstance(await pair.both(lambda source: read_from(source, stream, unknown)), type)
