"""Whatever a stream's API answers: understood, or refused with an error of ours; no hang, no crash, no silent skip."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.errors import LeaseholdError, PositionRefused
from consumer.streams.dynamodb_streams import DynamoDBStreamsSource
from consumer.streams.kinesis import KinesisSource
from consumer.streams.source import Opened, Page, Position, RecordSource, Shard, ShardListing, StreamIdentity
from tests.fuzz.canned import CannedBench, NoWaitClock, Reply, outcome
from tests.fuzz.mutations import iterators, replies, sequence_numbers

ARN = "arn:aws:dynamodb:eu-west-1:1:table/orders/stream/2026-11-20T08:00:00.000"
KINESIS_ARN = "arn:aws:kinesis:eu-west-1:1:stream/orders"
SHARD = "shardId-00000001800000000000-aaaaaaaa"


def _change(number: int) -> dict[str, Any]:
    return {
        "eventID": f"e{number}",
        "eventName": "MODIFY",
        "dynamodb": {
            "ApproximateCreationDateTime": 1_795_000_000,
            "Keys": {"id": {"S": "a"}},
            "NewImage": {"id": {"S": "a"}, "n": {"N": str(number)}, "b": {"B": "AP8="}},
            "SequenceNumber": str(10**20 + number),
            "SizeBytes": 10,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        },
    }


def _arrival(number: int) -> dict[str, Any]:
    return {"SequenceNumber": str(10**50 + number), "Data": "AP8=", "PartitionKey": "k"}


def _shard(number: int, **more: Any) -> dict[str, Any]:
    numbers = {"StartingSequenceNumber": str(number)}
    return {"ShardId": f"shardId-0000000180000000000{number}-aaaaaaaa", "SequenceNumberRange": numbers, **more}


RANGE = {"HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": str(2**128 - 1)}}
SOUND: dict[str, dict[str, dict[str, Any]]] = {
    "dynamodb": {
        "DescribeTable": {"Table": {"LatestStreamArn": ARN, "TableStatus": "ACTIVE"}},
        "DescribeStream": {
            "StreamDescription": {
                "StreamArn": ARN,
                "StreamStatus": "ENABLED",
                "StreamViewType": "NEW_AND_OLD_IMAGES",
                "Shards": [_shard(1), _shard(2, ParentShardId=_shard(1)["ShardId"])],
            }
        },
        "GetShardIterator": {"ShardIterator": "i" * 40},
        "GetRecords": {"Records": [_change(1), _change(2), _change(3)], "NextShardIterator": "next"},
    },
    "kinesis": {
        "DescribeStreamSummary": {
            "StreamDescriptionSummary": {
                "StreamName": "orders",
                "StreamARN": KINESIS_ARN,
                "StreamStatus": "ACTIVE",
                "StreamCreationTimestamp": 1_795_000_000.25,
            }
        },
        "ListShards": {"Shards": [_shard(1, **RANGE), _shard(2, ParentShardId=_shard(1)["ShardId"], **RANGE)]},
        "GetShardIterator": {"ShardIterator": "i" * 40},
        "GetRecords": {
            "Records": [_arrival(1), _arrival(2), _arrival(3)],
            "NextShardIterator": "next",
            "MillisBehindLatest": 7,
            "ChildShards": [{"ShardId": "b", "ParentShards": [SHARD], **RANGE}],
        },
    },
}
STREAM = {
    "dynamodb": StreamIdentity(arn=ARN, label=ARN, base=ARN.partition("/stream/")[0]),
    "kinesis": StreamIdentity(arn=KINESIS_ARN, label=f"{KINESIS_ARN}@1795000000.25", base=KINESIS_ARN),
}


class Bench(CannedBench):
    """One source of each service with open clients."""

    def __init__(self) -> None:
        super().__init__()
        self._clock = NoWaitClock()
        for service in SOUND:
            self.open(self._source(service).open())

    def _source(self, service: str) -> RecordSource:
        """A source without memory of other examples; its clients are the first one's."""
        if service == "dynamodb":
            return DynamoDBStreamsSource("dynamodb:orders", session=self.canned.session, clock=self._clock)
        return KinesisSource("kinesis:orders", session=self.canned.session, clock=self._clock)

    def ask(self, service: str, call: Callable[[RecordSource], Awaitable[Any]], answer: Callable[[str], Reply]) -> Any:
        """What the call returns, or the error of ours it raises, which says something; anything else fails."""
        self.canned.calls, self.canned.reply = 0, answer

        async def main() -> Any:
            source = self._source(service)
            async with source.open():
                return await outcome(call(source))

        came = self.run(main())
        assert str(came).strip(), "an error without a sentence"
        return came


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with Bench() as made:
        yield made


def _sound(service: str) -> Callable[[str], Reply]:
    return lambda operation: Reply(json.dumps(SOUND[service][operation]).encode())


def _with(service: str, operation: str, reply: Reply) -> Callable[[str], Reply]:
    sound = _sound(service)
    return lambda asked: reply if asked == operation else sound(asked)


def _is_text(*values: Any) -> bool:
    return all(isinstance(each, str) and each for each in values)


def _is_sound_shard(shard: Shard) -> bool:
    hashes = shard.hash_range is None or all(bound.isdigit() for bound in shard.hash_range)
    return _is_text(shard.id, *shard.parents) and hashes


@pytest.mark.parametrize("service", SOUND)
@given(chance=st.data())
@settings(max_examples=150)
def test_get_records_delivers_or_counts_every_entry(bench: Bench, service: str, chance: st.DataObject) -> None:
    reply, document = chance.draw(replies(SOUND[service]["GetRecords"]))
    answer = bench.ask(
        service,
        lambda source: source.read(STREAM[service], SHARD, "i", 100),
        _with(service, "GetRecords", reply),
    )
    assert bench.canned.calls <= 2
    if isinstance(answer, LeaseholdError):
        return
    assert isinstance(answer, Page)
    assert document is not None, "a page was made of something that is no whole reply"
    entries = document["Records"]
    assert len(answer.records) + answer.skipped == len(entries)
    sound = {_number(each) for each in entries if each in SOUND[service]["GetRecords"]["Records"]}
    assert sound <= {record.sequence_number for record in answer.records}
    for record in answer.records:
        assert record.sequence_number.isdigit()
        assert record.size_bytes >= 0
        _touch(record)
    assert answer.next_iterator is None or _is_text(answer.next_iterator)
    assert all(_is_sound_shard(child) for child in answer.children or ())


def _number(entry: dict[str, Any]) -> str:
    return str(entry.get("dynamodb", entry)["SequenceNumber"])


def _touch(record: Any) -> None:
    """Every property gives a value or says, by a ValueError that names ``record.raw``, that it can't."""
    for name in dir(record):
        if not name.startswith("_"):
            try:
                getattr(record, name)
            except ValueError as error:
                if "record.raw" not in str(error):
                    raise


@pytest.mark.parametrize(
    ("service", "operation"), [("dynamodb", "DescribeStream"), ("kinesis", "ListShards")], ids=["dynamodb", "kinesis"]
)
@pytest.mark.parametrize("asks", ["list_shards", "children"])
@given(chance=st.data())
@settings(max_examples=100)
def test_a_listing_is_whole_or_refused(
    bench: Bench, asks: str, service: str, operation: str, chance: st.DataObject
) -> None:
    sound = SOUND[service][operation]
    reply, document = chance.draw(replies(sound))

    async def call(source: RecordSource) -> Any:
        if service == "kinesis":
            await source.resolve()
        if asks == "children":
            return await source.children(STREAM[service], str(_shard(1)["ShardId"]))
        return await source.list_shards(STREAM[service])

    answer = bench.ask(service, call, _with(service, operation, reply))
    assert bench.canned.calls <= 6
    if isinstance(answer, LeaseholdError):
        return
    assert document is not None
    shards = answer.shards if isinstance(answer, ShardListing) else answer
    assert all(_is_sound_shard(shard) for shard in shards)
    if isinstance(answer, ShardListing):
        entries = document.get("StreamDescription", document)["Shards"]
        assert len(shards) == len(entries)


@pytest.mark.parametrize("tokens", [["a", "b"], ["a", "b", "c"]])
@pytest.mark.parametrize(
    ("service", "operation", "field"),
    [("dynamodb", "DescribeStream", "LastEvaluatedShardId"), ("kinesis", "ListShards", "NextToken")],
)
def test_a_listing_that_goes_round_in_circles_ends(
    bench: Bench, service: str, operation: str, field: str, tokens: list[str]
) -> None:
    sound = SOUND[service][operation]
    pages = [
        {"StreamDescription": {**sound["StreamDescription"], field: token}}
        if service == "dynamodb"
        else {**sound, field: token}
        for token in tokens
    ]
    turn = iter(range(10**9))

    def answer(asked: str) -> Reply:
        if asked != operation:
            return _sound(service)(asked)
        return Reply(json.dumps(pages[next(turn) % len(pages)]).encode())

    assert isinstance(bench.ask(service, lambda source: source.list_shards(STREAM[service]), answer), LeaseholdError)


@pytest.mark.parametrize(
    ("service", "operation"),
    [("dynamodb", "DescribeTable"), ("dynamodb", "DescribeStream"), ("kinesis", "DescribeStreamSummary")],
)
@given(chance=st.data())
@settings(max_examples=100)
def test_an_identity_is_made_of_text(bench: Bench, service: str, operation: str, chance: st.DataObject) -> None:
    reply, _ = chance.draw(replies(SOUND[service][operation]))
    answer = bench.ask(service, lambda source: source.resolve(), _with(service, operation, reply))
    assert isinstance(answer, StreamIdentity | LeaseholdError)
    if isinstance(answer, StreamIdentity):
        assert _is_text(answer.arn, answer.label, answer.base)


POSITIONS = [
    Position("TRIM_HORIZON"),
    Position("AT_TIMESTAMP", timestamp=1_795_000_000.5),
    Position("AFTER_SEQUENCE_NUMBER", sequence_number="9" * 128),
    Position("AT_SEQUENCE_NUMBER", sequence_number="0"),
]


@pytest.mark.parametrize("service", SOUND)
@given(chance=st.data(), position=st.sampled_from(POSITIONS))
@settings(max_examples=100)
def test_an_iterator_is_text_or_refused(bench: Bench, service: str, chance: st.DataObject, position: Position) -> None:
    reply, _ = chance.draw(replies(SOUND[service]["GetShardIterator"]))
    answer = bench.ask(
        service,
        lambda source: source.iterator(STREAM[service], SHARD, position),
        lambda asked: reply if asked == "GetShardIterator" else _sound(service)(asked),
    )
    assert isinstance(answer, Opened | LeaseholdError)
    if isinstance(answer, Opened):
        assert _is_text(answer.iterator)


ASKED_BY = {"dynamodb": "SequenceNumber", "kinesis": "StartingSequenceNumber"}
SHORTEST = {"dynamodb": 21, "kinesis": 1}


@pytest.mark.parametrize("service", SOUND)
@given(number=sequence_numbers, iterator=iterators)
def test_a_sequence_number_and_an_iterator_come_and_go_unchanged_at_any_length(
    bench: Bench, service: str, number: str, iterator: str
) -> None:
    """Kinesis' numbers have more digits than a double, a 64-bit integer or DynamoDB's own numbers keep."""
    entry = _change(1) if service == "dynamodb" else _arrival(1)
    entry.get("dynamodb", entry)["SequenceNumber"] = number
    bodies = {"GetShardIterator": {"ShardIterator": iterator}, "GetRecords": {"Records": [entry]}}
    bodies["GetRecords"]["NextShardIterator"] = iterator

    def answer(asked: str) -> Reply:
        return Reply(json.dumps(bodies.get(asked) or SOUND[service][asked]).encode())

    after = Position("AFTER_SEQUENCE_NUMBER", sequence_number=number)
    opened = bench.ask(service, lambda source: source.iterator(STREAM[service], SHARD, after), answer)
    if len(number) < SHORTEST[service]:
        assert isinstance(opened, PositionRefused)  # botocore knows the least length, and no service sent this one
    else:
        assert opened == Opened(iterator)
        assert bench.canned.asked[ASKED_BY[service]] == number
    page = bench.ask(service, lambda source: source.read(STREAM[service], SHARD, iterator, 100), answer)
    assert bench.canned.asked["ShardIterator"] == page.next_iterator == iterator
    assert [record.sequence_number for record in page.records] == ([number] if len(number) <= 129 else [])
    assert page.skipped == 1 - len(page.records)
