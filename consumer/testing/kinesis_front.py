"""Kinesis Data Streams over the shard log: streams, shards, records, resharding; no enhanced fan-out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from consumer.testing import iterators
from consumer.testing.faults import Call, FaultPlan
from consumer.testing.http_faults import call_of
from consumer.testing.kinesis_listing import KinesisListing, shard_fields
from consumer.testing.kinesis_streams import KinesisStream
from consumer.testing.requests import Request
from consumer.testing.service_error import ServiceError
from consumer.testing.shard_log import ShardLog
from consumer.testing.stream_log import IteratorType, LogPage
from consumer.testing.wire_json import dumps

__all__ = ["KinesisFront"]

_RECORDS_A_PAGE: Final = 10_000
_RECORDS_A_PUT: Final = 500
_ON_DEMAND_SHARDS: Final = 4


class KinesisFront:
    """Answers JSON requests of the Kinesis API; ``faults`` says how stale listings are, and which single puts fail."""

    content_type: Final = "application/x-amz-json-1.1"

    def __init__(self, log: ShardLog, faults: FaultPlan) -> None:
        self._log = log
        self._faults = faults
        listing = KinesisListing(log, faults)
        self._operations: dict[str, Callable[[Request], bytes]] = {
            "CreateStream": self._create_stream,
            "DeleteStream": self._delete_stream,
            "DescribeStream": listing.describe_stream,
            "DescribeStreamSummary": listing.describe_stream_summary,
            "GetRecords": self._get_records,
            "GetShardIterator": self._get_shard_iterator,
            "ListShards": listing.list_shards,
            "ListStreams": listing.list_streams,
            "MergeShards": self._merge_shards,
            "PutRecord": self._put_record,
            "PutRecords": self._put_records,
            "SplitShard": self._split_shard,
            "UpdateShardCount": self._update_shard_count,
        }

    def call(self, service: str, operation: str, fields: Mapping[str, Any]) -> Call:
        """The call as faults see it."""
        call = call_of(service, operation, fields)
        if operation == "GetRecords":
            with contextlib.suppress(ValueError):
                cursor = iterators.decode(str(fields.get("ShardIterator")))
                return replace(call, stream=cursor.incarnation.partition("@")[0], shard_id=cursor.shard_id)
        return call

    def answer(self, service: str, operation: str, fields: Mapping[str, Any]) -> bytes:
        """The reply's body; raises ServiceError."""
        handle = self._operations.get(operation)
        if handle is None:
            known = ", ".join(self._operations)
            raise ServiceError(
                "UnknownOperationException", f"{operation} is not served here; this stream server has {known}."
            )
        return handle(Request(fields, "InvalidArgumentException"))

    # -- streams

    def _create_stream(self, request: Request) -> bytes:
        details = request.part("StreamModeDetails")
        mode = details.text("StreamMode") if details is not None else "PROVISIONED"
        default = _ON_DEMAND_SHARDS if mode == "ON_DEMAND" else 1
        self._log.kinesis.create(request.text("StreamName"), request.count("ShardCount", default, 10_000), mode=mode)
        return b""

    def _delete_stream(self, request: Request) -> bytes:
        self._log.kinesis.delete(self._stream(request).name)
        return b""

    def _split_shard(self, request: Request) -> bytes:
        name = self._stream(request).name
        border = request.text("NewStartingHashKey")
        if not (border.isascii() and border.isdigit()):
            raise request.refusal(f"NewStartingHashKey {border!r} is no decimal number.")
        self._log.kinesis.resharding(name).lineage.split(request.text("ShardToSplit"), int(border))
        self._log.kinesis.updated(name)
        return b""

    def _merge_shards(self, request: Request) -> bytes:
        name = self._stream(request).name
        lineage = self._log.kinesis.resharding(name).lineage
        lineage.merge(request.text("ShardToMerge"), request.text("AdjacentShardToMerge"))
        self._log.kinesis.updated(name)
        return b""

    def _update_shard_count(self, request: Request) -> bytes:
        stream = self._stream(request)
        if request.text("ScalingType") != "UNIFORM_SCALING":
            raise request.refusal("ScalingType must be UNIFORM_SCALING.")
        target = request.count("TargetShardCount", 1, 10_000)
        log = self._log.kinesis.resharding(stream.name)
        current = len(log.open_shards())
        log.lineage.reshard(target)
        self._log.kinesis.updated(stream.name)
        counts = {"CurrentShardCount": current, "TargetShardCount": target}
        return dumps({"StreamName": stream.name, "StreamARN": log.arn, **counts})

    # -- records

    def _put_record(self, request: Request) -> bytes:
        return dumps(self._put(self._stream(request).name, request))

    def _put_records(self, request: Request) -> bytes:
        name = self._stream(request).name
        entries = request.fields.get("Records")
        if not isinstance(entries, list) or not 1 <= len(entries) <= _RECORDS_A_PUT:
            raise request.refusal(f"Records must be a list of 1 to {_RECORDS_A_PUT} entries.")
        if not all(isinstance(entry, Mapping) for entry in entries):
            raise ServiceError("SerializationException", "Every entry of Records must be a structure.")
        results = [self._put_one(name, Request(entry, request.invalid)) for entry in entries]
        failed = sum("ErrorCode" in result for result in results)
        return dumps({"FailedRecordCount": failed, "Records": results})

    def _put_one(self, name: str, entry: Request) -> dict[str, Any]:
        # Within PutRecords single entries may be throttled: armed as faults of an operation of their own.
        fault = self._faults.take(Call("kinesis", "PutRecords.Entry", name))
        if fault is not None:
            return {"ErrorCode": fault.code, "ErrorMessage": fault.message}
        return self._put(name, entry)

    def _put(self, name: str, entry: Request) -> dict[str, Any]:
        record, shard_id = self._log.kinesis.put(
            name,
            entry.text("PartitionKey"),
            entry.blob("Data"),
            explicit_hash_key=entry.optional_text("ExplicitHashKey"),
        )
        return {"ShardId": shard_id, "SequenceNumber": str(record.sequence)}

    def _get_shard_iterator(self, request: Request) -> bytes:
        stream = self._stream(request)
        # The log refuses a type that it does not know.
        kind: IteratorType = request.text("ShardIteratorType")  # type: ignore[assignment]
        token = stream.log.iterator(
            request.text("ShardId"),
            kind,
            sequence_number=request.optional_text("StartingSequenceNumber"),
            timestamp=request.timestamp("Timestamp"),
        )
        return dumps({"ShardIterator": token})

    def _get_records(self, request: Request) -> bytes:
        page = self.read(request.fields)
        # Records were made JSON when they were appended: a page is a join, which keeps the server out of benchmarks.
        joined = b",".join([record.wire for record in page.records])
        return b'{"Records":[' + joined + b"]," + dumps(self.tail(page))[1:]

    def read(self, fields: Mapping[str, Any]) -> LogPage:
        """The page that a GetRecords request asks for; raises ServiceError."""
        request = Request(fields, "InvalidArgumentException")
        limit = request.count("Limit", _RECORDS_A_PAGE, _RECORDS_A_PAGE)
        try:
            log, cursor = self._log.of_iterator(request.text("ShardIterator"))
        except ValueError as error:
            raise request.refusal(f"Invalid ShardIterator: {error}") from error
        if log.rules.service != "kinesis":
            raise request.refusal("Invalid ShardIterator: it belongs to a DynamoDB stream.")
        return log.read(cursor, limit)

    def tail(self, page: LogPage) -> dict[str, Any]:
        """The fields of a GetRecords reply beside its records."""
        fields: dict[str, Any] = {"MillisBehindLatest": page.millis_behind_latest}
        if page.next_iterator is not None:
            fields["NextShardIterator"] = page.next_iterator
        elif page.children:
            fields["ChildShards"] = [
                {
                    "ShardId": child.id,
                    "ParentShards": list(child.parents),
                    "HashKeyRange": shard_fields(child)["HashKeyRange"],
                }
                for child in page.children
            ]
        return fields

    def _stream(self, request: Request) -> KinesisStream:
        return self._log.kinesis.named(request.optional_text("StreamARN"), request.optional_text("StreamName"))
