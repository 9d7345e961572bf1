"""The Kinesis front against unmodified boto3 clients: every operation, every filter, every error."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from consumer.clock import SystemClock
from consumer.testing.faults import Fault
from consumer.testing.server_thread import StreamServerThread
from consumer.testing.stream_rules import StreamOptions

TOP = 2**128 - 1


class ShiftedClock(SystemClock):
    """The machine's clock, moved forward when told."""

    shift = 0.0

    def wall(self) -> float:
        return super().wall() + self.shift


@pytest.fixture
def clock() -> ShiftedClock:
    return ShiftedClock()


@pytest.fixture
def server(clock: ShiftedClock) -> Iterator[StreamServerThread]:
    with StreamServerThread(clock=clock) as running:
        yield running


@pytest.fixture
def kinesis(server: StreamServerThread) -> Any:
    return boto3.client(
        "kinesis",
        endpoint_url=server.endpoint_url,
        region_name="eu-west-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=Config(retries={"total_max_attempts": 1}, read_timeout=10),
    )


def refused(code: str) -> Any:
    return pytest.raises(ClientError, match=rf"\({code}\)")


def shards(kinesis: Any, kind: str | None = None, **more: Any) -> list[dict[str, Any]]:
    filtered = {"ShardFilter": {"Type": kind, **more}} if kind else {}
    found: list[dict[str, Any]] = kinesis.list_shards(StreamName="clicks", **filtered)["Shards"]
    return found


def ids(found: list[dict[str, Any]]) -> list[str]:
    return [shard["ShardId"] for shard in found]


def iterator(kinesis: Any, shard: str, kind: str = "TRIM_HORIZON", **where: Any) -> str:
    reply = kinesis.get_shard_iterator(StreamName="clicks", ShardId=shard, ShardIteratorType=kind, **where)
    return str(reply["ShardIterator"])


def test_a_stream_is_created_described_and_deleted(kinesis: Any) -> None:
    kinesis.create_stream(StreamName="clicks", ShardCount=2)
    with refused("ResourceInUseException"):
        kinesis.create_stream(StreamName="clicks", ShardCount=1)
    described = kinesis.describe_stream(StreamName="clicks")["StreamDescription"]
    assert described["StreamStatus"] == "ACTIVE"
    assert described["HasMoreShards"] is False
    assert ids(described["Shards"]) == ["shardId-000000000000", "shardId-000000000001"]
    assert described["Shards"][0]["HashKeyRange"] == {"StartingHashKey": "0", "EndingHashKey": str(TOP // 2)}
    assert described["Shards"][1]["HashKeyRange"]["EndingHashKey"] == str(TOP)
    summary = kinesis.describe_stream_summary(StreamARN=described["StreamARN"])["StreamDescriptionSummary"]
    assert (summary["OpenShardCount"], summary["RetentionPeriodHours"]) == (2, 24)
    assert summary["StreamCreationTimestamp"].microsecond == 0
    assert kinesis.list_streams()["StreamNames"] == ["clicks"]
    kinesis.delete_stream(StreamName="clicks")
    assert kinesis.list_streams()["StreamNames"] == []
    with refused("ResourceNotFoundException"):
        kinesis.describe_stream_summary(StreamName="clicks")


def test_a_stream_made_again_repeats_everything_but_its_creation_time(kinesis: Any) -> None:
    lives = []
    for _ in range(2):
        kinesis.create_stream(StreamName="clicks", ShardCount=1)
        lives.append(kinesis.describe_stream_summary(StreamName="clicks")["StreamDescriptionSummary"])
        lives[-1]["shards"] = ids(shards(kinesis))
        kinesis.delete_stream(StreamName="clicks")
    first, second = lives
    assert (first["StreamARN"], first["shards"]) == (second["StreamARN"], second["shards"])
    assert first["StreamCreationTimestamp"] < second["StreamCreationTimestamp"]
    assert first["StreamId"] != second["StreamId"]


def test_records_are_put_and_read_back(kinesis: Any) -> None:
    kinesis.create_stream(StreamName="clicks", ShardCount=1)
    put = kinesis.put_record(StreamName="clicks", PartitionKey="a", Data=b"\x00one\xff")
    entries = [{"PartitionKey": "ä", "Data": b""}, {"PartitionKey": "c", "Data": b"3", "ExplicitHashKey": str(TOP)}]
    batch = kinesis.put_records(StreamName="clicks", Records=entries)
    assert batch["FailedRecordCount"] == 0
    page = kinesis.get_records(ShardIterator=iterator(kinesis, put["ShardId"]))
    assert [(record["PartitionKey"], record["Data"]) for record in page["Records"]] == [
        ("a", b"\x00one\xff"),
        ("ä", b""),
        ("c", b"3"),
    ]
    numbers = [record["SequenceNumber"] for record in page["Records"]]
    assert numbers == [put["SequenceNumber"], *(entry["SequenceNumber"] for entry in batch["Records"])]
    assert page["MillisBehindLatest"] == 0
    assert abs(page["Records"][0]["ApproximateArrivalTimestamp"].timestamp() - time.time()) < 60
    assert "ChildShards" not in page


def test_keys_and_explicit_hashes_choose_the_shard(kinesis: Any) -> None:
    kinesis.create_stream(StreamName="clicks", ShardCount=2)
    chosen = {
        hash_key: kinesis.put_record(StreamName="clicks", PartitionKey="a", Data=b"x", ExplicitHashKey=str(hash_key))
        for hash_key in (0, TOP // 2, TOP // 2 + 1, TOP)
    }
    assert [reply["ShardId"][-1] for reply in chosen.values()] == ["0", "0", "1", "1"]
    # MD5("a") begins with 0x0c, MD5("b") with 0x92.
    assert kinesis.put_record(StreamName="clicks", PartitionKey="a", Data=b"x")["ShardId"][-1] == "0"
    assert kinesis.put_record(StreamName="clicks", PartitionKey="b", Data=b"x")["ShardId"][-1] == "1"


def test_every_iterator_type_and_how_far_behind_a_page_is(
    server: StreamServerThread, kinesis: Any, clock: ShiftedClock
) -> None:
    kinesis.create_stream(StreamName="clicks", ShardCount=1)
    shard = "shardId-000000000000"
    numbers = [kinesis.put_record(StreamName="clicks", PartitionKey="a", Data=b"x")["SequenceNumber"] for _ in range(3)]

    def read(kind: str, limit: int = 10, **where: Any) -> dict[str, Any]:
        page: dict[str, Any] = kinesis.get_records(ShardIterator=iterator(kinesis, shard, kind, **where), Limit=limit)
        page["numbers"] = [record["SequenceNumber"] for record in page["Records"]]
        return page

    assert read("TRIM_HORIZON")["numbers"] == numbers
    assert read("LATEST")["numbers"] == []
    assert read("AT_SEQUENCE_NUMBER", StartingSequenceNumber=numbers[1])["numbers"] == numbers[1:]
    assert read("AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=numbers[1])["numbers"] == numbers[2:]
    assert read("AT_TIMESTAMP", Timestamp=datetime.now(UTC) - timedelta(hours=1))["numbers"] == numbers
    clock.shift = 60.0
    assert 55_000 < read("TRIM_HORIZON", limit=1)["MillisBehindLatest"] < 90_000
    assert read("TRIM_HORIZON", limit=3)["MillisBehindLatest"] == 0


def test_a_split_names_its_children_on_the_last_page(kinesis: Any) -> None:
    kinesis.create_stream(StreamName="clicks", ShardCount=1)
    kinesis.put_record(StreamName="clicks", PartitionKey="a", Data=b"x")
    (parent,) = ids(shards(kinesis))
    kinesis.split_shard(StreamName="clicks", ShardToSplit=parent, NewStartingHashKey="1000")
    page = kinesis.get_records(ShardIterator=iterator(kinesis, parent))
    assert len(page["Records"]) == 1
    assert "NextShardIterator" not in page
    assert [(child["ParentShards"], child["HashKeyRange"]) for child in page["ChildShards"]] == [
        ([parent], {"StartingHashKey": "0", "EndingHashKey": "999"}),
        ([parent], {"StartingHashKey": "1000", "EndingHashKey": str(TOP)}),
    ]
    with refused("ResourceInUseException"):
        kinesis.split_shard(StreamName="clicks", ShardToSplit=parent, NewStartingHashKey="2000")


def test_a_merge_has_two_parents_in_the_listing_and_on_both_last_pages(kinesis: Any) -> None:
    kinesis.create_stream(StreamName="clicks", ShardCount=2)
    first, second = ids(shards(kinesis))
    kinesis.merge_shards(StreamName="clicks", ShardToMerge=first, AdjacentShardToMerge=second)
    child = shards(kinesis)[-1]
    assert (child["ParentShardId"], child["AdjacentParentShardId"]) == (first, second)
    for parent in (first, second):
        page = kinesis.get_records(ShardIterator=iterator(kinesis, parent))
        assert [each["ParentShards"] for each in page["ChildShards"]] == [[first, second]]


def test_the_shard_count_is_changed_by_splits_and_merges(kinesis: Any) -> None:
    kinesis.create_stream(StreamName="clicks", ShardCount=3)
    changed = kinesis.update_shard_count(StreamName="clicks", TargetShardCount=2, ScalingType="UNIFORM_SCALING")
    assert (changed["CurrentShardCount"], changed["TargetShardCount"]) == (3, 2)
    ranges = [shard["HashKeyRange"] for shard in shards(kinesis, "AT_LATEST")]
    assert [each["StartingHashKey"] for each in ranges] == ["0", str(TOP // 2 + 1)]
    assert kinesis.describe_stream_summary(StreamName="clicks")["StreamDescriptionSummary"]["OpenShardCount"] == 2


def test_shard_filters(kinesis: Any, clock: ShiftedClock) -> None:
    kinesis.create_stream(StreamName="clicks", ShardCount=1)
    clock.shift = 3600.0
    kinesis.split_shard(StreamName="clicks", ShardToSplit="shardId-000000000000", NewStartingHashKey="1000")
    clock.shift = 7200.0
    kinesis.merge_shards(
        StreamName="clicks", ShardToMerge="shardId-000000000001", AdjacentShardToMerge="shardId-000000000002"
    )

    def last_digits(kind: str | None = None, **more: Any) -> str:
        return "".join(name[-1] for name in ids(shards(kinesis, kind, **more)))

    def ago(hours: float) -> datetime:
        return datetime.fromtimestamp(clock.wall(), UTC) - timedelta(hours=hours)

    assert last_digits() == last_digits("FROM_TRIM_HORIZON") == "0123"
    assert last_digits("AT_LATEST") == "3"
    assert last_digits("AT_TRIM_HORIZON") == "0"
    assert last_digits("AFTER_SHARD_ID", ShardId="shardId-000000000001") == "23"
    assert last_digits("AT_TIMESTAMP", Timestamp=ago(0.5)) == "12"
    assert last_digits("AT_TIMESTAMP", Timestamp=ago(1.5)) == "0"
    assert last_digits("AT_TIMESTAMP", Timestamp=ago(99)) == "0"
    assert last_digits("FROM_TIMESTAMP", Timestamp=ago(0.5)) == "123"
    with refused("InvalidArgumentException"):
        shards(kinesis, "AFTER_SHARD_ID")
    with refused("InvalidArgumentException"):
        shards(kinesis, "AT_TIMESTAMP")
    clock.shift = 7200.0 + 23.5 * 3600
    assert last_digits("AT_TRIM_HORIZON") == "12"
    assert last_digits() == "123"


def test_shards_are_listed_in_pages_that_keep_their_filter_and_expire(kinesis: Any, clock: ShiftedClock) -> None:
    kinesis.create_stream(StreamName="clicks", ShardCount=5)
    kinesis.split_shard(StreamName="clicks", ShardToSplit="shardId-000000000001", NewStartingHashKey=str(TOP // 4))
    found: list[str] = []
    page = kinesis.list_shards(StreamName="clicks", MaxResults=2, ShardFilter={"Type": "AT_LATEST"})
    while True:
        found += ids(page["Shards"])
        if "NextToken" not in page:
            break
        token = page["NextToken"]
        page = kinesis.list_shards(NextToken=token, MaxResults=2)
    assert [name[-1] for name in found] == ["0", "2", "3", "4", "5", "6"]
    with refused("InvalidArgumentException"):
        kinesis.list_shards(NextToken=token[:-8])
    clock.shift = 301.0
    with refused("ExpiredNextTokenException"):
        kinesis.list_shards(NextToken=token)
    described = kinesis.describe_stream(StreamName="clicks", Limit=3)["StreamDescription"]
    assert described["HasMoreShards"] is True
    last = described["Shards"][-1]["ShardId"]
    rest = kinesis.describe_stream(StreamName="clicks", ExclusiveStartShardId=last)["StreamDescription"]
    assert len(rest["Shards"]) == 4


def test_a_stream_can_be_named_by_the_creation_time_it_must_have(kinesis: Any) -> None:
    kinesis.create_stream(StreamName="clicks", ShardCount=1)
    born = kinesis.describe_stream_summary(StreamName="clicks")["StreamDescriptionSummary"]["StreamCreationTimestamp"]
    assert len(kinesis.list_shards(StreamName="clicks", StreamCreationTimestamp=born)["Shards"]) == 1
    with refused("ResourceNotFoundException"):
        kinesis.list_shards(StreamName="clicks", StreamCreationTimestamp=born - timedelta(days=1))


def test_errors_come_with_the_codes_of_the_service(kinesis: Any, clock: ShiftedClock) -> None:
    kinesis.create_stream(StreamName="clicks", ShardCount=2)
    shard = "shardId-000000000000"
    token = iterator(kinesis, shard, "LATEST")
    with refused("ResourceNotFoundException"):
        kinesis.put_record(StreamName="nobody", PartitionKey="a", Data=b"x")
    with refused("ResourceNotFoundException"):
        iterator(kinesis, "shardId-000000000009")
    with refused("InvalidArgumentException"):
        kinesis.list_shards()
    with refused("InvalidArgumentException"):
        kinesis.get_records(ShardIterator="nonsense")
    with refused("InvalidArgumentException"):
        iterator(kinesis, shard, "AT_SEQUENCE_NUMBER", StartingSequenceNumber="1")
    with refused("InvalidArgumentException"):
        iterator(kinesis, shard, "AT_TIMESTAMP", Timestamp=datetime.now(UTC) + timedelta(days=1))
    with refused("InvalidArgumentException"):
        kinesis.split_shard(StreamName="clicks", ShardToSplit=shard, NewStartingHashKey=str(TOP))
    with refused("InvalidArgumentException"):
        kinesis.merge_shards(StreamName="clicks", ShardToMerge=shard, AdjacentShardToMerge=shard)
    with refused("InvalidArgumentException"):
        kinesis.put_record(StreamName="clicks", PartitionKey="a", Data=b"x" * 1_048_576)
    with refused("UnknownOperationException"):
        kinesis.list_stream_consumers(StreamARN="arn:aws:kinesis:eu-west-1:000000000000:stream/clicks")
    clock.shift = 301.0
    with refused("ExpiredIteratorException"):
        kinesis.get_records(ShardIterator=token)
    kinesis.delete_stream(StreamName="clicks")
    kinesis.create_stream(StreamName="clicks", ShardCount=2)
    clock.shift = 0.0
    with refused("ResourceNotFoundException"):
        kinesis.get_records(ShardIterator=token)


def test_streams_change_their_state_in_time(server: StreamServerThread, kinesis: Any, clock: ShiftedClock) -> None:
    server.create_stream("clicks", options=StreamOptions(transition_seconds=600))

    def status() -> str:
        return str(kinesis.describe_stream_summary(StreamName="clicks")["StreamDescriptionSummary"]["StreamStatus"])

    assert status() == "CREATING"
    with refused("ResourceInUseException"):
        kinesis.list_shards(StreamName="clicks")
    clock.shift = 600.0
    assert status() == "ACTIVE"
    kinesis.update_shard_count(StreamName="clicks", TargetShardCount=2, ScalingType="UNIFORM_SCALING")
    assert status() == "UPDATING"
    with refused("ResourceInUseException"):
        kinesis.update_shard_count(StreamName="clicks", TargetShardCount=1, ScalingType="UNIFORM_SCALING")


def test_single_records_of_a_batch_can_be_throttled(server: StreamServerThread, kinesis: Any) -> None:
    server.create_stream("clicks")
    throttled = Fault.error("ProvisionedThroughputExceededException", "PutRecords.Entry", skip=1)
    server.arm(throttled)
    entries = [{"PartitionKey": "a", "Data": b"%d" % n} for n in range(3)]
    reply = kinesis.put_records(StreamName="clicks", Records=entries)
    assert reply["FailedRecordCount"] == 1
    assert reply["Records"][1]["ErrorCode"] == "ProvisionedThroughputExceededException"
    page = kinesis.get_records(ShardIterator=iterator(kinesis, "shardId-000000000000"))
    assert [record["Data"] for record in page["Records"]] == [b"0", b"2"]


def test_more_reads_than_a_shard_allows_are_refused_when_asked_for(server: StreamServerThread, kinesis: Any) -> None:
    server.create_stream("clicks", options=StreamOptions(reads_per_second=1))
    token = iterator(kinesis, "shardId-000000000000")
    kinesis.get_records(ShardIterator=token)
    with refused("ProvisionedThroughputExceededException"):
        kinesis.get_records(ShardIterator=token)
