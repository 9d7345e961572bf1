"""What the evidence of a mixed fleet is made of: locks, passages, checkpoints, error lines."""

from __future__ import annotations

import json
from typing import Any

from consumer.testing.proxy import Exchange, ProxiedReply, ProxiedRequest
from tests.integration.kcl.evidence import Reign, Told, passages, reigns, setbacks, unexpected_errors
from tests.integration.kcl.java import error_lines
from tests.integration.kcl.record import kind_of
from tests.integration.ledger import Note

JAVA = {"User-Agent": "aws-sdk-java/2.41.21"}


def told(
    name: str, at: float, operation: str, *, status: int = 200, reply: Any = None, java: bool = True, **fields: Any
) -> Told:
    request = ProxiedRequest("POST", "/", JAVA if java else {}, b"", "dynamodb", operation)
    answer = ProxiedReply(status, {}, json.dumps(reply or {}).encode())
    return name, Exchange(at, request, answer, at, fields=fields)


def lock(name: str, at: float, operation: str, **more: Any) -> Told:
    row = {"leaseKey": {"S": "Leader"}}
    if operation == "PutItem":
        return told(name, at, operation, Item=row, **more)
    return told(name, at, operation, Key=row, **more)


def test_a_reign_lasts_from_the_first_write_of_its_holder_to_the_next_holders_first() -> None:
    exchanges = [
        lock("ada", 1.0, "PutItem"),
        lock("ada", 3.0, "UpdateItem"),
        lock("bob", 4.0, "PutItem", status=400),
        lock("bob", 9.0, "PutItem"),
    ]
    assert reigns(exchanges, 20.0) == [Reign("ada", 1.0, 9.0, 0), Reign("bob", 9.0, 20.0, 0)]


def test_a_released_lock_is_nobodys_until_it_is_taken() -> None:
    exchanges = [lock("ada", 1.0, "PutItem"), lock("ada", 5.0, "DeleteItem"), lock("ada", 8.0, "PutItem")]
    assert reigns(exchanges, 10.0) == [Reign("ada", 1.0, 5.0, 0), Reign("ada", 8.0, 10.0, 0)]


def test_a_run_is_a_whole_scan_by_the_holder_and_a_kcls_other_scans_are_none() -> None:
    legacy = told("ada", 1.0, "PutItem", Item={"key": {"S": "Leader"}})
    exchanges = [
        told("ada", 0.5, "Scan", Segment=0),
        legacy,
        told("ada", 2.0, "Scan", Segment=0),
        told("ada", 2.0, "Scan", Segment=1),
        told("ada", 3.0, "Scan"),
        told("bob", 3.5, "Scan", java=False),
        lock("bob", 4.0, "PutItem"),
        told("bob", 5.0, "Scan", java=False),
        told("bob", 5.1, "Scan", java=False, ExclusiveStartKey={}),
        told("bob", 5.2, "Scan", java=False, TableName="app-WorkerMetricStats"),
    ]
    assert [(each.name, each.runs) for each in reigns(exchanges, 6.0)] == [("ada", 1), ("bob", 1)]


def test_a_passage_is_where_a_shards_records_go_on_elsewhere() -> None:
    notes = [
        Note(1.0, "ada", "record", "s0", 1, 1, "k", 1),
        Note(1.5, "bob", "record", "s1", 1, 1, "l", 1),
        Note(4.0, "bob", "record", "s0", 2, 2, "k", 2),
    ]
    (passage,) = passages(notes)
    assert (passage.giver, passage.receiver, passage.shard_id, passage.silence_seconds) == ("ada", "bob", "s0", 3.0)


def stored(name: str, at: float, sequence: str, sub: int = 0) -> Told:
    updates = {
        "checkpoint": {"Action": "PUT", "Value": {"S": sequence}},
        "checkpointSubSequenceNumber": {"Action": "PUT", "Value": {"N": str(sub)}},
    }
    return told(name, at, "UpdateItem", Key={"leaseKey": {"S": "s0"}}, AttributeUpdates=updates)


def test_a_checkpoint_that_goes_back_is_found_whoever_wrote_it() -> None:
    ours = {"checkpoint": {"S": "9"}, "checkpointSubSequenceNumber": {"N": "0"}}
    row = told("bob", 3.0, "UpdateItem", java=False, Key={"leaseKey": {"S": "s0"}}, reply={"Attributes": ours})
    forward = [stored("ada", 1.0, "TRIM_HORIZON"), stored("ada", 2.0, "9"), row, stored("ada", 4.0, "10")]
    assert setbacks(forward) == []
    (found,) = setbacks([*forward, row])
    assert "by bob" in found
    assert len(setbacks([stored("ada", 1.0, "9", 3), stored("ada", 2.0, "9", 1)])) == 1


def test_a_checkpoint_that_goes_back_in_a_batch_is_found_and_a_refused_one_did_not_go_anywhere() -> None:
    row = {"leaseKey": {"S": "s0"}, "checkpoint": {"S": "8"}, "checkpointSubSequenceNumber": {"N": "0"}}
    in_the_way = {"Error": {"Code": "ConditionalCheckFailed", "Message": "no", "Item": row}}

    def batch(answer: dict[str, Any]) -> Told:
        other = {"Item": row | {"leaseKey": {"S": "s1"}}}
        reply = {"Responses": [other, answer]}
        return told("bob", 2.0, "BatchExecuteStatement", java=False, Statements=[{}, {}], reply=reply)

    (found,) = setbacks([stored("ada", 1.0, "9"), batch({"Item": row})])
    assert found.startswith("s0: ")
    assert "by bob" in found
    assert setbacks([stored("ada", 1.0, "9"), batch(in_the_way)]) == []


def test_only_error_lines_without_another_reason_are_left_and_each_once() -> None:
    log = "12:00:00.000 [main] INFO a - fine\n12:00:01.000 [main] ERROR b.C - bad\n12:00:02.000 [x] ERROR b.C - bad\n"
    assert error_lines(log) == ["b.C - bad", "b.C - bad"]
    assert unexpected_errors({"ada": error_lines(log)}, lambda line: False) == ["ada: b.C - bad"]
    assert unexpected_errors({"ada": error_lines(log)}, lambda line: "bad" in line) == []


def test_a_write_is_named_by_its_shape() -> None:
    counter = {"leaseCounter": {"Value": {"N": "3"}}}
    owner = {"leaseOwner": {"Action": "PUT", "Value": {"S": "ada"}}}
    key = {"leaseKey": {"S": "s0"}}

    def kind(updates: dict[str, Any], expected: dict[str, Any]) -> str | None:
        (_, exchange) = told("ada", 1.0, "UpdateItem", Key=key, AttributeUpdates=updates, Expected=expected)
        return kind_of(exchange)

    assert kind(owner, counter) == "take"
    assert kind(owner | {"ownerSwitchesSinceCheckpoint": {}}, counter) == "steal"
    assert kind(owner, {"leaseOwner": {"Exists": False}}) == "assign"
    assert kind(owner | {"checkpointOwner": {"Action": "PUT"}}, {}) == "start_hand_off"
    assert kind_of(stored("ada", 1.0, "SHARD_END")[1]) == "shard_end"
    assert kind_of(told("ada", 1.0, "PutItem", status=400, Item=key)[1]) is None
