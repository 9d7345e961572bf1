"""Letters to test with: of drawn records with every type that DynamoDB has, and of awkward ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from consumer.dead_letters.letter import DeadLetter, GivenUp, Reason
from consumer.failures import Failure
from consumer.streams.dynamodb_record import DynamoDBRecord
from consumer.streams.kinesis_record import KinesisRecord

__all__ = [
    "DYNAMODB_ARN",
    "KINESIS_ARN",
    "change",
    "dynamodb_records",
    "given_up",
    "kinesis_records",
    "letter_of",
    "put",
]

DYNAMODB_ARN = "arn:aws:dynamodb:us-east-1:123456789012:table/orders/stream/2019-11-14T00:04:06.388"
KINESIS_ARN = "arn:aws:kinesis:us-east-1:123456789012:stream/orders"
# 38 digits are what DynamoDB's numbers have.
_NUMBERS = st.decimals(allow_nan=False, allow_infinity=False).map(lambda n: f"{n:.37e}") | st.just("9" * 38)
# Anything, what UTF-8 can't carry included: a JSON escape brings it over the wire.
_TEXT = st.text(st.characters(codec=None), max_size=30)
_BINARY = st.binary(max_size=40)


def _values() -> st.SearchStrategy[dict[str, Any]]:
    leaves = (
        st.builds(lambda v: {"S": v}, _TEXT)
        | st.builds(lambda v: {"N": v}, _NUMBERS)
        | st.builds(lambda v: {"B": v}, _BINARY)
        | st.builds(lambda v: {"BOOL": v}, st.booleans())
        | st.just({"NULL": True})
        | st.builds(lambda v: {"SS": v}, st.lists(_TEXT, min_size=1, max_size=3, unique=True))
        | st.builds(lambda v: {"NS": v}, st.lists(_NUMBERS, min_size=1, max_size=3, unique=True))
        | st.builds(lambda v: {"BS": v}, st.lists(_BINARY, min_size=1, max_size=3, unique=True))
    )
    return st.recursive(
        leaves,
        lambda inner: (
            st.builds(lambda v: {"L": v}, st.lists(inner, max_size=3))
            | st.builds(lambda v: {"M": v}, st.dictionaries(_TEXT, inner, max_size=3))
        ),
        max_leaves=6,
    )


_IMAGES = st.dictionaries(_TEXT, _values(), max_size=4)
_INSTANTS = st.floats(1e9, 2e9) | st.integers(1_000_000_000, 2_000_000_000).map(float)


@st.composite
def dynamodb_records(draw: st.DrawFn) -> DynamoDBRecord:
    """Changes of items with values of every type."""
    change = {
        "SequenceNumber": draw(st.integers(1, 10**38).map(str)),
        "ApproximateCreationDateTime": draw(st.none() | _INSTANTS),
        "Keys": draw(st.dictionaries(_TEXT, _values(), min_size=1, max_size=2)),
        "NewImage": draw(st.none() | _IMAGES),
        "OldImage": draw(st.none() | _IMAGES),
        "SizeBytes": draw(st.none() | st.integers(0, 400_000)),
        "StreamViewType": draw(st.none() | st.sampled_from(["NEW_AND_OLD_IMAGES", "KEYS_ONLY"])),
    }
    entry = {
        "eventID": draw(st.none() | _TEXT),
        "eventName": draw(st.sampled_from(["INSERT", "MODIFY", "REMOVE"])),
        "awsRegion": draw(st.none() | st.just("us-east-1")),
        "dynamodb": change,
        "userIdentity": draw(st.none() | st.just({"Type": "Service", "PrincipalId": "dynamodb.amazonaws.com"})),
    }
    return DynamoDBRecord.from_entry(entry)


@st.composite
def kinesis_records(draw: st.DrawFn) -> KinesisRecord:
    """Records of Kinesis, of aggregates, too."""
    entry = {
        "SequenceNumber": draw(st.integers(1, 10**55).map(str)),
        "Data": draw(st.binary(max_size=200)),
        "PartitionKey": draw(_TEXT),
        "ApproximateArrivalTimestamp": draw(st.none() | _INSTANTS),
        "EncryptionType": draw(st.sampled_from([None, "NONE", "KMS"])),
    }
    return KinesisRecord.from_entry(entry, sub_sequence_number=draw(st.integers(0, 100)))


def change(number: int, key: str = "a", *, bytes_of_body: int = 0, shard: str = "shardId-1", **more: Any) -> DeadLetter:
    """The letter of a change of the item ``key``, its new image so large."""
    entry = {
        "eventName": "MODIFY",
        "dynamodb": {
            "Keys": {"pk": {"S": key}},
            "NewImage": {"pk": {"S": key}, "body": {"S": "x" * bytes_of_body}},
            "SequenceNumber": str(number),
            "ApproximateCreationDateTime": 1_573_690_399.0,
        },
    }
    return letter_of(DynamoDBRecord.from_entry(entry), given_up(shard_id=shard, **more))


def put(number: int, key: str = "a", *, bytes_of_body: int = 0, **more: Any) -> DeadLetter:
    """The letter of a record that was put into Kinesis, its data so large."""
    entry = {"SequenceNumber": str(number), "Data": b"\xff" * bytes_of_body, "PartitionKey": key}
    return letter_of(KinesisRecord.from_entry(entry), given_up(**more))


def given_up(**changed: Any) -> GivenUp:
    """A poison record's end, but for what is given."""
    usual = GivenUp(
        stream=DYNAMODB_ARN,
        stream_arn=DYNAMODB_ARN,
        shard_id="shardId-1",
        app="orders",
        worker_id="w1",
        reason=Reason.ATTEMPTS_EXHAUSTED,
        attempts=5,
        failure=Failure("KeyError", "'alice'", "orders.py:12 in work"),
        first_failed_at=1_573_691_000.0,
        given_up_at=1_573_691_886.021,
    )
    return replace(usual, **changed)


def letter_of(record: DynamoDBRecord | KinesisRecord, end: GivenUp | None = None) -> DeadLetter:
    """The letter of a record, of its stream where nothing else is said."""
    if end is None or (isinstance(record, KinesisRecord) and end.stream == DYNAMODB_ARN):
        end = replace(end or given_up(), **(_OF_KINESIS if isinstance(record, KinesisRecord) else {}))
    return DeadLetter.of(record, end)


_OF_KINESIS = {"stream": f"{KINESIS_ARN}@1573691800.5", "stream_arn": KINESIS_ARN}
