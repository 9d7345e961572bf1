"""Thousands of drawn replies of GetRecords: what comes out is what botocore's own parser makes of the same bytes."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from boto3.dynamodb.types import TypeDeserializer
from botocore.parsers import JSONParser
from botocore.session import get_session

from consumer.streams.dynamodb_record import DynamoDBRecord
from consumer.streams.wire import decode_dynamodb, decode_kinesis

REPLIES = 3000
TEXTS = ("", "a", "ключ", "🙂 and more", '"\\/\b\n\t', "\x00\x1f", "{}[]:,", "null", "é" * 300)
NUMBERS = (
    "0",
    "-0",
    "1.50",
    "9" * 38,
    "-0." + "1" * 38,
    "1E125",
    "-1e-130",
    "9.9999999999999999999999999999999999999E+125",
)


class Draw:
    """Draws a reply as its service may send it, sound in every field."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.one_of: Callable[[Any], Any] = self._random.choice

    def likely(self) -> bool:
        return self._random.random() < 0.8

    def binary(self) -> str:
        return base64.b64encode(self._random.randbytes(self._random.choice((0, 1, 2, 3, 40)))).decode()

    def value(self, depth: int = 0) -> dict[str, Any]:
        kinds = ("S", "S", "N", "N", "B", "BOOL", "NULL", "SS", "NS", "BS") + ("L", "M") * (depth < 4)
        kind = self.one_of(kinds)
        draw: dict[str, Callable[[], Any]] = {
            "S": lambda: self.one_of(TEXTS),
            "N": lambda: self.one_of(NUMBERS),
            "B": self.binary,
            "BOOL": lambda: self.one_of((True, False)),
            "NULL": lambda: True,
            "SS": lambda: sorted({self.one_of(TEXTS) for _ in range(3)}),
            "NS": lambda: [self.one_of(NUMBERS), "7"],
            "BS": lambda: [self.binary(), self.binary()],
            "L": lambda: [self.value(depth + 1) for _ in range(self.one_of((0, 1, 3)))],
            "M": lambda: self.item(depth + 1),
        }
        return {kind: draw[kind]()}

    def item(self, depth: int = 0) -> dict[str, Any]:
        return {self.one_of(TEXTS) + str(n): self.value(depth) for n in range(self.one_of((0, 1, 4)))}

    def some(self, fields: dict[str, Callable[[], Any]]) -> dict[str, Any]:
        """Most of the fields, in any order, some of them null, among fields that no model knows."""
        names = [name for name in fields if self.likely()]
        self._random.shuffle(names)
        drawn = {name: None if self._random.random() < 0.04 else fields[name]() for name in names}
        return drawn if self.likely() else {"aNewField": {"with": [1, None, 1.5e300, "x"]}, **drawn}

    def number(self) -> str:
        return "".join(self.one_of("0123456789") for _ in range(self.one_of((1, 21, 56, 129))))

    def moment(self) -> float:
        return float(self.one_of((0, 1_795_000_000, 1_795_000_000.123, 1.795e9, -5.5, 253_402_300_799)))

    def change(self) -> dict[str, Any]:
        text = lambda: self.one_of(TEXTS)  # noqa: E731
        change = self.some(
            {
                "ApproximateCreationDateTime": self.moment,
                "Keys": self.item,
                "NewImage": self.item,
                "OldImage": self.item,
                "SizeBytes": lambda: self.one_of((1, 400_000, 2**70)),
                "StreamViewType": lambda: "NEW_AND_OLD_IMAGES",
            }
        )
        identity = lambda: self.some({"Type": text, "PrincipalId": text})  # noqa: E731
        names = ("eventID", "eventName", "eventVersion", "eventSource", "awsRegion")
        fields: dict[str, Callable[[], Any]] = dict.fromkeys(names, text) | {"userIdentity": identity}
        return self.some(fields) | {"dynamodb": change | {"SequenceNumber": self.number()}}

    def arrival(self) -> dict[str, Any]:
        fields: dict[str, Callable[[], Any]] = {
            "ApproximateArrivalTimestamp": self.moment,
            "PartitionKey": lambda: self.one_of(TEXTS[1:]),
            "EncryptionType": lambda: self.one_of(("NONE", "KMS")),
        }
        return self.some(fields) | {"SequenceNumber": self.number(), "Data": self.binary()}

    def reply(self, entry: Callable[[], dict[str, Any]]) -> bytes:
        entries = [entry() for _ in range(self.one_of((0, 1, 3)))]
        fields: dict[str, Callable[[], Any]] = {
            "NextShardIterator": lambda: self.one_of(TEXTS[1:]),
            "MillisBehindLatest": lambda: self.one_of((0, 7, 2**70)),
        }
        indent = None if self.likely() else self.one_of((1, "\t"))
        return json.dumps({**self.some(fields), "Records": entries}, ensure_ascii=self.likely(), indent=indent).encode()


@cache
def shape(service: str) -> Any:
    return get_session().get_service_model(service).operation_model("GetRecords").output_shape


def parsed(service: str, body: bytes) -> dict[str, Any]:
    reply: dict[str, Any] = JSONParser().parse({"status_code": 200, "headers": {}, "body": body}, shape(service))
    return reply


def plain(value: Any) -> Any:
    """boto3's Binary as bytes, which is the one difference we want."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, set):
        return {plain(each) for each in value}
    return bytes(value.value) if type(value).__name__ == "Binary" else value


def _deserialized(item: dict[str, Any] | None) -> Any:
    return None if item is None else {name: plain(TypeDeserializer().deserialize(each)) for name, each in item.items()}


@pytest.mark.parametrize("seed", range(3))
def test_changes_are_what_botocore_and_boto3_make_of_them(seed: int) -> None:
    draw = Draw(seed)
    for _ in range(REPLIES // 3):
        body = draw.reply(draw.change)
        page, theirs = decode_dynamodb(body), parsed("dynamodbstreams", body)
        assert (page.next_iterator, page.skipped) == (theirs.get("NextShardIterator"), 0)
        assert [record.raw for record in page.records] == theirs["Records"]
        for record, entry in zip(page.records, theirs["Records"], strict=True):
            assert isinstance(record, DynamoDBRecord)
            again = DynamoDBRecord.from_entry(entry)
            assert again.raw == entry
            change = entry["dynamodb"]
            images = [_deserialized(change.get(name)) for name in ("Keys", "NewImage", "OldImage")]
            for each in (record, record.detach(), again):
                assert [each.keys, each.new_image, each.old_image] == [images[0] or {}, *images[1:]]
            assert record.raw == entry


@pytest.mark.parametrize("seed", range(3))
def test_arrivals_are_what_botocore_makes_of_them(seed: int) -> None:
    draw = Draw(seed)
    for _ in range(REPLIES // 3):
        body = draw.reply(draw.arrival)
        page, theirs = decode_kinesis(body), parsed("kinesis", body)
        assert (page.next_iterator, page.skipped) == (theirs.get("NextShardIterator"), 0)
        assert page.millis_behind_latest == theirs.get("MillisBehindLatest")
        assert [record.raw for record in page.records] == theirs["Records"]
