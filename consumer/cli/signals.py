"""SIGTERM and SIGINT of ``run``: the first drains, a second ends the process, and so does the drain's deadline.

The handler itself only notes the signal. All that follows happens in a thread of its own, which works even while user
code blocks the main thread and the worker's loop with it.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from types import FrameType, TracebackType
from typing import Any, Final, Self

__all__ = ["StopSignals"]

_log = logging.getLogger("leasehold.cli")

DRAIN_TIMED_OUT: Final = 4
# The worker itself gives up at the drain's time-out; only when it can't does this end the process. Less than the second
# that is promised, so that writing the last words still fits.
GRACE_SECONDS: Final = 0.8
# timeout(1) and some supervisors signal both the process and its group: the same signal twice within an instant is one.
ECHO_SECONDS: Final = 0.2
_LAST_WORDS_SECONDS: Final = 0.5


class StopSignals:
    """A context in which SIGTERM and SIGINT call ``stop``, which must be safe in any thread.

    ``unfinished`` says which shards the worker still holds, for the last words. ``end`` ends the process; it does not
    return.
    """

    def __init__(
        self,
        stop: Callable[[], None],
        *,
        drain_timeout_seconds: float,
        failover_seconds: float,
        unfinished: Callable[[], tuple[str, ...]],
        end: Callable[[int], Any] = os._exit,
    ) -> None:
        self._stop = stop
        self._drain_timeout_seconds = drain_timeout_seconds
        self._failover_seconds = failover_seconds
        self._unfinished = unfinished
        self._end = end
        # SimpleQueue.put is reentrant: a signal may arrive while another one's handler runs. None: the context is
        # left. At most three signals are ever looked at, so that the queue holds what a user manages to press in a
        # drain.
        self._signals: SimpleQueue[int | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._watch, name="leasehold-signals", daemon=True)
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._signals.put(None)
        self._thread.join()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signals.put(number)

    def _watch(self) -> None:
        first = self._signals.get()
        if first is None:
            return
        seconds = self._drain_timeout_seconds
        name = signal.Signals(first).name
        _log.info("%s: draining for up to %g s; a second signal stops at once.", name, seconds)
        self._stop()
        try:
            second = self._second(first, seconds + GRACE_SECONDS)
        except Empty:
            self._leave(f"The drain did not end in {seconds:g} s, user code is still running")
            return
        if second is not None:
            self._leave(f"{signal.Signals(second).name} again: stopping at once")

    def _second(self, first: int, seconds: float) -> int | None:
        """The next signal that is not the first one's echo; raises Empty after ``seconds``."""
        echo_seconds = min(ECHO_SECONDS, seconds)
        try:
            soon = self._signals.get(timeout=echo_seconds)
        except Empty:
            soon = first
        return soon if soon != first else self._signals.get(timeout=seconds - echo_seconds)

    def _leave(self, cause: str) -> None:
        """Say what is left behind and end the process; user code may hold logging's locks, so nothing waits long."""
        words = threading.Thread(target=self._last_words, args=(cause,), daemon=True)
        words.start()
        words.join(_LAST_WORDS_SECONDS)
        self._end(DRAIN_TIMED_OUT)

    def _last_words(self, cause: str) -> None:
        try:
            shards = self._unfinished()
        except RuntimeError:  # the worker's loop changed its shards while this thread went through them
            shards = ("every shard it still holds",)
        rest = (
            f"the leases of {', '.join(shards)} expire in at most {self._failover_seconds:g} s, and their next owners "
            "begin at the last checkpoint stored: records after it come again"
            if shards
            else "no lease is held any more"
        )
        _log.error("%s; %s. Exit code %d.", cause, rest, DRAIN_TIMED_OUT)
        sys.stdout.flush()
        sys.stderr.flush()
