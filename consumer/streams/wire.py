"""From the bytes of a GetRecords reply to its page: the one way, whoever made the call.

A reply of which every field is what the service's model says is decoded in one go, records and all, with no line of
Python run for each of them. Any other is read once more, entry by entry, so that one odd entry costs none of its
neighbours: what botocore would accept becomes a record, the rest is counted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from msgspec import MsgspecError, Struct
from msgspec.json import Decoder

from consumer.streams.dynamodb_record import DynamoDBRecord
from consumer.streams.entries import hash_range_of, shard_id_of, text_of
from consumer.streams.kinesis_record import KinesisRecord
from consumer.streams.sequence_numbers import are_digits
from consumer.streams.source import Shard

__all__ = ["DYNAMODB_REPLY", "KINESIS_REPLY", "WirePage", "decode_dynamodb", "decode_kinesis"]

RecordT = TypeVar("RecordT", DynamoDBRecord, KinesisRecord)


@dataclass(frozen=True, slots=True)
class WirePage:
    """What one reply of GetRecords says.

    ``next_iterator`` is None at the end of a shard. ``children`` are the shards that the reply names as those that
    follow, None where it names none or something that is no shard. ``skipped`` counts entries that are no records.
    ``body_bytes`` is the length of the reply, which the DynamoDB records of a page keep as a whole (see ``detach``).
    """

    records: Sequence[DynamoDBRecord] | Sequence[KinesisRecord]
    next_iterator: str | None
    millis_behind_latest: int | None = None
    children: tuple[Shard, ...] | None = None
    skipped: int = 0
    body_bytes: int = 0


class _DynamoDBReply(Struct, gc=False):
    Records: list[DynamoDBRecord]
    NextShardIterator: str | None = None


class _KinesisReply(Struct, gc=False):
    Records: list[KinesisRecord]
    NextShardIterator: str | None = None
    MillisBehindLatest: int | None = None
    ChildShards: list[dict[str, Any]] | None = None


DYNAMODB_REPLY: Final = Decoder(_DynamoDBReply)
KINESIS_REPLY: Final = Decoder(_KinesisReply)
"""What reads a sound reply; the benchmarks hold the pages that are made of it against it alone."""


def decode_dynamodb(body: bytes | memoryview) -> WirePage:
    """The page that a successful reply of DynamoDB Streams is; ``body`` must not change any more.

    Raises ValueError for what is no JSON object, has no list of records or an iterator that is no text.
    """
    try:
        reply = DYNAMODB_REPLY.decode(body)
    except (MsgspecError, ValueError, RecursionError):
        return _entry_by_entry(body, DynamoDBRecord.from_entry)
    records = reply.Records
    if not are_digits([record._change.sequence_number for record in records]):
        return _entry_by_entry(body, DynamoDBRecord.from_entry)
    return WirePage(records, reply.NextShardIterator or None, body_bytes=len(body))


def decode_kinesis(body: bytes | memoryview) -> WirePage:
    """The page that a successful reply of Kinesis is. Raises ValueError as ``decode_dynamodb`` does."""
    try:
        reply = KINESIS_REPLY.decode(body)
    except (MsgspecError, ValueError, RecursionError):
        return _entry_by_entry(body, KinesisRecord.from_entry)
    records = reply.Records
    if not are_digits([record.sequence_number for record in records]):
        return _entry_by_entry(body, KinesisRecord.from_entry)
    return WirePage(
        records,
        reply.NextShardIterator or None,
        _not_negative(reply.MillisBehindLatest),
        _children_of(reply.ChildShards),
        body_bytes=len(body),
    )


def _entry_by_entry(body: bytes | memoryview, make: Callable[[Mapping[str, Any]], RecordT]) -> WirePage:
    """The slow way. Null counts as absent, but without a list of records nothing can be said about a page at all."""
    reply = json.loads(bytes(body))
    if not isinstance(reply, dict):
        raise ValueError("the reply is JSON, but not an object")
    entries = reply.get("Records")
    if not isinstance(entries, list):
        raise ValueError("the reply is without a list of records")
    behind = reply.get("MillisBehindLatest")
    if behind is not None and type(behind) is not int:
        raise ValueError("MillisBehindLatest is no whole number")
    records: list[RecordT] = []
    for entry in entries:
        try:
            records.append(make(entry))
        except (AttributeError, TypeError, ValueError):
            continue  # counted below
    return WirePage(
        records,
        text_of(reply, "NextShardIterator") or None,
        _not_negative(behind),
        _children_of(reply.get("ChildShards")),
        skipped=len(entries) - len(records),
        body_bytes=len(body),
    )


def _not_negative(millis: int | None) -> int | None:
    return None if millis is None or millis < 0 else millis


def _children_of(entries: Any) -> tuple[Shard, ...] | None:
    """The shards that a last page names; None where it names none, or something that can't be one."""
    if not entries or not isinstance(entries, list):
        return None
    children = []
    for entry in entries:
        child_id = shard_id_of(entry)
        parents = entry.get("ParentShards") if child_id else None
        if child_id is None or not isinstance(parents, list) or not all(isinstance(each, str) for each in parents):
            return None
        children.append(Shard(id=child_id, parents=tuple(sorted(set(parents))), hash_range=hash_range_of(entry)))
    return tuple(children)
