"""What several tests on a real server start from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import boto3
import pytest

from consumer.testing.ministack import Ministack
from lease_store.dynamodb_expressions import create_table_request
from tests.house.tree import ROOT


@pytest.fixture
def dynamodb(ministack: Ministack) -> Iterator[Any]:
    session = boto3.Session("local", "local", region_name="us-east-1")
    client = session.client("dynamodb", endpoint_url=ministack.endpoint_url)
    yield client
    client.close()


@pytest.fixture
def table(dynamodb: Any) -> str:
    """A lease table as two workers of KCL 3.5.1 left it, with their lock, states and metric rows."""
    name = f"app-{uuid4().hex[:8]}"
    dynamodb.create_table(**create_table_request(name))
    for item in json.loads((ROOT / "tests/golden/kcl-3.5.1-tables.json").read_text())["1-two-workers"]:
        dynamodb.put_item(TableName=name, Item=item)
    return name
