"""A worker's loop that user code blocks: nothing on it can cancel that, or tell of it, so a thread does."""

from __future__ import annotations

import asyncio
import logging
import threading
from types import TracebackType
from typing import Final, Self

from consumer.clock import Clock
from consumer.delivery.time_limit import stack_of_thread

__all__ = ["LoopWatch"]

_log = logging.getLogger("leasehold.delivery")
_TOLD_EVERY_SECONDS: Final = 60.0
_LONGEST_PAUSE_SECONDS: Final = 1.0


class LoopWatch:
    """Logs where the loop is that it is entered on, once it has not turned for ``seconds``, and when it turns again.

    That is an ``async def`` which computes, or waits without ``await``. A timer of the loop notes that it turns; a
    thread of this one looks at the note.
    """

    def __init__(self, seconds: float, clock: Clock) -> None:
        self._seconds = seconds
        self._clock = clock
        self._pause = min(_LONGEST_PAUSE_SECONDS, seconds / 4)
        self._left = threading.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._thread_of_loop: int | None = None
        self._turned_at = 0.0
        self._told_at: float | None = None

    def __enter__(self) -> Self:
        self._thread_of_loop = threading.get_ident()
        self._turns()
        threading.Thread(target=self._watch, name="leasehold-loop-watch", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        if self._timer is not None:
            self._timer.cancel()

    def look(self) -> None:
        """One look, in whatever thread: told is what is new."""
        now, turned_at = self._clock.monotonic(), self._turned_at
        stands_seconds = now - turned_at
        if stands_seconds < self._seconds:
            if self._told_at is not None:
                self._told_at = None
                _log.warning("The worker's loop turns again.")
        elif self._told_at is None or now - self._told_at >= _TOLD_EVERY_SECONDS:
            self._told_at = now
            _log.error(
                "The worker's loop has stood still for %.0f s, batch_timeout_seconds is %g: an `async def` computes, "
                "or waits without `await`. Nothing can cancel it, all shards of this worker wait for it, and their "
                "leases stay here. Write it as `def`, which has a thread, or let it await. It is at: %s",
                stands_seconds,
                self._seconds,
                stack_of_thread(self._thread_of_loop) or "(no frame of user code)",
            )

    def _turns(self) -> None:
        self._turned_at = self._clock.monotonic()
        self._timer = self._clock.call_later(self._pause, self._turns)

    def _watch(self) -> None:
        while not self._left.wait(self._pause):
            self.look()
