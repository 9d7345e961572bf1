"""The IAM policy allows all that a worker asks for beside a KCL, and the first one all that a group by itself needs."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import uuid4

import pytest

from consumer.clock import SystemClock
from consumer.config import InitialPosition, WorkerConfig
from consumer.processor import RecordProcessor
from consumer.testing.http_faults import error_body
from consumer.testing.memory_source import MemoryRecordSource
from consumer.testing.ministack import Ministack
from consumer.testing.proxy import Exchange, ProxiedReply, ProxiedRequest, Proxy
from consumer.testing.service_error import ServiceError
from consumer.testing.shard_log import ShardLog
from consumer.worker import Outcome, Worker
from lease_store.coordination import ClientVersion, coordination_to_item
from lease_store.dynamodb import DynamoDBLeaseStore
from tests.integration.policy import Policy
from tests.integration.table_writes import table_of

pytestmark = pytest.mark.integration

CLOCK = SystemClock()
TABLES = "arn:aws:dynamodb:us-east-1:000000000000:table/"
FIRST = {"FindTheStreamOfTheTable", "ReadTheStreamOfTheTable", "ReadTheKinesisStream", "KeepTheLeases"}
"""The statements of 0.1.0, which knew no KCL."""


class Reads(RecordProcessor):
    """Reads, and does nothing with it."""

    async def process_records(self, records: Any, checkpointer: Any) -> None:
        return None


def make_older_tables(dynamodb: Any, app: str) -> None:
    """What a KCL 3.0 to 3.4 makes beside its lease table when it first starts, but for the lease table's own rows."""
    for suffix, key in (("CoordinatorState", "key"), ("WorkerMetricStats", "wid")):
        dynamodb.create_table(
            TableName=f"{app}-{suffix}",
            KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
    row = ClientVersion(state="CLIENT_VERSION_3X", modified_by="java-1", modified_at_ms=1, entity_type=None)
    dynamodb.put_item(TableName=f"{app}-CoordinatorState", Item=coordination_to_item(row, "coordinator"))


async def calls_of_two(ministack: Ministack, monkeypatch: pytest.MonkeyPatch, app: str) -> list[Exchange]:
    """Everything that a leader and one that follows it ask of DynamoDB, from their starts to their ends."""
    for name, value in ministack.environment.items():
        monkeypatch.setenv(name, value)
    log = ShardLog(CLOCK.wall)
    log.create_table("orders")
    log.put_item("orders", new_image={"pk": "a"})
    config = WorkerConfig(
        app=app, initial_position=InitialPosition("TRIM_HORIZON"), coordination="leader", failover_seconds=2.0
    )
    async with Proxy(ministack.endpoint_url) as proxy:

        def worker() -> Worker:
            store = DynamoDBLeaseStore(app, endpoint_url=proxy.endpoint_url, application=app)
            return Worker(MemoryRecordSource(log, "dynamodb:orders", clock=CLOCK), store, Reads, config)

        async with CLOCK.timeout(40.0), worker() as leader:
            leads = asyncio.ensure_future(leader.run())
            while not leader.status().coordination.planned_seconds_ago or not leader.status().records_processed:
                assert not leads.done()
                await CLOCK.sleep(0.1)
            async with worker() as follower:
                follows = asyncio.ensure_future(follower.run())
                await CLOCK.sleep(2.5)  # a heartbeat, a renewal, a look at the index and at everything
                assert leader.status().coordination.is_leader
                for one, running in ((leader, leads), (follower, follows)):
                    one.stop()
                    assert await running is Outcome.CLEAN
        # In a small table a look is as quick; in a large one workers ask the index between looks.
        index = DynamoDBLeaseStore(app, endpoint_url=proxy.endpoint_url)
        async with index.open():
            await index.owned_by("anybody")
        return list(proxy.exchanges)


async def test_a_leader_and_its_follower_need_no_right_beyond_the_policy(
    ministack: Ministack, monkeypatch: pytest.MonkeyPatch, dynamodb: Any
):
    app = f"app-{uuid4().hex[:8]}"
    make_older_tables(dynamodb, app)
    calls = await calls_of_two(ministack, monkeypatch, app)
    policy = Policy({"REGION": "us-east-1", "ACCOUNT": "000000000000", "LEASE_TABLE": app, "APP": app})
    assert {policy.lacks(call, tables=TABLES) for call in calls} == {None}
    # The evidence is worth something: one led, where the layout says, and had the index made.
    asked = {(call.request.operation, table_of(call)) for call in calls}
    locks, metrics = f"{app}-CoordinatorState", f"{app}-WorkerMetricStats"
    assert {("PutItem", locks), ("UpdateItem", locks), ("DeleteItem", locks), ("PutItem", metrics)} <= asked
    assert {("UpdateTable", app), ("Query", app)} <= asked


def guard(endpoint_url: str, policy: Policy, refused: list[str]) -> Proxy:
    """Calls that the policy does not allow come back as AWS would refuse them, and are noted."""

    def judged(request: ProxiedRequest, reply: ProxiedReply) -> ProxiedReply:
        lacking = policy.lacks(Exchange(0.0, request, fields=json.loads(request.body)), tables=TABLES)
        if lacking is None:
            return reply
        refused.append(lacking)
        error = ServiceError("AccessDeniedException", f"User x is not authorized to perform: {lacking}")
        return ProxiedReply(error.status, {"Content-Type": "application/x-amz-json-1.0"}, error_body(error))

    return Proxy(endpoint_url, alter_reply=judged)


async def test_c89_a_group_without_a_kcl_goes_on_under_the_first_versions_policy(
    ministack: Ministack, monkeypatch: pytest.MonkeyPatch
):
    """What is asked beyond it, for a KCL's sake, is refused: once each, and nothing depends on it."""
    for name, value in ministack.environment.items():
        monkeypatch.setenv(name, value)
    app = f"app-{uuid4().hex[:8]}"
    policy = Policy({"REGION": "us-east-1", "ACCOUNT": "000000000000", "LEASE_TABLE": app, "APP": app}, sids=FIRST)
    refused: list[str] = []
    log = ShardLog(CLOCK.wall)
    log.create_table("orders")
    log.put_item("orders", new_image={"pk": "a"})
    config = WorkerConfig(app=app, initial_position=InitialPosition("TRIM_HORIZON"), failover_seconds=2.0)
    async with guard(ministack.endpoint_url, policy, refused) as proxy:

        def worker() -> Worker:
            store = DynamoDBLeaseStore(app, endpoint_url=proxy.endpoint_url, application=app)
            return Worker(MemoryRecordSource(log, "dynamodb:orders", clock=CLOCK), store, Reads, config)

        async with CLOCK.timeout(40.0), worker() as one, worker() as other:
            runs = [asyncio.ensure_future(each.run()) for each in (one, other)]
            while one.status().records_processed + other.status().records_processed < 1:
                assert not any(run.done() for run in runs)
                await CLOCK.sleep(0.1)
            one.stop()
            assert await runs[0] is Outcome.CLEAN
            before = other.status().records_processed
            log.put_item("orders", new_image={"pk": "a"})
            while other.status().records_processed == before:
                assert not runs[1].done()
                await CLOCK.sleep(0.1)
            other.stop()
            assert await runs[1] is Outcome.CLEAN
    assert refused == [f"dynamodb:Scan of {TABLES}{app}-CoordinatorState"] * 2
