"""The border under every fault of a network and a service: what is surely not applied raises, all else is Unknown."""

from __future__ import annotations

import asyncio

import pytest

from lease_store import verbs
from lease_store.checkpoint import Checkpoint
from lease_store.errors import (
    LeaseStoreError,
    LeaseTableAccessDenied,
    LeaseTableCredentials,
    LeaseTableMissing,
    LeaseTableThrottled,
    LeaseTableUnavailable,
    LeaseTableUnreachable,
)
from lease_store.item import to_item
from lease_store.lease import Lease, WorkerRow
from lease_store.store import Applied, Refused, Unknown
from tests.unit.lease_store.scripted_server import (
    Answer,
    Bench,
    error,
    hang_up,
    ok,
    raw,
    reset,
    scripted_server,
    silence,
    store_at,
)

LEASE = Lease(key="shard-1", counter=7, owner="w1")
RENEWED = Lease(key="shard-1", counter=8, owner="w1")
RENEW = verbs.renew(LEASE, "w1")
CREATE = verbs.create(LEASE)
DELETE = verbs.delete(LEASE)
OPERATION = {"renew": "UpdateItem", "create": "PutItem", "delete": "DeleteItem"}


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


@pytest.mark.parametrize("reply", [silence, error(400, "AccessDeniedException")], ids=["silence", "denied"])
async def test_a_refusal_whose_row_can_not_be_read_is_unknown(bench: Bench, reply: Answer) -> None:
    """It may be the second copy of a request that was carried twice (lease seed 22: two workers trusted one lease)."""
    bench.server.will("UpdateItem", error(400, "ConditionalCheckFailedException"))
    bench.server.will("GetItem", reply)
    assert isinstance(await bench.store.write(RENEW, timeout_seconds=1.0), Unknown)


async def test_a_write_says_what_it_expects_and_asks_for_both_rows(bench: Bench) -> None:
    bench.server.will("UpdateItem", ok(Attributes=to_item(RENEWED)))
    assert await bench.store.write(RENEW, timeout_seconds=5.0) == Applied(RENEWED)
    (request,) = bench.server.asked_for("UpdateItem")
    assert request["ReturnValues"] == "ALL_NEW"
    assert request["ReturnValuesOnConditionCheckFailure"] == "ALL_OLD"


async def test_an_unreadable_reply_to_a_read_is_not_taken_for_no_row(bench: Bench) -> None:
    """botocore alone would read this page of a hotel's network as an empty reply: no such row, parents done, go on."""
    bench.server.will("GetItem", raw(200, b"<html>welcome</html>"))
    with pytest.raises(LeaseTableUnavailable, match=r"GetItem on lease table leases.*JSON"):
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
        "(checkpointOwner = w1 OR (attribute_not_exists(checkpointOwner) AND leaseOwner = w1)) AND "
        "(attribute_not_exists(checkpoint) OR checkpoint <> SHARD_END)"
    )
    assert plain(request["UpdateExpression"]) == (
        "SET leaseCounter = 8, checkpoint = 99, checkpointSubSequenceNumber = 0, ownerSwitchesSinceCheckpoint = 0 "
        "REMOVE pendingCheckpoint, pendingCheckpointSubSequenceNumber, pendingCheckpointState"
    )
