"""The failure policy: what is user code's is a value, what is ours stays ours, and retries end only when told to."""

from __future__ import annotations

import asyncio
import gc
import random
import weakref
from functools import partial

import pytest

from consumer.delivery.callbacks import Call, Callbacks, call_user_code
from consumer.delivery.outcome import Raised, Returned
from consumer.delivery.threads import InlineThreads
from consumer.errors import CheckpointBackwards
from consumer.hooks import BatchFailed
from consumer.shards.signal import Signal
from consumer.testing.virtual_time import VirtualClock, run_virtual


def never():
    return False


class Desk:
    """Callbacks in virtual time with their surroundings."""

    def __init__(self):
        self.clock = VirtualClock()
        self.signal = Signal(self.clock)
        self.facts = []
        self.callbacks = Callbacks(
            "shard-1",
            InlineThreads(),
            clock=self.clock,
            random=random.Random(3),
            hooks=self.facts.append,
            retry_limit_seconds=60.0,
            until=self.signal.until,
        )


class Plain:
    """A plain callable that returns a coroutine."""

    def __init__(self, make):
        self.make = make

    def __call__(self):
        return self.make()


async def boom(error):
    raise error


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit, Exception])
def test_async_user_code_that_raises_is_a_value(error):
    outcome = run_virtual(call_user_code(InlineThreads(), partial(boom, error())))
    assert isinstance(outcome, Raised)
    assert isinstance(outcome.error, error)


def test_user_code_with_a_yield_is_not_taken_for_done():
    def plain():
        yield "never begun"

    async def on_the_loop():
        yield "never begun"

    for call in (plain, on_the_loop):
        outcome = run_virtual(call_user_code(InlineThreads(), call))
        assert isinstance(outcome, Raised)
        assert "contains yield" in str(outcome.error)


def test_an_awaitable_returned_by_plain_code_is_awaited():
    async def answer():
        return 42

    assert run_virtual(call_user_code(InlineThreads(), Plain(answer))) == Returned(42)
    outcome = run_virtual(call_user_code(InlineThreads(), Plain(partial(boom, KeyboardInterrupt()))))
    assert isinstance(outcome.error, KeyboardInterrupt)


def test_user_code_that_cancels_its_own_task_is_a_failure_and_not_our_cancellation():
    async def cancel_myself():
        asyncio.current_task().cancel()

    async def cancel_and_wait():
        asyncio.current_task().cancel()
        await asyncio.sleep(1)

    for user in (cancel_myself, cancel_and_wait):
        outcome = run_virtual(call_user_code(InlineThreads(), user))
        assert isinstance(outcome.error, asyncio.CancelledError)


@pytest.mark.parametrize("steps", range(6))
def test_a_coroutine_that_plain_code_returned_is_closed_when_we_are_cancelled_before_it_begins(steps):
    async def main():
        begun = []

        async def answer():
            begun.append(1)
            await asyncio.sleep(10)

        task = asyncio.create_task(call_user_code(InlineThreads(), Plain(answer)))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gc.collect()  # a coroutine that was never awaited warns here, and warnings are errors

    run_virtual(main())


def test_our_cancellation_reaches_async_user_code_and_waits_for_its_end():
    async def main():
        ended = []

        async def user():
            try:
                await asyncio.sleep(1_000)
            finally:
                await asyncio.sleep(5)
                ended.append(asyncio.get_running_loop().time())

        task = asyncio.create_task(call_user_code(InlineThreads(), user))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended == [6.0]

    run_virtual(main())


def test_user_code_that_swallows_our_cancellation_does_not_swallow_it_for_us():
    async def main():
        async def user():
            try:
                await asyncio.sleep(1_000)
            except asyncio.CancelledError:
                return "stubborn"

        task = asyncio.create_task(call_user_code(InlineThreads(), user))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_virtual(main())


def test_a_call_is_repeated_until_it_returns_with_pauses_that_grow_to_the_limit():
    async def main():
        desk = Desk()
        left = [None] * 40

        async def user():
            if left:
                left.pop()
                raise ValueError
            return "done"

        assert await desk.callbacks.run(Call(name="x", function=user, give_up=never)) == Returned("done")
        pauses = [fact.retry_in_seconds for fact in desk.facts]
        assert [fact.attempt for fact in desk.facts] == list(range(1, 41))
        assert pauses[0] <= 0.5
        assert 30 < max(pauses) <= 60
        assert asyncio.get_running_loop().time() == pytest.approx(sum(pauses))

    run_virtual(main())


def test_failing_since_is_the_first_failure_of_the_call_in_hand():
    async def main():
        desk = Desk()
        seen = []

        async def user():
            seen.append(desk.callbacks.failing_since)
            await asyncio.sleep(1)
            if len(seen) < 4:
                raise ValueError

        await desk.callbacks.run(Call(name="x", function=user, give_up=never))
        assert seen == [None, 1_001.0, 1_001.0, 1_001.0]
        assert desk.callbacks.failing_since is None

    run_virtual(main())


def test_a_stop_ends_the_pause_before_the_next_try():
    async def main():
        desk = Desk()
        stopped = []

        async def user():
            raise ValueError

        task = asyncio.create_task(desk.callbacks.run(Call(name="x", function=user, give_up=lambda: stopped)))
        await asyncio.sleep(200)
        tries = len(desk.facts)
        stopped.append(1)
        desk.signal.notify()
        assert await task is None
        assert asyncio.get_running_loop().time() == 200
        assert len(desk.facts) == tries

    run_virtual(main())


def test_a_failure_during_a_stop_announces_no_further_try(caplog):
    async def main():
        desk = Desk()
        stopped = []

        async def user():
            stopped.append(1)
            raise ValueError

        assert await desk.callbacks.run(Call(name="x", function=user, give_up=lambda: stopped)) is None
        assert [fact.retry_in_seconds for fact in desk.facts] == [0.0]

    run_virtual(main())
    assert "it is not tried again here" in caplog.text


def test_what_a_failed_call_held_is_freed_before_the_next_try():
    class Payload:
        pass

    async def main():
        desk = Desk()
        held = []

        async def user():
            gc.collect()
            held.append(weakref.ref(payload := Payload()))
            if len(held) == 1:
                raise ValueError
            assert held[0]() is None
            return payload

        await desk.callbacks.run(Call(name="x", function=user, give_up=never))
        assert len(desk.facts) == 1

    run_virtual(main())


def test_a_call_that_may_not_begin_is_not_made():
    async def main():
        desk = Desk()

        async def refuse():
            return False

        made = []
        call = Call(name="x", function=lambda: made.append(1), give_up=never, may_begin=refuse)
        assert await desk.callbacks.run(call) is None
        assert made == []

    run_virtual(main())


def test_bounded_tries_end_with_the_last_failure():
    async def main():
        desk = Desk()
        call = Call(name="x", function=partial(boom, ValueError()), give_up=never, tries=3)
        assert await desk.callbacks.run(call) is None
        assert [(fact.attempt, fact.retry_in_seconds == 0) for fact in desk.facts] == [
            (1, False),
            (2, False),
            (3, True),
        ]

    run_virtual(main())


def test_a_check_that_raises_one_of_our_errors_counts_as_a_failure_and_is_explained(caplog):
    async def main():
        desk = Desk()
        checks = []

        async def check():
            checks.append(1)
            if len(checks) == 1:
                raise CheckpointBackwards("Shard shard-1: 3 lies below 5.")

        await desk.callbacks.run(Call(name="x", function=lambda: None, give_up=never, check=check))
        assert [type(fact) for fact in desk.facts] == [BatchFailed]
        assert len(checks) == 2

    run_virtual(main())
    assert "CheckpointBackwards (Shard shard-1: 3 lies below 5.)" in caplog.text


def test_the_log_names_where_and_what_but_nothing_of_the_payload(caplog):
    class CustomerError(Exception):
        pass

    def deeper(secret):
        raise CustomerError(f"card {secret}") from KeyError(secret)

    def user():
        deeper("4111-1111")

    async def main():
        await Desk().callbacks.run(Call(name="process_records", function=user, give_up=never, tries=1))

    run_virtual(main())
    assert "4111" not in caplog.text
    assert "CustomerError" in caplog.text
    assert "in deeper < test_callbacks.py:" in caplog.text
