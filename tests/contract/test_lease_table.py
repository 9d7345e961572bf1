"""The lease table on a real server: made once however many ask, refused where it is something else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from aiobotocore.session import AioSession

from lease_store import DynamoDBLeaseStore, Lease, LeaseTableMissing, NotALeaseTable, verbs

pytestmark = pytest.mark.integration

Make = Callable[..., DynamoDBLeaseStore]


@pytest.fixture
def make(endpoint_url: str, session: AioSession) -> Make:
    name = f"leases-{uuid4()}"

    def store(**options: Any) -> DynamoDBLeaseStore:
        return DynamoDBLeaseStore(name, session=session, region_name="us-east-1", endpoint_url=endpoint_url, **options)

    return store


async def test_racing_workers_share_one_table(make: Make, raw_client: Any) -> None:
    stores = [make() for _ in range(5)]

    async def work(store: DynamoDBLeaseStore, key: str) -> None:
        async with store.open():
            await store.write(verbs.create(Lease(key=key)), timeout_seconds=10.0)

    await asyncio.gather(*(work(store, f"shard-{n}") for n, store in enumerate(stores)))
    async with stores[0].open():
        assert len((await stores[0].scan()).leases) == 5
    table = raw_client.describe_table(TableName=stores[0].name)["Table"]
    assert table["KeySchema"] == [{"AttributeName": "leaseKey", "KeyType": "HASH"}]
    assert table["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    assert table.get("GlobalSecondaryIndexes", []) == []
    assert not table.get("DeletionProtectionEnabled")


async def test_deletion_protection_is_an_option(make: Make, raw_client: Any) -> None:
    store = make(deletion_protection=True)
    async with store.open():
        assert raw_client.describe_table(TableName=store.name)["Table"]["DeletionProtectionEnabled"] is True


async def test_nothing_is_created_without_leave(make: Make, raw_client: Any) -> None:
    store = make(create_table=False)
    with pytest.raises(LeaseTableMissing, match=store.name):
        async with store.open():
            raise AssertionError("nothing to open")
    assert store.name not in raw_client.list_tables()["TableNames"]


async def test_a_table_of_another_kind_is_named_and_left_alone(make: Make, raw_client: Any) -> None:
    store = make()
    raw_client.create_table(
        TableName=store.name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "order", "AttributeType": "N"}],
        KeySchema=[{"AttributeName": "order", "KeyType": "HASH"}],
    )
    with pytest.raises(NotALeaseTable, match=r"order \(N, HASH\)"):
        async with store.open():
            raise AssertionError("nothing to open")


async def test_a_table_that_vanishes_in_use_is_missing(make: Make, raw_client: Any) -> None:
    store = make()
    async with store.open():
        raw_client.delete_table(TableName=store.name)
        with pytest.raises(LeaseTableMissing):
            await store.write(verbs.create(Lease(key="s")), timeout_seconds=10.0)
        with pytest.raises(LeaseTableMissing):
            await store.read("s")
        with pytest.raises(LeaseTableMissing):
            await store.scan()
