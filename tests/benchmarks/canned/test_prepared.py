"""A page whose digits were written over is the page made anew: else contenders are blamed for the server's error."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.benchmarks.canned import cbor
from tests.benchmarks.canned.bodies import DYNAMODB_JSON, KINESIS_CBOR, KINESIS_JSON, PAYLOAD_BYTES, payload
from tests.benchmarks.canned.places import Iterator, UnknownPlace, shard_index, shard_name, stream_of
from tests.benchmarks.canned.prepared import RECORDS_A_PAGE, Frame, Pages
from tests.benchmarks.canned.reading import Heads, Reader, readers

FRAMES = {"dynamodb": DYNAMODB_JSON, "kinesis": KINESIS_JSON, "kinesis in CBOR": KINESIS_CBOR}
PREPARED = {name: Pages(frame, lambda length: b"%d\r\n\r\n" % length) for name, frame in FRAMES.items()}


@pytest.mark.parametrize("name", FRAMES)
@settings(max_examples=12)
@given(numbers=st.lists(st.integers(0, 899_999_998), min_size=1, max_size=4))
def test_a_page_written_over_is_the_page_made_anew(name: str, numbers: list[int]):
    for number in numbers:
        after = Iterator("busy-2", 1, (number + 1) * RECORDS_A_PAGE).text
        page = PREPARED[name].take(number, after)
        length, _, body = bytes(page.buffer).partition(b"\r\n\r\n")
        PREPARED[name].give(page)
        assert int(length) == len(body)
        assert body == FRAMES[name].body(number * RECORDS_A_PAGE, RECORDS_A_PAGE, after)


def test_two_pages_on_their_way_are_two_buffers():
    after = Iterator("busy-2", 0, 0).text
    first, second = (PREPARED["kinesis"].take(number, after) for number in (1, 2))
    assert first.buffer != second.buffer
    PREPARED["kinesis"].give(first)
    PREPARED["kinesis"].give(second)


def decoded(frame: Frame, first: int, count: int) -> dict[str, Any]:
    body = frame.body(first, count, Iterator("busy-2", 0, first + count).text)
    return cbor.decode(body) if frame is KINESIS_CBOR else json.loads(body)


@pytest.mark.parametrize("count", [0, 3, RECORDS_A_PAGE])
@pytest.mark.parametrize("frame", [KINESIS_JSON, KINESIS_CBOR])
def test_a_kinesis_page_is_what_it_says(frame: Frame, count: int):
    page = decoded(frame, 41, count)
    assert len(page["Records"]) == count
    assert page["MillisBehindLatest"] == (3_600_000 if count == RECORDS_A_PAGE else 0)
    for index, record in enumerate(page["Records"]):
        given_data = record["Data"]
        assert (given_data if frame is KINESIS_CBOR else base64.b64decode(given_data)) == payload(41 + index)
        assert record["SequenceNumber"].endswith(f"{41 + index:012d}")
        assert len(record["SequenceNumber"]) == 56


def test_a_payload_is_a_kibibyte():
    assert len(payload(7)) == PAYLOAD_BYTES == 1024


def test_a_record_of_dynamodb_has_both_images_of_ten_attributes_in_1330_bytes():
    (record,) = decoded(DYNAMODB_JSON, 12, 1)["Records"]
    change = record["dynamodb"]
    assert {len(change["NewImage"]), len(change["OldImage"])} == {10}
    assert change["NewImage"]["n"] == {"N": "100000000012"}
    assert change["SequenceNumber"].endswith("000000000012")
    assert 1320 <= len(DYNAMODB_JSON.record(12)) + 1 <= 1340


def read(reader: Reader, iterator: Iterator, limit: int | None, seconds: float = 0.0) -> tuple[list[int], Iterator]:
    reply = reader.read(iterator.text, limit, seconds)
    content = reply if isinstance(reply, bytes) else bytes(reply.buffer)
    if not isinstance(reply, bytes):
        reader.give(reply)
    page = json.loads(content.partition(b"\r\n\r\n")[2])
    numbers = [int(record["SequenceNumber"][-12:]) for record in page["Records"]]
    return numbers, Iterator.read(page["NextShardIterator"])


@pytest.fixture
def reader() -> Reader:
    heads = Heads()
    heads.tick(0)
    return readers(heads)["kinesis", False]


def test_a_reader_that_resumes_inside_a_page_misses_nothing(reader: Reader):
    numbers, after = read(reader, Iterator("busy-2", 1, 1998), None)
    assert numbers == [1998, 1999]
    numbers, after = read(reader, after, None)
    assert (numbers[0], numbers[-1], len(numbers)) == (2000, 2999, 1000)
    assert after == Iterator("busy-2", 1, 3000)


def test_a_limit_is_kept(reader: Reader):
    assert read(reader, Iterator("busy-2", 0, 0), 2) == ([0, 1], Iterator("busy-2", 0, 2))


def test_an_idle_shard_stays_where_it_is_and_a_ticking_one_has_a_record_a_second(reader: Reader):
    assert read(reader, Iterator("idle-3", 0, 0), None, 60.0) == ([], Iterator("idle-3", 0, 0))
    assert read(reader, Iterator("ticking-3", 0, 1), None, 3.5) == ([1, 2], Iterator("ticking-3", 0, 3))
    assert read(reader, Iterator("ticking-3", 0, 9), None, 3.5) == ([], Iterator("ticking-3", 0, 9))


def test_names_are_read_back():
    stream = stream_of("arn:aws:dynamodb:us-east-1:000000000000:table/busy-16/stream/2026-01-01T00:00:00.000")
    assert stream == stream_of("busy-16") == stream_of(stream.kinesis_arn)
    assert [shard_index(stream, shard_name(service, 15)) for service in ("kinesis", "dynamodb")] == [15, 15]
    for name in ("slow-3", "busy-0", "busy-", "busy-3x"):
        with pytest.raises(UnknownPlace):
            stream_of(name)
    for shard_id in ("shardId-000000000016", "shard-1"):
        with pytest.raises(UnknownPlace):
            shard_index(stream, shard_id)
    with pytest.raises(UnknownPlace):
        Iterator.read("AAAA")
