"""One session for a source and a lease store: each reads replies in its own way, and the session stays the user's."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

from consumer.streams.dynamodb_streams import DynamoDBStreamsSource
from consumer.streams.source import StreamIdentity
from lease_store.dynamodb import DynamoDBLeaseStore
from tests.fuzz.canned import Canned, Reply

ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/orders/stream/2026-01-01T00:00:00.000"
STREAM = StreamIdentity(ARN, ARN, ARN.partition("/stream/")[0])
TABLE = {
    "TableStatus": "ACTIVE",
    "KeySchema": [{"AttributeName": "leaseKey", "KeyType": "HASH"}],
    "AttributeDefinitions": [{"AttributeName": "leaseKey", "AttributeType": "S"}],
}
REPLIES: dict[str, Any] = {
    "DescribeTable": {"Table": TABLE},
    "GetRecords": {"Records": ["no record", {"dynamodb": {"SequenceNumber": "1"}, "eventName": "INSERT"}]},
}


async def test_a_source_and_a_store_opened_at_once_read_each_in_its_own_way_and_leave_their_session_alone() -> None:
    """Each set its parser in the session itself: between two threads either could get the other's, and the user did."""
    canned = Canned()
    canned.reply = lambda operation: Reply(json.dumps(REPLIES[operation]).encode())
    session, credentials = canned.session, canned.session.get_credentials

    async def looked_up() -> Any:
        await asyncio.sleep(0)  # as on an instance with a role: another opens meanwhile
        return await credentials()

    session.get_credentials = looked_up
    parser = session.get_component("response_parser_factory")
    source = DynamoDBStreamsSource("dynamodb:orders", session=session)
    store = DynamoDBLeaseStore("leases", session=session)
    async with AsyncExitStack() as stack:
        await asyncio.gather(*(stack.enter_async_context(each.open()) for each in (source, store)))
        page = await source.read(STREAM, "shard", "iterator", 100)
    assert (len(page.records), page.skipped) == (1, 1)
    assert session.get_component("response_parser_factory") is parser
