"""Bytes to records and to images, alone: CPU time of this consumer's decoder, of botocore's, and of ways not taken."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final, TypedDict

import msgspec
from boto3.dynamodb.types import TypeDeserializer
from botocore.parsers import JSONParser
from botocore.session import get_session

from consumer.streams.dynamodb_record import DynamoDBRecord
from consumer.streams.images import decoded
from consumer.streams.pages import page_of
from consumer.streams.wire import DYNAMODB_REPLY, KINESIS_REPLY, decode_dynamodb, decode_kinesis
from tests.benchmarks.canned.bodies import DYNAMODB_JSON, KINESIS_JSON, Frame
from tests.benchmarks.processes import progress
from tests.benchmarks.reckoning import lower_quartile

__all__ = ["measure", "microseconds_a_record"]

_ROUNDS: Final = 21
_RECORDS: Final = 1000
_BOTO: Final = JSONParser()
_DESERIALIZE: Final = TypeDeserializer().deserialize


class _Value(TypedDict, total=False):
    S: str
    N: Decimal
    B: bytes
    BOOL: bool
    NULL: bool
    SS: set[str]
    NS: set[Decimal]
    BS: set[bytes]
    L: list[_Value]
    M: dict[str, _Value]


_TYPED_DICTS: Final = msgspec.json.Decoder(dict[str, _Value])
_UNTYPED: Final = msgspec.json.Decoder()


def measure() -> dict[str, Any]:
    """All ways in turns over one page of each service; CPU time a record, the lower quartile of the turns."""
    ways = _pages() | _images()
    turns: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(_ROUNDS):
        for name, way in list(ways.items())[:: -1 if number % 2 else 1]:
            way()  # what the way before has left in the caches is not this one's
            began = time.process_time_ns()
            way()
            turns[name].append((time.process_time_ns() - began) / 1e3 / _RECORDS)
    cost = {name: lower_quartile(costs) for name, costs in turns.items()}
    progress("  microseconds a record: " + ", ".join(f"{name} {cost[name]:.2f}" for name in cost))
    return {"figures": {name: round(value, 3) for name, value in cost.items()}, "goals": []}


def microseconds_a_record(service: str, rounds: int = 5) -> float:
    """CPU time of this consumer's decoder over a page, a record; the lower quartile."""
    way = _pages()[f"{service}: ours"]
    turns = []
    for _ in range(rounds):
        way()
        began = time.process_time_ns()
        way()
        turns.append((time.process_time_ns() - began) / 1e3 / _RECORDS)
    return lower_quartile(turns)


def _pages() -> dict[str, Callable[[], Any]]:
    table, stream = _body(DYNAMODB_JSON), _body(KINESIS_JSON)
    return {
        "dynamodb: bare msgspec": lambda: DYNAMODB_REPLY.decode(table),
        "dynamodb: ours": lambda: page_of(decode_dynamodb(table)),
        "dynamodb: botocore": lambda: _parsed("dynamodbstreams", table),
        "kinesis: bare msgspec": lambda: KINESIS_REPLY.decode(stream),
        "kinesis: ours": lambda: page_of(decode_kinesis(stream)),
        "kinesis: botocore": lambda: _parsed("kinesis", stream),
    }


def _images() -> dict[str, Callable[[], Any]]:
    """Ways to read every new image of a page, once the page has been read in the way that goes before."""
    body = _body(DYNAMODB_JSON)
    changes = [record for record in decode_dynamodb(body).records if isinstance(record, DynamoDBRecord)]
    views = [record._change.new_image for record in changes]
    parsed = [entry["dynamodb"]["NewImage"] for entry in _parsed("dynamodbstreams", body)["Records"]]
    first = decoded(views[0])
    for other in (_boto(parsed[0]), _by_table(json.loads(bytes(views[0]))), _by_nesting(_TYPED_DICTS.decode(views[0]))):
        if other != first:
            raise RuntimeError(f"Two ways to read one image differ: {other} and {first}.")
    return {
        "images: ours": lambda: [decoded(view) for view in views],
        "images: typed dicts, unwrapped": lambda: [_by_nesting(_TYPED_DICTS.decode(view)) for view in views],
        "images: untyped, by a table": lambda: [_by_table(_UNTYPED.decode(view)) for view in views],
        "images: json, by a table": lambda: [_by_table(json.loads(bytes(view))) for view in views],
        "images: TypeDeserializer, after botocore's parser": lambda: [_boto(item) for item in parsed],
    }


def _body(frame: Frame) -> bytes:
    records = frame.separator.join(frame.record(number) for number in range(_RECORDS))
    return frame.start(_RECORDS, "i" * 200) + records + frame.end


def _parsed(service: str, body: bytes) -> Any:
    shape = get_session().get_service_model(service).operation_model("GetRecords").output_shape
    return _BOTO.parse({"status_code": 200, "headers": {}, "body": body}, shape)


def _boto(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _DESERIALIZE(value) for name, value in item.items()}


def _by_table(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _TABLE[kind](content) for name, value in item.items() for kind, content in value.items()}


def _by_nesting(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _nested(kind, content) for name, value in item.items() for kind, content in value.items()}


def _nested(kind: str, content: Any) -> Any:
    return _NESTED[kind](content) if kind in _NESTED else content


_TABLE: Final[Mapping[str, Callable[[Any], Any]]] = {
    "S": lambda text: text,
    "N": Decimal,
    "B": base64.b64decode,
    "BOOL": lambda flag: flag,
    "NULL": lambda _: None,
    "L": lambda values: [_TABLE[kind](content) for value in values for kind, content in value.items()],
    "M": _by_table,
}
_NESTED: Final[Mapping[str, Callable[[Any], Any]]] = {
    "NULL": lambda _: None,
    "L": lambda values: [_nested(kind, content) for value in values for kind, content in value.items()],
    "M": _by_nesting,
}
