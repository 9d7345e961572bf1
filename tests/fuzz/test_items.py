"""Items of every shape that DynamoDB stores, from the bytes of a reply to the values that user code sees."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.streams.dynamodb_record import DynamoDBRecord
from consumer.streams.dynamodb_streams import DynamoDBStreamsSource
from consumer.streams.kinesis_record import KinesisRecord
from consumer.streams.source import Page, StreamIdentity
from tests.fuzz.canned import CannedBench, NoWaitClock, Reply
from tests.fuzz.mutations import attribute_values

STREAM = StreamIdentity(arn="arn:s/stream/1", label="arn:s/stream/1", base="arn:s")


class Reader(CannedBench):
    """A source with open clients, which reads what it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self._source = DynamoDBStreamsSource("dynamodb:orders", session=self.canned.session, clock=NoWaitClock())
        self.open(self._source.open())

    def read(self, *images: dict[str, Any], ascii_only: bool = True) -> Page:
        """One page of changes with these new images, through the whole client."""
        changes = [{name: wire(each) for name, each in image.items()} for image in images]
        entries = [
            {"eventName": "MODIFY", "dynamodb": {"SequenceNumber": str(number), "NewImage": change}}
            for number, change in enumerate(changes, 1)
        ]
        body = json.dumps({"Records": entries, "NextShardIterator": "next"}, ensure_ascii=ascii_only).encode()
        self.canned.reply = lambda _: Reply(body)
        return self.run(self._source.read(STREAM, "shard", "i", 100))


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    with Reader() as made:
        yield made


def wire(value: dict[str, Any]) -> dict[str, Any]:
    """An attribute as its service sends it: binary in base64."""
    ((kind, content),) = value.items()
    match kind:
        case "B":
            return {kind: base64.b64encode(content).decode()}
        case "BS":
            return {kind: [base64.b64encode(each).decode() for each in content]}
        case "L":
            return {kind: [wire(each) for each in content]}
        case "M":
            return {kind: {name: wire(each) for name, each in content.items()}}
    return value


def plain(value: dict[str, Any]) -> Any:
    """What user code has to see."""
    ((kind, content),) = value.items()
    match kind:
        case "N":
            return Decimal(content)
        case "NS":
            return {Decimal(each) for each in content}
        case "SS" | "BS":
            return set(content)
        case "L":
            return [plain(each) for each in content]
        case "M":
            return {name: plain(each) for name, each in content.items()}
        case "NULL":
            return None
    return content


@given(st.lists(st.dictionaries(st.text(max_size=8), attribute_values, max_size=4), min_size=5, max_size=5))
@settings(max_examples=60)
def test_an_item_comes_out_as_it_was_stored(reader: Reader, images: list[dict[str, Any]]) -> None:
    page = reader.read(*images)
    assert page.skipped == 0
    for record, image in zip(page.records, images, strict=True):
        assert isinstance(record, DynamoDBRecord)
        expected = {name: plain(value) for name, value in image.items()}
        assert record.new_image == expected


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {"N": "1"}
    for level in range(levels):
        value = {"M": {"inner": value}} if level % 2 else {"L": [value]}
    return value


SIZE = 400_000
LIMITS = {
    "32 levels": nested(32),
    "38 digits": {"N": "9" * 38},
    "38 digits behind the point": {"N": "-0." + "1" * 38},
    "the greatest number": {"N": "9.9999999999999999999999999999999999999E+125"},
    "the least number": {"N": "1E-130"},
    "an empty string": {"S": ""},
    "an empty set": {"SS": []},
    "empty binary": {"B": b""},
    "a string of 400 KB": {"S": "é" * (SIZE // 2)},
    "binary of 400 KB": {"B": bytes(range(256)) * (SIZE // 256)},
    "a list of 400 KB": {"L": [{"N": str(number)} for number in range(SIZE // 8)]},
    "a set of 400 KB": {"SS": [f"{number:07d}" for number in range(SIZE // 8)]},
    "a NUL and a lone surrogate": {"S": "\x00\ud83d"},
}


@pytest.mark.parametrize("name", LIMITS)
def test_an_item_at_a_limit_of_the_service_comes_out_whole(reader: Reader, name: str) -> None:
    (record,) = reader.read({"value": LIMITS[name]}).records
    assert isinstance(record, DynamoDBRecord)
    assert record.new_image == {"value": plain(LIMITS[name])}


def test_text_that_is_not_escaped_is_read_as_well(reader: Reader) -> None:
    (record,) = reader.read({"ключ": {"S": "значение 🙂"}}, ascii_only=False).records
    assert isinstance(record, DynamoDBRecord)
    assert record.new_image == {"ключ": "значение 🙂"}


@given(st.binary(max_size=300), st.text(max_size=256))
@settings(max_examples=50)
def test_a_kinesis_record_keeps_its_bytes_and_its_key(content: bytes, key: str) -> None:
    record = KinesisRecord.from_entry({"SequenceNumber": "0", "Data": content, "PartitionKey": key})
    assert (record.data, record.partition_key) == (content, key)
