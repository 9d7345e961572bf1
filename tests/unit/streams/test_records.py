"""Records: decoding against boto3's own, what is None and when, and that nothing of the payload shows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from boto3.dynamodb.types import TypeDeserializer
from hypothesis import given
from hypothesis import strategies as st

from consumer.record import Record
from consumer.streams.attributes import decode
from consumer.streams.dynamodb_record import DynamoDBRecord
from consumer.streams.kinesis_record import KinesisRecord

SECRET = "do-not-log-me"


def _numbers() -> st.SearchStrategy[str]:
    digits = st.integers(-(10**38) + 1, 10**38 - 1)
    return st.one_of(digits.map(str), st.tuples(digits, st.integers(-120, 80)).map(lambda pair: f"{pair[0]}E{pair[1]}"))


_leaves: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.text().map(lambda value: {"S": value}),
    _numbers().map(lambda value: {"N": value}),
    st.binary().map(lambda value: {"B": value}),
    st.booleans().map(lambda value: {"BOOL": value}),
    st.just({"NULL": True}),
    st.lists(st.text(), min_size=1).map(lambda values: {"SS": values}),
    st.lists(_numbers(), min_size=1).map(lambda values: {"NS": values}),
    st.lists(st.binary(), min_size=1).map(lambda values: {"BS": values}),
)
attribute_values = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda values: {"L": values}),
        st.dictionaries(st.text(), inner, max_size=4).map(lambda values: {"M": values}),
    ),
    max_leaves=20,
)


def _plain(value: Any) -> Any:
    """boto3's Binary as bytes, which is the one difference we want."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, set):
        return {_plain(each) for each in value}
    return bytes(value.value) if type(value).__name__ == "Binary" else value


@given(attribute_values)
def test_c96_values_decode_as_boto3_decodes_them(value: dict[str, Any]) -> None:
    mine, theirs = decode(value), _plain(TypeDeserializer().deserialize(value))
    assert mine == theirs
    assert repr(type(mine)) == repr(type(theirs))


def test_c96_38_digits_stay_exact_whatever_the_context() -> None:
    text = "1234567890123456789012345678901234567.8"
    assert str(decode({"N": text})) == text
    assert decode({"N": "-0"}) == 0


@pytest.mark.parametrize(
    "value", [{}, {"X": "1"}, {"S": "a", "N": "1"}, {"N": SECRET}, {"NS": ["1", SECRET]}, {"N": None}]
)
def test_what_can_not_be_decoded_says_so_without_the_content(value: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"record\.raw") as caught:
        decode(value)
    assert SECRET not in str(caught.value)


def _entry(**change: Any) -> dict[str, Any]:
    return {
        "eventID": "e1",
        "eventName": "MODIFY",
        "eventSource": "aws:dynamodb",
        "dynamodb": {
            "ApproximateCreationDateTime": datetime(2026, 11, 20, 9, 0, tzinfo=timezone(timedelta(hours=1))),
            "Keys": {"id": {"S": SECRET}},
            "NewImage": {"id": {"S": SECRET}, "n": {"N": "2"}},
            "OldImage": {"id": {"S": SECRET}, "n": {"N": "1"}},
            "SequenceNumber": "100000000000000000001",
            "SizeBytes": 59,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        }
        | change,
    }


def test_a_change_with_both_images() -> None:
    record = DynamoDBRecord.from_entry(_entry())
    assert isinstance(record, Record)
    assert (record.event_id, record.event_name) == ("e1", "MODIFY")
    assert record.keys == {"id": SECRET}
    assert record.new_image == {"id": SECRET, "n": Decimal(2)}
    assert record.old_image == {"id": SECRET, "n": Decimal(1)}
    assert (record.sequence_number, record.sub_sequence_number) == ("100000000000000000001", 0)
    assert record.size_bytes == 59
    assert record.approximate_creation_time == datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
    assert record.approximate_creation_time.tzinfo is UTC
    assert record.timestamp == datetime(2026, 11, 20, 8, 0, tzinfo=UTC).timestamp()
    assert record.user_identity is None
    assert not record.is_ttl_delete


def test_images_are_decoded_once_and_only_when_asked_for() -> None:
    record = DynamoDBRecord.from_entry(_entry(OldImage={"broken": {"N": "x"}}))
    assert record.new_image is record.new_image
    assert record.keys is record.keys
    with pytest.raises(ValueError, match="not a number"):
        _ = record.old_image


@pytest.mark.parametrize("nothing", [{"NewImage": None, "OldImage": None, "Keys": None}, None])
def test_images_that_the_view_does_not_carry_are_none(nothing: dict[str, Any] | None) -> None:
    raw = _entry(**(nothing or {}))
    if nothing is None:
        for name in ("NewImage", "OldImage", "Keys"):
            del raw["dynamodb"][name]
    record = DynamoDBRecord.from_entry(raw)
    assert record.new_image is None
    assert record.old_image is None
    assert record.keys == {}


def test_an_empty_image_is_not_a_missing_one() -> None:
    assert DynamoDBRecord.from_entry(_entry(NewImage={})).new_image == {}


@pytest.mark.parametrize(
    "identity",
    [
        {"Type": "Service", "PrincipalId": "dynamodb.amazonaws.com"},
        {"type": "Service", "principalId": "dynamodb.amazonaws.com"},
    ],
)
def test_c97_a_ttl_delete_is_known_by_who_made_it(identity: dict[str, str]) -> None:
    raw = _entry() | {"eventName": "REMOVE", "userIdentity": identity}
    record = DynamoDBRecord.from_entry(raw)
    assert record.is_ttl_delete
    assert record.user_identity == {"type": "Service", "principal_id": "dynamodb.amazonaws.com"}


@pytest.mark.parametrize(
    "identity", [None, {}, {"Type": None}, {"Type": "Service", "PrincipalId": "replication.example"}]
)
def test_an_ordinary_delete_is_no_ttl_delete(identity: Any) -> None:
    assert not DynamoDBRecord.from_entry(_entry() | {"eventName": "REMOVE", "userIdentity": identity}).is_ttl_delete


def test_missing_fields_are_none_not_errors() -> None:
    record = DynamoDBRecord.from_entry({"dynamodb": {"SequenceNumber": "7"}})
    assert (record.event_id, record.event_name, record.timestamp, record.approximate_creation_time) == (None,) * 4
    assert record.size_bytes == 0
    assert DynamoDBRecord.from_entry(_entry(SizeBytes=-1)).size_bytes == 0


@pytest.mark.parametrize(
    "odd",
    [{"userIdentity": "service"}, {"userIdentity": {"Type": 7}}, {"eventID": 7}, {"dynamodb": {"SizeBytes": 1.5}}]
    + [{"dynamodb": {"ApproximateCreationDateTime": time}} for time in ("yesterday-ish", True, 1e30, float("nan"))],
)
def test_a_field_that_is_not_of_its_type_makes_no_record(odd: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"entry|time"):
        DynamoDBRecord.from_entry(_entry() | odd | {"dynamodb": _entry()["dynamodb"] | odd.get("dynamodb", {})})


@pytest.mark.parametrize(
    "raw", [{}, {"dynamodb": None}, {"dynamodb": {}}, {"dynamodb": "x"}, {"dynamodb": {"SequenceNumber": ""}}]
)
def test_an_entry_without_a_sequence_number_is_no_record(raw: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no sequence number"):
        DynamoDBRecord.from_entry(raw)


def test_nothing_of_the_payload_is_in_the_repr() -> None:
    record = DynamoDBRecord.from_entry(_entry())
    _ = record.new_image
    assert SECRET not in repr(record)
    assert "100000000000000000001" in repr(record)
    assert SECRET not in repr(record._change), "a traceback that shows locals shows parts as well"
    assert SECRET not in str([*record.__rich_repr__(), *record._change.__rich_repr__()])
    arrived = KinesisRecord.from_entry(_arrival(PartitionKey=SECRET, Data=SECRET.encode()))
    assert SECRET not in repr(arrived) + str(arrived.__rich_repr__())


def test_records_have_no_room_for_more() -> None:
    assert not hasattr(DynamoDBRecord.from_entry(_entry()), "__dict__")
    assert not hasattr(KinesisRecord.from_entry(_arrival()), "__dict__")


def _arrival(**changes: Any) -> dict[str, Any]:
    return {
        "SequenceNumber": "4955",
        "ApproximateArrivalTimestamp": datetime(2026, 11, 20, 8, 0, 0, 250000, tzinfo=UTC),
        "Data": b"abc",
        "PartitionKey": "clé",
    } | changes


def test_a_kinesis_record() -> None:
    record = KinesisRecord.from_entry(_arrival(EncryptionType="KMS"), sub_sequence_number=3)
    assert isinstance(record, Record)
    assert (record.sequence_number, record.sub_sequence_number) == ("4955", 3)
    assert (record.data, record.partition_key) == (b"abc", "clé")
    assert record.size_bytes == 7, "3 bytes of data and 4 of the key in UTF-8"
    assert record.approximate_arrival_time == datetime(2026, 11, 20, 8, 0, 0, 250000, tzinfo=UTC)
    assert record.timestamp == pytest.approx(record.approximate_arrival_time.timestamp())
    assert record.encryption_type == "KMS"


def test_what_kinesis_did_not_send_is_none() -> None:
    record = KinesisRecord.from_entry({"SequenceNumber": "1", "Data": b"", "ApproximateArrivalTimestamp": None})
    assert (record.approximate_arrival_time, record.timestamp, record.encryption_type) == (None, None, None)
    assert (record.partition_key, record.size_bytes) == ("", 0)


@pytest.mark.parametrize("raw", [{}, {"SequenceNumber": "x", "Data": b""}, {"SequenceNumber": "1"}, {"Data": b""}])
def test_an_entry_without_number_or_data_is_no_kinesis_record(raw: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="An entry of the stream"):
        KinesisRecord.from_entry(raw)
