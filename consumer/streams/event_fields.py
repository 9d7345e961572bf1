"""Single fields of records under the names that an event of Lambda has for them, read without building the event."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from operator import attrgetter
from typing import Any, Final

from msgspec import Raw

from consumer.streams.dynamodb_record import DynamoDBRecord
from consumer.streams.images import NO_IMAGE

__all__ = ["DYNAMODB_FIELDS", "DYNAMODB_IMAGES", "KINESIS_FIELDS", "time_of", "wire_image"]


def time_of(record: Any) -> Decimal | None:
    """A record's ``timestamp`` as the number that it is written as."""
    return None if record.timestamp is None else Decimal(repr(record.timestamp))


def _size(record: DynamoDBRecord) -> int | None:
    return record.size_bytes or None


def _identity(index: int) -> Callable[[DynamoDBRecord], str | None]:
    def read(record: DynamoDBRecord) -> str | None:
        return None if record._identity is None else record._identity.spelled[index]

    return read


DYNAMODB_FIELDS: Final[dict[tuple[str, ...], Callable[[Any], Any]]] = {
    ("awsRegion",): attrgetter("_aws_region"),
    ("dynamodb", "ApproximateCreationDateTime"): time_of,
    ("dynamodb", "SequenceNumber"): attrgetter("sequence_number"),
    ("dynamodb", "SizeBytes"): _size,
    ("dynamodb", "StreamViewType"): attrgetter("_change.view_type"),
    ("eventID",): attrgetter("event_id"),
    ("eventName",): attrgetter("event_name"),
    ("eventSource",): attrgetter("_event_source"),
    ("eventVersion",): attrgetter("_event_version"),
    ("userIdentity", "principalId"): _identity(1),
    ("userIdentity", "type"): _identity(0),
}
"""By path; each reads a value or None. Numbers are int or Decimal."""

DYNAMODB_IMAGES: Final = {"Keys": "keys", "NewImage": "new_image", "OldImage": "old_image"}

KINESIS_FIELDS: Final[dict[tuple[str, ...], Callable[[Any], Any]]] = {
    ("approximateArrivalTimestamp",): time_of,
    ("kinesisSchemaVersion",): lambda _: "1.0",
    ("partitionKey",): attrgetter("partition_key"),
    ("sequenceNumber",): attrgetter("sequence_number"),
}


def wire_image(image: str) -> Callable[[DynamoDBRecord], Raw | None]:
    """What reads ``keys``, ``new_image`` or ``old_image`` as DynamoDB JSON; None of a record without it."""
    read = attrgetter(f"_change.{image}")

    def wire(record: DynamoDBRecord) -> Raw | None:
        raw: Raw = read(record)
        return None if raw is NO_IMAGE else raw

    return wire
