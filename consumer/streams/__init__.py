"""Streams: what a worker reads from, and the records that come out; names are loaded on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from consumer.streams.address import Address, parse_address
    from consumer.streams.dynamodb_record import DynamoDBRecord
    from consumer.streams.dynamodb_streams import DynamoDBStreamsSource
    from consumer.streams.kinesis import KinesisSource
    from consumer.streams.kinesis_record import KinesisRecord
    from consumer.streams.named import open_source
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
    "Address",
    "DynamoDBRecord",
    "DynamoDBStreamsSource",
    "KinesisRecord",
    "KinesisSource",
    "Opened",
    "Page",
    "Position",
    "RecordSource",
    "Shard",
    "ShardListing",
    "StreamIdentity",
    "open_source",
    "parse_address",
]

# Importing aiobotocore takes most of a second: who only needs the protocol or a record must not pay for it.
_HOMES = {
    "Address": "address",
    "DynamoDBRecord": "dynamodb_record",
    "DynamoDBStreamsSource": "dynamodb_streams",
    "KinesisRecord": "kinesis_record",
    "KinesisSource": "kinesis",
    "open_source": "named",
    "parse_address": "address",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'source')}"), name)


def __dir__() -> list[str]:
    return __all__
