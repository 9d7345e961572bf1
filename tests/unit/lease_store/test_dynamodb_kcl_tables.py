"""The tables and the index that a KCL makes, behind a server that refuses, forbids, pages and loses."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from lease_store import (
    LeaderLock,
    Lease,
    LeaseStoreError,
    LeaseTableAccessDenied,
    LeaseTableUnavailable,
    WorkerRow,
    verbs,
)
from lease_store.coordination import coordination_to_item
from lease_store.dynamodb_expressions import owner_index_request
from lease_store.errors import LeaseTableMissing
from lease_store.item import to_item, worker_to_item
from lease_store.store import Applied, Unknown
from tests.golden.recordings import request
from tests.unit.lease_store.scripted_server import (
    ACTIVE,
    Answer,
    Bench,
    ScriptedServer,
    error,
    hang_up,
    ok,
    scripted_server,
    store_at,
)

LOCK = LeaderLock(owner="w1", version="1", duration_seconds=9.0)
LOCK_ROW = coordination_to_item(LOCK, "coordinator")
MISSING = error(400, "ResourceNotFoundException")
DENIED = error(400, "AccessDeniedException", "not authorized to perform: dynamodb:Scan on resource: x")
EMPTY = ok(Items=[])


def by_table(**answers: Answer) -> Answer:
    """One answer for each table whose name ends so, the lease table being ``leases``."""

    def answer(server: ScriptedServer, writer: Any) -> None:
        table = server.requests[-1][1]["TableName"]
        next(each for end, each in answers.items() if table.endswith(end))(server, writer)

    return answer


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


async def test_legacy_tables_that_are_missing_are_not_asked_for_with_every_scan(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.server.will("Scan", MISSING)
    for _ in range(5):
        assert await bench.store.legacy() is None
    assert [asked["TableName"] for asked in bench.server.asked_for("Scan")] == ["leases-CoordinatorState"]
    monkeypatch.setattr("lease_store.dynamodb._ABSENT_SECONDS", 0.0)
    async with scripted_server() as server:
        store = store_at(server.url)
        server.will("Scan", MISSING, MISSING, by_table(State=ok(Items=[LOCK_ROW]), Stats=EMPTY))
        async with store.open():
            assert await store.legacy() is None
            assert await store.legacy() is None
            appeared = await store.legacy()
            assert appeared is not None
            assert appeared.lock == LOCK


async def test_states_are_read_consistently_and_metrics_are_not(bench: Bench) -> None:
    bench.server.will("Scan", by_table(State=ok(Items=[LOCK_ROW]), Stats=EMPTY))
    assert await bench.store.legacy() is not None
    coordinator, metrics = bench.server.asked_for("Scan")
    assert coordinator == {"TableName": "leases-CoordinatorState", "ConsistentRead": True}
    assert metrics == {"TableName": "leases-WorkerMetricStats"}


def lease_row(**fields: Any) -> Any:
    return to_item(Lease(key="shard-1", **fields))


async def test_the_tables_of_an_older_kcl_are_looked_for_under_the_applications_name_too() -> None:
    async with scripted_server() as server:
        store = store_at(server.url, application="audit")
        found = {"audit-CoordinatorState": ok(Items=[LOCK_ROW]), "audit-WorkerMetricStats": EMPTY, "Stats": MISSING}
        server.will("Scan", by_table(leases=ok(Items=[lease_row(entity_type=None)])))
        server.will("PutItem", ok())
        server.will("GetItem", ok(Item=LOCK_ROW))
        async with store.open():
            await store.scan()
            server.will("Scan", by_table(**found, leases=ok(Items=[lease_row(created_at="1")]), State=MISSING))
            await store.scan()  # the last of their leases is gone, and they are not
            legacy = await store.legacy()
            assert legacy is not None
            assert legacy.lock == LOCK
            await store.write_worker(WorkerRow(worker_id="w1", beat=1), "metrics")
            assert await store.read_lock("coordinator") == LOCK
        assert [asked["TableName"] for asked in server.asked_for("PutItem")] == ["audit-WorkerMetricStats"]
        assert [asked["TableName"] for asked in server.asked_for("GetItem")] == ["audit-CoordinatorState"]


@pytest.mark.parametrize("row", [lease_row(entity_type=None, created_at="1"), lease_row()], ids=["ours", "3.5's"])
async def test_where_no_older_kcl_made_a_lease_they_are_another_fleets(row: Any) -> None:
    """A Java application may be called as ours is, and work on a lease table of its own: its lock is not ours."""
    async with scripted_server() as server:
        store = store_at(server.url, application="audit")
        answers = {"audit-CoordinatorState": ok(Items=[LOCK_ROW]), "leases": ok(Items=[row]), "State": MISSING}
        server.will("Scan", by_table(**answers))
        async with store.open():
            await store.scan()
            assert await store.legacy() is None


async def test_tables_may_have_names_of_their_own() -> None:
    async with scripted_server() as server:
        store = store_at(server.url, application="audit", coordinator_table="states", metrics_table="numbers")
        server.will("Scan", EMPTY)
        async with store.open():
            assert await store.legacy() is not None
        assert [asked["TableName"] for asked in server.asked_for("Scan")] == ["states", "numbers"]


async def test_a_table_that_may_not_be_looked_at_is_said_once_and_named(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.server.will("Scan", DENIED)
    for _ in range(3):
        legacy = await bench.store.legacy()
        assert legacy is not None
        assert legacy.denied is not None
        assert "dynamodb:Scan" in legacy.denied
        assert "leases-CoordinatorState" in legacy.denied
    (line,) = warnings(caplog)
    assert "dynamodb:Scan" in line


async def test_a_refusal_is_not_tried_again_with_every_look(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Policies from before there were such tables name none, and accounts count what they refuse."""
    bench.server.will("Scan", DENIED)
    told = [await bench.store.legacy() for _ in range(5)]
    assert all(rows is not None and rows.denied for rows in told)
    assert len(bench.server.asked_for("Scan")) == 1
    monkeypatch.setattr("lease_store.dynamodb._DENIED_SECONDS", 0.0)
    async with scripted_server() as server:
        store = store_at(server.url)
        server.will("Scan", DENIED, by_table(State=ok(Items=[LOCK_ROW]), Stats=EMPTY))
        async with store.open():
            assert await store.legacy() is not None
            allowed = await store.legacy()
        assert allowed is not None
        assert (allowed.denied, allowed.lock) == (None, LOCK)


@pytest.mark.parametrize("which", ["State", "Stats"])
async def test_a_table_that_was_read_once_is_never_taken_for_missing(bench: Bench, which: str) -> None:
    """Else a slip in a policy would move the lock to another table: two leaders."""
    fine = {"State": ok(Items=[LOCK_ROW]), "Stats": EMPTY}
    bench.server.will("Scan", by_table(**fine), by_table(**fine), by_table(**fine | {which: DENIED}))
    assert await bench.store.legacy() is not None
    with pytest.raises(LeaseTableAccessDenied):
        await bench.store.legacy()


@pytest.mark.parametrize("failure", [error(500, "InternalServerError"), ok(Count=1)])
async def test_legacy_rows_are_whole_or_an_error(bench: Bench, failure: Answer) -> None:
    first = ok(Items=[LOCK_ROW], LastEvaluatedKey={"key": {"S": "Leader"}})
    bench.server.will("Scan", first, failure)
    with pytest.raises(LeaseTableUnavailable):
        await bench.store.legacy()


async def test_rows_of_every_page_are_shown(bench: Bench) -> None:
    rows = [worker_to_item(WorkerRow(worker_id=f"w{n}", beat=n), "metrics") for n in range(2)]
    page = ok(Items=rows[:1], LastEvaluatedKey={"wid": {"S": "w0"}})
    bench.server.will("Scan", ok(Items=[LOCK_ROW]), page, ok(Items=rows[1:]))
    legacy = await bench.store.legacy()
    assert legacy is not None
    assert [row.worker_id for row in legacy.workers] == ["w0", "w1"]


# --- the lock ----------------------------------------------------------------------------------------------------

Make = Callable[[], verbs.Write]
LOCK_WRITES: list[Make] = [
    lambda: verbs.acquire_lock(None, LOCK, "coordinator"),
    lambda: verbs.acquire_lock(LOCK, LOCK, "leases"),
    lambda: verbs.heartbeat_lock(LOCK, "2", "leases"),
    lambda: verbs.release_lock(LOCK, "coordinator"),
]


@pytest.mark.parametrize("make", LOCK_WRITES)
async def test_a_lock_write_whose_reply_is_lost_is_unknown_and_tried_once(bench: Bench, make: Make) -> None:
    for operation in ("PutItem", "UpdateItem", "DeleteItem"):
        bench.server.will(operation, hang_up)
    assert isinstance(await bench.store.write(make(), timeout_seconds=5.0), Unknown)
    assert len([asked for asked, _ in bench.server.requests if asked != "DescribeTable"]) == 1


async def test_a_lock_write_that_stands_has_no_lease_to_show(bench: Bench) -> None:
    bench.server.will("PutItem", ok())
    assert await bench.store.write(LOCK_WRITES[0](), timeout_seconds=5.0) == Applied(None)
    (sent,) = bench.server.asked_for("PutItem")
    assert sent["TableName"] == "leases-CoordinatorState"
    assert sent["Item"] == LOCK_ROW


async def test_a_missing_legacy_table_is_named_for_what_it_is(bench: Bench) -> None:
    bench.server.will("PutItem", MISSING)
    with pytest.raises(LeaseTableMissing, match=r"leases-CoordinatorState, which a KCL 3\.0 to 3\.4 keeps"):
        await bench.store.write(LOCK_WRITES[0](), timeout_seconds=5.0)


# --- the index by owner ------------------------------------------------------------------------------------------

NO_INDEX = error(400, "ValidationException", "The table does not have the specified index: LeaseOwnerToLeaseKeyIndex")
BACKFILLING = error(400, "ValidationException", "Cannot read from backfilling global secondary index")


def key(name: str) -> dict[str, Any]:
    return {"leaseKey": {"S": name}, "leaseOwner": {"S": "w1"}}


async def test_keys_of_every_page_come_sorted(bench: Bench) -> None:
    bench.server.will("Query", ok(Items=[key("b")], LastEvaluatedKey=key("b")), ok(Items=[key("a")]))
    assert await bench.store.owned_by("w1") == ("a", "b")
    first, second = bench.server.asked_for("Query")
    assert first["IndexName"] == "LeaseOwnerToLeaseKeyIndex"
    assert second == {**first, "ExclusiveStartKey": key("b")}


@pytest.mark.parametrize("refusal", [NO_INDEX, BACKFILLING, MISSING])
async def test_an_index_that_is_not_there_yet_is_not_asked_for_each_second(bench: Bench, refusal: Answer) -> None:
    bench.server.will("Query", refusal)
    for _ in range(5):
        assert await bench.store.owned_by("w1") is None
    assert len(bench.server.asked_for("Query")) == 1
    bench.server.will("Query", ok(Items=[key("a")]))
    bench.server.will("UpdateTable", ok())
    await bench.store.ensure_owner_index()
    assert await bench.store.owned_by("w1") == ("a",)


async def test_an_index_that_may_not_be_read_is_said_once(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.server.will("Query", error(400, "AccessDeniedException", "not authorized to perform: dynamodb:Query on x"))
    for _ in range(3):
        assert await bench.store.owned_by("w1") is None
    (line,) = warnings(caplog)
    assert "dynamodb:Query" in line


@pytest.mark.parametrize("failure", [error(500, "InternalServerError"), error(400, "ThrottlingException"), hang_up])
async def test_a_query_that_fails_is_no_empty_answer(bench: Bench, failure: Answer) -> None:
    bench.server.will("Query", ok(Items=[key("a")], LastEvaluatedKey=key("a")), failure)
    with pytest.raises(LeaseStoreError):
        await bench.store.owned_by("w1")


def test_the_index_of_an_on_demand_table_is_the_kcls() -> None:
    table = {"TableName": "app7", "BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"}}
    assert owner_index_request(table) == request("kcl-3.5.1", "create_index")


def test_the_index_of_a_provisioned_table_has_the_tables_throughput() -> None:
    units = {"ReadCapacityUnits": 12, "WriteCapacityUnits": 7, "NumberOfDecreasesToday": 0}
    (update,) = owner_index_request({"TableName": "t", "ProvisionedThroughput": units})["GlobalSecondaryIndexUpdates"]
    assert update["Create"]["ProvisionedThroughput"] == {"ReadCapacityUnits": 12, "WriteCapacityUnits": 7}


@pytest.mark.parametrize("status", ["CREATING", "ACTIVE"])
async def test_an_index_that_is_being_made_is_neither_made_again_nor_waited_for(bench: Bench, status: str) -> None:
    bench.server.will("DescribeTable", with_index(status))
    await bench.store.ensure_owner_index()
    assert bench.server.asked_for("UpdateTable") == []
    assert len(bench.server.asked_for("DescribeTable")) == 2  # one of them the start's


def with_index(status: str) -> Answer:
    return ok(Table={"GlobalSecondaryIndexes": [{"IndexName": "LeaseOwnerToLeaseKeyIndex", "IndexStatus": status}]})


@pytest.mark.parametrize(
    "refusal", [error(400, "ResourceInUseException"), error(400, "LimitExceededException")], ids=["in use", "limit"]
)
async def test_who_comes_second_is_satisfied(bench: Bench, refusal: Answer) -> None:
    bench.server.will("UpdateTable", refusal)
    await bench.store.ensure_owner_index()


async def test_a_refusal_counts_as_a_lost_race_only_where_the_index_is_there(bench: Bench) -> None:
    bench.server.will("UpdateTable", error(400, "ValidationException", "duplicate"))
    bench.server.will("DescribeTable", ACTIVE, with_index("CREATING"))
    await bench.store.ensure_owner_index()
    bench.server.will("DescribeTable", ACTIVE)
    with pytest.raises(LeaseStoreError, match="duplicate"):
        await bench.store.ensure_owner_index()


async def test_who_may_not_make_the_index_says_so_once_and_goes_on(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    denied = error(400, "AccessDeniedException", "not authorized to perform: dynamodb:UpdateTable on x")
    bench.server.will("UpdateTable", denied)
    for _ in range(2):
        await bench.store.ensure_owner_index()
    (line,) = warnings(caplog)
    assert "dynamodb:UpdateTable" in line
