"""The Kinesis calls that only look: streams, their summaries, and ListShards with its filters and tokens."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any, Final

from consumer.testing.faults import FaultPlan
from consumer.testing.kinesis_streams import KinesisStream
from consumer.testing.log_shard import ShardView
from consumer.testing.requests import Request
from consumer.testing.service_error import ServiceError
from consumer.testing.shard_log import ShardLog
from consumer.testing.wire_json import dumps, epoch_number

__all__ = ["KinesisListing", "shard_fields"]

_SHARDS_DESCRIBED: Final = 100
_SHARDS_LISTED: Final = 1_000
_MOST_SHARDS: Final = 10_000
_STREAMS_LISTED: Final = 100
_TOKEN_LIFETIME_SECONDS: Final = 300.0


def shard_fields(shard: ShardView) -> dict[str, Any]:
    """A shard as DescribeStream and ListShards write it."""
    numbers = {"StartingSequenceNumber": str(shard.starting_sequence)}
    if shard.ending_sequence is not None:
        numbers["EndingSequenceNumber"] = str(shard.ending_sequence)
    low, high = shard.hash_range
    fields: dict[str, Any] = {
        "ShardId": shard.id,
        "HashKeyRange": {"StartingHashKey": str(low), "EndingHashKey": str(high)},
        "SequenceNumberRange": numbers,
    }
    fields |= dict(zip(("ParentShardId", "AdjacentParentShardId"), shard.parents, strict=False))
    return fields


class KinesisListing:
    """Answers the listing calls of the Kinesis API; ``faults.staleness`` says how far they lag."""

    def __init__(self, log: ShardLog, faults: FaultPlan) -> None:
        self._log = log
        self._faults = faults

    def list_streams(self, request: Request) -> bytes:
        """ListStreams."""
        limit = request.count("Limit", _STREAMS_LISTED, _MOST_SHARDS)
        after = request.optional_text("ExclusiveStartStreamName") or request.optional_text("NextToken") or ""
        rest = [name for name in self._log.kinesis.names() if name > after]
        streams = [self._log.kinesis.stream(name) for name in rest[:limit]]
        reply: dict[str, Any] = {
            "StreamNames": rest[:limit],
            "HasMoreStreams": len(rest) > limit,
            "StreamSummaries": [_common(stream) for stream in streams],
        }
        if len(rest) > limit:
            reply["NextToken"] = rest[limit - 1]
        return dumps(reply)

    def describe_stream(self, request: Request) -> bytes:
        """DescribeStream."""
        stream = self._stream(request)
        limit = request.count("Limit", _SHARDS_DESCRIBED, _MOST_SHARDS)
        after = request.optional_text("ExclusiveStartShardId") or ""
        rest = [shard for shard in stream.log.listing(self._faults.staleness) if shard.id > after]
        described = {
            **_common(stream),
            **_retention(stream),
            "Shards": [shard_fields(shard) for shard in rest[:limit]],
            "HasMoreShards": len(rest) > limit,
        }
        return dumps({"StreamDescription": described})

    def describe_stream_summary(self, request: Request) -> bytes:
        """DescribeStreamSummary."""
        stream = self._stream(request)
        counts = {"OpenShardCount": len(stream.log.open_shards()), "ConsumerCount": 0}
        described = {**_common(stream), **_retention(stream), **counts, "StreamId": stream.id}
        return dumps({"StreamDescriptionSummary": described})

    def list_shards(self, request: Request) -> bytes:
        """ListShards, with the six shard filters; a token carries the filter and the place, and lives for 300 s."""
        token = request.optional_text("NextToken")
        if token is not None:
            return self._listed(request, self._resumed(token))
        stream = self._stream(request)
        created = request.timestamp("StreamCreationTimestamp")
        if created is not None and int(created) != stream.created_at:
            raise ServiceError("ResourceNotFoundException", f"No stream {stream.name} was created at {created:.0f}.")
        shard_filter = request.part("ShardFilter")
        query = {
            "incarnation": stream.log.incarnation,
            "after": request.optional_text("ExclusiveStartShardId") or "",
            "type": shard_filter.text("Type") if shard_filter is not None else "FROM_TRIM_HORIZON",
            "shard_id": shard_filter.optional_text("ShardId") if shard_filter is not None else None,
            "timestamp": shard_filter.timestamp("Timestamp") if shard_filter is not None else None,
        }
        return self._listed(request, query)

    def _listed(self, request: Request, query: dict[str, Any]) -> bytes:
        limit = request.count("MaxResults", _SHARDS_LISTED, _MOST_SHARDS)
        stream = self._log.kinesis.by_incarnation(query["incarnation"])
        if stream.status in ("CREATING", "DELETING"):
            raise ServiceError("ResourceInUseException", f"Stream {stream.name} is {stream.status}.")
        shards = self._filtered(stream, query, request)
        rest = [shard for shard in shards if shard.id > query["after"]]
        reply: dict[str, Any] = {"Shards": [shard_fields(shard) for shard in rest[:limit]]}
        if len(rest) > limit:
            later = {**query, "after": rest[limit - 1].id, "issued_at": self._log.now()}
            reply["NextToken"] = base64.urlsafe_b64encode(dumps(later)).decode("ascii")
        return dumps(reply)

    def _filtered(self, stream: KinesisStream, query: dict[str, Any], request: Request) -> list[ShardView]:
        shards = stream.log.listing(self._faults.staleness)
        kind, at = query["type"], query["timestamp"]
        horizon = self._log.now() - stream.log.options.retention_seconds
        if kind in ("AT_TIMESTAMP", "FROM_TIMESTAMP"):
            if at is None:
                raise request.refusal(f"ShardFilter {kind} needs a Timestamp.")
            at = max(at, horizon)
        if kind == "FROM_TRIM_HORIZON":
            return shards
        if kind == "AFTER_SHARD_ID":
            if query["shard_id"] is None:
                raise request.refusal("ShardFilter AFTER_SHARD_ID needs a ShardId.")
            return [shard for shard in shards if shard.id > query["shard_id"]]
        if kind == "AT_LATEST":
            return [shard for shard in shards if shard.closed_at is None]
        if kind == "FROM_TIMESTAMP":
            return [shard for shard in shards if shard.closed_at is None or shard.closed_at >= at]
        if kind in ("AT_TRIM_HORIZON", "AT_TIMESTAMP"):
            # Before the stream was created its first shards are meant.
            instant = max(at if kind == "AT_TIMESTAMP" else horizon, stream.log.created_at)
            return [shard for shard in shards if _open_at(shard, instant)]
        raise request.refusal(f"ShardFilter knows no type {kind}.")

    def _resumed(self, token: str) -> dict[str, Any]:
        try:
            query = json.loads(base64.b64decode(token, altchars=b"-_", validate=True))
            issued_at = float(query["issued_at"])
        except (binascii.Error, ValueError, KeyError, TypeError) as error:
            raise ServiceError("InvalidArgumentException", "NextToken was altered or made elsewhere.") from error
        if self._log.now() - issued_at > _TOKEN_LIFETIME_SECONDS:
            message = f"NextToken is older than {_TOKEN_LIFETIME_SECONDS:g} seconds."
            raise ServiceError("ExpiredNextTokenException", message)
        return dict(query)

    def _stream(self, request: Request) -> KinesisStream:
        return self._log.kinesis.named(request.optional_text("StreamARN"), request.optional_text("StreamName"))


def _common(stream: KinesisStream) -> dict[str, Any]:
    return {
        "StreamName": stream.name,
        "StreamARN": stream.log.arn,
        "StreamStatus": stream.status,
        "StreamModeDetails": {"StreamMode": stream.mode},
        "StreamCreationTimestamp": stream.created_at,
    }


def _retention(stream: KinesisStream) -> dict[str, Any]:
    hours = max(1, int(epoch_number(stream.log.options.retention_seconds / 3600)))
    return {
        "RetentionPeriodHours": hours,
        "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
        "EncryptionType": "NONE",
    }


def _open_at(shard: ShardView, instant: float) -> bool:
    """Whether the shard took records at ``instant``: one shard for each hash key, at a border the younger one."""
    return shard.created_at <= instant and (shard.closed_at is None or shard.closed_at > instant)
