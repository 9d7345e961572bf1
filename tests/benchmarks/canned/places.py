"""What a stream, a shard and an iterator of the canned server are called: the name says all, so nothing is remembered.

``busy-64`` has 64 shards that never end, with records without end; ``idle-1000`` has 1,000 without any; in
``ticking-8`` each of 8 shards gets one record a second, beginning when the server began.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

__all__ = [
    "ITERATOR_LENGTH",
    "Iterator",
    "Stream",
    "UnknownPlace",
    "number_of",
    "shard_index",
    "shard_name",
    "stream_of",
]

ITERATOR_LENGTH: Final = 224  # about as long as AWS's
_ACCOUNT: Final = "000000000000"
_REGION: Final = "us-east-1"
_LABEL: Final = "2026-01-01T00:00:00.000"
_STREAM: Final = re.compile(r"(?:^|/)((busy|idle|ticking)-([1-9][0-9]{0,5}))(?:/stream/|$)")
_MARK: Final = "LH1"
_NUMBER_DIGITS: Final = 12


class UnknownPlace(ValueError):
    """No stream, shard or iterator of this server."""


@dataclass(frozen=True, slots=True)
class Stream:
    """``pace`` is how many records each shard gets in a second; None: as many as anyone can read."""

    name: str
    shards: int
    pace: float | None

    @property
    def kinesis_arn(self) -> str:
        """As DescribeStreamSummary gives it."""
        return f"arn:aws:kinesis:{_REGION}:{_ACCOUNT}:stream/{self.name}"

    @property
    def table_arn(self) -> str:
        """Of the table whose stream this is."""
        return f"arn:aws:dynamodb:{_REGION}:{_ACCOUNT}:table/{self.name}"

    @property
    def dynamodb_arn(self) -> str:
        """As DescribeTable gives it for the table of this name."""
        return f"{self.table_arn}/stream/{_LABEL}"

    @property
    def label(self) -> str:
        """The time in the ARN of a DynamoDB stream."""
        return _LABEL

    def available(self, seconds: float) -> int | None:
        """How many records a shard has so many seconds after the server's start; None: without end."""
        return None if self.pace is None else int(self.pace * seconds)


_PACES: Final[dict[str, float | None]] = {"busy": None, "idle": 0.0, "ticking": 1.0}


def stream_of(text: str) -> Stream:
    """The stream of a name, an ARN or a table's name. Raises UnknownPlace."""
    found = _STREAM.search(text)
    if found is None:
        raise UnknownPlace(f"There is no stream {text!r} here; there are busy-N, idle-N and ticking-N.")
    return Stream(found[1], int(found[3]), _PACES[found[2]])


def shard_name(service: str, index: int) -> str:
    """``shardId-`` and 12 digits for Kinesis, 20 digits and a suffix for DynamoDB."""
    return f"shardId-{index:012d}" if service == "kinesis" else f"shardId-{index:020d}-5eed0000"


def shard_index(stream: Stream, shard_id: str) -> int:
    """The shard's place among its stream's. Raises UnknownPlace."""
    found = re.fullmatch(r"shardId-([0-9]+)(?:-[0-9a-f]+)?", shard_id)
    if found is None or int(found[1]) >= stream.shards:
        raise UnknownPlace(f"{stream.name} has no shard {shard_id!r}.")
    return int(found[1])


def number_of(sequence_number: str) -> int:
    """The record's number within its shard, from 0: the last twelve digits. Raises UnknownPlace."""
    if not sequence_number[-_NUMBER_DIGITS:].isdigit():
        raise UnknownPlace(f"{sequence_number!r} is no sequence number of this server.")
    return int(sequence_number[-_NUMBER_DIGITS:])


class Iterator(NamedTuple):
    """A place in a shard: the number of the next record."""

    stream: str
    shard: int
    position: int

    @property
    def text(self) -> str:
        """Always of the same length, so that it can be written over the last one in a prepared reply."""
        return f"{_MARK}:{self.position:012d}:{self.shard:06d}:{self.stream}:".ljust(ITERATOR_LENGTH, "A")

    @classmethod
    def read(cls, text: str) -> Iterator:
        """The iterator of a request. Raises UnknownPlace."""
        mark, *fields = text.split(":")
        if mark != _MARK or len(fields) != 4 or len(text) != ITERATOR_LENGTH:
            raise UnknownPlace("This is no iterator of this server.")
        return cls(fields[2], int(fields[1]), int(fields[0]))
