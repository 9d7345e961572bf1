"""An in-memory ``RecordSource`` over a shard log: what the real ones do, without sockets, for virtual time and fast
tests.
"""

from __future__ import annotations

import math
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from botocore.exceptions import ClientError, ConnectionClosedError, HTTPClientError

from consumer.clock import Clock
from consumer.errors import PositionRefused, StreamDisabled
from consumer.record import Record
from consumer.streams import aws_errors
from consumer.streams.dynamodb_record import DynamoDBRecord
from consumer.streams.kinesis_record import KinesisRecord
from consumer.streams.pages import believed
from consumer.streams.source import Opened, Page, Position, Shard, ShardListing, StreamIdentity
from consumer.testing.faults import Call, Fault, FaultKind, FaultPlan, Mangling
from consumer.testing.log_shard import LogRecord, ShardView
from consumer.testing.mangling import IMPOSTORS
from consumer.testing.service_error import ServiceError
from consumer.testing.shard_log import ShardLog
from consumer.testing.stream_log import LogPage, StreamLog

__all__ = ["MemoryRecordSource"]

_ENDPOINT: Final = "memory"
_RECORDS_A_PAGE: Final = {"dynamodbstreams": 1_000, "kinesis": 10_000}
_SHARDS_A_PAGE: Final = {"dynamodbstreams": 100, "kinesis": 1_000}
_LISTING_CALL: Final = {"dynamodbstreams": "DescribeStream", "kinesis": "ListShards"}
# As the real source gives them: shards of DynamoDB have no hash range.
_NO_HASH_RANGE: Final = ("0", "1")


class MemoryRecordSource:
    """Reads one stream of a shard log.

    ``name`` is ``dynamodb:TABLE``, ``kinesis:STREAM`` or an ARN. Every call takes ``latency_seconds`` on ``clock``,
    half of it before the log is looked at. Calls are counted and go wrong by ``faults``, under the names of the
    service's operations, and raise what the real source raises. Several sources, one a worker, may share a log and a
    plan.
    """

    def __init__(
        self,
        log: ShardLog,
        name: str,
        *,
        clock: Clock,
        faults: FaultPlan | None = None,
        latency_seconds: float = 0.0,
    ) -> None:
        if not name.startswith(("dynamodb:", "kinesis:", "arn:")):
            raise ValueError(f"{name!r} is no source: dynamodb:TABLE, kinesis:STREAM or an ARN.")
        self._log = log
        self._name = name
        self._clock = clock
        self._half_latency_seconds = latency_seconds / 2
        self.faults = faults or FaultPlan(random.Random(0), now=clock.monotonic)
        self._service = "kinesis" if name.startswith("kinesis:") or ":kinesis:" in name else "dynamodbstreams"
        self._knows_timestamps = True

    @property
    def name(self) -> str:
        """As it was given."""
        return self._name

    @property
    def max_reads_per_second(self) -> float | None:
        """5 for Kinesis; None for DynamoDB."""
        return 5.0 if self._is_kinesis else None

    def share(self, workers: int) -> None:
        """Nothing to keep to in memory."""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Nothing to connect to."""
        yield

    async def resolve(self) -> StreamIdentity:
        """The stream that the name means now."""
        if self._is_kinesis:
            async with self._call("DescribeStreamSummary"):
                return self._kinesis_identity()
        arn = self._name if self._name.startswith("arn:") else await self._latest_stream()
        async with self._call("DescribeStream", arn):
            table, stream = self._log.tables.by_arn(arn)
        return StreamIdentity(arn, arn, table.arn, stream.view_type, stream.is_enabled)

    async def list_shards(self, stream: StreamIdentity) -> ShardListing:
        """Every shard, one call for each page that the service would need."""
        found: list[ShardView] = []
        limit = _SHARDS_A_PAGE[self._service]
        server_time = float(math.floor(self._log.now()))
        while True:
            async with self._call(_LISTING_CALL[self._service], stream.arn):
                after = found[-1].id if found else ""
                rest = [shard for shard in self._of(stream).listing(self.faults.staleness) if shard.id > after]
            found += rest[:limit]
            if len(rest) <= limit:
                return ShardListing(tuple(map(self._shard, found)), server_time)

    async def children(self, stream: StreamIdentity, shard_id: str) -> tuple[Shard, ...]:
        """The shards that name ``shard_id`` as a parent, as far as the listing shows them."""
        async with self._call(_LISTING_CALL[self._service], stream.arn, shard_id):
            shards = self._of(stream).listing(self.faults.staleness)
        return tuple(self._shard(shard) for shard in shards if shard_id in shard.parents)

    async def iterator(self, stream: StreamIdentity, shard_id: str, position: Position) -> Opened:
        """An iterator; where DynamoDB does not know AT_TIMESTAMP, at the horizon with the instant to drop before."""
        if self._is_kinesis or position.kind != "AT_TIMESTAMP" or position.timestamp is None:
            return Opened(await self._iterator(stream, shard_id, position))
        second = float(math.floor(position.timestamp))
        if self._knows_timestamps:
            try:
                return Opened(await self._iterator(stream, shard_id, Position("AT_TIMESTAMP", timestamp=second)))
            except PositionRefused:
                self._knows_timestamps = False
        return Opened(await self._iterator(stream, shard_id, Position("TRIM_HORIZON")), drop_before=second)

    async def read(self, stream: StreamIdentity, shard_id: str, iterator: str, limit: int) -> Page:
        """The next page; an odd one is asked for twice, as the real sources do."""

        async def get_records() -> Page:
            async with self._call("GetRecords", stream.arn, shard_id) as fault:
                if fault is not None and fault.mangling is Mangling.EMPTY_PAGE:
                    return Page((), iterator)
                try:
                    page = self._log.read(iterator, max(1, min(limit, _RECORDS_A_PAGE[self._service])))
                except ValueError as error:
                    raise ServiceError("ValidationException", f"Invalid ShardIterator: {error}") from error
                return self._page(page, fault)

        return await believed(get_records, shard_id)

    # -- inside

    @property
    def _is_kinesis(self) -> bool:
        return self._service == "kinesis"

    @asynccontextmanager
    async def _call(
        self, operation: str, stream: str = "", shard_id: str = "", detail: str = ""
    ) -> AsyncIterator[Fault | None]:
        """One call to the service: counted, on its way for the latency, failing as the plan says."""
        await self._clock.sleep(self._half_latency_seconds)
        service = "dynamodb" if operation == "DescribeTable" else self._service
        resource = stream or self._name.partition(":")[2]
        fault = self.faults.take(Call(service, operation, resource, shard_id, detail))
        failure: Exception | None = None
        try:
            if fault is not None and fault.kind is FaultKind.ERROR:
                raise fault.as_error()
            yield fault
            failure = _broken(fault)
        except ServiceError as error:
            failure = _client_error(error, operation)
        await self._clock.sleep(self._half_latency_seconds + (fault.seconds if fault is not None else 0.0))
        if failure is not None:
            call = aws_errors.Call(service, operation, stream or self._name, _ENDPOINT, shard_id or None)
            raise aws_errors.translate(failure, call) from failure

    async def _latest_stream(self) -> str:
        async with self._call("DescribeTable"):
            table = self._log.tables.table(self._name.partition(":")[2])
        if table.latest is None:
            raise StreamDisabled(f"Table {table.name} has no stream.")
        return table.latest.log.arn

    async def _iterator(self, stream: StreamIdentity, shard_id: str, position: Position) -> str:
        async with self._call("GetShardIterator", stream.arn, shard_id, position.kind):
            return self._of(stream).iterator(
                shard_id, position.kind, sequence_number=position.sequence_number, timestamp=position.timestamp
            )

    def _kinesis_identity(self) -> StreamIdentity:
        stream = self._log.kinesis.stream(self._name if self._name.startswith("arn:") else self._name.partition(":")[2])
        arn = stream.log.arn
        return StreamIdentity(arn, stream.log.incarnation, arn, enabled=stream.status != "DELETING")

    def _of(self, stream: StreamIdentity) -> StreamLog:
        if self._is_kinesis:
            return self._log.kinesis.by_incarnation(stream.label).log
        return self._log.tables.by_arn(stream.arn)[1].log

    def _shard(self, shard: ShardView) -> Shard:
        low, high = shard.hash_range
        return Shard(
            id=shard.id,
            parents=tuple(sorted(shard.parents)),
            is_open=shard.ending_sequence is None,
            starting_sequence_number=str(shard.starting_sequence),
            hash_range=(str(low), str(high)) if self._is_kinesis else _NO_HASH_RANGE,
            created_at=None if self._is_kinesis else int(shard.id.split("-")[1]) / 1000,
        )

    def _child(self, shard: ShardView) -> Shard:
        """A child as the last page of a Kinesis shard names it: without sequence numbers."""
        low, high = shard.hash_range
        return Shard(id=shard.id, parents=tuple(sorted(shard.parents)), hash_range=(str(low), str(high)))

    def _page(self, page: LogPage, fault: Fault | None) -> Page:
        records = [self._record(record) for record in page.records]
        spoilt = fault.mangling if fault is not None and fault.kind is FaultKind.MALFORMED else None
        ends = page.next_iterator is None
        lost = spoilt in (Mangling.MISSING, Mangling.NULL) and fault is not None and fault.path == "NextShardIterator"
        return Page(
            records=records,
            next_iterator=None if lost else page.next_iterator,
            millis_behind_latest=page.millis_behind_latest if self._is_kinesis else None,
            children=(tuple(map(self._child, page.children)) or None) if self._is_kinesis and ends else None,
            size_bytes=sum(record.size_bytes for record in records),
            # The real sources' parser counts entries that are no structures, too.
            skipped=0 if spoilt is None else len(IMPOSTORS.get(spoilt, ())),
        )

    def _record(self, record: LogRecord) -> Record:
        return KinesisRecord(record.entry) if self._is_kinesis else DynamoDBRecord(record.entry)


def _client_error(error: ServiceError, operation: str) -> ClientError:
    """What botocore would have raised."""
    described = {"Code": error.code, "Message": error.message}
    response: Any = {"Error": described, "ResponseMetadata": {"HTTPStatusCode": error.status}}
    return ClientError(response, operation)


def _broken(fault: Fault | None) -> Exception | None:
    """What aiobotocore makes of a reply that did not come whole, or not as the service promises it."""
    if fault is None:
        return None
    if fault.kind is FaultKind.DROP:
        return ConnectionClosedError(endpoint_url=_ENDPOINT, error="The connection was closed without a reply.")
    if fault.kind is FaultKind.HALF_BODY:
        return HTTPClientError(error="The reply broke off.")
    if fault.mangling is Mangling.NOT_JSON:
        return ValueError("the reply is no JSON")
    if fault.mangling in (Mangling.MISSING, Mangling.NULL) and fault.path != "NextShardIterator":
        return ValueError(f"the reply has no {fault.path}")
    return None
