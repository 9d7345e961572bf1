"""What user code says about failing: nothing that it may say breaks the telling, and no payload is shown."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import pytest

from consumer.failures import Failure
from consumer.outcomes import BatchFailures, RetryAfter
from consumer.streams.kinesis_record import KinesisRecord

SECRET = "do-not-log-me"
RECORD = KinesisRecord.from_entry({"SequenceNumber": "7", "Data": b""})


def raised(error: BaseException) -> BaseException:
    try:
        deepest(error)
    except BaseException as caught:
        return caught
    raise AssertionError


def deepest(error: BaseException) -> None:
    raise error


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise KeyError(SECRET)


class Speechless(Exception):
    def __str__(self) -> Any:
        return None  # noqa: PLE0307 - that is the trouble


def test_an_exception_is_told_by_class_message_and_place() -> None:
    failure = Failure.of(raised(ValueError(SECRET)))
    assert (failure.kind, failure.message) == ("ValueError", SECRET)
    first, second = failure.where.split(" < ")
    assert first.startswith("test_failures.py:")
    assert first.endswith(" in deepest")
    assert second.endswith(" in raised")
    assert SECRET not in repr(failure) + str(failure)


def test_a_text_is_a_reason() -> None:
    assert Failure.of("the price is missing") == Failure("reason", "the price is missing")


def test_what_is_too_long_is_cut_and_what_is_too_deep_keeps_its_inner_end() -> None:
    def dive(levels: int) -> None:
        if levels:
            dive(levels - 1)
        raise ValueError("x" * 10_000)

    with pytest.raises(ValueError, match="x") as caught:
        dive(50)
    failure = Failure.of(caught.value)
    assert len(failure.message) == len(Failure.of("y" * 10_000).message) == 4096
    assert [frame.rsplit(" ", 1)[1] for frame in failure.where.split(" < ")] == ["dive"] * 8


@pytest.mark.parametrize(("kind", "because"), [(Unspeakable, "KeyError"), (Speechless, "TypeError")])
def test_an_exception_that_can_not_say_itself_is_told_all_the_same(kind: type[Exception], because: str) -> None:
    failure = Failure.of(raised(kind()))
    assert failure.kind == kind.__name__
    assert failure.message == f"(its message can't be had: {because})"
    assert failure.where


@pytest.mark.parametrize("odd", [None, 7, b"text", ValueError, {"error": "text"}])
def test_what_is_no_failure_is_refused_in_a_sentence(odd: Any) -> None:
    with pytest.raises(TypeError, match=r"^A failure is an exception or a text that says why, and no \w+\.$"):
        RECORD.fail(odd)
    assert RECORD.failure is None


def test_a_group_tells_what_is_in_it_and_where_the_first_arose() -> None:
    async def fail() -> None:
        deepest(ValueError("the price"))

    async def gather() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            group.create_task(fail())

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(gather())
    failure = Failure.of(caught.value)
    assert failure.kind == "ExceptionGroup"
    assert failure.message == (
        "unhandled errors in a TaskGroup (2 sub-exceptions); ValueError: the price; ValueError: the price"
    )
    assert " in deepest < " in failure.where

    nested = ExceptionGroup("outer", [ExceptionGroup("inner", [Unspeakable(), *[KeyError(SECRET)] * 1000])])
    message = Failure.of(nested).message
    assert message.startswith("outer (1 sub-exception); ExceptionGroup: inner (1001 sub-exceptions); Unspeakable: (its")
    assert message.count("KeyError: ") == 5
    assert SECRET not in repr(Failure.of(nested))

    deep: Exception = ValueError()
    for _ in range(2000):
        deep = ExceptionGroup("deep", [deep])
    assert Failure.of(deep).message.startswith("deep (1 sub-exception); ExceptionGroup: deep")


def test_frames_of_the_house_are_left_out() -> None:
    error = raised(ValueError())
    assert Failure.of(error, leave_out=frozenset({__name__})).where == ""
    assert Failure.of(ValueError()).where == ""


@pytest.mark.parametrize("failed", [[RECORD, "9"], (RECORD, "9"), iter([RECORD, "9"])])
def test_failures_of_a_batch_are_records_or_numbers(failed: Any) -> None:
    error = BatchFailures(failed)
    assert error.failed == (RECORD, "9")
    assert str(error) == "2 records failed"
    assert BatchFailures([]).failed == ()


@pytest.mark.parametrize("one", ["4955", b"4955", RECORD, None, 7, {"itemIdentifier": "4955"}])
def test_a_single_one_is_no_list(one: Any) -> None:
    with pytest.raises(TypeError, match=r"^BatchFailures takes a list of what failed, and no \w+\.$"):
        BatchFailures(one)


@pytest.mark.parametrize("odd", [None, 7, b"7", ["7"], {"itemIdentifier": SECRET}, ValueError(SECRET)])
def test_what_is_no_record_is_refused_in_a_sentence_without_payload(odd: Any) -> None:
    with pytest.raises(TypeError, match=r"^BatchFailures takes records or their sequence numbers, and no \w+\.$"):
        BatchFailures([RECORD, odd])


@pytest.mark.parametrize("seconds", [-1, 86_401, float("nan"), float("inf")])
def test_a_pause_has_its_bounds(seconds: float) -> None:
    with pytest.raises(ValueError, match="the pause lies between"):
        RetryAfter(seconds)


def test_what_a_process_pool_raises_comes_back_as_it_was() -> None:
    failures, pause = BatchFailures([RECORD, "9"]), RetryAfter(1.5)
    failures.add_note("a note")
    came: Any = pickle.loads(pickle.dumps(failures))
    assert [type(came), came.failed[0].sequence_number, came.failed[1]] == [BatchFailures, "7", "9"]
    assert (str(came), came.__notes__) == ("2 records failed", ["a note"])
    later: Any = pickle.loads(pickle.dumps(pause))
    assert (type(later), later.seconds, str(later)) == (RetryAfter, 1.5, "again in 1.5 s")
