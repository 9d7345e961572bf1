"""The DynamoDB front against unmodified boto3 clients: every operation, every error, every view type."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from consumer.clock import SystemClock
from consumer.testing.server_thread import StreamServerThread
from consumer.testing.stream_rules import Staleness, StreamOptions

ONCE = Config(retries={"total_max_attempts": 1}, read_timeout=10)


class ShiftedClock(SystemClock):
    """The machine's clock, moved forward when told."""

    shift = 0.0

    def wall(self) -> float:
        return super().wall() + self.shift


def client(server: StreamServerThread, service: str) -> Any:
    keys = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
    return boto3.client(service, endpoint_url=server.endpoint_url, region_name="eu-west-1", config=ONCE, **keys)


@pytest.fixture
def clock() -> ShiftedClock:
    return ShiftedClock()


@pytest.fixture
def server(clock: ShiftedClock) -> Iterator[StreamServerThread]:
    with StreamServerThread(clock=clock) as running:
        yield running


@pytest.fixture
def streams(server: StreamServerThread) -> Any:
    return client(server, "dynamodbstreams")


def only_shard(streams: Any, arn: str) -> str:
    (shard,) = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]
    return str(shard["ShardId"])


def read(streams: Any, arn: str, shard: str, kind: str = "TRIM_HORIZON", **where: Any) -> dict[str, Any]:
    place = streams.get_shard_iterator(StreamArn=arn, ShardId=shard, ShardIteratorType=kind, **where)
    reply: dict[str, Any] = streams.get_records(ShardIterator=place["ShardIterator"])
    return reply


def refused(code: str) -> Any:
    return pytest.raises(ClientError, match=rf"\({code}\)")


def test_a_table_names_its_stream_and_the_stream_its_table(server: StreamServerThread, streams: Any) -> None:
    arn = server.create_table("orders", {"pk": "S", "version": "N"})
    table = client(server, "dynamodb").describe_table(TableName="orders")["Table"]
    assert table["LatestStreamArn"] == arn
    assert table["LatestStreamLabel"] == arn.partition("/stream/")[2]
    assert table["StreamSpecification"] == {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    assert table["AttributeDefinitions"][1] == {"AttributeName": "version", "AttributeType": "N"}
    described = streams.describe_stream(StreamArn=arn)["StreamDescription"]
    assert (described["TableName"], described["StreamStatus"]) == ("orders", "ENABLED")
    assert described["KeySchema"][1] == {"AttributeName": "version", "KeyType": "RANGE"}
    assert described["Shards"][0].keys() == {"ShardId", "SequenceNumberRange"}
    (listed,) = streams.list_streams(TableName="orders")["Streams"]
    assert listed == {"StreamArn": arn, "TableName": "orders", "StreamLabel": table["LatestStreamLabel"]}


def test_streams_are_listed_in_pages(server: StreamServerThread, streams: Any) -> None:
    arns = sorted(server.create_table(f"t{n}x") for n in range(5))
    first = streams.list_streams(Limit=3)
    rest = streams.list_streams(Limit=3, ExclusiveStartStreamArn=first["LastEvaluatedStreamArn"])
    assert [each["StreamArn"] for each in first["Streams"] + rest["Streams"]] == arns
    assert "LastEvaluatedStreamArn" not in rest


def test_changes_arrive_as_insert_modify_and_remove(server: StreamServerThread, streams: Any) -> None:
    arn = server.create_table("orders")
    old, new = {"pk": "a", "total": 1}, {"pk": "a", "total": Decimal("2.5"), "tags": {"x", "y"}, "raw": b"\x00\xff"}
    numbers = [
        server.put_item("orders", new_image=old),
        server.put_item("orders", old_image=old, new_image=new),
        server.put_item("orders", old_image=new, ttl=True),
    ]
    records = read(streams, arn, only_shard(streams, arn))["Records"]
    assert [record["eventName"] for record in records] == ["INSERT", "MODIFY", "REMOVE"]
    assert [record["dynamodb"]["SequenceNumber"] for record in records] == numbers
    insert, modify, remove = (record["dynamodb"] for record in records)
    assert insert["NewImage"] == {"pk": {"S": "a"}, "total": {"N": "1"}}
    assert "OldImage" not in insert
    assert modify["OldImage"] == insert["NewImage"]
    assert modify["NewImage"]["raw"] == {"B": b"\x00\xff"}
    assert modify["NewImage"]["total"] == {"N": "2.5"}
    assert "NewImage" not in remove
    assert records[2]["userIdentity"] == {"Type": "Service", "PrincipalId": "dynamodb.amazonaws.com"}
    assert "userIdentity" not in records[1]
    assert insert["ApproximateCreationDateTime"].microsecond == 0
    # pk + a (3) as the key; pk + a (3), total + 1 (5 + 2) as the image.
    assert insert["SizeBytes"] == 3 + 3 + 7
    assert len({record["eventID"] for record in records}) == 3


@pytest.mark.parametrize(
    ("view_type", "images"),
    [
        ("KEYS_ONLY", set()),
        ("NEW_IMAGE", {"NewImage"}),
        ("OLD_IMAGE", {"OldImage"}),
        ("NEW_AND_OLD_IMAGES", {"NewImage", "OldImage"}),
    ],
)
def test_the_view_type_decides_on_images(
    server: StreamServerThread, streams: Any, view_type: str, images: set[str]
) -> None:
    arn = server.create_table("orders", view_type=view_type)
    server.put_item("orders", old_image={"pk": {"S": "a"}}, new_image={"pk": {"S": "a"}, "n": {"N": "1"}})
    (record,) = read(streams, arn, only_shard(streams, arn))["Records"]
    assert record["dynamodb"].keys() & {"NewImage", "OldImage"} == images
    assert record["dynamodb"]["StreamViewType"] == view_type
    assert record["eventName"] == "MODIFY"


def test_shards_are_described_in_pages_of_a_hundred(server: StreamServerThread, streams: Any) -> None:
    arn = server.create_table("orders", shard_count=150)
    first = streams.describe_stream(StreamArn=arn)["StreamDescription"]
    last = first["LastEvaluatedShardId"]
    rest = streams.describe_stream(StreamArn=arn, ExclusiveStartShardId=last)["StreamDescription"]
    assert (len(first["Shards"]), len(rest["Shards"])) == (100, 50)
    assert last == first["Shards"][-1]["ShardId"]
    assert "LastEvaluatedShardId" not in rest
    assert len({shard["ShardId"] for shard in first["Shards"] + rest["Shards"]}) == 150


def test_c87_a_split_shard_ends_with_its_tail_and_names_its_children(server: StreamServerThread, streams: Any) -> None:
    arn = server.create_table("orders")
    parent = only_shard(streams, arn)
    for n in range(40):
        server.put_item("orders", new_image={"pk": f"k{n}"})
    children = set(server.split("orders"))
    page = read(streams, arn, parent)
    assert len(page["Records"]) == 40
    assert "NextShardIterator" not in page
    children_filter = {"Type": "CHILD_SHARDS", "ShardId": parent}
    found = streams.describe_stream(StreamArn=arn, ShardFilter=children_filter)["StreamDescription"]["Shards"]
    assert {shard["ShardId"] for shard in found} == children
    assert {shard["ParentShardId"] for shard in found} == {parent}
    for n in range(40):
        server.put_item("orders", new_image={"pk": f"k{n}"})
    held = [len(read(streams, arn, child)["Records"]) for child in children]
    assert sum(held) == 40
    assert min(held) > 0


def test_c87_every_iterator_type_is_known(server: StreamServerThread, streams: Any, clock: ShiftedClock) -> None:
    arn = server.create_table("orders")
    shard = only_shard(streams, arn)
    numbers = [server.put_item("orders", new_image={"pk": "a", "n": 0})]
    clock.shift = 60.0
    numbers += [server.put_item("orders", new_image={"pk": "a", "n": n}) for n in (1, 2)]

    def sequences(kind: str, **where: Any) -> list[str]:
        records = read(streams, arn, shard, kind, **where)["Records"]
        return [record["dynamodb"]["SequenceNumber"] for record in records]

    assert sequences("TRIM_HORIZON") == numbers
    assert sequences("LATEST") == []
    assert sequences("AT_SEQUENCE_NUMBER", SequenceNumber=numbers[1]) == numbers[1:]
    assert sequences("AFTER_SEQUENCE_NUMBER", SequenceNumber=numbers[1]) == numbers[2:]
    assert sequences("AT_TIMESTAMP", Timestamp=datetime.now(UTC) + timedelta(seconds=30)) == numbers[1:]


def test_an_open_shard_goes_on_from_its_own_iterators(server: StreamServerThread, streams: Any) -> None:
    arn = server.create_table("orders")
    page = read(streams, arn, only_shard(streams, arn), "LATEST")
    for n in range(3):
        server.put_item("orders", new_image={"pk": "a", "n": n})
        page = streams.get_records(ShardIterator=page["NextShardIterator"])
        assert [record["dynamodb"]["NewImage"]["n"] for record in page["Records"]] == [{"N": str(n)}]


def test_errors_come_with_the_codes_of_the_service(
    server: StreamServerThread, streams: Any, clock: ShiftedClock
) -> None:
    arn = server.create_table("orders")
    shard = only_shard(streams, arn)
    old = server.put_item("orders", new_image={"pk": "a"})
    place = {"StreamArn": arn, "ShardId": shard}
    token = streams.get_shard_iterator(**place, ShardIteratorType="LATEST")["ShardIterator"]
    with refused("ResourceNotFoundException"):
        streams.describe_stream(StreamArn=arn + "9")
    with refused("ResourceNotFoundException"):
        streams.get_shard_iterator(
            StreamArn=arn, ShardId="shardId-" + "0" * 20 + "-00000000", ShardIteratorType="LATEST"
        )
    with refused("ResourceNotFoundException"):
        client(server, "dynamodb").describe_table(TableName="nobody")
    with refused("ValidationException"):
        streams.get_shard_iterator(**place, ShardIteratorType="AFTER_SEQUENCE_NUMBER", SequenceNumber="1" * 21)
    with refused("ValidationException"):
        streams.get_shard_iterator(
            **place, ShardIteratorType="AT_TIMESTAMP", Timestamp=datetime.now(UTC) + timedelta(days=1)
        )
    with refused("ValidationException"):
        streams.get_records(ShardIterator="nonsense")
    with refused("ValidationException"):
        streams.get_records(ShardIterator=token, Limit=1001)
    with refused("ValidationException"):
        streams.describe_stream(StreamArn=arn, Limit=101)
    with refused("UnknownOperationException"):
        client(server, "dynamodb").put_item(TableName="orders", Item={"pk": {"S": "a"}})
    clock.shift = 15 * 60 + 1
    with refused("ExpiredIteratorException"):
        streams.get_records(ShardIterator=token)
    clock.shift = 24 * 3600 + 1
    with refused("TrimmedDataAccessException"):
        streams.get_shard_iterator(**place, ShardIteratorType="AFTER_SEQUENCE_NUMBER", SequenceNumber=old)


def test_disabled_and_enabled_again(server: StreamServerThread, streams: Any, clock: ShiftedClock) -> None:
    first = server.create_table("orders")
    server.put_item("orders", new_image={"pk": "a"})
    server.call(server.server.log.tables.disable, "orders")
    tables = client(server, "dynamodb")
    off = tables.describe_table(TableName="orders")["Table"]
    assert "StreamSpecification" not in off
    assert off["LatestStreamArn"] == first
    described = streams.describe_stream(StreamArn=first)["StreamDescription"]
    assert described["StreamStatus"] == "DISABLED"
    assert "EndingSequenceNumber" in described["Shards"][0]["SequenceNumberRange"]
    second = server.call(lambda: server.server.log.tables.enable("orders").log.arn)
    assert tables.describe_table(TableName="orders")["Table"]["LatestStreamArn"] == second != first
    assert len(read(streams, first, only_shard(streams, first))["Records"]) == 1
    clock.shift = 24 * 3600 + 1
    with refused("ResourceNotFoundException"):
        streams.describe_stream(StreamArn=first)


def test_a_stream_can_be_served_under_the_arn_of_a_real_table(server: StreamServerThread, streams: Any) -> None:
    arn = "arn:aws:dynamodb:us-east-1:123456789012:table/real/stream/2026-01-02T03:04:05.678"
    server.call(server.server.log.attach, arn, ("id",))
    described = streams.describe_stream(StreamArn=arn)["StreamDescription"]
    assert (described["TableName"], described["StreamLabel"]) == ("real", "2026-01-02T03:04:05.678")
    server.put_item("real", new_image={"id": "a"})
    assert len(read(streams, arn, only_shard(streams, arn))["Records"]) == 1
    server.call(server.server.log.tables.disable, "real")
    again = server.call(lambda: server.server.log.tables.enable("real").log.arn)
    assert again.startswith("arn:aws:dynamodb:us-east-1:123456789012:table/real/stream/")


def test_listings_can_lag(server: StreamServerThread, streams: Any) -> None:
    arn = server.create_table("orders")
    server.server.faults.staleness = Staleness(child_late_calls=1)
    server.rotate("orders")
    assert [len(streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]) for _ in range(2)] == [1, 2]
    server.server.faults.staleness = Staleness(end_late_calls=99)
    parent, _ = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]
    assert "EndingSequenceNumber" not in parent["SequenceNumberRange"]


def test_replies_carry_the_servers_date_and_a_request_id(
    server: StreamServerThread, streams: Any, clock: ShiftedClock
) -> None:
    clock.shift = 3600.0
    replies = [streams.list_streams()["ResponseMetadata"] for _ in range(2)]
    date = parsedate_to_datetime(replies[0]["HTTPHeaders"]["date"]).timestamp()
    assert abs(date - clock.wall()) < 5
    assert replies[0]["RequestId"] != replies[1]["RequestId"]


def test_one_connection_serves_many_requests_and_cbor_is_refused(server: StreamServerThread) -> None:
    server.create_table("orders", options=StreamOptions())
    address = urlsplit(server.endpoint_url)
    connections = [http.client.HTTPConnection(address.hostname or "", address.port or 0, timeout=5) for _ in range(2)]
    headers = {"X-Amz-Target": "DynamoDBStreams_20120810.ListStreams", "Content-Type": "application/x-amz-json-1.0"}
    for _ in range(3):
        for connection in connections:
            connection.request("POST", "/", "{}", headers)
            reply = connection.getresponse()
            assert len(json.loads(reply.read())["Streams"]) == 1
            assert reply.getheader("Connection") != "close"
    cbor = {**headers, "Content-Type": "application/x-amz-cbor-1.1"}
    for body, extra, status, text in (
        (b"\xa0", cbor, 415, "CBOR"),
        (b"[1]", headers, 400, "object"),
        (b"{", headers, 400, "SerializationException"),
        (b"{}", {}, 404, "X-Amz-Target"),
    ):
        connections[0].request("POST", "/", body, extra)
        reply = connections[0].getresponse()
        said = reply.read().decode()
        assert reply.status == status
        assert text in said
    for connection in connections:
        connection.close()
