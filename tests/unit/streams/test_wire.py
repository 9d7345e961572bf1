"""GetRecords replies, from bytes to pages: what one odd field costs, and what makes a reply no page at all."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.session import get_session

from consumer.streams.source import Shard
from consumer.streams.wire import WirePage, decode_dynamodb, decode_kinesis
from consumer.streams.wire_parser import PAGE, WireParser
from lease_store.strict_parser import parser_factory

Decode = Callable[[bytes | memoryview], WirePage]


def change(number: int | str, **more: Any) -> dict[str, Any]:
    return {"eventName": "MODIFY", "dynamodb": {"SequenceNumber": str(number), **more}}


def arrival(number: int | str, **more: Any) -> dict[str, Any]:
    return {"SequenceNumber": str(number), "Data": "AP8=", "PartitionKey": "k", **more}


def body(*entries: Any, **more: Any) -> bytes:
    return json.dumps({"Records": entries, "NextShardIterator": "next", **more}).encode()


def numbers(page: WirePage) -> list[str]:
    return [record.sequence_number for record in page.records]


@pytest.mark.parametrize(
    "entry",
    [
        None,
        "text",
        7,
        [],
        {},
        {"dynamodb": None},
        {"dynamodb": "text"},
        change(""),
        change("1x"),
        change("٣"),
        change("1" * 130),
        {"dynamodb": {"SequenceNumber": 1}},
        change(1, ApproximateCreationDateTime="yesterday-ish"),
        change(1, ApproximateCreationDateTime=1e30),
        change(1, SizeBytes="7"),
        change(1) | {"eventID": 7},
        change(1) | {"userIdentity": "me"},
    ],
)
def test_an_entry_that_is_no_record_costs_its_neighbours_nothing(entry: Any) -> None:
    page = decode_dynamodb(body(change(2), entry, change(3)))
    assert (numbers(page), page.skipped, page.next_iterator) == (["2", "3"], 1, "next")


@pytest.mark.parametrize(
    "entry",
    [
        None,
        {},
        {"SequenceNumber": "1"},
        arrival("1x"),
        arrival(1, Data=None),
        arrival(1, Data="AP8"),
        arrival(1, Data=7),
    ],
)
def test_an_arrival_that_is_no_record_costs_its_neighbours_nothing(entry: Any) -> None:
    page = decode_kinesis(body(arrival(2), entry, arrival(3), MillisBehindLatest=5))
    assert (numbers(page), page.skipped, page.millis_behind_latest) == (["2", "3"], 1, 5)


@pytest.mark.parametrize(
    "odd",
    [
        {"eventID": None, "awsRegion": None, "userIdentity": None, "somethingNew": {"a": [1]}},
        {"userIdentity": {"PrincipalId": None, "Type": "Service", "More": None}},
        {"dynamodb": change(1, Keys=None, NewImage=None, SizeBytes=None, ApproximateCreationDateTime=None)["dynamodb"]},
        {"dynamodb": change(1, ApproximateCreationDateTime="2026-11-20T08:00:00Z")["dynamodb"]},
        {"dynamodb": change(1, SizeBytes=-1, SomethingNew=1)["dynamodb"]},
        {"eventID": "\ud83d"},
        {"somethingNew": float("nan")},
    ],
)
def test_what_botocore_accepts_is_a_record(odd: dict[str, Any]) -> None:
    page = decode_dynamodb(body(change(0), change(1) | odd))
    assert (numbers(page), page.skipped) == (["0", "1"], 0)
    assert page.records[1].size_bytes == 0


@pytest.mark.parametrize(
    "time",
    [1_795_000_000, 1_795_000_000.0, "1795000000", "2026-11-18T11:06:40Z", "Wed, 18 Nov 2026 11:06:40 GMT"],
)
def test_times_in_every_form_that_botocore_knows(time: Any) -> None:
    entries = change(1, ApproximateCreationDateTime=time), arrival(1, ApproximateArrivalTimestamp=time)
    (changed,) = decode_dynamodb(body(entries[0])).records
    (arrived,) = decode_kinesis(body(entries[1])).records
    assert changed.timestamp == arrived.timestamp == 1_795_000_000
    assert changed.raw["dynamodb"]["ApproximateCreationDateTime"] == datetime.fromtimestamp(1_795_000_000, UTC)


@pytest.mark.parametrize(("decode", "entry"), [(decode_dynamodb, change(1)), (decode_kinesis, arrival(1))])
def test_it_does_not_matter_what_kind_of_memory_a_reply_came_in(decode: Decode, entry: Any) -> None:
    def seen(reply: bytes | memoryview) -> object:
        try:
            page = decode(reply)
        except ValueError as error:
            return str(error)
        return numbers(page), page.skipped, page.next_iterator, page.body_bytes

    for reply in (body(entry, entry), body(entry, {}, entry), body()[:-1], b'{"Records":null}', b"<html>"):
        assert seen(memoryview(bytearray(reply))) == seen(reply)


@pytest.mark.parametrize("decode", [decode_dynamodb, decode_kinesis])
@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"<html>502 Bad Gateway</html>",
        b"[]",
        b"null",
        b"7",
        b'"text"',
        b'{"Records":',
        b"{}",
        b"[" * 100_000,
        b'{"Records":null}',
        b'{"Records":"x"}',
        b'{"Records":[],"NextShardIterator":7}',
        b'{"Records":["\xff"]}',
    ],
)
def test_a_success_that_is_no_page_is_an_error(decode: Decode, reply: bytes) -> None:
    with pytest.raises((ValueError, RecursionError)):
        decode(reply)


@pytest.mark.parametrize("decode", [decode_dynamodb, decode_kinesis])
@pytest.mark.parametrize("last", [{"NextShardIterator": None}, {"NextShardIterator": ""}])
def test_an_empty_or_missing_iterator_is_none(decode: Decode, last: dict[str, Any]) -> None:
    reply = body(**last)
    assert decode(reply) == WirePage([], None, body_bytes=len(reply))


@pytest.mark.parametrize(("behind", "expected"), [(0, 0), (7, 7), (None, None), (-1, None), (2**70, 2**70)])
def test_millis_behind(behind: Any, expected: int | None) -> None:
    assert decode_kinesis(body(MillisBehindLatest=behind)).millis_behind_latest == expected
    assert decode_kinesis(body(None, MillisBehindLatest=behind)).millis_behind_latest == expected


def child(shard_id: Any, parents: Any, **more: Any) -> dict[str, Any]:
    return {"ShardId": shard_id, "ParentShards": parents, **more}


RANGE = {"HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": "9"}}


@pytest.mark.parametrize(
    ("children", "expected"),
    [
        ([child("c", ["b", "a"], **RANGE)], (Shard("c", ("a", "b"), hash_range=("0", "9")),)),
        ([child("c", ["a"], HashKeyRange="x")], (Shard("c", ("a",)),)),
        ([child("c", ["a"]), None], None),
        ([child("", ["a"])], None),
        ([child("c", "a")], None),
        ([child("c", [1])], None),
        ([], None),
        (None, None),
        ("text", None),
    ],
)
def test_children_that_a_last_page_names(children: Any, expected: tuple[Shard, ...] | None) -> None:
    page = decode_kinesis(body(arrival(1), NextShardIterator=None, ChildShards=children))
    assert (page.children, numbers(page), page.next_iterator) == (expected, ["1"], None)


async def test_botocore_is_given_the_page_in_the_place_of_its_fields() -> None:
    for service, entry in (("dynamodbstreams", change(1)), ("kinesis", arrival(1))):
        shape = get_session().get_service_model(service).operation_model("GetRecords").output_shape
        parser = parser_factory(WireParser).create_parser("json")
        reply = {"body": body(entry), "headers": {"Date": "now"}, "status_code": 200, "context": {}}
        parsed = await parser.parse(reply, shape)
        assert set(parsed) == {PAGE, "ResponseMetadata"}
        assert numbers(parsed[PAGE]) == ["1"]
        refused = await parser.parse({**reply, "body": b'{"__type":"a#Oops"}', "status_code": 400}, shape)
        assert refused["Error"]["Code"] == "Oops"


def test_a_payload_is_whatever_bytes_were_put() -> None:
    payload = bytes(range(256)) * 5
    (record,) = decode_kinesis(body(arrival(1, Data=base64.b64encode(payload).decode()))).records
    assert record.raw["Data"] == payload


@pytest.mark.parametrize(("decode", "entry"), [(decode_dynamodb, change), (decode_kinesis, arrival)])
def test_a_sound_page_is_read_in_one_go(monkeypatch: pytest.MonkeyPatch, decode: Decode, entry: Any) -> None:
    """The slow way gives the same records at twenty times the price, so nothing but this would notice."""

    def refuse(*_: Any) -> WirePage:
        raise AssertionError("a sound page was read entry by entry")

    monkeypatch.setattr("consumer.streams.wire._entry_by_entry", refuse)
    reply = body(*map(entry, range(9)), unknown=[1], NextShardIterator=None)
    assert numbers(decode(reply)) == [str(number) for number in range(9)]
