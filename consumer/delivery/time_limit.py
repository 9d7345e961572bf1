"""The time of a batch: what awaits is cancelled when it is up; a thread, which nothing can interrupt, is reported.

Either way nothing is tried again before the earlier run has really ended: ``call_user_code`` waits for it, whatever it
makes of its cancellation. A call that only an end of the process can end is *overdue*; whether that is worth a restart
is for the worker to say.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import takewhile
from types import FrameType, TracebackType
from typing import Any, Final, Self

from consumer.clock import Clock
from consumer.delivery.outcome import Outcome, Raised
from consumer.errors import BatchTimedOut
from consumer.failures import shown_frames
from consumer.hooks import BatchTimedOut as BatchTimedOutFact
from consumer.hooks import Fact
from consumer.outcomes import BatchFailures, RetryAfter

__all__ = ["Overdue", "TimeLimit", "TimedCall", "stack_of_task", "stack_of_thread"]

_log = logging.getLogger("leasehold.delivery")

# What cancelled code may take to put things away before it counts as code that won't end.
_GRACE_SECONDS: Final = 5.0
_TOLD_EVERY_SECONDS: Final = 60.0
_MOST_FRAMES: Final = 100
# Below user code, on every stack, lies what calls it.
_CALLER: Final = "consumer.delivery."


class Overdue:
    """The shards of one worker with calls that nothing here can end; ``changed`` is called when they change."""

    def __init__(self, changed: Callable[[], None] = lambda: None) -> None:
        self._calls: Counter[str] = Counter()
        self._changed = changed

    @property
    def shards(self) -> frozenset[str]:
        """Their ids; a shard of several lanes may have several such calls."""
        return frozenset(self._calls)

    def add(self, shard_id: str) -> None:
        """One call more of a shard is overdue."""
        self._calls[shard_id] += 1
        self._changed()

    def discard(self, shard_id: str) -> None:
        """One of them has ended after all."""
        self._calls[shard_id] -= 1
        self._calls += Counter()  # leaves out those at zero
        self._changed()


class TimeLimit:
    """``seconds`` for each call of one shard's ``process_records``; lives on the worker's loop.

    ``overdue`` hears of calls that nothing here can end.
    """

    def __init__(
        self,
        shard_id: str,
        seconds: float,
        *,
        clock: Clock,
        hooks: Callable[[Fact], None],
        overdue: Overdue,
    ) -> None:
        self.shard_id = shard_id
        self.seconds = seconds
        self.clock = clock
        self.hooks = hooks
        self.overdue = overdue

    def call(self, about: Callable[[], str]) -> TimedCall:
        """The watch over one call, for ``call_user_code``; ``about`` says which records it has, never their payload."""
        return TimedCall(self, about)


class TimedCall:
    """One call under a time limit; the time runs from when user code begins, not while it waits for a thread."""

    __slots__ = ("_about", "_began_at", "_is_cancelled", "_is_overdue", "_limit", "_task", "_thread", "_timer")

    def __init__(self, limit: TimeLimit, about: Callable[[], str]) -> None:
        self._limit = limit
        self._about = about
        self._began_at: float | None = None
        self._thread: int | None = None
        self._task: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_cancelled = False
        self._is_overdue = False

    def __enter__(self) -> Self:
        self._look_in(self._limit.seconds)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._task = None  # its outcome is to be all that holds what it held
        if self._is_overdue:
            _log.warning(
                "Shard %s: process_records for %s has ended, after %.0f s.",
                *(self._limit.shard_id, self._about(), self._age_seconds()),
            )
            self._limit.overdue.discard(self._limit.shard_id)

    @contextmanager
    def in_thread(self) -> Iterator[None]:
        """User code runs inside the block, in the thread that enters it."""
        self._began_at = self._limit.clock.monotonic()
        self._thread = threading.get_ident()
        try:
            yield
        finally:
            self._thread = None

    def in_task(self, task: asyncio.Task[Any] | None) -> None:
        """User code runs in ``task`` from now on; it may have made it in a thread, whose time counts."""
        self._task = task
        if self._began_at is None:
            self._began_at = self._limit.clock.monotonic()
        elif task is not None and self._age_seconds() >= self._limit.seconds:
            self._cancel(task)

    def judged(self, outcome: Outcome[Any] | None) -> Outcome[Any] | None:
        """What the call came to: where it was cancelled, that, whatever it made of its cancellation.

        Code that swallows it and returns has not said that its records are done. What it says of them by name holds.
        """
        if not self._is_cancelled or outcome is None:
            return outcome
        said = outcome.error if isinstance(outcome, Raised) else outcome.value
        if isinstance(said, BatchFailures | RetryAfter):
            return outcome
        error = BatchTimedOut(
            f"process_records ran for longer than batch_timeout_seconds ({self._limit.seconds:g} s) allows and was "
            "cancelled"
        )
        return Raised(error.with_traceback(said.__traceback__ if isinstance(said, BaseException) else None))

    def _age_seconds(self) -> float:
        began_at = self._began_at
        return 0.0 if began_at is None else self._limit.clock.monotonic() - began_at

    def _look_in(self, seconds: float) -> None:
        self._timer = self._limit.clock.call_later(seconds, self._look)

    def _look(self) -> None:
        left_seconds = self._limit.seconds - self._age_seconds()
        if left_seconds > 0:
            self._look_in(left_seconds)
        elif self._is_cancelled or (self._task is None and self._thread is not None):
            self._tell_overdue()
            self._look_in(_TOLD_EVERY_SECONDS)
        elif self._task is not None:
            self._cancel(self._task)
            self._look_in(_GRACE_SECONDS)
        else:  # out of its thread, and about to be heard of
            self._look_in(_GRACE_SECONDS)

    def _cancel(self, task: asyncio.Task[Any]) -> None:
        self._is_cancelled = True
        task.cancel()
        self._limit.hooks(BatchTimedOutFact(self._limit.shard_id, self._limit.seconds, cancelled=True))

    def _tell_overdue(self) -> None:
        limit, thread = self._limit, self._thread
        if self._task is not None:
            why, stack = "it was cancelled and goes on all the same", stack_of_task(self._task)
        else:
            why, stack = "it runs in a thread, which can't be interrupted", stack_of_thread(thread)
        _log.error(
            "Shard %s: process_records for %s has run for %.0f s, batch_timeout_seconds is %g: %s. The shard waits, "
            "and nothing of it is tried again before it ends. It is at: %s",
            *(limit.shard_id, self._about(), self._age_seconds(), limit.seconds, why, stack or "(no frame of it)"),
        )
        if self._is_overdue:
            return
        self._is_overdue = True
        if not self._is_cancelled:
            limit.hooks(BatchTimedOutFact(limit.shard_id, limit.seconds, cancelled=False))
        limit.overdue.add(limit.shard_id)


def stack_of_thread(thread: int | None) -> str:
    """Where user code is in a thread, innermost frame first: files, lines and functions; empty where it has ended."""
    frame = None if thread is None else sys._current_frames().get(thread)
    return "" if frame is None else shown_frames(takewhile(_is_users, traceback.walk_stack(frame)))


def stack_of_task(task: asyncio.Task[Any]) -> str:
    """Where user code waits in a task, innermost frame first, through all that it awaits."""
    frames: list[tuple[FrameType, int]] = []
    awaited: Any = task.get_coro()
    while awaited is not None and len(frames) < _MOST_FRAMES:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        if frame is None:
            break
        frames.append((frame, frame.f_lineno))
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
    return shown_frames(takewhile(_is_users, reversed(frames)))


def _is_users(frame: tuple[FrameType, int]) -> bool:
    return not str(frame[0].f_globals.get("__name__")).startswith(_CALLER)
