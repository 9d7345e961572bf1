"""The border under every fault of a network and a service: what is surely not applied raises, all else is Unknown."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from aiobotocore.session import AioSession

from lease_store import verbs
from lease_store.checkpoint import Checkpoint
from lease_store.dynamodb import DynamoDBLeaseStore
from lease_store.errors import (
    LeaseStoreError,
    LeaseTableAccessDenied,
    LeaseTableCredentials,
    LeaseTableMissing,
    LeaseTableThrottled,
    LeaseTableUnavailable,
    LeaseTableUnreachable,
    NotALeaseTable,
)
from lease_store.item import to_item
from lease_store.lease import Lease, WorkerRow
from lease_store.store import Applied, Refused, Unknown
from tests.unit.lease_store.scripted_server import (
    Answer,
    ScriptedServer,
    error,
    hang_up,
    ok,
    raw,
    reset,
    scripted_server,
    silence,
    table,
)

LEASE = Lease(key="shard-1", counter=7, owner="w1")
RENEWED = Lease(key="shard-1", counter=8, owner="w1")
RENEW = verbs.renew(LEASE, "w1")
CREATE = verbs.create(LEASE)
DELETE = verbs.delete(LEASE)
OPERATION = {"renew": "UpdateItem", "create": "PutItem", "delete": "DeleteItem"}


def signed() -> AioSession:
    session = AioSession()
    session.set_credentials("local", "local")
    return session


def store_at(url: str, **options: Any) -> DynamoDBLeaseStore:
    return DynamoDBLeaseStore("leases", session=signed, region_name="us-east-1", endpoint_url=url, **options)


@dataclass
class Bench:
    server: ScriptedServer
    store: DynamoDBLeaseStore


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with scripted_server() as server:
        store = store_at(server.url)
        async with store.open():
            yield Bench(server, store)


UNKNOWN = {
    "connection closed after the request": hang_up,
    "connection reset after the request": reset,
    "body cut": raw(200, b'{"Attri', content_length=500, close=True),
    "internal error": error(500, "InternalServerError"),
    "service unavailable": error(503, "ServiceUnavailable"),
    "bare 500": raw(500, b"oops"),
    "bad gateway": raw(502, b"<html>bad gateway</html>"),
    "request time-out": error(408, "RequestTimeoutException"),
    "a refusal without a name": raw(400, b"<html>no</html>"),
    "not JSON": raw(200, b"<html>welcome to the hotel</html>"),
    "empty body": raw(200, b""),
    "no object": raw(200, b"[1, 2]"),
    "half of an object": raw(200, b'{"Attributes": {"leaseKey"'),
}
NO_ROW = {
    "no Attributes": ok(),
    "null Attributes": ok(Attributes=None),
    "Attributes of another shape": ok(Attributes=[1]),
    "a row without counter": ok(Attributes={"leaseKey": {"S": "shard-1"}}),
    "a row of another shape": ok(Attributes={"leaseKey": {"S": "shard-1"}, "leaseCounter": 8, "checkpoint": None}),
}


@pytest.mark.parametrize("answer", [*UNKNOWN.values(), *NO_ROW.values()], ids=[*UNKNOWN, *NO_ROW])
async def test_an_update_without_a_usable_reply_is_unknown_and_sent_once(bench: Bench, answer: Answer) -> None:
    bench.server.will("UpdateItem", answer)
    result = await bench.store.write(RENEW, timeout_seconds=5.0)
    assert isinstance(result, Unknown), result
    assert "renew" in result.reason or "can't be read" in result.reason
    assert len(bench.server.asked_for("UpdateItem")) == 1


@pytest.mark.parametrize("write", [CREATE, DELETE], ids=["create", "delete"])
@pytest.mark.parametrize("answer", UNKNOWN.values(), ids=UNKNOWN)
async def test_a_create_or_delete_without_a_usable_reply_is_unknown(
    bench: Bench, write: verbs.Write, answer: Answer
) -> None:
    bench.server.will(OPERATION[write.verb], answer)
    assert isinstance(await bench.store.write(write, timeout_seconds=5.0), Unknown)
    assert len(bench.server.asked_for(OPERATION[write.verb])) == 1


async def test_no_reply_in_time_is_unknown(bench: Bench) -> None:
    bench.server.will("UpdateItem", silence)
    result = await bench.store.write(RENEW, timeout_seconds=0.05)
    assert result == Unknown("no reply to renew of shard-1 within 0.05 s")


async def test_a_cancelled_write_is_cancelled_and_the_store_goes_on(bench: Bench) -> None:
    bench.server.will("UpdateItem", silence, ok(Attributes=to_item(RENEWED)))
    bench.server.asked.clear()
    task = asyncio.ensure_future(bench.store.write(RENEW, timeout_seconds=60.0))
    await bench.server.asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await bench.store.write(RENEW, timeout_seconds=5.0) == Applied(RENEWED)


NOT_APPLIED: dict[str, tuple[Answer, type[LeaseStoreError], str]] = {
    "throttled": (error(400, "ProvisionedThroughputExceededException"), LeaseTableThrottled, "UpdateItem.*rate"),
    "throttled on demand": (error(400, "ThrottlingException"), LeaseTableThrottled, "nothing was written"),
    "too many requests": (error(429, "Whatever"), LeaseTableThrottled, "UpdateItem"),
    "held by a transaction": (error(400, "TransactionConflictException"), LeaseTableThrottled, "try again"),
    "denied": (
        error(400, "AccessDeniedException"),
        LeaseTableAccessDenied,
        "dynamodb:UpdateItem on lease table leases",
    ),
    "denied by an organisation": (
        error(400, "AccessDeniedException", "User: u is not authorized to perform: kms:Decrypt on resource: key"),
        LeaseTableAccessDenied,
        "may not kms:Decrypt",
    ),
    "unknown key id": (error(400, "UnrecognizedClientException"), LeaseTableCredentials, "AWS_ACCESS_KEY_ID=local"),
    "bad signature": (error(400, "InvalidSignatureException"), LeaseTableCredentials, "clock"),
    "expired": (error(400, "ExpiredTokenException"), LeaseTableCredentials, "ExpiredTokenException"),
    "table gone": (error(400, "ResourceNotFoundException"), LeaseTableMissing, "leases does not exist"),
    "refused in words": (error(400, "ValidationException", "too big"), LeaseStoreError, "too big.*nothing was written"),
}


@pytest.mark.parametrize(("answer", "kind", "says"), NOT_APPLIED.values(), ids=NOT_APPLIED)
async def test_what_was_surely_not_applied_raises_and_is_sent_once(
    bench: Bench, answer: Answer, kind: type[LeaseStoreError], says: str
) -> None:
    bench.server.will("UpdateItem", answer)
    with pytest.raises(LeaseStoreError, match=says) as caught:
        await bench.store.write(RENEW, timeout_seconds=5.0)
    assert type(caught.value) is kind
    assert len(bench.server.asked_for("UpdateItem")) == 1


async def test_a_refused_connection_means_not_applied() -> None:
    async with scripted_server() as server:
        store = store_at(server.url)
        async with store.open():
            server.will("UpdateItem", hang_up)
            await store.write(RENEW, timeout_seconds=5.0)
            # The listening socket goes while the store is open: the next connection is refused.
            server.stop_listening()
            with pytest.raises(LeaseTableUnreachable, match=rf"{server.url}.*Nothing was written"):
                await store.write(RENEW, timeout_seconds=5.0)
            with pytest.raises(LeaseTableUnreachable):
                await store.write_worker(WorkerRow(worker_id="w1", beat=1))


async def test_a_refusal_carries_the_row(bench: Bench) -> None:
    other = Lease(key="shard-1", counter=9, owner="w2")
    bench.server.will("UpdateItem", error(400, "ConditionalCheckFailedException", Item=to_item(other)))
    assert await bench.store.write(RENEW, timeout_seconds=5.0) == Refused(other)
    assert bench.server.asked_for("GetItem") == []


async def test_where_the_endpoint_sends_no_old_row_a_consistent_read_supplies_it(bench: Bench) -> None:
    other = Lease(key="shard-1", counter=9, owner="w2")
    bench.server.will("UpdateItem", error(400, "ConditionalCheckFailedException"))
    bench.server.will("GetItem", ok(Item=to_item(other)))
    assert await bench.store.write(RENEW, timeout_seconds=5.0) == Refused(other)
    assert [request["ConsistentRead"] for request in bench.server.asked_for("GetItem")] == [True]


async def test_a_refusal_whose_row_can_not_be_read_says_not_applied(bench: Bench) -> None:
    bench.server.will("UpdateItem", error(400, "ConditionalCheckFailedException"))
    bench.server.will("GetItem", silence)
    with pytest.raises(LeaseTableUnavailable, match=r"renew of shard-1 was refused.*Nothing was written"):
        await bench.store.write(RENEW, timeout_seconds=0.2)
    bench.server.will("GetItem", error(400, "AccessDeniedException"))
    with pytest.raises(LeaseTableAccessDenied, match="dynamodb:GetItem"):
        await bench.store.write(RENEW, timeout_seconds=5.0)


async def test_a_write_says_what_it_expects_and_asks_for_both_rows(bench: Bench) -> None:
    bench.server.will("UpdateItem", ok(Attributes=to_item(RENEWED)))
    assert await bench.store.write(RENEW, timeout_seconds=5.0) == Applied(RENEWED)
    (request,) = bench.server.asked_for("UpdateItem")
    assert request["ReturnValues"] == "ALL_NEW"
    assert request["ReturnValuesOnConditionCheckFailure"] == "ALL_OLD"


async def test_an_unreadable_reply_to_a_read_is_not_taken_for_no_row(bench: Bench) -> None:
    """botocore alone would read this page of a hotel's network as an empty reply: no such row, parents done, go on."""
    bench.server.will("GetItem", raw(200, b"<html>welcome</html>"))
    with pytest.raises(LeaseTableUnavailable, match=r"GetItem on lease table leases.*not JSON"):
        await bench.store.read("shard-1")
    bench.server.will("Scan", raw(200, b"<html>welcome</html>"))
    with pytest.raises(LeaseTableUnavailable, match="Scan"):
        await bench.store.scan()
    bench.server.will("PutItem", raw(200, b"<html>welcome</html>"))
    with pytest.raises(LeaseTableUnavailable, match="PutItem"):
        await bench.store.write_worker(WorkerRow(worker_id="w1", beat=1))


async def test_reads_are_tried_again(bench: Bench) -> None:
    bench.server.will("GetItem", hang_up, ok(Item=to_item(LEASE)))
    assert await bench.store.read("shard-1") == LEASE
    assert len(bench.server.asked_for("GetItem")) == 2


async def test_a_scan_returns_all_pages_or_raises(bench: Bench) -> None:
    def page(number: int, *, last: bool = False) -> Answer:
        key = f"shard-{number}"
        more = {} if last else {"LastEvaluatedKey": {"leaseKey": {"S": key}}}
        return ok(Items=[to_item(Lease(key=key))], Count=1, **more)

    bench.server.will("Scan", page(1), page(2), page(3, last=True))
    assert [lease.key for lease in (await bench.store.scan()).leases] == ["shard-1", "shard-2", "shard-3"]
    starts = [request.get("ExclusiveStartKey") for request in bench.server.asked_for("Scan")]
    assert starts == [None, {"leaseKey": {"S": "shard-1"}}, {"leaseKey": {"S": "shard-2"}}]

    bench.server.will("Scan", page(1), error(400, "AccessDeniedException"))
    with pytest.raises(LeaseTableAccessDenied, match="dynamodb:Scan"):
        await bench.store.scan()
    bench.server.will("Scan", page(1), ok(Count=0))
    with pytest.raises(LeaseTableUnavailable, match="no Items"):
        await bench.store.scan()
    bench.server.will("Scan", page(1))
    with pytest.raises(LeaseTableUnavailable, match="does not move past"):
        await bench.store.scan()


async def test_deleting_a_worker_raises_what_is_no_refusal(bench: Bench) -> None:
    bench.server.will("DeleteItem", error(400, "ConditionalCheckFailedException"), error(400, "AccessDeniedException"))
    await bench.store.delete_worker(WorkerRow(worker_id="w1", beat=1))
    with pytest.raises(LeaseTableAccessDenied, match="dynamodb:DeleteItem"):
        await bench.store.delete_worker(WorkerRow(worker_id="w1", beat=1))


# Opening


async def test_a_store_that_is_not_open_here_says_so(bench: Bench) -> None:
    store = store_at(bench.server.url)
    with pytest.raises(RuntimeError, match="leases is not open on this event loop"):
        await store.read("shard-1")
    async with store.open(), store.open():
        pass
    with pytest.raises(RuntimeError, match="not open"):
        await store.write(RENEW, timeout_seconds=1.0)


async def test_a_store_can_be_opened_again_and_by_many_at_once(bench: Bench) -> None:
    store = store_at(bench.server.url)
    bench.server.will("GetItem", ok())
    before = len(bench.server.asked_for("DescribeTable"))

    async def use() -> None:
        async with store.open():
            assert await store.read("shard-1") is None

    await asyncio.gather(*(use() for _ in range(5)))
    await use()
    assert 2 <= len(bench.server.asked_for("DescribeTable")) - before <= 6


async def test_nobody_listening_is_a_sentence_within_seconds() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(LeaseTableUnreachable, match=f"{url}.*leases.*AWS_ENDPOINT_URL_DYNAMODB"):
            async with store_at(url).open():
                raise AssertionError("nothing to open")


async def test_an_endpoint_that_is_no_url_is_a_sentence() -> None:
    with pytest.raises(LeaseStoreError, match="leases has an endpoint that is no URL"):
        async with store_at("not a url").open():
            raise AssertionError("nothing to open")


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")


@pytest.mark.usefixtures("bare_environment")
async def test_no_credentials_says_what_to_set() -> None:
    async with scripted_server() as server:
        local = DynamoDBLeaseStore("leases", region_name="us-east-1", endpoint_url=server.url)
        with pytest.raises(LeaseTableCredentials, match=r"AWS_ACCESS_KEY_ID=local.*AWS_DEFAULT_REGION=us-east-1"):
            async with local.open():
                raise AssertionError("nothing to open")
        assert server.requests == []
    with pytest.raises(LeaseTableCredentials, match="AWS_PROFILE"):
        async with DynamoDBLeaseStore("leases", region_name="us-east-1").open():
            raise AssertionError("nothing to open")


@pytest.mark.usefixtures("bare_environment")
async def test_no_region_says_what_to_set() -> None:
    with pytest.raises(LeaseTableCredentials, match="set AWS_DEFAULT_REGION"):
        async with DynamoDBLeaseStore("leases").open():
            raise AssertionError("nothing to open")


@pytest.mark.usefixtures("bare_environment")
async def test_a_profile_that_does_not_exist_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nowhere")
    with pytest.raises(LeaseTableCredentials, match="nowhere"):
        async with DynamoDBLeaseStore("leases", region_name="us-east-1").open():
            raise AssertionError("nothing to open")


@pytest.mark.usefixtures("bare_environment")
async def test_settings_come_from_botocores_own_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scripted_server() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", server.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        async with DynamoDBLeaseStore("leases").open():
            pass
        assert server.asked_for("DescribeTable") == [{"TableName": "leases"}]


# The table


class Pause:
    """A sleep that returns at once and counts."""

    def __init__(self) -> None:
        self.seconds = 0.0

    async def __call__(self, seconds: float) -> None:
        self.seconds += seconds


GONE = error(400, "ResourceNotFoundException")


async def test_a_missing_table_is_created_and_waited_for() -> None:
    pause = Pause()
    async with scripted_server() as server:
        server.will("DescribeTable", GONE, GONE, table("CREATING"), table("CREATING"), table())
        server.will(
            "CreateTable", ok(TableDescription={"TableStatus": "CREATING"}), error(400, "ResourceInUseException")
        )
        options = {"Tags": [{"Key": "team", "Value": "data"}], "TableName": "other"}
        store = store_at(server.url, sleep=pause, deletion_protection=True, table_options=options)
        async with store.open():
            pass
        assert pause.seconds == 2.0
        assert server.asked_for("CreateTable")[0] == {
            "TableName": "leases",
            "AttributeDefinitions": [{"AttributeName": "leaseKey", "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": "leaseKey", "KeyType": "HASH"}],
            "BillingMode": "PAY_PER_REQUEST",
            "DeletionProtectionEnabled": True,
            "Tags": [{"Key": "team", "Value": "data"}],
        }


async def test_waiting_for_a_table_ends(caplog: pytest.LogCaptureFixture) -> None:
    pause = Pause()
    async with scripted_server() as server:
        server.will("DescribeTable", table("CREATING"))
        with (
            caplog.at_level("INFO", "leasehold.lease_store"),
            pytest.raises(LeaseTableUnavailable, match="leases is CREATING after 10 s"),
        ):
            async with store_at(server.url, sleep=pause, table_wait_seconds=10.0).open():
                raise AssertionError("nothing to open")
    assert pause.seconds == 10.0
    assert [record.getMessage() for record in caplog.records] == [
        "Lease table leases is CREATING; waiting for it (at most 10 s)."
    ] * 2


async def test_without_leave_to_create_a_missing_table_is_an_error() -> None:
    async with scripted_server() as server:
        server.will("DescribeTable", GONE)
        with pytest.raises(LeaseTableMissing, match="create_table"):
            async with store_at(server.url, create_table=False).open():
                raise AssertionError("nothing to open")
        assert server.asked_for("CreateTable") == []


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (table(key="id"), r"id \(S, HASH\)"),
        (table(kind="N"), r"leaseKey \(N, HASH\)"),
        (table(sort_key="at"), r"leaseKey \(S, HASH\), at \(N, RANGE\)"),
    ],
)
async def test_a_table_with_another_key_is_refused_with_the_key_it_has(answer: Answer, found: str) -> None:
    async with scripted_server() as server:
        server.will("DescribeTable", answer)
        with pytest.raises(NotALeaseTable, match=f"its key is {found}, a lease table's is leaseKey"):
            async with store_at(server.url).open():
                raise AssertionError("nothing to open")


@pytest.mark.parametrize("operation", ["DescribeTable", "CreateTable"])
async def test_a_missing_permission_at_the_start_names_its_action(operation: str) -> None:
    async with scripted_server() as server:
        server.will("DescribeTable", GONE)
        server.will(operation, error(400, "AccessDeniedException"))
        with pytest.raises(LeaseTableAccessDenied, match=f"dynamodb:{operation} on lease table leases"):
            async with store_at(server.url).open():
                raise AssertionError("nothing to open")


async def test_a_checkpoint_is_written_in_full(bench: Bench) -> None:
    """One rendered request, spelled out, so that a change of rendering shows itself."""
    after = Lease(key="shard-1", counter=8, owner="w1", checkpoint=Checkpoint("99"))
    bench.server.will("UpdateItem", ok(Attributes=to_item(after)))
    await bench.store.write(verbs.set_checkpoint(LEASE, "w1", Checkpoint("99")), timeout_seconds=5.0)
    (request,) = bench.server.asked_for("UpdateItem")
    names, values = request["ExpressionAttributeNames"], request["ExpressionAttributeValues"]

    def plain(expression: str) -> str:
        for placeholder in sorted(names, key=len, reverse=True):
            expression = expression.replace(placeholder, names[placeholder])
        for placeholder in sorted(values, key=len, reverse=True):
            expression = expression.replace(placeholder, next(iter(values[placeholder].values())))
        return expression

    assert plain(request["ConditionExpression"]) == (
        "attribute_exists(leaseKey) AND leaseCounter = 7 AND "
        "(checkpointOwner = w1 OR (attribute_not_exists(checkpointOwner) AND leaseOwner = w1))"
    )
    assert plain(request["UpdateExpression"]) == (
        "SET leaseCounter = 8, checkpoint = 99, checkpointSubSequenceNumber = 0, ownerSwitchesSinceCheckpoint = 0 "
        "REMOVE pendingCheckpoint, pendingCheckpointSubSequenceNumber, pendingCheckpointState"
    )
