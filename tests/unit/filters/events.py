"""Records made of events as Lambda would hand them over, and a filter's word on them."""

from __future__ import annotations

import json
from typing import Any

from consumer.filters import compile_filter
from consumer.streams.dynamodb_record import DynamoDBRecord
from consumer.streams.kinesis_record import KinesisRecord


def change(
    name: str = "MODIFY",
    *,
    keys: dict[str, Any] | None = None,
    new: dict[str, Any] | None = None,
    old: dict[str, Any] | None = None,
    identity: dict[str, str] | None = None,
) -> DynamoDBRecord:
    """A record of a DynamoDB stream; images in DynamoDB JSON."""
    return DynamoDBRecord.from_entry(
        {
            "eventID": "e1",
            "eventName": name,
            "eventVersion": "1.1",
            "eventSource": "aws:dynamodb",
            "awsRegion": "us-east-2",
            "dynamodb": {
                "ApproximateCreationDateTime": 1678831218,
                "Keys": {"pk": {"S": "k"}} if keys is None else keys,
                "NewImage": new,
                "OldImage": old,
                "SequenceNumber": "111",
                "SizeBytes": 26,
                "StreamViewType": "NEW_AND_OLD_IMAGES",
            },
            "userIdentity": identity,
        }
    )


def put(data: Any, partition_key: str = "1") -> KinesisRecord:
    """A record of a Kinesis stream; anything but bytes is written as JSON."""
    body = data if isinstance(data, bytes) else json.dumps(data).encode()
    return KinesisRecord("222", body, partition_key, 1545084650.987)


def accepts(pattern: Any, record: DynamoDBRecord | KinesisRecord, **settings: Any) -> bool:
    """Whether the filter delivers the record; it must have an answer."""
    service = "kinesis" if isinstance(record, KinesisRecord) else "dynamodb"
    verdicts = compile_filter(pattern, service=service, **settings).split([record])
    assert not verdicts.undecodable
    assert not verdicts.failed
    assert [*verdicts.accepted, *verdicts.filtered] == [0]
    return bool(verdicts.accepted)
