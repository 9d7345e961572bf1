"""Records that outlive their page: what they hold on to, what they let go of, and that they can be sent elsewhere."""

from __future__ import annotations

import base64
import gc
import json
import pickle
import tracemalloc
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

from consumer.streams.dynamodb_record import DynamoDBRecord
from consumer.streams.kinesis_record import KinesisRecord
from consumer.streams.wire import decode_dynamodb, decode_kinesis

COUNT = 500
KB = 1024


def table_page() -> bytes:
    def change(number: int) -> dict[str, Any]:
        image = {"pk": {"S": f"k{number}"}, "n": {"N": str(number)}, "text": {"S": "x" * KB}}
        return {"dynamodb": {"SequenceNumber": str(number), "Keys": {"pk": image["pk"]}, "NewImage": image}}

    return json.dumps({"Records": [change(number) for number in range(COUNT)]}).encode()


def stream_page() -> bytes:
    data = base64.b64encode(b"x" * KB).decode()
    return json.dumps({"Records": [{"SequenceNumber": str(n), "Data": data} for n in range(COUNT)]}).encode()


@pytest.fixture
def held_bytes() -> Iterator[Callable[[Callable[[], Any]], int]]:
    """How much memory what a call returns holds on to."""

    def measure(make: Callable[[], Any]) -> int:
        make()  # what is made once for all is not the record's
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        kept = make()
        gc.collect()
        held = tracemalloc.get_traced_memory()[0] - before
        assert kept is not None
        return held

    tracemalloc.start()
    yield measure
    tracemalloc.stop()


def one() -> Any:
    return decode_dynamodb(table_page()).records[7]


def test_a_record_that_is_kept_keeps_its_page_until_it_is_detached(held_bytes: Callable[..., int]) -> None:
    assert held_bytes(one) > COUNT * KB
    assert held_bytes(lambda: one().detach()) < 4 * KB


def test_reading_an_image_lets_go_of_nothing_and_detaching_keeps_what_was_read(held_bytes: Callable[..., int]) -> None:
    def read() -> Any:
        record = one()
        assert record.new_image["n"] == 7
        return record

    def read_and_detached() -> Any:
        record = read()
        image = record.new_image
        assert record.detach() is record
        assert record.new_image is image
        return record

    assert held_bytes(read) > COUNT * KB
    assert held_bytes(read_and_detached) < 8 * KB


def test_a_kinesis_record_keeps_its_own_bytes_only(held_bytes: Callable[..., int]) -> None:
    assert held_bytes(lambda: decode_kinesis(stream_page()).records[7]) < 2 * KB


def test_a_detached_record_is_the_record_it_was() -> None:
    record, untouched = one(), one()
    record.detach().detach()
    assert record.raw == untouched.raw
    assert (record.keys, record.new_image, record.old_image) == ({"pk": "k7"}, untouched.new_image, None)
    assert record.new_image["n"] == Decimal(7)


@pytest.mark.parametrize("read", [False, True])
def test_records_can_be_sent_to_another_process(read: bool) -> None:
    record = one()
    if read:
        assert record.new_image
    (arrived,) = decode_kinesis(b'{"Records":[{"SequenceNumber":"1","Data":"AP8=","PartitionKey":"k"}]}').records
    for sent, kind in ((record, DynamoDBRecord), (arrived, KinesisRecord)):
        packed = pickle.dumps(sent)
        came = pickle.loads(packed)
        assert isinstance(came, kind)
        assert came.raw == sent.raw
        assert len(packed) < 4 * KB, "the page went along"
    again = pickle.loads(pickle.dumps(record))
    assert (again.keys, again.new_image, again.old_image) == (record.keys, record.new_image, None)


def test_records_are_told_apart_by_what_they_are_and_can_not_be_changed() -> None:
    record: Any = one()
    assert record != one()
    assert record in {record}
    with pytest.raises(AttributeError):
        record.event_name = "REMOVE"
