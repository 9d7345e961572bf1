"""DynamoDB Streams over the shard log: its four operations, and DescribeTable for tables fed directly."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from consumer.testing import iterators
from consumer.testing.faults import Call, FaultPlan
from consumer.testing.http_faults import call_of
from consumer.testing.log_shard import ShardView
from consumer.testing.requests import Request
from consumer.testing.service_error import ServiceError
from consumer.testing.shard_log import ShardLog
from consumer.testing.stream_log import IteratorType, LogPage
from consumer.testing.table_streams import Table, TableStream
from consumer.testing.wire_json import dumps

__all__ = ["DynamoDBFront"]

SHARDS_A_PAGE: Final = 100
_STREAMS_A_PAGE: Final = 100
_RECORDS_A_PAGE: Final = 1_000


class DynamoDBFront:
    """Answers JSON requests of the DynamoDB Streams API; ``faults`` says how stale listings are."""

    content_type: Final = "application/x-amz-json-1.0"

    def __init__(self, log: ShardLog, faults: FaultPlan) -> None:
        self._log = log
        self._faults = faults
        self._operations: dict[str, Callable[[Request], bytes]] = {
            "ListStreams": self._list_streams,
            "DescribeStream": self._describe_stream,
            "GetShardIterator": self._get_shard_iterator,
            "GetRecords": self._get_records,
        }
        self._table_operations: dict[str, Callable[[Request], bytes]] = {"DescribeTable": self._describe_table}

    def call(self, service: str, operation: str, fields: Mapping[str, Any]) -> Call:
        """The call as faults see it."""
        call = call_of(service, operation, fields)
        if operation == "GetRecords":
            with contextlib.suppress(ValueError):
                cursor = iterators.decode(str(fields.get("ShardIterator")))
                return replace(call, stream=cursor.incarnation, shard_id=cursor.shard_id)
        return call

    def answer(self, service: str, operation: str, fields: Mapping[str, Any]) -> bytes:
        """The reply's body; raises ServiceError."""
        operations = self._table_operations if service == "dynamodb" else self._operations
        handle = operations.get(operation)
        if handle is None:
            known = ", ".join([*self._operations, "and of DynamoDB itself DescribeTable"])
            raise ServiceError(
                "UnknownOperationException", f"{operation} is not served here; this stream server has {known}."
            )
        return handle(Request(fields, "ValidationException"))

    def _list_streams(self, request: Request) -> bytes:
        wanted = request.optional_text("TableName")
        after = request.optional_text("ExclusiveStartStreamArn") or ""
        limit = request.count("Limit", _STREAMS_A_PAGE, _STREAMS_A_PAGE)
        names = [name for name in list(self._log.tables.tables) if wanted in (None, name)]
        found = sorted(
            (stream.log.arn, table.name, stream.label)
            for table in map(self._log.tables.table, names)
            for stream in table.streams
        )
        rest = [entry for entry in found if entry[0] > after]
        page = rest[:limit]
        reply: dict[str, Any] = {
            "Streams": [{"StreamArn": arn, "TableName": name, "StreamLabel": label} for arn, name, label in page]
        }
        if len(rest) > limit:
            reply["LastEvaluatedStreamArn"] = page[-1][0]
        return dumps(reply)

    def _describe_stream(self, request: Request) -> bytes:
        table, stream = self._log.tables.by_arn(request.text("StreamArn"))
        limit = request.count("Limit", SHARDS_A_PAGE, SHARDS_A_PAGE)
        after = request.optional_text("ExclusiveStartShardId") or ""
        shards = stream.log.listing(self._faults.staleness)
        shard_filter = request.part("ShardFilter")
        if shard_filter is not None:
            shards = self._children(shards, shard_filter)
        rest = [shard for shard in shards if shard.id > after]
        described = {
            "StreamArn": stream.log.arn,
            "StreamLabel": stream.label,
            "StreamStatus": "ENABLED" if stream.is_enabled else "DISABLED",
            "StreamViewType": stream.view_type.value,
            "CreationRequestDateTime": int(stream.log.created_at),
            "TableName": table.name,
            "KeySchema": _key_schema(table),
            "Shards": [_shard(shard) for shard in rest[:limit]],
        }
        if len(rest) > limit:
            described["LastEvaluatedShardId"] = rest[limit - 1].id
        return dumps({"StreamDescription": described})

    def _children(self, shards: list[ShardView], shard_filter: Request) -> list[ShardView]:
        if shard_filter.text("Type") != "CHILD_SHARDS":
            raise shard_filter.refusal("ShardFilter knows only the type CHILD_SHARDS.")
        parent = shard_filter.text("ShardId")
        return [shard for shard in shards if parent in shard.parents]

    def _get_shard_iterator(self, request: Request) -> bytes:
        _, stream = self._log.tables.by_arn(request.text("StreamArn"))
        # The log refuses a type that it does not know.
        kind: IteratorType = request.text("ShardIteratorType")  # type: ignore[assignment]
        token = stream.log.iterator(
            request.text("ShardId"),
            kind,
            sequence_number=request.optional_text("SequenceNumber"),
            timestamp=request.timestamp("Timestamp"),
        )
        return dumps({"ShardIterator": token})

    def _get_records(self, request: Request) -> bytes:
        page = self.read(request.fields)
        # Records were made JSON when they were appended: a page is a join, which keeps the server out of benchmarks.
        joined = b",".join([record.wire for record in page.records])
        tail = dumps(self.tail(page))[1:]
        return b'{"Records":[' + joined + (b"]," if len(tail) > 1 else b"]") + tail

    def read(self, fields: Mapping[str, Any]) -> LogPage:
        """The page that a GetRecords request asks for; raises ServiceError."""
        request = Request(fields, "ValidationException")
        limit = request.count("Limit", _RECORDS_A_PAGE, _RECORDS_A_PAGE)
        try:
            log, cursor = self._log.of_iterator(request.text("ShardIterator"))
        except ValueError as error:
            raise request.refusal(f"Invalid ShardIterator: {error}") from error
        if log.rules.service != "dynamodbstreams":
            raise request.refusal("Invalid ShardIterator: it belongs to a Kinesis stream.")
        return log.read(cursor, limit)

    def tail(self, page: LogPage) -> dict[str, Any]:
        """The fields of a GetRecords reply beside its records."""
        return {} if page.next_iterator is None else {"NextShardIterator": page.next_iterator}

    def _describe_table(self, request: Request) -> bytes:
        table = self._log.tables.table(request.text("TableName").rpartition("table/")[2])
        described: dict[str, Any] = {
            "TableName": table.name,
            "TableStatus": "ACTIVE",
            "TableArn": table.arn,
            "CreationDateTime": int(table.created_at),
            "KeySchema": _key_schema(table),
            "AttributeDefinitions": [{"AttributeName": name, "AttributeType": code} for name, code in table.key_schema],
            "BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"},
            "ItemCount": 0,
            "TableSizeBytes": 0,
        }
        if table.latest is not None:
            described |= _stream_fields(table.latest)
        return dumps({"Table": described})


def _stream_fields(stream: TableStream) -> dict[str, Any]:
    # A table whose stream was switched off still names it, without a specification.
    fields: dict[str, Any] = {"LatestStreamArn": stream.log.arn, "LatestStreamLabel": stream.label}
    if stream.is_enabled:
        fields["StreamSpecification"] = {"StreamEnabled": True, "StreamViewType": stream.view_type.value}
    return fields


def _key_schema(table: Table) -> list[dict[str, str]]:
    kinds = ("HASH", "RANGE")
    return [{"AttributeName": name, "KeyType": kind} for (name, _), kind in zip(table.key_schema, kinds, strict=False)]


def _shard(shard: ShardView) -> dict[str, Any]:
    numbers = {"StartingSequenceNumber": str(shard.starting_sequence)}
    if shard.ending_sequence is not None:
        numbers["EndingSequenceNumber"] = str(shard.ending_sequence)
    described: dict[str, Any] = {"ShardId": shard.id, "SequenceNumberRange": numbers}
    if shard.parents:
        described["ParentShardId"] = shard.parents[0]
    return described
