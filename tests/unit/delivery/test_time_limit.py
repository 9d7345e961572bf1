"""A batch's time: what awaits is cancelled and has failed, a thread is reported, and nothing runs twice at once."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import threading
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from consumer.delivery.callbacks import call_user_code
from consumer.delivery.outcome import Outcome, Raised, Returned
from consumer.delivery.threads import InlineThreads
from consumer.delivery.time_limit import Overdue, TimeLimit, stack_of_thread
from consumer.errors import BatchTimedOut
from consumer.hooks import BatchTimedOut as Fact
from consumer.outcomes import BatchFailures, RetryAfter
from consumer.testing.virtual_time import VirtualClock, run_virtual


class Case:
    """One call under a limit of 10 s in virtual time."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.WARNING, logger="leasehold.delivery")
        self._caplog = caplog
        self.facts: list[Any] = []
        self.overdue_changes: list[frozenset[str]] = []
        self.overdue = Overdue(lambda: self.overdue_changes.append(self.overdue.shards))
        self.seconds = 0.0

    def run(self, code: Callable[[], Awaitable[Any]] | Callable[[], Any]) -> Outcome[Any] | None:
        async def main() -> Outcome[Any] | None:
            clock = VirtualClock()
            limit = TimeLimit("shard-1", 10.0, clock=clock, hooks=self.facts.append, overdue=self.overdue)
            began = clock.monotonic()
            try:
                return await call_user_code(InlineThreads(), code, limit=limit.call(lambda: "records 1 to 9"))
            finally:
                self.seconds = clock.monotonic() - began
                await asyncio.sleep(600)  # a timer left behind would speak up

        return run_virtual(main())

    @property
    def told(self) -> list[str]:
        return [record.getMessage() for record in self._caplog.records]


@pytest.fixture
def case(caplog: pytest.LogCaptureFixture) -> Case:
    return Case(caplog)


@pytest.mark.parametrize("seconds", [0.0, 9.9])
def test_a_call_within_its_time_is_left_alone(case: Case, seconds: float):
    async def code() -> str:
        await asyncio.sleep(seconds)
        return "done"

    assert case.run(code) == Returned("done")
    assert (case.facts, case.overdue_changes, case.told) == ([], [], [])


async def late() -> None:
    await asyncio.sleep(1000)


def plain_late() -> Awaitable[None]:
    return late()


async def raises_something_else() -> None:
    try:
        await late()
    except asyncio.CancelledError:
        raise KeyError("alice@example.com") from None


async def swallows_and_returns() -> None:
    with contextlib.suppress(asyncio.CancelledError):
        await late()


@pytest.mark.parametrize("code", [late, plain_late, raises_something_else, swallows_and_returns])
def test_an_async_call_is_cancelled_when_its_time_is_up_and_has_failed(case: Case, code: Callable[[], Any]):
    outcome = case.run(code)
    assert isinstance(outcome, Raised)
    assert type(outcome.error) is BatchTimedOut
    assert "batch_timeout_seconds (10 s)" in str(outcome.error)
    assert case.seconds == pytest.approx(10.0)
    assert case.facts == [Fact("shard-1", 10.0, cancelled=True)]
    assert (case.overdue_changes, case.told) == ([], [])


@pytest.mark.parametrize("verdict", [BatchFailures(["7"]), RetryAfter(5.0)])
@pytest.mark.parametrize("how", ["raised", "returned"])
def test_what_cancelled_code_says_of_its_records_by_name_holds(case: Case, verdict: Exception, how: str):
    async def code() -> Exception:
        try:
            await late()
        except asyncio.CancelledError:
            if how == "raised":
                raise verdict from None
        return verdict

    outcome = case.run(code)
    assert outcome == (Raised(verdict) if how == "raised" else Returned(verdict))


def test_what_puts_its_things_away_first_is_waited_for_and_not_called_overdue(case: Case):
    async def code() -> None:
        try:
            await late()
        finally:
            await asyncio.sleep(4.0)

    outcome = case.run(code)
    assert isinstance(outcome, Raised)
    assert case.seconds == pytest.approx(14.0)
    assert case.told == []


def test_what_goes_on_after_its_cancellation_is_waited_for_and_reported_once_a_minute(case: Case):
    async def deaf() -> None:
        for _ in range(2):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(100)

    outcome = case.run(deaf)
    assert isinstance(outcome, Raised)
    assert type(outcome.error) is BatchTimedOut
    assert case.seconds == pytest.approx(110.0)
    assert [line.partition(" It is at: ")[0] for line in case.told] == [
        *(
            f"Shard shard-1: process_records for records 1 to 9 has run for {age} s, batch_timeout_seconds is 10: it "
            "was cancelled and goes on all the same. The shard waits, and nothing of it is tried again before it ends."
            for age in (15, 75)
        ),
        "Shard shard-1: process_records for records 1 to 9 has ended, after 110 s.",
    ]
    assert "in sleep < test_time_limit.py:" in case.told[0]
    assert case.told[0].endswith(" in deaf")
    assert case.facts == [Fact("shard-1", 10.0, cancelled=True)]
    assert case.overdue_changes == [{"shard-1"}, set()]


@pytest.mark.parametrize("seconds", [None, 10.0])
@pytest.mark.parametrize("code", ["raises", "times out"])
def test_what_a_failed_call_held_is_free_once_its_outcome_is_dropped(case: Case, seconds: float | None, code: str):
    """Without the garbage collector's help: in a storm of failures, pages of records would wait for its turn."""

    class Page:
        pass

    async def main() -> None:
        limit = TimeLimit("shard-1", 10.0, clock=VirtualClock(), hooks=case.facts.append, overdue=case.overdue)
        held: list[weakref.ref[Page]] = []

        async def user() -> None:
            page = Page()
            held.append(weakref.ref(page))
            await asyncio.sleep(0.0 if code == "raises" else 11.0)
            raise ValueError

        outcome = await call_user_code(InlineThreads(), user, limit=None if seconds is None else limit.call(str))
        assert isinstance(outcome, Raised)
        assert held[0]() is not None, "its traceback"
        del outcome
        await asyncio.sleep(0)  # the loop holds on to what has just woken this task
        assert held[0]() is None

    gc.collect()
    gc.disable()
    try:
        run_virtual(main())
    finally:
        gc.enable()


def test_whoever_cancels_the_call_cancels_it_though_its_time_was_up(case: Case):
    async def main() -> None:
        clock = VirtualClock()
        limit = TimeLimit("shard-1", 10.0, clock=clock, hooks=case.facts.append, overdue=case.overdue)

        async def code() -> None:
            try:
                await late()
            finally:
                await asyncio.sleep(3.0)

        task = asyncio.ensure_future(call_user_code(InlineThreads(), code, limit=limit.call(lambda: "records")))
        await asyncio.sleep(11.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_virtual(main())


def in_a_thread(case: Case, *, waits: float, runs: float, then: Callable[[], Awaitable[Any]] | None = None) -> Any:
    """What the watch makes of a `def` that waits for its thread, runs in it, and may have returned an awaitable."""

    async def main() -> Any:
        limit = TimeLimit("shard-1", 10.0, clock=VirtualClock(), hooks=case.facts.append, overdue=case.overdue)
        with limit.call(lambda: "records 1 to 9") as call:
            await asyncio.sleep(waits)
            with call.in_thread():
                await asyncio.sleep(runs)
            if then is None:
                return call.judged(Returned("done"))
            task = asyncio.ensure_future(then())
            call.in_task(task)
            await asyncio.wait([task])
            return task.cancelled()

    return run_virtual(main())


def test_what_waits_for_a_thread_has_not_begun(case: Case):
    assert in_a_thread(case, waits=1000.0, runs=9.9) == Returned("done")
    assert (case.facts, case.told) == ([], [])


def test_a_thread_is_reported_once_a_minute_and_what_it_returns_late_still_counts(case: Case):
    assert in_a_thread(case, waits=5.0, runs=75.0) == Returned("done")
    assert [line.partition(" It is at: ")[0] for line in case.told] == [
        *(
            f"Shard shard-1: process_records for records 1 to 9 has run for {age} s, batch_timeout_seconds is 10: it "
            "runs in a thread, which can't be interrupted. The shard waits, and nothing of it is tried again before it "
            "ends."
            for age in (10, 70)
        ),
        "Shard shard-1: process_records for records 1 to 9 has ended, after 75 s.",
    ]
    assert case.facts == [Fact("shard-1", 10.0, cancelled=False)]
    assert case.overdue_changes == [{"shard-1"}, set()]


# What is cancelled before its first line has nothing to end.
@pytest.mark.parametrize(("runs", "ends"), [(4.0, [10.0]), (12.0, [])])
def test_the_time_in_a_thread_counts_for_what_is_awaited_afterwards(case: Case, runs: float, ends: list[float]):
    ended = []

    async def code() -> None:
        try:
            await late()
        finally:
            ended.append(asyncio.get_running_loop().time())

    async def begun() -> None:
        await code()

    assert in_a_thread(case, waits=0.0, runs=runs, then=begun) is True
    assert ended == ends
    assert case.facts[-1] == Fact("shard-1", 10.0, cancelled=True)


def test_a_shard_is_overdue_while_any_of_its_calls_is():
    overdue = Overdue()
    for shard_id in ("a", "a", "b"):
        overdue.add(shard_id)
    overdue.discard("a")
    assert overdue.shards == {"a", "b"}
    overdue.discard("a")
    assert overdue.shards == {"b"}


def test_the_stack_of_a_thread_is_shown_without_what_called_it_and_without_values():
    entered, leave = threading.Event(), threading.Event()

    def inner(secret: str) -> None:
        entered.set()
        leave.wait()

    thread = threading.Thread(target=lambda: inner("alice@example.com"), daemon=True)
    thread.start()
    entered.wait()
    shown = stack_of_thread(thread.ident)
    leave.set()
    thread.join()
    assert " in wait < test_time_limit.py:" in shown
    assert " in inner" in shown
    assert "alice" not in shown
    assert stack_of_thread(thread.ident) == ""
    assert stack_of_thread(None) == ""
