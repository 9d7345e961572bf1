"""The limit: one blocking socket, requests without a signature, and msgspec. Nothing in Python reads with less.

Its record types are its own, so that the limit stays where it is when the product changes.
"""

from __future__ import annotations

import os
import re
import socket
from operator import attrgetter
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from tests.benchmarks.contenders.counting import Slots, from_payload, from_sequence_number

_ROOM: Final = 1 << 23
_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = re.compile(rb"content-length: *([0-9]+)", re.IGNORECASE)


class _Change(msgspec.Struct, gc=False):
    SequenceNumber: str
    Keys: msgspec.Raw
    ApproximateCreationDateTime: float
    NewImage: msgspec.Raw = msgspec.Raw()
    OldImage: msgspec.Raw = msgspec.Raw()
    SizeBytes: int = 0


class _TableRecord(msgspec.Struct, gc=False):
    eventID: str
    eventName: str
    dynamodb: _Change


class _TablePage(msgspec.Struct):
    NextShardIterator: str
    Records: list[_TableRecord]


class _KinesisRecord(msgspec.Struct, gc=False):
    Data: bytes
    PartitionKey: str
    SequenceNumber: str
    ApproximateArrivalTimestamp: float


class _KinesisPage(msgspec.Struct):
    NextShardIterator: str
    Records: list[_KinesisRecord]
    MillisBehindLatest: int


class Connection:
    """Requests and replies on one socket, into one buffer."""

    def __init__(self, address: tuple[str, int], target: str) -> None:
        self._socket = socket.create_connection(address)
        self._start = (
            f"POST / HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\nX-Amz-Target: {target}.%b\r\n"
            "Content-Type: application/x-amz-json-1.1\r\nContent-Length: %d\r\n\r\n"
        ).encode()
        self._buffer = bytearray(_ROOM)
        self._view = memoryview(self._buffer)

    def ask(self, operation: str, request: dict[str, Any]) -> memoryview:
        """The body of the reply, until the next question."""
        body = msgspec.json.encode(request)
        self._socket.sendall(self._start % (operation.encode(), len(body)) + body)
        got, first = 0, -1
        while first < 0:
            got += self._more(got)
            first = self._buffer.find(_HEAD_END, 0, got)
        first += len(_HEAD_END)
        found = _LENGTH.search(self._buffer, 0, first)
        assert found is not None
        end = first + int(found[1])
        while got < end:
            got += self._more(got)
        return self._view[first:end]

    def _more(self, got: int) -> int:
        received = self._socket.recv_into(self._view[got:])
        if not received:
            raise ConnectionError("The server closed the connection.")
        return received


def main() -> None:
    """Read for ever."""
    slots, stream = Slots.from_environment(), os.environ["BENCH_STREAM"]
    if os.environ["BENCH_SERVICE"] == "kinesis":
        url, target, described_by = "AWS_ENDPOINT_URL_KINESIS", "Kinesis_20131202", {"StreamName": stream}
        decode, mark = msgspec.json.Decoder(_KinesisPage).decode, attrgetter("Data")
        number_of: Any = from_payload
    else:
        url, target = "AWS_ENDPOINT_URL_DYNAMODB_STREAMS", "DynamoDBStreams_20120810"
        described_by = {"StreamArn": stream}
        decode, mark = msgspec.json.Decoder(_TablePage).decode, attrgetter("dynamodb.SequenceNumber")
        number_of = from_sequence_number
    place = urlsplit(os.environ[url])
    assert place.hostname is not None
    assert place.port is not None
    connection = Connection((place.hostname, place.port), target)
    described = msgspec.json.decode(connection.ask("DescribeStream", described_by))
    nexts = {}
    for shard in described["StreamDescription"]["Shards"]:
        asked = {**described_by, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
        nexts[shard["ShardId"]] = msgspec.json.decode(connection.ask("GetShardIterator", asked))["ShardIterator"]
    while True:
        for slot, shard_id in enumerate(nexts):
            page = decode(connection.ask("GetRecords", {"ShardIterator": nexts[shard_id], "Limit": 1000}))
            slots.hand_over(slot, list(map(mark, page.Records)), number_of)
            nexts[shard_id] = page.NextShardIterator


main()
