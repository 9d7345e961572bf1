"""Replies as pages: what is believed, what is asked for again, what is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.session import get_session
from hypothesis import given
from hypothesis import strategies as st

from consumer.errors import StreamThrottled, StreamUnavailable
from consumer.streams.dynamodb_record import DynamoDBRecord
from consumer.streams.lenient_parser import LenientParser
from consumer.streams.pages import believed, page_of, records_of
from consumer.streams.source import Page, Shard
from lease_store.strict_parser import parser_factory

SOUND = {"dynamodb": {"SequenceNumber": "1"}}


class Replies:
    """Answers in turn; what is left over was not asked for."""

    def __init__(self, *answers: Page | Exception) -> None:
        self.left = list(answers)

    async def __call__(self) -> Page:
        answer = self.left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


PLAIN = Page((), "next")
END = Page((), None)
NAMED_END = Page((), None, children=(Shard("b", ("a",)),))
BROKEN = Page((), "next", skipped=1)


@pytest.mark.parametrize("page", [PLAIN, NAMED_END, Page((), "next", skipped=0)])
async def test_an_ordinary_page_is_asked_for_once(page: Page) -> None:
    replies = Replies(page, StreamThrottled())
    assert await believed(replies, "a") is page


@pytest.mark.parametrize("first", [END, BROKEN])
@pytest.mark.parametrize("second", [END, BROKEN, PLAIN, NAMED_END])
async def test_an_odd_page_is_asked_for_twice_and_the_second_answer_counts(first: Page, second: Page) -> None:
    replies = Replies(first, second, StreamThrottled())
    assert await believed(replies, "a") is second
    assert len(replies.left) == 1


async def test_where_the_second_answer_fails_the_first_is_not_believed() -> None:
    with pytest.raises(StreamThrottled):
        await believed(Replies(END, StreamThrottled("slow down")), "a")


@pytest.mark.parametrize("reply", [{}, {"Records": None}, {"Records": "x"}, {"NextShardIterator": "i"}])
def test_a_reply_without_a_list_of_records_is_no_page(reply: dict[str, Any]) -> None:
    with pytest.raises(StreamUnavailable, match="shard a"):
        records_of(reply, DynamoDBRecord, "a")


def test_entries_that_are_no_records_are_counted() -> None:
    records, skipped = records_of({"Records": [None, SOUND, {}, "text", 7, {"dynamodb": None}]}, DynamoDBRecord, "a")
    assert [record.sequence_number for record in records] == ["1"]
    assert skipped == 5


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ({"NextShardIterator": ""}, (None, None, 0)),
        ({"NextShardIterator": "i", "MillisBehindLatest": 7}, ("i", 7, 0)),
        ({"NextShardIterator": "i", "MillisBehindLatest": -1}, ("i", None, 0)),
        ({"NextShardIterator": "i", "MillisBehindLatest": "7"}, ("i", None, 0)),
        ({"NextShardIterator": "i", "ResponseMetadata": {"HTTPHeaders": {"content-length": "99"}}}, ("i", None, 99)),
        ({"NextShardIterator": "i", "ResponseMetadata": {"HTTPHeaders": {"content-length": "many"}}}, ("i", None, 0)),
    ],
)
def test_the_rest_of_a_page(reply: dict[str, Any], expected: tuple[str | None, int | None, int]) -> None:
    page = page_of(reply, [], 0)
    assert (page.next_iterator, page.millis_behind_latest, page.size_bytes) == expected


def test_a_page_is_as_large_as_its_records_say_where_they_say() -> None:
    record = DynamoDBRecord({"dynamodb": {"SequenceNumber": "1", "SizeBytes": 500}})
    reply = {"NextShardIterator": "i", "ResponseMetadata": {"HTTPHeaders": {"content-length": "99"}}}
    assert page_of(reply, [record], 0).size_bytes == 500


# --- the parser -------------------------------------------------------------------------------------------------

MODEL = get_session().get_service_model("dynamodbstreams").operation_model("GetRecords")


async def parse(body: bytes, status: int = 200) -> Any:
    response = {"body": body, "headers": {}, "status_code": status, "context": {"operation_name": "GetRecords"}}
    return await parser_factory(LenientParser).create_parser("json").parse(response, MODEL.output_shape)


async def test_a_sound_reply_parses_as_botocore_parses_it() -> None:
    change = {"ApproximateCreationDateTime": 1_795_000_000, "Keys": {"pk": {"B": "AP8="}}, "SequenceNumber": "1"}
    parsed = await parse(json.dumps({"Records": [{"dynamodb": change}], "NextShardIterator": None}).encode())
    (entry,) = parsed["Records"]
    assert entry["dynamodb"]["Keys"] == {"pk": {"B": b"\x00\xff"}}
    assert entry["dynamodb"]["ApproximateCreationDateTime"] == datetime.fromtimestamp(1_795_000_000, UTC)
    assert "NextShardIterator" not in parsed


@pytest.mark.parametrize(
    "entry",
    [
        None,
        "text",
        7,
        [],
        {"dynamodb": "text"},
        {"dynamodb": {"SequenceNumber": "1", "ApproximateCreationDateTime": "yesterday-ish"}},
        {"dynamodb": {"SequenceNumber": "1", "Keys": {"pk": {"B": "not base64!"}}}},
        {"dynamodb": {"SequenceNumber": "1", "Keys": "text"}},
        {"dynamodb": {"SequenceNumber": "1", "NewImage": {"l": {"L": ["text"]}}}},
    ],
)
async def test_an_entry_that_can_not_be_parsed_costs_its_neighbours_nothing(entry: Any) -> None:
    parsed = await parse(json.dumps({"Records": [entry, {"dynamodb": {"SequenceNumber": "2"}}]}).encode())
    assert parsed["Records"][0] is None
    records, skipped = records_of(parsed, DynamoDBRecord, "a")
    assert ([record.sequence_number for record in records], skipped) == (["2"], 1)


@pytest.mark.parametrize(
    "body", [b"", b"<html>502 Bad Gateway</html>", b"[]", b"null", b"7", b'"text"', b'{"Records":']
)
async def test_a_success_that_is_no_json_object_is_an_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"JSON|Expecting"):
        await parse(body)


FIELDS = ["Records", "dynamodb", "Keys", "SequenceNumber", "NextShardIterator", "B", "M", "L", "S", "userIdentity"]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
async def test_no_reply_whatsoever_escapes_as_anything_but_a_known_error(value: Any) -> None:
    try:
        parsed = await parse(json.dumps(value).encode())
        records_of(parsed, DynamoDBRecord, "a")
    except (AttributeError, TypeError, ValueError, StreamUnavailable):
        return  # what AwsClients.call and the reader turn into another try
    assert isinstance(parsed["Records"], list)
