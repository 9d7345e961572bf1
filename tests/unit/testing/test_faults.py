"""Faults as a plan: what fits, how often, with which probability; and replies made malformed."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from consumer.testing.faults import Call, Fault, FaultKind, FaultPlan, Mangling
from consumer.testing.mangling import mangle
from consumer.testing.stream_rules import FRESH, Staleness

ARN = "arn:aws:dynamodb:eu-west-1:000000000000:table/orders/stream/2026-01-01T00:00:00.000"
READ = Call("dynamodbstreams", "GetRecords", ARN, "shard-1")
PAGE: dict[str, Any] = {
    "Records": [
        {"eventID": "1", "dynamodb": {"SequenceNumber": "1", "NewImage": {"pk": {"S": "a"}}}},
        {"eventID": "2", "dynamodb": {"SequenceNumber": "2", "NewImage": {"pk": {"S": "b"}}}},
    ],
    "NextShardIterator": "next",
}


def hits(plan: FaultPlan, count: int, call: Call = READ) -> list[bool]:
    return [plan.take(call) is not None for _ in range(count)]


def test_a_fault_acts_so_many_times_after_letting_some_pass() -> None:
    plan = FaultPlan()
    plan.arm(Fault.error("ThrottlingException", "GetRecords", times=2, skip=1))
    assert hits(plan, 5) == [False, True, True, False, False]
    assert plan.armed == ()
    assert plan.calls == {"GetRecords": 5}
    assert plan.fired == {"error": 2}


def test_a_fault_without_a_count_acts_until_cleared() -> None:
    plan = FaultPlan()
    plan.arm(Fault.drop(times=None))
    plan.staleness = Staleness(child_late_calls=1)
    assert hits(plan, 3) == [True, True, True]
    plan.clear()
    assert hits(plan, 1) == [False]
    assert plan.staleness == FRESH


@pytest.mark.parametrize(
    ("fault", "fits"),
    [
        (Fault.drop(), True),
        (Fault.drop("GetRecords"), True),
        (Fault.drop("DescribeStream"), False),
        (Fault.drop(service="kinesis"), False),
        (Fault.drop(shard_id="shard-1"), True),
        (Fault.drop(shard_id="shard-2"), False),
        (Fault.drop(stream="orders"), True),
        (Fault.drop(stream=ARN), True),
        (Fault.drop(stream="order"), False),
        (Fault.drop(detail="AT_TIMESTAMP"), False),
    ],
)
def test_a_fault_fits_by_all_that_it_names(fault: Fault, fits: bool) -> None:
    assert fault.fits(READ) is fits


def test_a_kinesis_stream_is_named_by_arn_or_name() -> None:
    by_arn = Call("kinesis", "GetRecords", "arn:aws:kinesis:eu-west-1:000000000000:stream/clicks")
    assert Fault.drop(stream="clicks").fits(by_arn)
    assert Fault.drop(stream="clicks").fits(Call("kinesis", "ListShards", "clicks"))
    assert not Fault.drop(stream="icks").fits(by_arn)


def test_the_first_fault_that_fits_acts() -> None:
    plan = FaultPlan()
    plan.arm(Fault.drop("ListShards"), Fault.delay(3.0, "GetRecords"), Fault.drop("GetRecords"))
    assert [fault.kind for fault in (plan.take(READ), plan.take(READ)) if fault] == [FaultKind.DELAY, FaultKind.DROP]


def test_probabilities_repeat_with_their_seed() -> None:
    runs = []
    for _ in range(2):
        plan = FaultPlan(random.Random(7))
        plan.arm(Fault.error("InternalServerError", times=None, probability=0.3))
        runs.append(hits(plan, 200))
    assert runs[0] == runs[1]
    assert 30 < sum(runs[0]) < 90


def test_the_busiest_second_is_found() -> None:
    instants = [0.0, 0.4, 0.9, 1.3, 1.39, 5.0]
    plan = FaultPlan(now=iter(instants).__next__)
    for _ in instants:
        plan.take(Call("dynamodbstreams", "DescribeStream"))
    assert plan.busiest(["DescribeStream"]) == 4
    assert plan.busiest(["DescribeStream"], 0.5) == 3
    assert plan.busiest(["ListShards"]) == 0


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "error", "code": "AccessDeniedException", "operation": "GetRecords", "times": None},
        {"kind": "malformed", "mangling": "null", "path": "Records"},
    ],
)
def test_faults_come_from_json(values: dict[str, Any]) -> None:
    fault = Fault.from_mapping(values)
    assert {name: getattr(fault, name) for name in values} == values


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"code": "x"}, "kind"),
        ({"kind": "drop", "tims": 3}, "tims"),
        ({"kind": "explode"}, "explode"),
        ({"kind": "drop", "probability": 1.5}, "probability"),
        ({"kind": "drop", "times": 0}, "times"),
        ({"kind": "malformed"}, "mangling"),
        ({"kind": "malformed", "mangling": "missing"}, "path"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused_by_name(values: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Fault.from_mapping(values)


# -- malformed replies


def mangled(mangling: Mangling, path: str = "", token: str | None = None) -> Any:
    return json.loads(mangle(PAGE, Fault.malformed(mangling, path=path), token))


def test_a_field_is_missing_or_null_wherever_the_path_leads() -> None:
    assert mangled(Mangling.MISSING, "Records").keys() == {"NextShardIterator"}
    assert mangled(Mangling.NULL, "Records")["Records"] is None
    assert mangled(Mangling.NULL, "Records.*")["Records"] == [None, None]
    assert mangled(Mangling.MISSING, "Records.0")["Records"] == PAGE["Records"][1:]
    assert [
        each["dynamodb"].keys() for each in mangled(Mangling.MISSING, "Records.*.dynamodb.SequenceNumber")["Records"]
    ] == [
        {"NewImage"},
        {"NewImage"},
    ]
    first, second = mangled(Mangling.NULL, "Records.1.dynamodb")["Records"]
    assert (first, second["dynamodb"]) == (PAGE["Records"][0], None)
    assert mangled(Mangling.MISSING, "Nothing.Here") == PAGE


def test_unknown_fields_are_everywhere_but_in_items() -> None:
    reply = mangled(Mangling.UNKNOWN_FIELDS)
    assert "LeaseholdUnknown" in reply
    assert "LeaseholdUnknown" in reply["Records"][0]["dynamodb"]
    assert reply["Records"][0]["dynamodb"]["NewImage"] == {"pk": {"S": "a"}}


@pytest.mark.parametrize("mangling", [Mangling.NOT_RECORDS, Mangling.NOT_STRUCTURES])
def test_impostors_stand_among_the_records_and_the_records_stay(mangling: Mangling) -> None:
    records = mangled(mangling)["Records"]
    assert [each for each in records if each in PAGE["Records"]] == PAGE["Records"]
    assert len(records) > len(PAGE["Records"])


def test_an_empty_page_stands_still_and_loses_nothing() -> None:
    assert mangled(Mangling.EMPTY_PAGE, token="here") == {"Records": [], "NextShardIterator": "here"}


def test_not_json_is_not_json_and_the_reply_itself_is_never_changed() -> None:
    before = json.dumps(PAGE)
    with pytest.raises(json.JSONDecodeError):
        mangled(Mangling.NOT_JSON)
    for mangling in Mangling:
        mangle(PAGE, Fault.malformed(mangling, path="Records.*"))
    assert json.dumps(PAGE) == before
