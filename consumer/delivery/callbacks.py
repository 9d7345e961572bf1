"""Calls of user code: nothing it raises is skipped, and nothing of it is taken for our own.

A ``def`` runs in a thread of ours, one hop a call; an ``async def``, or whatever awaitable a ``def`` returned, runs in
a task of its own on the worker's loop. Both turn every BaseException into a value *inside* the thread or task: asyncio
would let SystemExit and KeyboardInterrupt out of the loop, and a CancelledError of the user's would look like a
cancellation of ours.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

from consumer.clock import Clock
from consumer.delivery.outcome import Outcome, Raised, Returned
from consumer.delivery.telling import failure_of, tell_failed
from consumer.delivery.threads import UserThreads
from consumer.delivery.time_limit import TimedCall
from consumer.errors import ConfigError, LeaseholdError
from consumer.hooks import Fact
from consumer.retry import Backoff

__all__ = ["Call", "Callbacks", "call_user_code"]

_FIRST_PAUSE_SECONDS = 0.5
_NOT_BEGUN = object()


async def call_user_code(
    threads: UserThreads,
    call: Callable[[], Any],
    *,
    may_begin: Callable[[], bool] | None = None,
    limit: TimedCall | None = None,
) -> Outcome[Any] | None:
    """Make one call of user code and wait for whatever it returned, awaitables included.

    ``may_begin`` is asked in the thread, or in the task, right before the call; where it says no nothing is called, and
    None is returned. Returns or raises only when no user code of this call runs any more. When cancelled, user code on
    the loop is cancelled too and waited for; a thread can't be interrupted and is waited for as long as it takes.
    ``limit`` is told when the call begins and ends, and has it cancelled where its time is up.
    """
    if limit is None:
        return await _called(threads, call, may_begin, None)
    with limit:
        return limit.judged(await _called(threads, call, may_begin, limit))


async def _called(
    threads: UserThreads, call: Callable[[], Any], may_begin: Callable[[], bool] | None, limit: TimedCall | None
) -> Outcome[Any] | None:
    if inspect.iscoroutinefunction(call.func if isinstance(call, partial) else call):
        return await _own_task(call, may_begin, limit)
    made: list[Awaitable[Any]] = []

    def plain() -> Any:
        if may_begin is not None and not may_begin():
            return _NOT_BEGUN
        if limit is None:
            value = call()
        else:
            with limit.in_thread():
                value = call()
        if inspect.isgenerator(value) or inspect.isasyncgen(value):
            raise ConfigError(
                "It contains yield, so that calling it makes a generator and runs none of its lines: nothing of it was "
                "done. Write it without yield."
            )
        if inspect.isawaitable(value):
            made.append(value)
        return value

    try:
        try:
            outcome = await threads.run(plain)
        except RuntimeError as error:
            return Raised(error)  # no thread can be had now: tried again, as whatever keeps a call from returning
        if isinstance(outcome, Returned) and outcome.value is _NOT_BEGUN:
            return None
        return await _own_task(lambda: made[0], None, limit) if made else outcome
    finally:
        for awaitable in made:
            if inspect.iscoroutine(awaitable):
                awaitable.close()  # cancelled before it could begin; a coroutine that has ended does not mind


async def _own_task(
    make: Callable[[], Awaitable[Any]], may_begin: Callable[[], bool] | None, limit: TimedCall | None
) -> Outcome[Any] | None:
    async def guarded() -> Outcome[Any] | None:
        if may_begin is not None and not may_begin():
            return None
        if limit is not None:
            limit.in_task(asyncio.current_task())  # not by the name outside: a failed task would hold on to itself
        try:
            return Returned(await make())
        except BaseException as error:
            return Raised(error)

    me = asyncio.current_task()
    assert me is not None
    cancelled_before = me.cancelling()
    task = asyncio.get_running_loop().create_task(guarded())
    while not task.done():
        # Our cancellation is handed on to the task that is awaited. Whatever it makes of that, ours it stays.
        with suppress(asyncio.CancelledError):
            await task
    if me.cancelling() > cancelled_before:
        raise asyncio.CancelledError
    # A task that cancels itself in its last step ends as cancelled although its code caught everything.
    return Raised(asyncio.CancelledError()) if task.cancelled() else task.result()


@dataclass(slots=True, kw_only=True)
class Call:
    """One callback to make, or to bring to an end.

    ``function`` takes nothing (a partial, a bound method). ``check`` is awaited after a return: what it raises counts
    as raised by the callback. ``give_up`` ends the retries; ``tries`` bounds them (None: for ever). ``may_begin`` is
    awaited before each attempt and answers whether to make it. ``still_may`` is asked, in whatever thread, when the
    attempt's turn has come: it may have waited for a thread for longer than a lease is trusted. ``limit`` is for a
    single attempt.
    """

    name: str
    function: Callable[[], Any]
    give_up: Callable[[], bool]
    check: Callable[[], Awaitable[None]] | None = None
    may_begin: Callable[[], Awaitable[bool]] | None = None
    still_may: Callable[[], bool] | None = None
    limit: TimedCall | None = None
    tries: int | None = None


class Callbacks:
    """One lane's callbacks, one at a time: ``run`` brings one to its end, ``attempt`` makes one once."""

    __slots__ = (
        "_clock",
        "_hooks",
        "_random",
        "_retry_limit",
        "_shard_id",
        "_threads",
        "_until",
        "failing_since",
        "is_running",
    )

    def __init__(
        self,
        shard_id: str,
        threads: UserThreads,
        *,
        clock: Clock,
        random: Random,
        hooks: Callable[[Fact], None],
        retry_limit_seconds: float,
        until: Callable[[Callable[[], object], float], Awaitable[object]],
    ) -> None:
        """``until(condition, seconds)`` waits for a condition over the shard's state, as ``Signal.until`` does."""
        self._shard_id = shard_id
        self._threads = threads
        self._clock = clock
        self._random = random
        self._hooks = hooks
        self._retry_limit = retry_limit_seconds
        self._until = until
        self.failing_since: float | None = None
        """When the call in hand first failed (monotonic), None while none fails."""
        self.is_running = False
        """Whether user code of this shard runs, or waits for a thread, at this moment."""

    async def run(self, call: Call) -> Returned[Any] | None:
        """Make ``call`` until it returns; None when it was given up (a stop, a lost lease, ``tries`` used up)."""
        backoff: Backoff | None = None
        attempt = 0
        try:
            while not call.give_up() and (call.may_begin is None or await call.may_begin()):
                outcome = await self.attempt(call)
                if outcome is None:
                    continue
                if isinstance(outcome, Returned):
                    return outcome
                attempt += 1
                last = call.give_up() or attempt == call.tries
                backoff = backoff or self._backoff()
                pause = 0.0 if last else backoff.next_seconds()
                self._report(call, outcome.error, attempt, pause, last=last)
                if last:
                    return None
                del outcome  # its traceback holds what it was called with
                await self._until(call.give_up, pause)
            return None
        finally:
            self.failing_since = None

    def _backoff(self) -> Backoff:
        return Backoff(self._random, min(_FIRST_PAUSE_SECONDS, self._retry_limit), self._retry_limit)

    async def attempt(self, call: Call) -> Outcome[Any] | None:
        """Make ``call`` once; None where its turn came too late (``still_may``)."""
        self.is_running = True
        try:
            outcome = await call_user_code(self._threads, call.function, may_begin=call.still_may, limit=call.limit)
            if isinstance(outcome, Returned) and call.check is not None:
                try:
                    await call.check()
                except LeaseholdError as error:
                    return Raised(error)
            return outcome
        finally:
            self.is_running = False

    def _report(self, call: Call, error: BaseException, attempt: int, pause: float, *, last: bool) -> None:
        if self.failing_since is None:
            self.failing_since = self._clock.monotonic()
        tell_failed(
            self._hooks,
            self._shard_id,
            call.name,
            about=None,
            error=error,
            failure=failure_of(error),
            attempt=attempt,
            pause_seconds=pause,
            what_next="it is not tried again here"
            if last
            else f"nothing is skipped, the same call is made again in {pause:.1f} s",
        )
