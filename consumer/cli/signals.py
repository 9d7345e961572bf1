"""SIGTERM and SIGINT of ``run``: the first drains, a second ends the process, and so does the drain's deadline.

What several signals mean, and what a supervisor asks beside them, is decided in ``stops``.

All that follows a signal happens in threads of this module, which work even while user code blocks the main thread and
the worker's loop with it. The interpreter's own way is not enough for that: it runs a handler in the main thread alone,
and a signal that the kernel gives to another thread (as it does with the second of two in a row) does not wake a main
thread that sleeps. So the byte that the interpreter writes to its wakeup descriptor, from whichever thread, is what
counts; the handler sends one as well, for user code may put a descriptor of its own there (add_signal_handler does).
"""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from types import FrameType, TracebackType
from typing import Any, Final, Self

from consumer.cli.stops import Stops
from consumer.clock import Clock, SystemClock
from consumer.exit_codes import DRAIN_TIMED_OUT
from consumer.operate.supervisor.lifeline import Asked

__all__ = ["StopSignals"]

_log = logging.getLogger("leasehold.cli")

# The worker itself gives up at the drain's time-out; only when it can't does this end the process. Less than the second
# that is promised, so that writing the last words still fits.
GRACE_SECONDS: Final = 0.8
_LAST_WORDS_SECONDS: Final = 0.5
# For putting connections away; what user code's tasks make of their cancellation meanwhile is not waited for.
_TIDY_SECONDS: Final = 2.0
_STOPS: Final = (signal.SIGTERM, signal.SIGINT)
# Added to the number of a signal in the bytes that the handler sends; 64 is the highest number of a signal.
_BY_HANDLER: Final = 0x80


@dataclass(frozen=True, slots=True)
class _EndSoon:
    """The worker has done what it could; the process is to end with ``code``, by itself or by force."""

    code: int


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
        clock: Clock | None = None,
    ) -> None:
        self._stop = stop
        self._clock = clock or SystemClock()
        self._drain_timeout_seconds = drain_timeout_seconds
        self._failover_seconds = failover_seconds
        self._unfinished = unfinished
        self._end = end
        # None: the context is left. The queue holds what a user manages to press in a drain.
        self._requests: SimpleQueue[int | Asked | _EndSoon | None] = SimpleQueue()
        self._code = DRAIN_TIMED_OUT
        self._threads = [
            threading.Thread(target=work, name="leasehold-signals", daemon=True) for work in (self._hear, self._watch)
        ]
        self._before: dict[int, Any] = {}
        self._mask = threading.local()
        if hasattr(os, "register_at_fork"):  # a system without it has no fork, either
            # There is no way to take it back; before and after this context it does nothing.
            os.register_at_fork(
                before=self._before_fork, after_in_parent=self._after_fork, after_in_child=self._in_forked_child
            )

    def __enter__(self) -> Self:
        self._heard, self._sent = socket.socketpair()
        self._sent.setblocking(False)
        for thread in self._threads:
            thread.start()
        self._woken_before = signal.set_wakeup_fd(self._sent.fileno(), warn_on_full_buffer=False)
        for number in _STOPS:
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._let_go()
        for thread in self._threads:
            thread.join()
        self._heard.close()

    def ask(self, request: Asked) -> None:
        """As a signal would, for one who has other ways to tell; legal in any thread, and when the context is left."""
        self._requests.put(request)

    def end_soon(self, code: int) -> None:
        """The context is about to be left; where user code keeps it from that, the process ends all the same."""
        self._requests.put(_EndSoon(code))

    def _before_fork(self) -> None:
        # A signal to the child waits until the child has let go of the descriptors that it shares with us.
        self._mask.before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)

    def _after_fork(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask.before)

    def _in_forked_child(self) -> None:
        """User code forked: the signals of its child are the child's own."""
        if self._before:
            self._let_go()
        self._after_fork()

    def _let_go(self) -> None:
        for number in _STOPS:
            signal.signal(number, self._before.pop(number))
        woken = signal.set_wakeup_fd(self._woken_before)
        if woken != self._sent.fileno():  # user code's, which came after ours
            signal.set_wakeup_fd(woken)
        self._sent.close()

    def _note(self, number: int, frame: FrameType | None) -> None:
        with suppress(BlockingIOError):  # thousands of bytes wait there already, all saying the same
            self._sent.send(bytes([number | _BY_HANDLER]))

    def _hear(self) -> None:
        """Put each signal into the queue once, though it is told in two ways, either of which may be missing."""
        told: Counter[int] = Counter()
        in_all: Counter[int] = Counter()
        while received := self._heard.recv(64):
            for byte in received:
                told[byte] += 1
                number = byte & ~_BY_HANDLER
                if number in _STOPS and told[byte] > in_all[number]:
                    in_all[number] += 1
                    self._requests.put(number)
        self._requests.put(None)

    def _watch(self) -> None:
        stops, deadline = Stops(), math.inf
        while (request := self._next(deadline)) is not None:
            if isinstance(request, _EndSoon):
                self._code = request.code
                deadline = self._clock.monotonic() + _TIDY_SECONDS
                continue
            match stops.heard(request, self._clock.monotonic()):
                case "drain":
                    seconds = self._drain_timeout_seconds
                    deadline = self._clock.monotonic() + seconds + GRACE_SECONDS
                    _log.info("%s: draining for up to %g s; a second signal stops at once.", _name(request), seconds)
                    self._stop()
                case "leave":
                    again = "waits no longer" if request == "leave" else "again"
                    self._leave(f"{_name(request)} {again}: stopping at once")
                    return

    def _next(self, deadline: float) -> int | Asked | _EndSoon | None:
        """The next request before ``deadline``, at which the process ends."""
        left_seconds = None if deadline == math.inf else max(0.0, deadline - self._clock.monotonic())
        try:
            return self._requests.get(timeout=left_seconds)
        except Empty:
            late = "User code is still running"
            if self._code == DRAIN_TIMED_OUT:
                late = f"The drain did not end in {self._drain_timeout_seconds:g} s, user code is still running"
            self._leave(late)
            return None

    def _leave(self, cause: str) -> None:
        """Say what is left behind and end the process; user code may hold logging's locks, so nothing waits long."""
        words = threading.Thread(target=self._last_words, args=(cause,), daemon=True)
        words.start()
        words.join(_LAST_WORDS_SECONDS)
        self._end(self._code)

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
        _log.error("%s; %s. Exit code %d.", cause, rest, self._code)
        sys.stdout.flush()
        sys.stderr.flush()


def _name(request: int | Asked) -> str:
    return signal.Signals(request).name if isinstance(request, int) else "The supervisor"
