"""Every LeaseStore there is, one after the other."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import boto3
import pytest
from aiobotocore.session import AioSession

from lease_store import DynamoDBLeaseStore, MemoryLeaseStore
from tests.contract.bench import Bench, MemoryRows, TableRows


@pytest.fixture(scope="session")
def endpoint_url(request: pytest.FixtureRequest) -> str:
    """The DynamoDB under test: ministack, or by hand the one that LEASEHOLD_DYNAMODB_ENDPOINT names."""
    named = os.environ.get("LEASEHOLD_DYNAMODB_ENDPOINT")
    return named or str(request.getfixturevalue("ministack").endpoint_url)


@pytest.fixture(scope="session")
def raw_client(endpoint_url: str) -> Iterator[Any]:
    client = boto3.client(
        "dynamodb",
        endpoint_url=endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",
    )
    yield client
    client.close()


@pytest.fixture(scope="session")
def session() -> AioSession:
    """One for all tests: it reads the service's model once."""
    session = AioSession()
    session.set_credentials("local", "local")
    return session


@pytest.fixture(params=["memory", pytest.param("dynamodb", marks=pytest.mark.integration)])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    if request.param == "memory":
        memory = MemoryLeaseStore()
        async with memory.open():
            yield Bench(memory, MemoryRows(memory))
        return
    client: Any = request.getfixturevalue("raw_client")
    store = DynamoDBLeaseStore(
        f"leases-{uuid4()}",
        session=request.getfixturevalue("session"),
        region_name="us-east-1",
        endpoint_url=request.getfixturevalue("endpoint_url"),
    )
    rows = TableRows(client, store.name)
    async with store.open():
        yield Bench(store, rows)
    rows.drop()
