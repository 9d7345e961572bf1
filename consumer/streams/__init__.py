"""Streams: what a worker reads from, and the records that come out; names are loaded on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lease_store.lazy_names import lazy_names

if TYPE_CHECKING:
    from consumer.streams.address import Address, parse_address
    from consumer.streams.changes import MISSING, Change
    from consumer.streams.dynamodb_record import DynamoDBRecord
    from consumer.streams.dynamodb_streams import DynamoDBStreamsSource
    from consumer.streams.kinesis import KinesisSource
    from consumer.streams.kinesis_record import KinesisRecord
    from consumer.streams.named import open_source
    from consumer.streams.replication import Replication
    from consumer.streams.source import (
        Opened,
        Page,
        Position,
        RecordSource,
        Shard,
        ShardListing,
        StreamIdentity,
    )

__all__ = [
    "MISSING",
    "Address",
    "Change",
    "DynamoDBRecord",
    "DynamoDBStreamsSource",
    "KinesisRecord",
    "KinesisSource",
    "Opened",
    "Page",
    "Position",
    "RecordSource",
    "Replication",
    "Shard",
    "ShardListing",
    "StreamIdentity",
    "open_source",
    "parse_address",
]

# Importing aiobotocore takes most of a second: who only needs the protocol or a record must not pay for it.
_HOMES: Final = {
    "MISSING": "changes",
    "Address": "address",
    "Change": "changes",
    "DynamoDBRecord": "dynamodb_record",
    "DynamoDBStreamsSource": "dynamodb_streams",
    "KinesisRecord": "kinesis_record",
    "KinesisSource": "kinesis",
    "Opened": "source",
    "Page": "source",
    "Position": "source",
    "RecordSource": "source",
    "Replication": "replication",
    "Shard": "source",
    "ShardListing": "source",
    "StreamIdentity": "source",
    "open_source": "named",
    "parse_address": "address",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
