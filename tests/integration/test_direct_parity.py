"""Everything that the stream server can do wrong to a read, on both ways of reading: the same comes out of both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, Final

import pytest

from consumer.streams import DynamoDBStreamsSource, KinesisSource
from consumer.streams.source import RecordSource
from consumer.testing.faults import Fault, FaultKind, Mangling
from consumer.testing.stream_server import StreamServer
from lease_store.errors import LeaseholdError
from tests.integration.stream_sources import HORIZON, SESSION, MovableClock, point_at

CODES: Final = [
    "AccessDeniedException",
    "ExpiredIteratorException",
    "ExpiredTokenException",
    "InternalServerError",
    "InvalidArgumentException",
    "InvalidSignatureException",
    "KMSThrottlingException",
    "LimitExceededException",
    "ProvisionedThroughputExceededException",
    "ResourceNotFoundException",
    "SerializationException",
    "ServiceUnavailable",
    "ThrottlingException",
    "TrimmedDataAccessException",
    "UnknownOperationException",
    "UnrecognizedClientException",
    "ValidationException",
    "of nobody's",
]
PATHS: Final = {
    "dynamodb": ("Records", "Records.*", "Records.*.dynamodb", "Records.*.dynamodb.SequenceNumber"),
    "kinesis": ("Records", "Records.*", "Records.*.Data", "Records.*.SequenceNumber", "MillisBehindLatest"),
}


def faults_of(service: str) -> list[Fault]:
    always: dict[str, Any] = {"operation": "GetRecords", "times": None}
    paths = (*PATHS[service], "NextShardIterator")
    both = (Mangling.MISSING, Mangling.NULL)
    plain = [each for each in Mangling if each not in both]
    return [
        *(Fault.error(code, **always, status=status) for code in CODES for status in (None, 500)),
        Fault.drop(**always),
        Fault.drop(**always, applied=False),
        Fault.half_body(**always),
        Fault.delay(0.02, **always),
        *(Fault.malformed(each, **always) for each in plain),
        *(Fault.malformed(each, **always, path=path) for each in both for path in paths),
    ]


def name_of(fault: Fault) -> str:
    detail = fault.code if fault.kind is FaultKind.ERROR else f"{fault.mangling}-{fault.path}"
    return f"{fault.kind}-{detail}-{fault.status}-{fault.applied}"


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StreamServer]:
    async with StreamServer(clock=MovableClock()) as running:
        point_at(monkeypatch, running)
        running.log.create_table("orders")
        running.log.create_stream("clicks")
        for number in range(5):
            # Larger than what a reply's head is received into.
            running.log.put_item("orders", new_image={"pk": f"k{number}", "n": number, "text": "x" * 8000})
            running.log.put_record("clicks", f"k{number}", b"%d" % number * 8000)
        yield running


def source_of(service: str) -> DynamoDBStreamsSource | KinesisSource:
    clock = MovableClock()
    if service == "kinesis":
        return KinesisSource("kinesis:clicks", clock=clock, session=SESSION)
    return DynamoDBStreamsSource("dynamodb:orders", clock=clock, session=SESSION, describes_per_second=1000.0)


class Reader:
    """Reads one page, again and again."""

    def __init__(self, source: RecordSource) -> None:
        self.source = source

    async def begin(self) -> None:
        self.stream = await self.source.resolve()
        (shard,) = (await self.source.list_shards(self.stream)).shards
        self.shard_id = shard.id
        self.iterator = (await self.source.iterator(self.stream, shard.id, HORIZON)).iterator

    async def outcome(self) -> tuple[Any, ...]:
        """What a read gives, in values that are equal where the reads are."""
        try:
            page = await self.source.read(self.stream, self.shard_id, self.iterator, 10)
        except LeaseholdError as error:
            # A transport says in its own words what happened to it.
            return type(error), str(error).partition("gave no usable reply")[0]
        records = [(record.sequence_number, record.size_bytes, repr(record)) for record in page.records]
        return records, page.next_iterator is None, page.children, page.skipped, page.size_bytes


@pytest.mark.parametrize("service", PATHS)
async def test_each_fault_has_one_outcome_whichever_way_the_page_was_asked_for(
    server: StreamServer, service: str
) -> None:
    async with AsyncExitStack() as stack:
        sources = {"direct": source_of(service), "plain": source_of(service)}
        readers = {}
        for way, source in sources.items():
            await stack.enter_async_context(source.open("plain" if way == "plain" else "auto"))
            readers[way] = Reader(source)
            await readers[way].begin()
            assert len((await readers[way].outcome())[0]) == 5
        assert [source.data_path for source in sources.values()] == ["direct", "plain"]
        faults = faults_of(service)
        seen = set()
        for fault in faults:
            server.faults.clear()
            server.faults.arm(fault)
            direct, plain = await readers["direct"].outcome(), await readers["plain"].outcome()
            assert direct == plain, name_of(fault)
            seen.add(direct[0] if isinstance(direct[0], type) else type(direct[0]))
            server.faults.clear()
            # The next call is as if nothing had been.
            assert len((await readers["direct"].outcome())[0]) == 5, name_of(fault)
        assert len(seen) >= 8, "the faults are of many kinds"
        assert sources["direct"].data_path == "direct"
