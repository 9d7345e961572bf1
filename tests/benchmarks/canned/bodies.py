"""What a record looks like on the wire: 1.33 kB of a DynamoDB stream with both images, and 1 KiB of Kinesis payload."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any, Final

from tests.benchmarks.canned.prepared import RECORDS_A_PAGE, Frame

__all__ = ["DYNAMODB_JSON", "FAR_BEHIND_MILLISECONDS", "KINESIS_CBOR", "KINESIS_JSON", "PAYLOAD_BYTES", "payload"]

PAYLOAD_BYTES: Final = 1024
FAR_BEHIND_MILLISECONDS: Final = 3_600_000
_CREATED: Final = 1_767_225_600
_KINESIS_PREFIX: Final = "49661534" + "0" * 23 + "7351926480138"
_DYNAMODB_PREFIX: Final = "300000000"
# Letters as text has them, so that nothing is easier to scan than a real payload.
_PROSE: Final = "The quick brown fox jumps over the lazy dog while the stream goes on and on. "
_RECORD_BYTES: Final = 1329


def payload(number: int) -> bytes:
    """1 KiB that begins with the number: twelve digits, which base64 puts into sixteen characters of their own."""
    return (f"{number:012d} " + _PROSE * 16).encode()[:PAYLOAD_BYTES]


def _image(number: int, status: str, version: int, note: str) -> dict[str, Any]:
    """Ten attributes."""
    return {
        "pk": {"S": "order#7f3a9c52e1"},
        "sk": {"S": "line#0004"},
        "n": {"N": f"{100_000_000_000 + number}"},
        "customer": {"S": "customer-0018442"},
        "status": {"S": status},
        "total": {"N": "1249.95"},
        "version": {"N": str(version)},
        "paid": {"BOOL": True},
        "address": {"M": {"street": {"S": "12 Harbour Lane"}, "city": {"S": "Rotterdam"}, "zip": {"S": "3011"}}},
        "note": {"S": note},
    }


def _dynamodb_record(number: int, note: str | None = None) -> bytes:
    note = _NOTE if note is None else note
    record = {
        "eventID": f"5eed5eed5eed5eed5eed{number:012d}",
        "eventName": "MODIFY",
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "us-east-1",
        "dynamodb": {
            "ApproximateCreationDateTime": _CREATED,
            "Keys": {"pk": {"S": "order#7f3a9c52e1"}, "sk": {"S": "line#0004"}},
            "NewImage": _image(number, "SHIPPED", 8, note),
            "OldImage": _image(number, "PACKING", 7, note),
            "SequenceNumber": f"{_DYNAMODB_PREFIX}{number:012d}",
            "SizeBytes": 642,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        },
    }
    return json.dumps(record, separators=(",", ":")).encode()


# The notes fill the record up to the size of the measurements that this project began with.
_NOTE: Final = (_PROSE * 8)[: (_RECORD_BYTES - 1 - len(_dynamodb_record(0, ""))) // 2]


def _kinesis_record(number: int) -> bytes:
    record = {
        "ApproximateArrivalTimestamp": _CREATED + 0.25,
        "Data": base64.b64encode(payload(number)).decode(),
        "EncryptionType": "NONE",
        "PartitionKey": "customer-0018442",
        "SequenceNumber": f"{_KINESIS_PREFIX}{number:012d}",
    }
    return json.dumps(record, separators=(",", ":")).encode()


def _kinesis_record_in_cbor(number: int) -> bytes:
    text, sequence_number = _text, f"{_KINESIS_PREFIX}{number:012d}"
    moment = b"\xc1" + b"\x1b" + struct.pack(">Q", _CREATED * 1000 + 250)  # tag 1: milliseconds, as AWS has it
    data = b"\x59" + struct.pack(">H", PAYLOAD_BYTES) + payload(number)
    return b"".join(
        (
            b"\xa5",
            *(text("SequenceNumber"), text(sequence_number), text("ApproximateArrivalTimestamp"), moment),
            *(text("Data"), data, text("PartitionKey"), text("customer-0018442")),
            *(text("EncryptionType"), text("NONE")),
        )
    )


def _text(value: str) -> bytes:
    content = value.encode()
    size = len(content)
    return (bytes([0x60 + size]) if size < 24 else bytes([0x78, size])) + content


def _behind(records: int) -> int:
    """A shard with a full page is far from its end; the tip has nothing behind it."""
    return FAR_BEHIND_MILLISECONDS if records == RECORDS_A_PAGE else 0


def _dynamodb_start(records: int, iterator: str) -> bytes:
    return f'{{"NextShardIterator":"{iterator}","Records":['.encode()


def _kinesis_start(records: int, iterator: str) -> bytes:
    behind = _behind(records)
    return f'{{"MillisBehindLatest":{behind},"NextShardIterator":"{iterator}","Records":['.encode()


def _kinesis_start_in_cbor(records: int, iterator: str) -> bytes:
    behind = b"\x1a" + struct.pack(">I", _behind(records))
    counted = b"\x99" + struct.pack(">H", records)
    start = b"\xa3" + _text("MillisBehindLatest") + behind + _text("NextShardIterator") + _text(iterator)
    return start + _text("Records") + counted


_DYNAMODB_TYPE: Final = "application/x-amz-json-1.0"
_KINESIS_TYPE: Final = "application/x-amz-json-1.1"
_CBOR_TYPE: Final = "application/x-amz-cbor-1.1"

DYNAMODB_JSON: Final = Frame(_DYNAMODB_TYPE, _dynamodb_start, _dynamodb_record, b",", b"]}")
KINESIS_JSON: Final = Frame(_KINESIS_TYPE, _kinesis_start, _kinesis_record, b",", b"]}")
KINESIS_CBOR: Final = Frame(_CBOR_TYPE, _kinesis_start_in_cbor, _kinesis_record_in_cbor, b"", b"")
