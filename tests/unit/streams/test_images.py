"""Images as they come over the wire: what is decoded, and how what can't be says so."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from consumer.streams.dynamodb_record import DynamoDBRecord
from consumer.streams.wire import decode_dynamodb

SECRET = "do-not-log-me"


def changed(image: Any) -> DynamoDBRecord:
    change = {"SequenceNumber": "1", "NewImage": image}
    (record,) = decode_dynamodb(json.dumps({"Records": [{"dynamodb": change}]}).encode()).records
    assert isinstance(record, DynamoDBRecord)
    return record


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"S": ""}, ""),
        ({"N": "1.50"}, Decimal("1.50")),
        ({"B": ""}, b""),
        ({"B": "AP8="}, b"\x00\xff"),
        ({"B": "AP8=\n"}, b"\x00\xff"),
        ({"BOOL": False}, False),
        ({"NULL": True}, None),
        ({"SS": ["a", "a"]}, {"a"}),
        ({"NS": ["1", "1.0"]}, {Decimal(1)}),
        ({"BS": ["AP8=", ""]}, {b"\x00\xff", b""}),
        ({"L": []}, []),
        ({"M": {}}, {}),
        (
            {"L": [{"S": "a"}, {"N": "1"}, {"L": [{"NULL": True}]}, {"M": {"b": {"B": "AP8="}}}]},
            ["a", 1, [None], {"b": b"\x00\xff"}],
        ),
        (
            {"M": {"s": {"S": "a"}, "n": {"N": "1"}, "l": {"L": [{"BOOL": True}]}, "m": {"M": {}}}},
            {"s": "a", "n": 1, "l": [True], "m": {}},
        ),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, dict) else "",
)
def test_every_type_alone_and_inside_of_others(value: dict[str, Any], expected: Any) -> None:
    for levels, image, plain in (
        (0, value, expected),
        (1, {"M": {"x": value}}, {"x": expected}),
        (2, {"L": [value]}, [expected]),
    ):
        decoded = changed({"a": image, "b": {"S": "beside"}}).new_image
        assert decoded == {"a": plain, "b": "beside"}, levels
        assert type(decoded["a"]) is type(plain)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({}, "nothing"),
        ({"X": SECRET}, "X"),
        ({"S": 7}, "S"),
        ({"S": None}, "S"),
        ({"S": SECRET, "X": 1}, "S, X"),
        ({"N": SECRET}, "number"),
        ({"N": None}, "N"),
        ({"NS": ["1", SECRET]}, "number"),
        ({"SS": ["a", 7]}, "string set"),
        ({"SS": SECRET}, "SS"),
        ({"B": "not base64!"}, "B"),
        ({"BS": ["AP8", 7]}, "binary set"),
        ({"BOOL": "true"}, "BOOL"),
        ({"L": [SECRET]}, "nothing"),
        ({"L": SECRET}, "L"),
        ({"M": {"x": {"N": SECRET}}}, "number"),
        ({"M": [SECRET]}, "M"),
        (SECRET, "nothing"),
    ],
)
def test_what_can_not_be_decoded_says_its_type_and_not_its_content_and_is_in_raw(value: Any, kind: str) -> None:
    image = {"fine": {"S": "a"}, "odd": value}
    record = changed(image)
    for _ in range(2):
        with pytest.raises(ValueError, match=rf"(type|DynamoDB) .*{kind}.*record\.raw|{kind}.*record\.raw") as caught:
            _ = record.new_image
        assert SECRET not in str(caught.value)
    assert record.raw["dynamodb"]["NewImage"] == image
    assert DynamoDBRecord.from_entry(record.raw).raw == record.raw


@pytest.mark.parametrize("image", ["text", 7, [], True])
def test_an_image_that_is_no_map_is_one_s_own_trouble(image: Any) -> None:
    record = changed(image)
    with pytest.raises(ValueError, match=r"record\.raw"):
        _ = record.new_image
    assert record.raw["dynamodb"]["NewImage"] == image
    assert (record.keys, record.old_image) == ({}, None)


def test_bytes_that_are_no_text_spoil_their_own_image_only() -> None:
    images = b'"Keys":{"a":{"S":"fine"}},"NewImage":{"a":{"S":"\xff"}}'
    (record,) = decode_dynamodb(b'{"Records":[{"dynamodb":{"SequenceNumber":"1",' + images + b"}}]}").records
    assert isinstance(record, DynamoDBRecord)
    assert record.keys == {"a": "fine"}
    with pytest.raises(ValueError, match=r"UTF-8.*record\.raw"):
        _ = record.new_image
    assert record.raw["dynamodb"]["NewImage"] == {"a": {"S": "\udcff"}}


def test_an_image_may_be_three_times_as_deep_as_dynamodb_allows() -> None:
    value: dict[str, Any] = {"NULL": True}
    expected: Any = None
    for level in range(96):
        value = {"M": {"x": value}} if level % 2 else {"L": [value]}
        expected = {"x": expected} if level % 2 else [expected]
    assert changed({"deep": value}).new_image == {"deep": expected}
