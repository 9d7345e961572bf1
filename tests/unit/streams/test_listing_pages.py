"""A listing of many pages: one page that fails is asked for again, and must not cost the pages before it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from consumer.config import InitialPosition
from consumer.errors import StreamError, StreamThrottled, StreamUnavailable
from consumer.retry import RateLimit
from consumer.streams.dynamodb_streams import DynamoDBStreamsSource
from consumer.streams.kinesis import KinesisSource
from consumer.streams.shard_graph import pin_for
from consumer.streams.source import RecordSource, StreamIdentity
from tests.fuzz.canned import Canned, NoWaitClock, Reply

ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/orders/stream/2026-01-01T00:00:00.000"
CLICKS = "arn:aws:kinesis:eu-west-1:123456789012:stream/clicks"
BROKEN = Reply(b'{"__type": "InternalServerError"}', 500)
THROTTLED = Reply(b'{"__type": "LimitExceededException"}', 400)
GARBLED = Reply(b"{}")
REFUSED = Reply(b'{"__type": "ValidationException"}', 400)


def reply(**fields: Any) -> Reply:
    return Reply(json.dumps(fields).encode())


NAMES = [f"shardId-{number:020}" for number in range(3)]


def dynamodb_page(number: int) -> Reply:
    last = {} if number == 2 else {"LastEvaluatedShardId": NAMES[number]}
    return reply(StreamDescription={"Shards": [{"ShardId": NAMES[number]}], **last})


def kinesis_page(number: int) -> Reply:
    return reply(Shards=[{"ShardId": NAMES[number]}], **({} if number == 2 else {"NextToken": NAMES[number]}))


SERVICES = {
    "dynamodb": (dynamodb_page, "ExclusiveStartShardId", StreamIdentity(ARN, ARN, ARN)),
    "kinesis": (kinesis_page, "NextToken", StreamIdentity(CLICKS, f"{CLICKS}@1", CLICKS)),
}


class Listing:
    """One listing of three pages; ``answers`` come first for the second page."""

    def __init__(self, service: str, *answers: Reply) -> None:
        self._page, self._place, self._stream = SERVICES[service]
        self._answers = list(answers)
        self._canned = Canned()
        self._canned.reply = self._answer
        self.asked: list[str | None] = []
        kind: Callable[..., RecordSource] = DynamoDBStreamsSource if service == "dynamodb" else KinesisSource
        self._source = kind(self._stream.arn, session=self._canned.session, clock=NoWaitClock())

    def _answer(self, operation: str) -> Reply:
        if operation == "DescribeStreamSummary":
            return reply(StreamDescriptionSummary={"StreamARN": CLICKS, "StreamCreationTimestamp": 1})
        after = self._canned.asked.get(self._place)
        self.asked.append(after)
        if after == NAMES[0] and self._answers:
            return self._answers.pop(0)
        return self._page(0 if after is None else NAMES.index(after) + 1)

    @property
    def source(self) -> RecordSource:
        return self._source

    @property
    def stream(self) -> StreamIdentity:
        return self._stream

    async def made(self) -> list[str]:
        async with self._source.open():
            return [shard.id for shard in (await self._source.list_shards(self._stream)).shards]


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("failures", [[BROKEN], [GARBLED, THROTTLED]], ids=["once", "twice"])
async def test_a_page_that_fails_is_asked_for_again(service: str, failures: list[Reply]) -> None:
    """Each sent the listing back to its first page: with one error in twenty, of 50 pages 8 % came through."""
    listing = Listing(service, *failures)
    assert await listing.made() == NAMES
    assert listing.asked == [None, *[NAMES[0]] * (1 + len(failures)), NAMES[1]]


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(
    ("failures", "asked", "error"),
    [([BROKEN] * 9, 3, StreamUnavailable), ([THROTTLED] * 9, 3, StreamThrottled), ([REFUSED], 1, StreamError)],
    ids=["broken", "throttled", "refused"],
)
async def test_a_listing_is_given_up_in_the_end_and_at_once_where_its_place_is_refused(
    service: str, failures: list[Reply], asked: int, error: type[StreamError]
) -> None:
    listing = Listing(service, *failures)
    with pytest.raises(error):
        await listing.made()
    assert listing.asked == [None, *[NAMES[0]] * asked]


@pytest.mark.parametrize("is_listed_open", [True, False])
async def test_a_group_at_latest_does_not_begin_before_the_end_of_what_its_listing_shows_as_over(
    is_listed_open: bool,
) -> None:
    """Kinesis: ``b`` is split between two pages that lie 5 s apart; what it holds of these was in no row."""
    ended = {"ShardId": "b", "SequenceNumberRange": {"StartingSequenceNumber": "1", "EndingSequenceNumber": "9"}}
    children: list[Any] = [{"ShardId": name, "ParentShardId": "b"} for name in "cd"]
    b = {"ShardId": "b"}

    def answer(operation: str) -> Reply:
        if operation == "DescribeStreamSummary":
            return reply(StreamDescriptionSummary={"StreamARN": CLICKS, "StreamCreationTimestamp": 1})
        if "NextToken" not in canned.asked:
            return dated(0, Shards=[{"ShardId": "a"}, *([b] if is_listed_open else [])], NextToken="2")
        return dated(5, Shards=[*([] if is_listed_open else [ended]), *children])

    def dated(second: int, **fields: Any) -> Reply:
        return Reply(reply(**fields).body, date=f"Fri, 15 Jan 2027 08:00:{second:02} GMT")

    canned = Canned()
    canned.reply = answer
    source = KinesisSource(CLICKS, session=canned.session, clock=NoWaitClock())
    async with source.open():
        listing = await source.list_shards(SERVICES["kinesis"][2])
    assert pin_for(InitialPosition("LATEST"), listing.server_time, 0.0) == 1_800_000_000 + 4


@pytest.mark.parametrize("whose", ["all", "children"])
async def test_every_call_of_describe_stream_takes_its_turn_of_the_fleets_budget(
    whose: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the later pages of a joint listing, which waits for its first page's turn itself, and a page asked again."""
    turns = 0
    acquire = RateLimit.acquire

    async def counted(limit: RateLimit) -> None:
        nonlocal turns
        turns += 1
        await acquire(limit)

    monkeypatch.setattr(RateLimit, "acquire", counted)
    listing = Listing("dynamodb", *([BROKEN] if whose == "all" else []))
    async with listing.source.open():
        if whose == "all":
            await listing.source.list_shards(listing.stream)
        else:
            await listing.source.children(listing.stream, NAMES[0])
    assert len(listing.asked) > 1
    assert turns == len(listing.asked)
