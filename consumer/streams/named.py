"""The source behind a stream's name."""

from __future__ import annotations

from consumer.clock import Clock
from consumer.streams.address import parse_address
from consumer.streams.aws_clients import SessionSource
from consumer.streams.dynamodb_streams import DynamoDBStreamsSource
from consumer.streams.kinesis import KinesisSource

__all__ = ["open_source"]


def open_source(
    text: str, *, region_name: str | None = None, session: SessionSource = None, clock: Clock | None = None
) -> KinesisSource | DynamoDBStreamsSource:
    """The source that ``text`` names; nothing is connected before its ``open`` is entered. Raises ConfigError."""
    address = parse_address(text)
    if address.service == "kinesis":
        return KinesisSource(address, region_name=region_name, session=session, clock=clock)
    return DynamoDBStreamsSource(address, region_name=region_name, session=session, clock=clock)
