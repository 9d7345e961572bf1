"""What is worth another try, how long to wait before it, and how fast to call at all.

``is_transient`` is the one judge. ``retrying`` makes a call again on its word, with tenacity; loops that must not end
(a shard's reader) hold a ``Backoff`` instead and ask ``is_transient`` themselves.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Awaitable, Callable
from random import Random
from typing import Final, Self, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from consumer.clock import Clock
from consumer.errors import (
    DeadLetterStoreThrottled,
    DeadLetterStoreUnavailable,
    DeadLetterStoreUnreachable,
    LeaseTableThrottled,
    LeaseTableUnavailable,
    LeaseTableUnreachable,
    StreamThrottled,
    StreamUnavailable,
    StreamUnreachable,
)

__all__ = ["Backoff", "RateLimit", "Trouble", "is_transient", "retrying"]

_TOLD_EVERY_SECONDS: Final = 60.0

ResultT = TypeVar("ResultT")


def is_transient(error: BaseException) -> bool:
    """Whether the *same* call may succeed a moment later without anybody's help; unknown errors may not."""
    if isinstance(error, StreamThrottled | LeaseTableThrottled | DeadLetterStoreThrottled):
        return True  # Refused for the rate alone: waiting is the cure.
    if isinstance(error, StreamUnreachable | LeaseTableUnreachable | DeadLetterStoreUnreachable):
        return True  # Networks and endpoints come back. A wrong address never does, so a start must bound its attempts.
    # A 5xx, a time-out, a cut or unreadable reply: reads change nothing, and a dead letter is written over itself, so
    # asking again is safe. Everything else stays false until something other than time changes it:
    # - a missing stream, table or shard, a disabled stream, a foreign table: somebody has to create or choose one;
    # - permissions and credentials: somebody has to grant or renew them;
    # - an expired iterator, trimmed data, a refused position: the caller has to ask for another place, not again;
    # - a lost lease or a refused checkpoint: the answer is final;
    # - a dead letter too large for its store: somebody has to name a bucket;
    # - a plain LeaseStoreError, a request that the table's service finds invalid: it will find it so again;
    # - configuration, and errors that are not ours at all (bugs, cancellation): repeating hides them.
    return isinstance(error, StreamUnavailable | LeaseTableUnavailable | DeadLetterStoreUnavailable)


class Backoff:
    """Growing pauses with full jitter: each lies anywhere between 0 and a ceiling that doubles up to ``limit_seconds``.

    Full jitter spreads a fleet that failed at one instant (AWS Architecture Blog, "Exponential Backoff And Jitter").
    The same ``random`` gives the same pauses.
    """

    __slots__ = ("_ceiling_seconds", "_first_seconds", "_limit_seconds", "_random")

    def __init__(self, random: Random, first_seconds: float, limit_seconds: float) -> None:
        if not 0 < first_seconds <= limit_seconds:
            raise ValueError(f"A back-off needs 0 < first ({first_seconds}) <= limit ({limit_seconds}) seconds.")
        self._random = random
        self._first_seconds = first_seconds
        self._limit_seconds = limit_seconds
        self._ceiling_seconds = first_seconds

    def next_seconds(self) -> float:
        """The pause before the next attempt."""
        ceiling = self._ceiling_seconds
        self._ceiling_seconds = min(ceiling * 2, self._limit_seconds)
        return self._random.uniform(0, ceiling)

    def reset(self) -> None:
        """Success: the next failure starts small again."""
        self._ceiling_seconds = self._first_seconds


class Trouble:
    """Attempts at one thing that fail one after the other, for hours where it must be; thrown away after successes.

    ``retry_at`` (monotonic): no further attempt before.
    """

    __slots__ = ("_backoff", "_told_at", "retry_at")

    def __init__(self, random: Random, first_seconds: float, limit_seconds: float) -> None:
        self.retry_at = -math.inf
        self._backoff = Backoff(random, first_seconds, limit_seconds)
        self._told_at = -math.inf

    def put_off(self, now: float, *, least_seconds: float = 0.0) -> float:
        """The pause after a failure at the instant ``now``: longer and longer, and ``least_seconds`` in any case."""
        pause = least_seconds + self._backoff.next_seconds()
        self.retry_at = now + pause
        return pause

    def after_success(self, now: float) -> Self | None:
        """What is left of it at the instant ``now``: nothing, once it was not told for a minute.

        Before, it stays and starts small again: what fails, succeeds and fails would else be told each time.
        """
        self.retry_at = -math.inf
        self._backoff.reset()
        return None if now - self._told_at >= _TOLD_EVERY_SECONDS else self

    def is_to_be_told(self, now: float) -> bool:
        """Whether to log the failure of the instant ``now``: the first one, and then one a minute."""
        is_due = now - self._told_at >= _TOLD_EVERY_SECONDS
        if is_due:
            self._told_at = now
        return is_due


async def retrying(
    call: Callable[[], Awaitable[ResultT]],
    *,
    clock: Clock,
    random: Random,
    attempts: int = 8,
    within_seconds: float | None = None,
    first_seconds: float = 0.1,
    limit_seconds: float = 5.0,
    on_retry: Callable[[BaseException, float], None] | None = None,
) -> ResultT:
    """Make ``call`` up to ``attempts`` times while its errors are transient, and raise the last error as it came.

    ``within_seconds`` ends it earlier: no pause is begun that would reach beyond it. ``on_retry`` hears the error and
    the seconds until the next attempt. Time passes by ``clock`` alone.
    """
    backoff = Backoff(random, first_seconds, limit_seconds)
    deadline = None if within_seconds is None else clock.monotonic() + within_seconds

    async def attempt() -> ResultT:
        return await call()

    def is_over(state: RetryCallState) -> bool:
        return state.attempt_number >= attempts or (
            deadline is not None and clock.monotonic() + state.upcoming_sleep > deadline
        )

    def before_sleep(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        if on_retry is not None and error is not None:
            on_retry(error, state.upcoming_sleep)

    tries = AsyncRetrying(
        sleep=clock.sleep,
        wait=lambda _: backoff.next_seconds(),
        stop=is_over,
        retry=retry_if_exception(is_transient),
        before_sleep=before_sleep,
        reraise=True,
    )
    result: ResultT = await tries(attempt)
    return result


class RateLimit:
    """A token bucket: at most ``burst`` calls at once and ``calls_per_second`` after that, in the order they asked.

    It may be shared by several event loops and threads. A caller that is cancelled while it waits gives its turn back.
    """

    def __init__(self, clock: Clock, calls_per_second: float, burst: int = 1) -> None:
        if calls_per_second <= 0 or burst < 1:
            raise ValueError(f"A rate limit needs calls_per_second ({calls_per_second}) > 0 and burst ({burst}) >= 1.")
        self._clock = clock
        self._interval_seconds = 1.0 / calls_per_second
        self._slack_seconds = (burst - 1) * self._interval_seconds
        self._next_at: float | None = None
        self._lock = threading.Lock()

    def change(self, calls_per_second: float) -> None:
        """Another rate from the next call on; callers that wait already keep their turns."""
        with self._lock:
            burst = self._slack_seconds / self._interval_seconds
            self._interval_seconds = 1.0 / calls_per_second
            self._slack_seconds = burst * self._interval_seconds

    async def acquire(self) -> None:
        """Return when the call may be made."""
        wait_seconds = self._reserve()
        if wait_seconds <= 0:
            return
        try:
            await self._clock.sleep(wait_seconds)
        except BaseException:
            with self._lock:
                if self._next_at is not None:
                    self._next_at -= self._interval_seconds
            raise

    def _reserve(self) -> float:
        with self._lock:
            now = self._clock.monotonic()
            turn = now if self._next_at is None else max(self._next_at, now)
            self._next_at = turn + self._interval_seconds
        return turn - now - self._slack_seconds
