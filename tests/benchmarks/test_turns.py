"""The race itself: real processes over the real canned server, one of which goes wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.benchmarks.canned.places import stream_of
from tests.benchmarks.contenders.registry import COURSES, LIMIT, Contender, Course, Places
from tests.benchmarks.processes import Canned
from tests.benchmarks.turns import Inexact, Pace, Race

pytestmark = pytest.mark.integration

COURSE = replace(COURSES[2], name="short", stream=stream_of("busy-1"))
PACE = Pace(rounds=2, window_seconds=0.1, settle_seconds=0.05)
# It hands over a page a millisecond, and then the same one twice.
DOUBLING = """
import time
from tests.benchmarks.contenders.counting import Slots, from_payload
slots = Slots.from_environment()
for number in [*range(60), 59, *range(60, 10_000)]:
    slots.hand_over(0, [b"%012d" % (10 * number + index) for index in range(10)], from_payload)
    time.sleep(0.002)
"""


def contender(name: str, code: str) -> Contender:
    def command(course: Course, places: Places) -> list[str]:
        return [sys.executable, "-c", code]

    return Contender(name, name, ("payload",), command, warm_cpu_seconds=0.0)


@pytest.fixture
def canned(tmp_path: Path) -> Iterator[Canned]:
    with Canned(tmp_path) as server:
        yield server


def race(canned: Canned, folder: Path, *contenders: Contender, course: Course = COURSE) -> Race:
    return Race(course, contenders, canned, "", folder, PACE)


def test_a_turn_is_from_page_to_page_and_nobody_else_moves_in_it(canned: Canned, tmp_path: Path):
    other = replace(LIMIT, name="other", warm_cpu_seconds=0.0)
    with race(canned, tmp_path, replace(LIMIT, warm_cpu_seconds=0.0), other) as running:
        running.run()
        still, runner = running._runners  # the first has been standing for a whole turn
        runner.child.go_on()
        before = (still.slots.total(), still.child.cpu_seconds())
        runner.edge()
        assert (still.slots.total(), still.child.cpu_seconds()) == before
    assert {name: len(turns) for name, turns in running.turns.items()} == {"limit": 2, "other": 2}
    for turns in running.turns.values():
        assert all(turn.records and turn.records % 1000 == 0 and turn.cpu_seconds > 0 for turn in turns)


def test_a_doubled_record_of_ours_ends_the_race(canned: Canned, tmp_path: Path):
    ours = replace(contender("doubling", DOUBLING), data_path="direct")
    with race(canned, tmp_path, ours) as running:
        running._runners[0].page = None  # it has none
        with pytest.raises(Inexact, match="doubling"):
            running.run()


def test_another_that_doubles_a_record_leaves_the_race_with_the_turns_it_had(canned: Canned, tmp_path: Path):
    limit = replace(LIMIT, warm_cpu_seconds=0.0)
    with race(canned, tmp_path, contender("doubling", DOUBLING), limit) as running:
        running.pace = Pace(rounds=8, window_seconds=0.02, settle_seconds=0.01)
        running.run()
        assert [runner.contender.name for runner in running._runners] == ["limit"]
    assert "left in round" in running.left["doubling"]
    assert 0 < len(running.turns["doubling"]) < len(running.turns["limit"]) == 8


def test_a_contender_that_ends_is_named_with_its_last_words(canned: Canned, tmp_path: Path):
    dying = contender("dying", "raise SystemExit('no more')")
    with pytest.raises(RuntimeError, match=r"(?s)dying ended.*no more"), race(canned, tmp_path, dying):
        raise AssertionError("it was not noticed")


class _Limiting:
    """A server that was busy all the time."""

    def __init__(self, canned: Canned) -> None:
        self.url = canned.url
        self._asked = 0

    def counts(self) -> dict[str, Any]:
        self._asked += 1
        return {
            "seconds": self._asked,
            "cpu_seconds": 0.5 * self._asked,
            "waiting_seconds": 0.4 * self._asked,
            "lease_writes": 0,
        }


def test_turns_in_which_the_server_was_the_limit_are_thrown_away(canned: Canned, tmp_path: Path):
    limiting: Any = _Limiting(canned)
    with race(limiting, tmp_path, replace(LIMIT, warm_cpu_seconds=0.0)) as running:
        with pytest.raises(RuntimeError, match="the server was the limit"):
            running.run()
        assert not running.turns["limit"]
        assert running.rejected["limit"] > 1


def test_boto3_reads_what_the_canned_server_says(canned: Canned):
    """Botocore's own parsers: a reply that only our reader understood would flatter us."""
    settings = {"endpoint_url": canned.url, "region_name": "us-east-1"}
    secrets = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
    kinesis, streams, tables = (
        boto3.client(name, **settings, **secrets) for name in ("kinesis", "dynamodbstreams", "dynamodb")
    )
    listed = kinesis.get_paginator("list_shards").paginate(StreamName="idle-1500")
    assert len([shard for page in listed for shard in page["Shards"]]) == 1500
    begun = kinesis.get_shard_iterator(
        StreamName="busy-2", ShardId="shardId-000000000001", ShardIteratorType="TRIM_HORIZON"
    )
    pages = [kinesis.get_records(ShardIterator=begun["ShardIterator"])]
    pages.append(kinesis.get_records(ShardIterator=pages[0]["NextShardIterator"]))
    numbers = [int(record["Data"][:12]) for page in pages for record in page["Records"]]
    assert numbers == list(range(2000))
    arn = tables.describe_table(TableName="busy-120")["Table"]["LatestStreamArn"]
    first = streams.describe_stream(StreamArn=arn)["StreamDescription"]
    rest = streams.describe_stream(StreamArn=arn, ExclusiveStartShardId=first["LastEvaluatedShardId"])
    ids = [shard["ShardId"] for each in (first, rest["StreamDescription"]) for shard in each["Shards"]]
    assert len(set(ids)) == 120
    begun = streams.get_shard_iterator(
        StreamArn=arn,
        ShardId=ids[-1],
        ShardIteratorType="AFTER_SEQUENCE_NUMBER",
        SequenceNumber="300000000000000001500",
    )
    page = streams.get_records(ShardIterator=begun["ShardIterator"])
    assert [record["dynamodb"]["NewImage"]["n"]["N"] for record in page["Records"]] == [
        str(100_000_000_000 + number) for number in range(1501, 2000)
    ]
    with pytest.raises(kinesis.exceptions.ResourceNotFoundException, match="no stream"):
        kinesis.list_shards(StreamName="orders")
    for client in (kinesis, streams, tables):
        client.close()
