"""An in-memory ``RecordSource`` over a shard log: the real thing without sockets, for virtual time and fast tests."""

from __future__ import annotations

import math
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from consumer.clock import Clock
from consumer.errors import (
    DataTrimmed,
    IteratorExpired,
    PositionRefused,
    ShardNotFound,
    StreamAccessDenied,
    StreamCredentials,
    StreamDisabled,
    StreamError,
    StreamMissing,
    StreamThrottled,
    StreamUnavailable,
    StreamUnreachable,
)
from consumer.record import Record
from consumer.streams.dynamodb_record import DynamoDBRecord
from consumer.streams.kinesis_record import KinesisRecord
from consumer.streams.source import Opened, Page, Position, Shard, ShardListing, StreamIdentity
from consumer.testing.faults import Call, Fault, FaultKind, FaultPlan, Mangling
from consumer.testing.log_shard import LogRecord, ShardView
from consumer.testing.mangling import IMPOSTORS
from consumer.testing.service_error import ServiceError
from consumer.testing.shard_log import ShardLog
from consumer.testing.stream_log import LogPage, StreamLog

__all__ = ["MemoryRecordSource"]

# What error codes mean to a worker; a code that is not here is a failure of the service, worth another try.
_MEANINGS: Final[dict[str, type[StreamError]]] = {
    "AccessDeniedException": StreamAccessDenied,
    "ExpiredIteratorException": IteratorExpired,
    "LimitExceededException": StreamThrottled,
    "ProvisionedThroughputExceededException": StreamThrottled,
    "ThrottlingException": StreamThrottled,
    "TrimmedDataAccessException": DataTrimmed,
    "UnrecognizedClientException": StreamCredentials,
}
_REFUSALS: Final = ("ValidationException", "InvalidArgumentException")


class MemoryRecordSource:
    """Reads one stream of a shard log.

    ``name`` is ``dynamodb:TABLE``, ``kinesis:STREAM`` or an ARN. Every call takes ``latency_seconds`` on ``clock``,
    half of it before the log is looked at. Calls are counted and go wrong by ``faults``, under the names of the
    service's operations. Several sources, one a worker, may share a log and a plan.
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
        self._is_kinesis = name.startswith("kinesis:") or ":kinesis:" in name
        self._service = "kinesis" if self._is_kinesis else "dynamodbstreams"
        self._listing_call = "ListShards" if self._is_kinesis else "DescribeStream"
        self._shards_a_page = 1_000 if self._is_kinesis else 100

    @property
    def name(self) -> str:
        """As it was given."""
        return self._name

    @property
    def max_reads_per_second(self) -> float | None:
        """5 for Kinesis; None for DynamoDB."""
        return 5.0 if self._is_kinesis else None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Nothing to connect to."""
        yield

    async def resolve(self) -> StreamIdentity:
        """The stream that the name means now."""
        operation = "DescribeStreamSummary" if self._is_kinesis else "DescribeTable"
        async with self._call(operation):
            return self._kinesis_identity() if self._is_kinesis else self._table_identity()

    async def list_shards(self, stream: StreamIdentity) -> ShardListing:
        """Every shard, one call for each page that the service would need."""
        found: dict[str, ShardView] = {}
        after = ""
        while True:
            async with self._call(self._listing_call, stream.arn):
                rest = [shard for shard in self._of(stream).listing(self.faults.staleness) if shard.id > after]
            page = rest[: self._shards_a_page]
            found |= {shard.id: shard for shard in page}
            if len(rest) == len(page):
                break
            after = page[-1].id
        return ShardListing(tuple(map(self._shard, found.values())), float(math.floor(self._log.now())))

    async def children(self, stream: StreamIdentity, shard_id: str) -> tuple[Shard, ...]:
        """The shards that name ``shard_id`` as a parent, as far as the listing shows them."""
        async with self._call(self._listing_call, stream.arn, shard_id):
            shards = self._of(stream).listing(self.faults.staleness)
        return tuple(self._shard(shard) for shard in shards if shard_id in shard.parents)

    async def iterator(self, stream: StreamIdentity, shard_id: str, position: Position) -> Opened:
        """An iterator; where AT_TIMESTAMP is refused, one at the horizon with the instant below which records do not
        count.
        """
        try:
            return Opened(await self._iterator(stream, shard_id, position))
        except PositionRefused:
            if position.kind != "AT_TIMESTAMP":
                raise
        horizon = await self._iterator(stream, shard_id, Position("TRIM_HORIZON"))
        return Opened(horizon, drop_before=position.timestamp)

    async def read(self, stream: StreamIdentity, shard_id: str, iterator: str, limit: int) -> Page:
        """The next page."""
        async with self._call("GetRecords", stream.arn, shard_id) as fault:
            if fault is not None and fault.mangling is Mangling.EMPTY_PAGE:
                return Page((), iterator)
            try:
                page = self._log.read(iterator, limit)
            except ValueError as error:
                raise PositionRefused(str(error)) from error
            return self._page(page, fault)

    # -- inside

    @asynccontextmanager
    async def _call(
        self, operation: str, stream: str = "", shard_id: str = "", detail: str = ""
    ) -> AsyncIterator[Fault | None]:
        """One call to the service: counted, on its way for the latency, failing as the plan says."""
        await self._clock.sleep(self._half_latency_seconds)
        fault = self.faults.take(
            Call(self._service, operation, stream or self._name.partition(":")[2], shard_id, detail)
        )
        try:
            if fault is not None and fault.kind is FaultKind.ERROR:
                raise fault.as_error()
            yield fault
        except ServiceError as error:
            failure: StreamError | None = self._meaning(error, shard_id, detail)
            cause: ServiceError | None = error
        else:
            failure, cause = _broken(fault), None
        await self._clock.sleep(self._half_latency_seconds + (fault.seconds if fault is not None else 0.0))
        if failure is not None:
            raise failure from cause

    def _meaning(self, error: ServiceError, shard_id: str, detail: str) -> StreamError:
        text = f"{self._name}: {error}"
        if error.code == "ResourceNotFoundException":
            return ShardNotFound(text) if shard_id and self._exists() else StreamMissing(text)
        if error.code in _REFUSALS:
            return PositionRefused(text) if detail else StreamError(text)
        return _MEANINGS.get(error.code, StreamUnavailable)(text)

    def _exists(self) -> bool:
        try:
            self._log.stream(self._name)
        except ServiceError:
            return False
        return True

    async def _iterator(self, stream: StreamIdentity, shard_id: str, position: Position) -> str:
        async with self._call("GetShardIterator", stream.arn, shard_id, position.kind):
            return self._of(stream).iterator(
                shard_id, position.kind, sequence_number=position.sequence_number, timestamp=position.timestamp
            )

    def _table_identity(self) -> StreamIdentity:
        tables = self._log.tables
        if self._name.startswith("arn:"):
            table, stream = tables.by_arn(self._name)
        else:
            table = tables.table(self._name.partition(":")[2])
            if table.latest is None:
                raise StreamDisabled(f"Table {table.name} has no stream.")
            stream = table.latest
        arn = stream.log.arn
        return StreamIdentity(arn, arn, table.arn, stream.view_type, stream.is_enabled)

    def _kinesis_identity(self) -> StreamIdentity:
        stream = self._log.kinesis.stream(self._name if self._name.startswith("arn:") else self._name.partition(":")[2])
        return StreamIdentity(stream.log.arn, stream.log.incarnation, stream.log.arn)

    def _of(self, stream: StreamIdentity) -> StreamLog:
        if self._is_kinesis:
            return self._log.kinesis.by_incarnation(stream.label).log
        return self._log.tables.by_arn(stream.arn)[1].log

    def _shard(self, shard: ShardView) -> Shard:
        low, high = shard.hash_range
        return Shard(
            id=shard.id,
            parents=shard.parents,
            is_open=shard.ending_sequence is None,
            starting_sequence_number=str(shard.starting_sequence),
            hash_range=(str(low), str(high)) if self._is_kinesis else None,
            created_at=None if self._is_kinesis else int(shard.id.split("-")[1]) / 1000,
        )

    def _page(self, page: LogPage, fault: Fault | None) -> Page:
        records = [self._record(record) for record in page.records]
        children = tuple(map(self._shard, page.children)) if self._is_kinesis and page.next_iterator is None else None
        return Page(
            records=records,
            next_iterator=page.next_iterator,
            millis_behind_latest=page.millis_behind_latest if self._is_kinesis else None,
            children=children or None,
            size_bytes=sum(record.size_bytes for record in records),
            skipped=len(IMPOSTORS[fault.mangling]) if fault is not None and fault.mangling in IMPOSTORS else 0,
        )

    def _record(self, record: LogRecord) -> Record:
        return KinesisRecord(record.entry) if self._is_kinesis else DynamoDBRecord(record.entry)


def _broken(fault: Fault | None) -> StreamError | None:
    """What a worker makes of a reply that did not come whole, or not as the service promises it."""
    if fault is None or fault.kind in (FaultKind.ERROR, FaultKind.DELAY):
        return None
    if fault.kind is FaultKind.DROP:
        return StreamUnreachable("The connection closed without a reply.")
    if fault.kind is FaultKind.HALF_BODY:
        return StreamUnavailable("The reply broke off.")
    if fault.mangling in (Mangling.MISSING, Mangling.NULL, Mangling.NOT_JSON, Mangling.NOT_STRUCTURES):
        return StreamUnavailable("The reply is not what the service promises.")
    return None
