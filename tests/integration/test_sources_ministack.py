"""Both sources against a server that nobody of this project wrote."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from aiobotocore.session import get_session

from consumer.own_writes import OwnWrites, check_own_writes
from consumer.record import ViewType
from consumer.streams import DynamoDBRecord, DynamoDBStreamsSource, KinesisRecord, KinesisSource, Position
from consumer.testing.ministack import Ministack

pytestmark = pytest.mark.integration

HORIZON = Position("TRIM_HORIZON")


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, ministack: Ministack) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", ministack.endpoint_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


@pytest.fixture
async def table(settings: None) -> AsyncIterator[tuple[str, Any]]:
    name = f"orders-{uuid.uuid4().hex[:8]}"
    async with get_session().create_client("dynamodb") as client:
        await client.create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        )
        yield name, client


async def test_changes_of_a_real_table_arrive_as_they_were_made(table: tuple[str, Any]) -> None:
    name, client = table
    item = {"pk": {"S": "a"}, "n": {"N": "1.50"}, "tags": {"SS": ["x", "y"]}, "raw": {"B": b"\x00\xff"}}
    await client.put_item(TableName=name, Item=item)
    await client.put_item(TableName=name, Item={"pk": {"S": "a"}, "n": {"N": "2"}})
    await client.delete_item(TableName=name, Key={"pk": {"S": "a"}})
    source = DynamoDBStreamsSource(f"dynamodb:{name}")
    async with source.open():
        stream = await source.resolve()
        assert (stream.enabled, stream.view_type) == (True, ViewType.NEW_AND_OLD_IMAGES)
        (shard,) = (await source.list_shards(stream)).shards
        assert shard.is_open
        assert await source.children(stream, shard.id) == ()
        opened = await source.iterator(stream, shard.id, HORIZON)
        page = await source.read(stream, shard.id, opened.iterator, 1000)
        assert page.next_iterator is not None
        insert, modify, remove = page.records
        assert isinstance(insert, DynamoDBRecord)
        assert isinstance(modify, DynamoDBRecord)
        assert isinstance(remove, DynamoDBRecord)
        assert [each.event_name for each in (insert, modify, remove)] == ["INSERT", "MODIFY", "REMOVE"]
        expected = {"pk": "a", "n": Decimal("1.50"), "tags": {"x", "y"}, "raw": b"\x00\xff"}
        assert (insert.new_image, insert.old_image) == (expected, None)
        assert (modify.new_image, modify.old_image) == ({"pk": "a", "n": Decimal(2)}, expected)
        assert (remove.new_image, remove.keys) == (None, {"pk": "a"})
        assert insert.timestamp is not None
        assert abs(insert.timestamp - time.time()) < 60
        follow = await source.iterator(
            stream, shard.id, Position("AFTER_SEQUENCE_NUMBER", sequence_number=insert.sequence_number)
        )
        rest = await source.read(stream, shard.id, follow.iterator, 1000)
        assert source.data_path == "direct"
        assert [each.sequence_number for each in rest.records] == [modify.sequence_number, remove.sequence_number]


async def test_own_writes_are_told_from_others_by_what_the_table_makes_of_them(table: tuple[str, Any]) -> None:
    name, client = table
    writes = OwnWrites("app")
    place: dict[str, Any] = {"TableName": name, "Key": {"pk": {"S": "a"}}}
    given = {**place, "ExpressionAttributeNames": {"#n": "n"}, "ExpressionAttributeValues": {":n": {"N": "1"}}}
    await client.put_item(TableName=name, Item=writes.item({"pk": {"S": "a"}, "mark": {"S": "x"}}, typed=True))
    await client.update_item(**writes.update(typed=True, UpdateExpression="REMOVE mark SET #n = :n", **given))
    await client.update_item(UpdateExpression="SET #n = #n + :n", **given)
    await client.update_item(**writes.update(typed=True, UpdateExpression="ADD #n :n", **given))
    await client.update_item(**writes.update(typed=True, **place))
    await client.delete_item(**place)
    source = DynamoDBStreamsSource(f"dynamodb:{name}")
    async with source.open():
        stream = await source.resolve()
        check_own_writes(stream)
        (shard,) = (await source.list_shards(stream)).shards
        opened = await source.iterator(stream, shard.id, HORIZON)
        records = (await source.read(stream, shard.id, opened.iterator, 1000)).records
    assert [writes.is_own_write(record) for record in records] == [True, True, False, True, True, False]
    assert not any(OwnWrites("another").is_own_write(record) for record in records)
    assert [record.changed_attributes() for record in records if isinstance(record, DynamoDBRecord)] == [
        {"pk", "mark", writes.attribute},
        {"mark", "n", writes.attribute},
        {"n"},
        {"n", writes.attribute},
        {writes.attribute},
        {"pk", "n", writes.attribute},
    ]


async def test_a_service_without_at_timestamp_is_read_from_the_horizon(table: tuple[str, Any]) -> None:
    name, _ = table
    source = DynamoDBStreamsSource(f"dynamodb:{name}")
    async with source.open():
        stream = await source.resolve()
        (shard,) = (await source.list_shards(stream)).shards
        opened = await source.iterator(stream, shard.id, Position("AT_TIMESTAMP", timestamp=1_795_000_000.5))
        assert opened.drop_before == 1_795_000_000.0


async def test_a_kinesis_stream(settings: None) -> None:
    name = f"clicks-{uuid.uuid4().hex[:8]}"
    async with get_session().create_client("kinesis") as client:
        await client.create_stream(StreamName=name, ShardCount=1)
        await client.get_waiter("stream_exists").wait(StreamName=name, WaiterConfig={"Delay": 1})
        source = KinesisSource(f"kinesis:{name}")
        async with source.open():
            stream = await source.resolve()
            assert stream.enabled
            (shard,) = (await source.list_shards(stream)).shards
            assert shard.hash_range == ("0", str(2**128 - 1))
            await client.put_record(StreamName=name, PartitionKey="k", Data=b"payload")
            opened = await source.iterator(stream, shard.id, HORIZON)
            (record,) = (await source.read(stream, shard.id, opened.iterator, 100)).records
            assert isinstance(record, KinesisRecord)
            assert (record.data, record.partition_key) == (b"payload", "k")
