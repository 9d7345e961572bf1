"""Letters and their envelope: nothing of a record is lost on its way there and back, and Lambda's tools can read it."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consumer.dead_letters.envelope import VERSION, body_of, decode, encode, with_body
from consumer.dead_letters.letter import BodyPointer, DeadLetter, Identity, Reason, digest_of
from consumer.errors import DeadLetterUnreadable
from consumer.streams.dynamodb_record import DynamoDBRecord
from consumer.streams.kinesis_record import KinesisRecord
from tests.dead_letters import DYNAMODB_ARN, dynamodb_records, given_up, kinesis_records, letter_of


@given(dynamodb_records())
def test_a_change_of_an_item_comes_back_as_it_was(record: DynamoDBRecord) -> None:
    letter = decode(encode(letter_of(record)))
    again = letter.record()
    assert isinstance(again, DynamoDBRecord)
    assert again.raw == record.raw
    assert again.timestamp == record.timestamp
    assert (again.new_image, again.keys, again.key) == (record.new_image, record.keys, record.key)
    assert again.redriven
    assert not record.redriven
    assert letter == letter_of(record)


@given(kinesis_records())
def test_a_record_of_kinesis_comes_back_as_it_was(record: KinesisRecord) -> None:
    letter = decode(encode(letter_of(record)))
    again = letter.record()
    assert isinstance(again, KinesisRecord)
    assert (again.data, again.partition_key) == (record.data, record.partition_key)
    assert (again.raw, again.timestamp) == (record.raw, record.timestamp)
    assert (again.sequence_number, again.sub_sequence_number) == (record.sequence_number, record.sub_sequence_number)
    assert again.redriven


def entry(number: str = "800000000003126276362", **image: Any) -> dict[str, Any]:
    return {
        "eventID": "1",
        "eventName": "MODIFY",
        "dynamodb": {
            "Keys": {"pk": {"S": "a"}},
            "NewImage": {"pk": {"S": "a"}, **image},
            "SequenceNumber": number,
            "ApproximateCreationDateTime": 1573690399,
        },
        "userIdentity": {"Type": "Service", "PrincipalId": "dynamodb.amazonaws.com"},
    }


def test_an_envelope_has_every_field_of_lambda_s_record_of_a_failure() -> None:
    """Field by field as the Lambda guide's page on discarded records of DynamoDB has it, for an S3 destination."""
    letter = letter_of(DynamoDBRecord.from_entry(entry(b={"B": b"\x00\xff"})), given_up(attempts=5))
    envelope = json.loads(encode(letter))
    own = envelope.pop("leasehold")
    event = json.loads(envelope.pop("payload"))
    assert envelope.pop("requestContext") == {
        "requestId": "8c79bbea-b8db-5978-8f54-ed075fb49f6d",
        "functionArn": "leasehold:orders",
        "condition": "RetryAttemptsExhausted",
        "approximateInvokeCount": 5,
    }
    assert envelope == {
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "version": "1.0",
        "timestamp": "2019-11-14T00:38:06.021Z",
        "DDBStreamBatchInfo": {
            "shardId": "shardId-1",
            "startSequenceNumber": "800000000003126276362",
            "endSequenceNumber": "800000000003126276362",
            "approximateArrivalOfFirstRecord": "2019-11-14T00:13:19Z",
            "approximateArrivalOfLastRecord": "2019-11-14T00:13:19Z",
            "batchSize": 1,
            "streamArn": DYNAMODB_ARN,
        },
    }
    (record,) = event["Records"]
    assert record["userIdentity"] == {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
    assert record["eventSourceARN"] == DYNAMODB_ARN
    assert record["dynamodb"]["NewImage"]["b"] == {"B": base64.b64encode(b"\x00\xff").decode()}
    assert record["dynamodb"]["ApproximateCreationDateTime"] == 1573690399
    assert own["failure"] == {"kind": "KeyError", "message": "'alice'", "where": "orders.py:12 in work"}


def test_a_kinesis_event_is_what_lambda_hands_to_functions() -> None:
    record = KinesisRecord.from_entry(
        {"SequenceNumber": "49", "Data": b"hi", "PartitionKey": "p", "ApproximateArrivalTimestamp": 1573691884.835}
    )
    envelope = json.loads(encode(letter_of(record)))
    assert envelope["KinesisBatchInfo"]["approximateArrivalOfFirstRecord"] == "2019-11-14T00:38:04.835Z"
    assert "DDBStreamBatchInfo" not in envelope
    assert json.loads(envelope["payload"]) == {
        "Records": [
            {
                "kinesis": {
                    "kinesisSchemaVersion": "1.0",
                    "partitionKey": "p",
                    "sequenceNumber": "49",
                    "data": "aGk=",
                    "approximateArrivalTimestamp": 1573691884.835,
                },
                "eventSource": "aws:kinesis",
                "eventVersion": "1.0",
                "eventID": "shardId-1:49",
                "eventName": "aws:kinesis:record",
                "awsRegion": "us-east-1",
                "eventSourceARN": "arn:aws:kinesis:us-east-1:123456789012:stream/orders",
            }
        ]
    }


@pytest.mark.parametrize(
    ("reason", "condition"),
    [("attempts_exhausted", "RetryAttemptsExhausted"), ("record_age_exceeded", "MaximumRecordAgeExceeded")],
)
def test_where_lambda_has_a_word_it_is_used(reason: str, condition: str) -> None:
    assert Reason(reason).condition == condition


def test_every_reason_has_a_word() -> None:
    assert len({reason.condition for reason in Reason}) == len(Reason) == 5


def letter() -> DeadLetter:
    return letter_of(DynamoDBRecord.from_entry(entry(secret={"S": "s3cret"})))


def test_neither_key_nor_body_nor_message_is_in_a_repr() -> None:
    shown = repr(letter())
    assert "s3cret" not in shown
    assert letter().key not in shown
    assert "alice" not in shown
    assert "KeyError" in shown


def changed(**own: Any) -> bytes:
    envelope = json.loads(encode(letter()))
    envelope["leasehold"].update(own)
    return json.dumps(envelope).encode()


def test_fields_that_a_later_release_added_are_passed_over() -> None:
    assert decode(changed(colour="red")) == letter()


@pytest.mark.parametrize(
    ("stored", "why"),
    [
        (changed(version=VERSION + 1), "read it with the release that wrote it"),
        (changed(version="1"), "version '1'"),
        (changed(attempts="five"), "attempts"),
        (changed(reason="bored"), "reason"),
        (changed(shardId=None), "shardId"),
        (encode(letter())[:-20], "cut off"),
        (b"[1]", "no letter of Leasehold's"),
        (b'{"requestContext": {}}', "no letter of Leasehold's"),
        (b'{"leasehold": 1}', "no letter of Leasehold's"),
        (b"\xff", "no JSON"),
    ],
)
def test_what_is_no_letter_of_this_release_is_refused_with_a_reason(stored: bytes, why: str) -> None:
    with pytest.raises(DeadLetterUnreadable, match=why):
        decode(stored)


def test_a_body_that_was_changed_is_named_and_not_shown() -> None:
    other = letter_of(DynamoDBRecord.from_entry(entry("7"))).payload
    for payload in (
        other,
        '{"Records": []}',
        "7",
        '{"Records": [7]}',
        '{"Records": [{"dynamodb": 1}]}',
        "s3cret",
        "[" * 100_000,
    ):
        with pytest.raises(DeadLetterUnreadable, match="was changed") as raised:
            replace(letter(), payload=payload).record()
        assert "s3cret" not in str(raised.value)


def test_a_body_that_lies_elsewhere_is_put_back() -> None:
    whole = letter()
    away = replace(whole, payload=None, body_at=BodyPointer("bucket", "key", 7))
    stored = decode(encode(away))
    assert stored == away
    with pytest.raises(RuntimeError, match="ask the store"):
        stored.record()
    assert with_body(stored, body_of(whole)).record().raw == whole.record().raw
    with pytest.raises(DeadLetterUnreadable):
        with_body(stored, b"\xff")


NUMBERS = st.integers(0, 10**60).map(str)


@given(st.tuples(NUMBERS, st.integers(0, 10**9)), st.tuples(NUMBERS, st.integers(0, 10**9)))
@example(("9", 0), ("10", 0))
def test_places_sort_as_the_stream_does_and_name_the_letter(one: tuple[str, int], other: tuple[str, int]) -> None:
    first, second = (Identity("s", "shard.1", number, sub, digest_of("k")) for number, sub in (one, other))
    assert (first.place < second.place) == ((int(one[0]), one[1]) < (int(other[0]), other[1]))
    assert Identity.of_place("s", first.place) == first
    assert Identity.parse(str(first)) == first


def test_zeros_before_a_number_are_part_of_the_name() -> None:
    name = Identity("s", "shard", "000000000000000000042", 0, digest_of("k"))
    assert Identity.of_place("s", name.place) == Identity.parse(str(name)) == name


@pytest.mark.parametrize("text", ["", "a,b", "s,sh,1,d", "s,sh,x.0,d", "s,sh,1.x,d", ",sh,1.0,d", "s,sh,1.0,"])
def test_what_is_no_name_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(ValueError, match=r"STREAM,SHARD,SEQUENCE\.SUB,DIGEST"):
        Identity.parse(text)


@pytest.mark.parametrize("place", ["", "d", "d/1.0.s", "d/003-x.0.s", "d/003-1.x.s", "d/003-1.0"])
def test_a_foreign_name_in_a_store_is_no_place(place: str) -> None:
    with pytest.raises(ValueError, match="no name"):
        Identity.of_place("s", place)
