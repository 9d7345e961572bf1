"""What the boto3 and the aiobotocore loop share: the records of a reply as the marks that are counted."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from boto3.dynamodb.types import TypeDeserializer

from tests.benchmarks.contenders.counting import from_attribute, from_payload, from_sequence_number

__all__ = ["Reading"]

Reply = Mapping[str, Any]


def _untouched(reply: Reply) -> list[Any]:
    return [record["dynamodb"]["SequenceNumber"] for record in reply["Records"]]


def _payload(reply: Reply) -> list[Any]:
    return [record["Data"] for record in reply["Records"]]


def _images() -> Callable[[Reply], list[Any]]:
    deserialize = TypeDeserializer().deserialize

    def marks(reply: Reply) -> list[Any]:
        found = []
        for record in reply["Records"]:
            image = {name: deserialize(value) for name, value in record["dynamodb"]["NewImage"].items()}
            found.append(image["n"])
        return found

    return marks


@dataclass(frozen=True, slots=True)
class Reading:
    """How this process is to read: what the environment says."""

    client: str
    described_by: Mapping[str, str]
    marks: Callable[[Reply], list[Any]]
    number_of: Callable[[Any], int]

    @classmethod
    def from_environment(cls) -> Reading:
        """Raises KeyError outside of a benchmark."""
        stream, touch = os.environ["BENCH_STREAM"], os.environ["BENCH_TOUCH"]
        if os.environ["BENCH_SERVICE"] == "kinesis":
            return cls("kinesis", {"StreamName": stream}, _payload, from_payload)
        if touch == "images":
            return cls("dynamodbstreams", {"StreamArn": stream}, _images(), from_attribute)
        return cls("dynamodbstreams", {"StreamArn": stream}, _untouched, from_sequence_number)
