"""What is worth another try, and the pauses in between, in virtual time."""

from __future__ import annotations

import asyncio
import inspect
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer import errors
from consumer.errors import LeaseholdError, StreamAccessDenied, StreamThrottled, StreamUnavailable
from consumer.retry import Backoff, RateLimit, Trouble, is_transient, retrying

TRANSIENT = {
    "DeadLetterStoreThrottled",
    "DeadLetterStoreUnavailable",
    "DeadLetterStoreUnreachable",
    "LeaseTableThrottled",
    "LeaseTableUnavailable",
    "LeaseTableUnreachable",
    "StreamThrottled",
    "StreamUnavailable",
    "StreamUnreachable",
}


class StepClock:
    """Time that passes only in ``sleep``."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def timeout(self, seconds: float | None) -> asyncio.Timeout:
        return asyncio.timeout(None)


@pytest.mark.parametrize("name", [name for name in errors.__all__ if name != "LeaseholdError"])
def test_every_error_of_the_tree_has_its_verdict(name: str) -> None:
    kind = getattr(errors, name)
    error = kind("x") if "problems" not in inspect.signature(kind).parameters else kind(["x"])
    assert is_transient(error) is (name in TRANSIENT)


@pytest.mark.parametrize("error", [LeaseholdError(), ValueError("bug"), asyncio.CancelledError(), KeyboardInterrupt()])
def test_what_has_no_verdict_is_not_tried_again(error: BaseException) -> None:
    assert not is_transient(error)


@given(seed=st.integers(), first=st.floats(0.01, 1), factor=st.floats(1, 100))
def test_pauses_grow_to_the_limit_never_beyond_and_start_small_again(seed: int, first: float, factor: float) -> None:
    limit = first * factor
    backoff = Backoff(Random(seed), first, limit)
    pauses = [backoff.next_seconds() for _ in range(12)]
    assert all(0 <= pause <= min(limit, first * 2**turn) for turn, pause in enumerate(pauses))
    backoff.reset()
    assert backoff.next_seconds() <= first
    again = Backoff(Random(seed), first, limit)
    assert [again.next_seconds() for _ in range(12)] == pauses


def test_pauses_use_the_whole_width_up_to_the_limit() -> None:
    backoff = Backoff(Random(7), 0.1, 5.0)
    pauses = [backoff.next_seconds() for _ in range(200)]
    assert max(pauses) > 4.5
    assert min(pauses[10:]) < 0.5


@pytest.mark.parametrize(("first", "limit"), [(0, 1), (2, 1), (-1, 1)])
def test_a_backoff_out_of_range_is_refused(first: float, limit: float) -> None:
    with pytest.raises(ValueError, match="back-off"):
        Backoff(Random(1), first, limit)


async def test_a_transient_error_is_tried_again_until_it_works() -> None:
    clock, heard = StepClock(), []
    outcomes: list[BaseException | str] = [StreamThrottled(), StreamUnavailable(), "page"]

    async def call() -> str:
        outcome = outcomes.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    result = await retrying(
        call, clock=clock, random=Random(1), on_retry=lambda error, pause: heard.append((type(error), pause))
    )
    assert result == "page"
    assert [kind for kind, _ in heard] == [StreamThrottled, StreamUnavailable]
    assert [pause for _, pause in heard] == clock.slept


async def test_a_permanent_error_comes_through_at_once_as_itself() -> None:
    clock, calls = StepClock(), 0

    async def call() -> None:
        nonlocal calls
        calls += 1
        raise StreamAccessDenied("dynamodb:GetRecords")

    with pytest.raises(StreamAccessDenied, match="dynamodb:GetRecords"):
        await retrying(call, clock=clock, random=Random(1))
    assert calls == 1
    assert clock.slept == []


async def test_attempts_are_bounded_and_the_last_error_is_raised() -> None:
    clock, calls = StepClock(), 0

    async def call() -> None:
        nonlocal calls
        calls += 1
        raise StreamThrottled(f"call {calls}")

    with pytest.raises(StreamThrottled, match="call 5"):
        await retrying(call, clock=clock, random=Random(1), attempts=5)
    assert calls == 5
    assert len(clock.slept) == 4


async def test_no_pause_reaches_beyond_the_time_given() -> None:
    clock = StepClock()

    async def call() -> None:
        clock.now += 0.4
        raise StreamThrottled

    with pytest.raises(StreamThrottled):
        await retrying(call, clock=clock, random=Random(1), attempts=1000, within_seconds=3.0)
    assert 101.5 < clock.now <= 103.4, "it used most of its time, and began no pause that would pass the end"


async def test_a_rate_limit_lets_a_burst_through_and_then_keeps_the_rate() -> None:
    clock = StepClock()
    limit = RateLimit(clock, calls_per_second=5.0, burst=3)
    times = []
    for _ in range(13):
        await limit.acquire()
        times.append(clock.now)
    assert times[:3] == [100.0] * 3
    assert times[-1] == pytest.approx(102.0)


async def test_a_rate_limit_is_not_a_savings_account() -> None:
    clock = StepClock()
    limit = RateLimit(clock, calls_per_second=5.0, burst=2)
    await limit.acquire()
    clock.now += 3600
    started = clock.now
    for _ in range(4):
        await limit.acquire()
    assert clock.now - started == pytest.approx(0.4)


async def test_a_caller_that_gives_up_gives_its_turn_back() -> None:
    """Or a wave of callers with a time-out would spend every turn there is, and none of them ever be served."""

    class Impatient(StepClock):
        async def sleep(self, seconds: float) -> None:
            if seconds > 1.0:
                raise asyncio.CancelledError
            await super().sleep(seconds)

    clock = Impatient()
    limit = RateLimit(clock, calls_per_second=1.0)
    await limit.acquire()
    for _ in range(3):
        await limit.acquire()
    clock.now -= 2.0
    for _ in range(50):
        with pytest.raises(asyncio.CancelledError):
            await limit.acquire()
    clock.now += 2.0
    started = clock.now
    await limit.acquire()
    assert clock.now - started == pytest.approx(1.0)


@given(gaps=st.lists(st.floats(0, 2), max_size=40), burst=st.integers(1, 5))
def test_no_window_ever_holds_more_calls_than_allowed(gaps: list[float], burst: int) -> None:
    async def run() -> list[float]:
        clock, times = StepClock(), []
        limit = RateLimit(clock, calls_per_second=4.0, burst=burst)
        for gap in gaps:
            clock.now += gap
            await limit.acquire()
            times.append(clock.now)
        return times

    times = asyncio.run(run())
    for start in times:
        assert sum(start <= time < start + 1.0 - 1e-6 for time in times) <= 4 + burst


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (1, 0)])
def test_a_rate_limit_out_of_range_is_refused(rate: float, burst: int) -> None:
    with pytest.raises(ValueError, match="rate limit"):
        RateLimit(StepClock(), rate, burst)


def test_trouble_puts_off_longer_and_longer_and_is_told_once_a_minute() -> None:
    trouble = Trouble(Random(1), 0.1, 5.0)
    now, pauses, told = 0.0, [], []
    while now < 200.0:
        if trouble.is_to_be_told(now):
            told.append(now)
        pauses.append(trouble.put_off(now, least_seconds=0.5))
        assert trouble.retry_at == now + pauses[-1]
        now = trouble.retry_at
    assert told[0] == 0.0
    assert len(told) == 4
    assert all(60.0 <= later - earlier < 66.0 for earlier, later in pairwise(told))
    assert 0.5 <= pauses[0] <= 0.6
    assert 2.0 < max(pauses) <= 5.5


def test_trouble_that_comes_and_goes_starts_small_and_is_still_told_once_a_minute() -> None:
    trouble = Trouble(Random(1), 0.1, 60.0)
    assert trouble.after_success(0.0) is None, "nobody was told"
    for _ in range(12):
        trouble.put_off(0.0)
    assert trouble.is_to_be_told(0.0)
    assert trouble.after_success(1.0) is trouble
    assert trouble.retry_at < 0.0
    assert not trouble.is_to_be_told(59.0)
    assert trouble.put_off(59.0) <= 0.1
    assert trouble.after_success(60.0) is None
