"""A record as the event of Lambda's that would carry it, alone; and the record out of that event.

Field by field what Lambda hands to functions: the entry of DynamoDB Streams with ``eventSourceARN``, or that of Kinesis
under ``kinesis`` with its names in small letters. Images keep their types (DynamoDB JSON), binary is base64.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, Literal

from consumer.streams.dynamodb_record import DynamoDBRecord
from consumer.streams.kinesis_record import KinesisRecord

__all__ = ["event_of", "record_in"]


def event_of(record: DynamoDBRecord | KinesisRecord, *, stream_arn: str, shard_id: str) -> str:
    """JSON of ``{"Records": [...]}``, pure ASCII: whatever is in the record passes through any store."""
    if isinstance(record, KinesisRecord):
        entry = _kinesis_entry(record, stream_arn, shard_id)
    else:
        entry = _dynamodb_entry(record, stream_arn)
    return json.dumps({"Records": [entry]}, separators=(",", ":"), default=_in_base64)


def record_in(payload: str, kind: Literal["dynamodb", "kinesis"], sub_sequence: int) -> DynamoDBRecord | KinesisRecord:
    """The record of an event, redriven.

    Raises ValueError, TypeError, LookupError, AttributeError or RecursionError for what is no such event.
    """
    entry = json.loads(payload)["Records"][0]
    if kind == "dynamodb":
        return DynamoDBRecord.from_entry(entry, redriven=True)
    inner = entry["kinesis"]
    names = {
        "SequenceNumber": "sequenceNumber",
        "Data": "data",
        "PartitionKey": "partitionKey",
        "ApproximateArrivalTimestamp": "approximateArrivalTimestamp",
        "EncryptionType": "encryptionType",
    }
    fields = {ours: inner.get(theirs) for ours, theirs in names.items()}
    return KinesisRecord.from_entry(fields, sub_sequence_number=sub_sequence, redriven=True)


def _dynamodb_entry(record: DynamoDBRecord, stream_arn: str) -> dict[str, Any]:
    entry = record.raw
    if record.timestamp is not None:  # the number as it came: a datetime has fewer digits
        entry["dynamodb"]["ApproximateCreationDateTime"] = record.timestamp
    if isinstance(identity := entry.get("userIdentity"), Mapping):
        entry["userIdentity"] = {name[:1].lower() + name[1:]: value for name, value in identity.items()}
    entry["eventSourceARN"] = stream_arn
    return entry


def _kinesis_entry(record: KinesisRecord, stream_arn: str, shard_id: str) -> dict[str, Any]:
    inner = {
        "kinesisSchemaVersion": "1.0",
        "partitionKey": record.partition_key,
        "sequenceNumber": record.sequence_number,
        "data": record.data,
        "approximateArrivalTimestamp": record.timestamp,
        "encryptionType": record.encryption_type,
    }
    return {
        "kinesis": {name: value for name, value in inner.items() if value is not None},
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": f"{shard_id}:{record.sequence_number}",
        "eventName": "aws:kinesis:record",
        "awsRegion": (stream_arn.split(":") + [""] * 4)[3],
        "eventSourceARN": stream_arn,
    }


def _in_base64(value: Any) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    raise TypeError(f"{type(value).__name__} has no place in a record.")
