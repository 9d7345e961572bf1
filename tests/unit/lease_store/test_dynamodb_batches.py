"""Batches under every fault: of the whole request, of one statement under HTTP 200, of an endpoint that takes none."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest

from lease_store import verbs
from lease_store.errors import (
    LeaseStoreError,
    LeaseTableAccessDenied,
    LeaseTableCredentials,
    LeaseTableMissing,
    LeaseTableThrottled,
    LeaseTableUnreachable,
)
from lease_store.item import to_item
from lease_store.lease import Lease
from lease_store.partiql import render_statement
from lease_store.store import Applied, Refused, Unknown
from tests.unit.lease_store.scripted_server import (
    Answer,
    Bench,
    error,
    hang_up,
    ok,
    raw,
    reset,
    silence,
)

LEASES = [Lease(key=f"shard-{number}", counter=7, owner="w1") for number in range(3)]
RENEWED = [replace(lease, counter=8) for lease in LEASES]
RENEW = [verbs.as_seen(verbs.renew(lease, "w1"), lease) for lease in LEASES]
STOOD = [{"TableName": "leases", "Item": to_item(lease)} for lease in RENEWED]
APPLIED = [Applied(lease) for lease in RENEWED]
BATCH, GETS = "BatchExecuteStatement", "BatchGetItem"


def answers(*responses: Any) -> Answer:
    return ok(Responses=list(responses))


def failed(code: str, **more: Any) -> dict[str, Any]:
    return {"Error": {"Code": code, "Message": "because", **more}, "TableName": "leases"}


async def renew(bench: Bench, seconds: float = 5.0) -> list[Any]:
    results: list[Any] = await bench.store.write_many(RENEW, timeout_seconds=seconds)
    return results


async def test_all_go_in_one_request_with_conditions_and_rows_asked_for(bench: Bench) -> None:
    bench.server.will(BATCH, answers(*STOOD))
    assert await renew(bench) == APPLIED
    (request,) = bench.server.asked_for(BATCH)
    assert request["Statements"] == [render_statement(write, "leases") for write in RENEW]
    assert request["Statements"][0] == {
        "Statement": 'UPDATE "leases" SET "leaseCounter" = ? WHERE "leaseKey" = ? AND "leaseCounter" = ? '
        'AND "leaseOwner" = ? AND "checkpointOwner" IS MISSING AND "checkpoint" = ? RETURNING ALL NEW *',
        "Parameters": [{"N": "8"}, {"S": "shard-0"}, {"N": "7"}, {"S": "w1"}, {"S": "TRIM_HORIZON"}],
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


UNKNOWN = {
    "connection closed after the request": hang_up,
    "connection reset after the request": reset,
    "body cut": raw(200, b'{"Respo', content_length=500, close=True),
    "internal error": error(500, "InternalServerError"),
    "bad gateway": raw(502, b"<html>bad gateway</html>"),
    "request time-out": error(408, "RequestTimeoutException"),
    "not JSON": raw(200, b"<html>welcome to the hotel</html>"),
    "no answers": ok(),
    "an answer too few": answers(*STOOD[:2]),
    "an answer too many": answers(*STOOD, STOOD[0]),
}


@pytest.mark.parametrize("answer", UNKNOWN.values(), ids=UNKNOWN)
async def test_a_batch_without_a_usable_reply_leaves_all_its_leases_unknown(bench: Bench, answer: Answer) -> None:
    bench.server.will(BATCH, answer)
    results = await renew(bench)
    assert [type(each) for each in results] == [Unknown] * 3, results
    assert "renew of shard-2" in results[2].reason
    assert len(bench.server.asked_for(BATCH)) == 1, "sent once"
    assert bench.store.most_together == 25


async def test_no_reply_in_time_leaves_all_unknown(bench: Bench) -> None:
    bench.server.will(BATCH, silence)
    assert [type(each) for each in await renew(bench, 0.05)] == [Unknown] * 3


NOT_APPLIED = {
    "throttled": (error(400, "ProvisionedThroughputExceededException"), LeaseTableThrottled),
    "too many requests": (error(429, "Whatever"), LeaseTableThrottled),
    "bad signature": (error(400, "InvalidSignatureException"), LeaseTableCredentials),
    "no table": (error(400, "ResourceNotFoundException"), LeaseTableMissing),
}


@pytest.mark.parametrize(("answer", "kind"), NOT_APPLIED.values(), ids=NOT_APPLIED)
async def test_a_batch_refused_as_a_whole_was_not_applied(
    bench: Bench, answer: Answer, kind: type[LeaseStoreError]
) -> None:
    bench.server.will(BATCH, answer)
    with pytest.raises(kind):
        await renew(bench)
    assert bench.store.most_together == 25


async def test_a_batch_that_could_not_be_sent_was_not_applied(bench: Bench) -> None:
    bench.server.will(BATCH, hang_up)
    await renew(bench)  # no connection is left in the pool
    bench.server.stop_listening()
    with pytest.raises(LeaseTableUnreachable):
        await renew(bench)


STATEMENTS: dict[str, tuple[Any, type[Any], str]] = {
    "throttled": (failed("ThrottlingError"), LeaseTableThrottled, "nothing was written"),
    "throughput": (failed("ProvisionedThroughputExceeded"), LeaseTableThrottled, "rate"),
    "request limit": (failed("RequestLimitExceeded"), LeaseTableThrottled, "rate"),
    "held by a transaction": (failed("TransactionConflict"), LeaseTableThrottled, "try again"),
    "no table": (failed("ResourceNotFound"), LeaseTableMissing, "does not exist"),
    "too large": (failed("ItemCollectionSizeLimitExceeded"), LeaseStoreError, "nothing was written"),
    "internal error": (failed("InternalServerError"), Unknown, "renew of shard-1"),
    "an error of no known name": (failed("Whatever"), Unknown, "Whatever"),
    "refused with the row": (failed("ConditionalCheckFailed", Item=to_item(LEASES[1])), Refused, ""),
}


@pytest.mark.parametrize(("answer", "kind", "said"), STATEMENTS.values(), ids=STATEMENTS)
async def test_a_statement_that_fails_under_http_200_is_judged_as_a_single_write_and_costs_no_other(
    bench: Bench, answer: Any, kind: type[Any], said: str
) -> None:
    bench.server.will(BATCH, answers(STOOD[0], answer, STOOD[2]))
    first, second, third = await renew(bench)
    assert [first, third] == [APPLIED[0], APPLIED[2]]
    assert type(second) is kind, second
    assert said in (second.reason if isinstance(second, Unknown) else str(second))
    assert bench.store.most_together == 25
    assert bench.server.asked_for("UpdateItem") == []


async def test_a_refusal_without_a_row_is_read(bench: Bench) -> None:
    bench.server.will(BATCH, answers(failed("ConditionalCheckFailed"), STOOD[1], failed("ConditionalCheckFailed")))
    bench.server.will("GetItem", ok(Item=to_item(RENEWED[0])), ok())
    results = await renew(bench)
    assert results[1] == APPLIED[1]
    assert {str(results[0]), str(results[2])} == {str(Refused(RENEWED[0])), str(Refused(None))}


async def test_a_refusal_without_a_row_that_can_not_be_read_is_unknown(bench: Bench) -> None:
    bench.server.will(BATCH, answers(failed("ConditionalCheckFailed"), *STOOD[1:]))
    bench.server.will("GetItem", error(400, "ResourceNotFoundException"))
    results = await renew(bench)
    assert type(results[0]) is Unknown
    assert results[1:] == APPLIED[1:]


DENIED = "User: u is not authorized to perform: dynamodb:PartiQLUpdate on resource: leases"
TAKES_NONE = {
    "denied as a whole": (error(400, "AccessDeniedException", DENIED), 3, "dynamodb:PartiQLUpdate"),
    "denied without a word": (error(400, "AccessDeniedException"), 3, "dynamodb:PartiQLUpdate"),
    "denied by statement": (answers(failed("AccessDenied"), *STOOD[1:]), 1, "dynamodb:PartiQLUpdate"),
    "not understood as a whole": (error(400, "ValidationException"), 3, "one by one"),
    "no such operation": (error(400, "UnknownOperationException"), 3, "one by one"),
    "not understood by statement": (answers(STOOD[0], failed("ValidationError"), STOOD[2]), 1, "one by one"),
}


@pytest.mark.parametrize(("answer", "again", "said"), TAKES_NONE.values(), ids=TAKES_NONE)
async def test_where_batches_are_not_taken_leases_are_renewed_one_by_one_for_good(
    bench: Bench, answer: Answer, again: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """In the same call for those that were refused: none of their time is lost."""
    caplog.set_level(logging.WARNING)
    bench.server.will(BATCH, answer)
    # The row comes back by name, whichever of the concurrent requests is answered first.
    bench.server.will("UpdateItem", ok(Attributes=to_item(RENEWED[0])))
    results = await renew(bench)
    assert all(isinstance(each, Applied) for each in results)
    assert len(bench.server.asked_for("UpdateItem")) == again
    assert bench.store.most_together == 1
    await renew(bench)
    assert len(bench.server.asked_for(BATCH)) == 1
    assert len(bench.server.asked_for("UpdateItem")) == again + 3
    (line,) = [record.getMessage() for record in caplog.records]
    assert said in line


ITS_OWN_FAULT = {
    "denied": (failed("AccessDenied"), error(400, "AccessDeniedException"), LeaseTableAccessDenied),
    "not understood": (failed("ValidationError"), error(400, "ValidationException"), LeaseStoreError),
    "nobody knows": (failed("ValidationError"), hang_up, Unknown),
}


@pytest.mark.parametrize(("answer", "alone", "kind"), ITS_OWN_FAULT.values(), ids=ITS_OWN_FAULT)
async def test_a_statement_that_is_refused_by_itself_as_well_costs_no_other_lease_its_company(
    bench: Bench, answer: Any, alone: Answer, kind: type[Any], caplog: pytest.LogCaptureFixture
) -> None:
    """One row that a policy keeps from this worker, or that no write fits, is none of the others' business."""
    caplog.set_level(logging.WARNING)
    bench.server.will(BATCH, answers(STOOD[0], answer, STOOD[2]))
    bench.server.will("UpdateItem", alone)
    first, second, third = await renew(bench)
    assert [first, third] == [APPLIED[0], APPLIED[2]]
    assert isinstance(second, kind)
    assert len(bench.server.asked_for("UpdateItem")) == 1
    assert bench.store.most_together == 25
    assert caplog.records == []


async def test_a_statement_that_is_refused_alone_by_its_row_could_have_been_so_in_company(bench: Bench) -> None:
    bench.server.will(BATCH, answers(STOOD[0], failed("ValidationError"), STOOD[2]))
    bench.server.will("UpdateItem", error(400, "ConditionalCheckFailedException", Item=to_item(RENEWED[1])))
    assert (await renew(bench))[1] == Refused(RENEWED[1])
    assert bench.store.most_together == 1


async def test_where_replies_lack_the_rows_it_is_unknown_once_and_one_by_one_from_then_on(bench: Bench) -> None:
    bench.server.will(BATCH, answers(*({"TableName": "leases"} for _ in LEASES)))
    bench.server.will("UpdateItem", ok(Attributes=to_item(RENEWED[0])))
    assert [type(each) for each in await renew(bench)] == [Unknown] * 3
    assert [type(each) for each in await renew(bench)] == [Applied] * 3


# -- reading

KEYS = [lease.key for lease in LEASES]
LEFT = {"leases": {"Keys": [{"leaseKey": {"S": "shard-2"}}], "ConsistentRead": True}}


def rows(*leases: Lease, left: Any = None) -> Answer:
    return ok(Responses={"leases": [to_item(lease) for lease in leases]}, UnprocessedKeys=left or {})


async def test_rows_come_by_one_consistent_request_in_any_order(bench: Bench) -> None:
    bench.server.will(GETS, rows(*reversed(LEASES)))
    assert await bench.store.read_many(KEYS) == LEASES
    assert [each["RequestItems"]["leases"]["ConsistentRead"] for each in bench.server.asked_for(GETS)] == [True]


async def test_what_was_left_out_is_asked_for_again_consistently(bench: Bench) -> None:
    bench.server.will(GETS, rows(*LEASES[:2], left=LEFT), rows(LEASES[2]))
    assert await bench.store.read_many(KEYS) == LEASES
    assert bench.server.asked_for(GETS)[1]["RequestItems"] == LEFT


async def test_what_is_left_out_again_and_again_is_no_missing_row(bench: Bench) -> None:
    bench.server.will(GETS, rows(*LEASES[:2], left=LEFT))
    with pytest.raises(LeaseTableThrottled, match="left out rows"):
        await bench.store.read_many(KEYS)
    assert 2 < len(bench.server.asked_for(GETS)) < 10


async def test_that_a_row_is_gone_is_believed_of_a_read_for_it_alone(bench: Bench) -> None:
    """A reply of another shape, of a proxy say, must not look like a table without rows."""
    bench.server.will(GETS, ok())
    bench.server.will("GetItem", ok())
    assert await bench.store.read_many(KEYS) == [None] * 3
    assert len(bench.server.asked_for("GetItem")) == 3


async def test_without_the_right_rows_are_read_one_by_one_for_good(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.server.will(GETS, error(400, "AccessDeniedException"))
    bench.server.will("GetItem", ok(Item=to_item(LEASES[0])))
    assert await bench.store.read_many(KEYS) == [LEASES[0]] * 3
    assert await bench.store.read_many(KEYS) == [LEASES[0]] * 3
    assert len(bench.server.asked_for(GETS)) == 1
    (line,) = [record.getMessage() for record in caplog.records]
    assert "dynamodb:BatchGetItem" in line


async def test_a_batch_of_reads_that_fails_reads_nothing(bench: Bench) -> None:
    bench.server.will(GETS, error(400, "ResourceNotFoundException"))
    with pytest.raises(LeaseTableMissing):
        await bench.store.read_many(KEYS)
