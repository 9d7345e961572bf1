"""Runs the example without an account: a local DynamoDB (ministack), a table with a stream, four writes, one worker."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import boto3
from orders import Orders

from consumer import InitialPosition, Worker, WorkerConfig
from consumer.hooks import BatchProcessed, Fact
from consumer.streams import open_source
from consumer.testing.ministack import Ministack
from lease_store import DynamoDBLeaseStore

WRITES = 4


def make_table(dynamodb: Any) -> None:
    """A table whose stream carries both images."""
    dynamodb.create_table(
        TableName="orders",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )


def write(table: Any) -> None:
    """Four changes of two orders."""
    table.put_item(Item={"id": "o-1", "state": "new", "total": 30})
    table.put_item(Item={"id": "o-1", "state": "paid", "total": 30})
    table.put_item(Item={"id": "o-2", "state": "new", "total": 12})
    table.delete_item(Key={"id": "o-2"})


async def consume() -> None:
    """One worker until it has seen the four writes; then it drains, which stores its checkpoint and frees its lease."""
    seen = 0

    def stop_after_all(fact: Fact) -> None:
        nonlocal seen
        if isinstance(fact, BatchProcessed):
            seen += fact.records
            if seen >= WRITES:
                worker.stop()

    config = WorkerConfig(app="orders-audit", initial_position=InitialPosition("TRIM_HORIZON"))
    worker = Worker(
        open_source("dynamodb:orders"), DynamoDBLeaseStore(config.table), Orders, config, hooks=[stop_after_all]
    )
    async with worker:
        await worker.run()


def main() -> None:
    """Everything local is found through botocore's own variables, as everything at AWS is."""
    with Ministack.start() as server:
        os.environ.update(server.environment)
        make_table(boto3.client("dynamodb"))
        write(boto3.resource("dynamodb").Table("orders"))
        asyncio.run(consume())


if __name__ == "__main__":
    main()
