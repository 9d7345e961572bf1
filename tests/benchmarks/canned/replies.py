"""What the canned server answers, all but full pages: streams, shards, iterators, and the end of what there is."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from tests.benchmarks.canned.places import (
    Iterator,
    Stream,
    number_of,
    shard_index,
    shard_name,
    stream_of,
)

__all__ = ["ServiceError", "as_json", "describe_table", "kinesis_reply", "streams_reply"]

_SHARDS_A_PAGE: Final = 1000
_DESCRIBED_A_PAGE: Final = 100
_HASH_KEYS: Final = 2**128
_BORN: Final = datetime(2026, 1, 1, tzinfo=UTC)
_FIRST_NUMBER: Final = {"kinesis": "49661534" + "0" * 48, "dynamodb": "300000000" + "0" * 12}

Reply = dict[str, Any]


class ServiceError(Exception):
    """An error as services answer it, with HTTP 400."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def as_json(reply: Mapping[str, Any]) -> bytes:
    """The reply as services send it: times are epoch seconds."""
    return json.dumps(reply, separators=(",", ":"), default=datetime.timestamp).encode()


def kinesis_reply(operation: str, request: Mapping[str, Any], seconds: float) -> Reply:
    """``seconds`` since the server's start. Raises ServiceError, UnknownPlace, KeyError for a bad request."""
    return _KINESIS[_known(operation, _KINESIS)](request, seconds)


def streams_reply(operation: str, request: Mapping[str, Any], seconds: float) -> Reply:
    """The same for DynamoDB Streams."""
    return _STREAMS[_known(operation, _STREAMS)](request, seconds)


def describe_table(name: str) -> Reply:
    """The table whose stream has this name. Raises UnknownPlace for any other."""
    stream = stream_of(name)
    return {
        "Table": {
            "TableName": stream.name,
            "TableArn": stream.table_arn,
            "TableStatus": "ACTIVE",
            "CreationDateTime": _BORN,
            "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            "AttributeDefinitions": [
                {"AttributeName": "pk", "AttributeType": "S"},
                {"AttributeName": "sk", "AttributeType": "S"},
            ],
            "StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
            "LatestStreamArn": stream.dynamodb_arn,
            "LatestStreamLabel": stream.label,
        }
    }


def _known(operation: str, known: Mapping[str, Any]) -> str:
    if operation not in known:
        raise ServiceError("UnknownOperationException", f"The canned server does not know {operation}.")
    return operation


def _of_kinesis(request: Mapping[str, Any]) -> Stream:
    return stream_of(request.get("StreamName") or request["StreamARN"])


def _shard(service: str, stream: Stream, index: int) -> Reply:
    shard: Reply = {
        "ShardId": shard_name(service, index),
        "SequenceNumberRange": {"StartingSequenceNumber": _FIRST_NUMBER[service]},
    }
    if service == "kinesis":
        first, after = (_HASH_KEYS * each // stream.shards for each in (index, index + 1))
        shard["HashKeyRange"] = {"StartingHashKey": str(first), "EndingHashKey": str(after - 1)}
    return shard


def _shards(service: str, stream: Stream, after: str | None, most: int) -> tuple[list[Reply], str | None]:
    """A page of the list that begins after that shard, and the last one's id where there are more."""
    first = 0 if after is None else shard_index(stream, after) + 1
    last = min(first + most, stream.shards)
    more = shard_name(service, last - 1) if last < stream.shards else None
    return [_shard(service, stream, index) for index in range(first, last)], more


def _describe_stream_summary(request: Mapping[str, Any], seconds: float) -> Reply:
    stream = _of_kinesis(request)
    return {"StreamDescriptionSummary": {**_description(stream), "OpenShardCount": stream.shards, "ConsumerCount": 0}}


def _description(stream: Stream) -> Reply:
    return {
        "StreamName": stream.name,
        "StreamARN": stream.kinesis_arn,
        "StreamStatus": "ACTIVE",
        "StreamModeDetails": {"StreamMode": "PROVISIONED"},
        "RetentionPeriodHours": 24,
        "StreamCreationTimestamp": _BORN,
        "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
        "EncryptionType": "NONE",
    }


def _describe_kinesis_stream(request: Mapping[str, Any], seconds: float) -> Reply:
    stream = _of_kinesis(request)
    most = min(int(request.get("Limit") or _DESCRIBED_A_PAGE), _SHARDS_A_PAGE)
    shards, more = _shards("kinesis", stream, request.get("ExclusiveStartShardId"), most)
    return {"StreamDescription": {**_description(stream), "Shards": shards, "HasMoreShards": more is not None}}


def _list_shards(request: Mapping[str, Any], seconds: float) -> Reply:
    if token := request.get("NextToken"):
        name, _, after = token.partition("|")
        stream = stream_of(name)
    else:
        stream, after = _of_kinesis(request), request.get("ExclusiveStartShardId")
    shards, more = _shards("kinesis", stream, after, min(int(request.get("MaxResults") or _SHARDS_A_PAGE), 10_000))
    return {"Shards": shards} if more is None else {"Shards": shards, "NextToken": f"{stream.name}|{more}"}


def _describe_table_stream(request: Mapping[str, Any], seconds: float) -> Reply:
    stream = stream_of(request["StreamArn"])
    most = min(int(request.get("Limit") or _DESCRIBED_A_PAGE), _DESCRIBED_A_PAGE)
    asked = request.get("ShardFilter")
    shards, more = _shards("dynamodb", stream, request.get("ExclusiveStartShardId"), most) if not asked else ([], None)
    description = {
        "StreamArn": stream.dynamodb_arn,
        "StreamLabel": stream.label,
        "StreamStatus": "ENABLED",
        "StreamViewType": "NEW_AND_OLD_IMAGES",
        "CreationRequestDateTime": _BORN,
        "TableName": stream.name,
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        "Shards": shards,
    }
    return {"StreamDescription": description if more is None else {**description, "LastEvaluatedShardId": more}}


def _iterator_reply(stream: Stream, request: Mapping[str, Any], seconds: float) -> Reply:
    kind = request["ShardIteratorType"]
    index = shard_index(stream, request["ShardId"])
    if kind in ("AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"):
        number = number_of(request.get("StartingSequenceNumber") or request["SequenceNumber"])
        position = number + (kind == "AFTER_SEQUENCE_NUMBER")
    else:
        # All records are as old as the stream: its tip is where the server's start found it.
        position = (stream.available(seconds) or 0) if kind == "LATEST" else 0
    return {"ShardIterator": Iterator(stream.name, index, position).text}


_KINESIS: Final[dict[str, Callable[[Mapping[str, Any], float], Reply]]] = {
    "DescribeStream": _describe_kinesis_stream,
    "DescribeStreamSummary": _describe_stream_summary,
    "GetShardIterator": lambda request, seconds: _iterator_reply(_of_kinesis(request), request, seconds),
    "ListShards": _list_shards,
}
_STREAMS: Final[dict[str, Callable[[Mapping[str, Any], float], Reply]]] = {
    "DescribeStream": _describe_table_stream,
    "GetShardIterator": lambda request, seconds: _iterator_reply(stream_of(request["StreamArn"]), request, seconds),
    "ListStreams": lambda request, seconds: {
        "Streams": [
            {
                "StreamArn": stream_of(request["TableName"]).dynamodb_arn,
                "TableName": request["TableName"],
                "StreamLabel": stream_of(request["TableName"]).label,
            }
        ]
    },
}
