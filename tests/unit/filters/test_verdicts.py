"""What a filter says of a batch: every record is accounted for, and what can't be judged is named."""

from __future__ import annotations

from typing import Any

import pytest

from consumer.errors import ConfigError
from consumer.filters import Verdicts, compile_filter
from tests.unit.filters.events import change, put

BUY = {"data": {"type": ["buy"]}}
NOT_JSON = [
    b"",
    b"plain",
    b"{",
    b'{"type": "buy"} {}',
    b"\xff\xfe",
    b'{"type": NaN}',
    b"[" * 5000,
    b'\xef\xbb\xbf{"a":1}',
]


def split(told: Any, *records: Any, **settings: Any) -> Verdicts:
    return compile_filter(told, service="kinesis", **settings).split(records)


def test_every_record_is_somewhere():
    verdicts = split(BUY, put({"type": "buy"}), put({"type": "sell"}), put({"type": "buy"}))
    assert verdicts == Verdicts([0, 2], [1])
    assert not verdicts.all_accepted


def test_the_fast_way_for_a_batch_that_is_wanted_as_a_whole():
    verdicts = split(BUY, put({"type": "buy"}), put({"type": "buy"}))
    assert verdicts.accepted == range(2)
    assert verdicts.all_accepted
    assert split(BUY).all_accepted


@pytest.mark.parametrize("data", NOT_JSON)
def test_what_is_not_json_is_delivered_and_named(data):
    verdicts = split(BUY, put({"type": "sell"}), put(data))
    assert list(verdicts.accepted) == [1]
    assert list(verdicts.filtered) == [0]
    assert list(verdicts.undecodable) == [1]


@pytest.mark.parametrize("data", NOT_JSON)
def test_or_dead_lettered_where_that_is_asked_for(data):
    verdicts = split(BUY, put({"type": "buy"}), put(data), put({"type": "sell"}), on_undecodable="dead_letter")
    assert list(verdicts.accepted) == [0]
    assert list(verdicts.filtered) == [2]
    assert {position: failure.kind for position, failure in verdicts.undecodable.items()} == {1: "Undecodable"}
    assert not verdicts.all_accepted


def test_delivered_together_with_the_rest_they_need_no_picking():
    verdicts = split(BUY, put({"type": "buy"}), put(b"x"))
    assert verdicts.all_accepted
    assert list(verdicts.undecodable) == [1]


def test_json_is_asked_for_only_where_the_answer_hangs_on_it():
    """Lambda drops what is no JSON even then."""
    both = {"partitionKey": ["a"], **BUY}
    either = [{"partitionKey": ["a"]}, BUY]
    other = {"$or": [{"partitionKey": ["a"]}, BUY]}
    assert split(both, put(b"x", "b")).filtered == [0]
    assert list(split(both, put(b"x", "a")).undecodable) == [0]
    for told in (either, other, list(reversed(either))):
        verdicts = split(told, put(b"x", "a"), put(b"x", "b"), on_undecodable="dead_letter")
        assert list(verdicts.accepted) == [0]
        assert list(verdicts.undecodable) == [1]


def test_a_second_document_that_says_no_settles_it():
    strange = change(new={"a": {"X": "1"}}, old={"a": {"S": "no"}})
    told = {"new_image.a": ["1"], "old_image.a": ["yes"]}
    assert compile_filter(told, service="dynamodb").split([strange]) == Verdicts([], [0])
    told["old_image.a"] = ["no"]
    assert list(compile_filter(told, service="dynamodb").split([strange]).undecodable) == [0]


def test_a_predicate_decides():
    verdicts = split(lambda record: record.partition_key == "a", put(1, "a"), put(1, "b"))
    assert verdicts == Verdicts([0], [1])


@pytest.mark.parametrize("answer", [None, 1, 0, "yes", [], Ellipsis])
def test_an_answer_that_is_no_bool_is_the_records_failure_and_says_what_is_allowed(answer):
    def sloppy(record: object) -> object:
        return answer

    verdicts = split(sloppy, put(1))
    assert not verdicts.accepted
    assert not verdicts.filtered
    message = verdicts.failed[0].message
    assert f"returned {type(answer).__name__}; a predicate returns True (deliver) or False" in message
    assert "sloppy" in message


@pytest.mark.parametrize("error", [LookupError, RuntimeError, TypeError])
def test_what_a_predicate_raises_is_the_records_failure_and_no_others(error):
    def broken(record: Any) -> bool:
        if record.partition_key == "bad":
            raise error("payload of the record")
        return True

    verdicts = split(broken, put(1, "bad"), put(1, "good"))
    assert list(verdicts.accepted) == [1]
    assert verdicts.failed[0].kind == error.__name__
    assert "test_verdicts.py" in verdicts.failed[0].where
    assert "predicate.py" not in verdicts.failed[0].where
    assert "payload" not in repr(verdicts)


def test_what_ends_the_process_is_no_answer():
    def stopped(record: object) -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        split(stopped, put(1))


class Callable:
    def __call__(self, record: object) -> bool:
        return True


class AsyncCallable:
    async def __call__(self, record: object) -> bool:
        return True


async def waits(record: object) -> bool:
    return True


def no_record() -> bool:
    return True


def two_records(one: object, other: object) -> bool:
    return True


@pytest.mark.parametrize(
    ("predicate", "words"),
    [
        (waits, "waits is async; it only looks at the record"),
        (AsyncCallable(), "AsyncCallable is async"),
        (Callable, "Callable is a class; give an instance"),
        (no_record, "no_record must take one argument, the record"),
        (two_records, "two_records must take one argument, the record"),
    ],
)
def test_a_predicate_that_could_never_answer_is_refused_at_start(predicate, words):
    with pytest.raises(ConfigError, match=words):
        compile_filter(predicate, service="kinesis")


def test_an_object_that_is_called_is_a_predicate_too():
    assert split(Callable(), put(1)).all_accepted


def test_a_filter_says_what_it_is():
    assert compile_filter('{"data":{"n":[1.5]}}', service="kinesis").text == '{"data": {"n": [1.5]}}'
    two = compile_filter([BUY, {"partitionKey": ["a"]}], service="kinesis")
    assert two.text == '{"data": {"type": ["buy"]}} or {"partitionKey": ["a"]}'
    assert compile_filter(two_fields, service="kinesis").text == "two_fields"


def two_fields(record: object) -> bool:
    return True


def test_an_unknown_way_out_is_refused():
    with pytest.raises(ConfigError, match="on_undecodable: 'drop' is unknown"):
        compile_filter(BUY, service="kinesis", on_undecodable="drop")  # type: ignore[arg-type]
