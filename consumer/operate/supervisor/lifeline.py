"""The line between a worker process and its supervisor: a socket that each end sees closed when the other is gone.

To the worker go ``drain`` and ``leave``; the end of the line means ``drain``, too: a supervisor that was killed leaves
nobody who would stop its workers, so they stop by themselves. To the supervisor goes what can't be read off a process:
that it has begun to work, and where its page is; or why it ends. Both speak lines, JSON towards the supervisor.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

from consumer.exit_codes import CLEAN

__all__ = ["LINE_BYTES", "VARIABLE", "Asked", "AtWork", "Failed", "Lifeline", "Told", "heard"]

Asked = Literal["drain", "leave"]
"""``drain``: stop reading, finish what is in hand, hand over. ``leave``: end at once."""

VARIABLE: Final = "LEASEHOLD_LIFELINE"
"""Tells a worker process its number and the descriptor of its end, ``2:7``."""
LINE_BYTES: Final = 64 * 1024
# Twelve bytes a character at worst, as JSON escapes it.
_REASON_CHARACTERS: Final = 4 * 1024
_LAST_WORDS_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class AtWork:
    """The worker has got through its start; ``port`` is that of its page on loopback, None where it has none."""

    worker_id: str
    port: int | None


@dataclass(frozen=True, slots=True)
class Failed:
    """The worker ends because of an error of its own, told in sentences."""

    sentences: tuple[str, ...]


Told = AtWork | Failed


def heard(line: bytes) -> Told:
    """What a worker process says in one line. Raises ValueError, TypeError or KeyError where it says nothing known."""
    said = json.loads(line)
    match said["told"]:
        case "at work":
            return AtWork(said["worker_id"], said["port"])
        case "failed":
            return Failed(tuple(said["sentences"]))
        case other:
            raise ValueError(f"{other!r} is nothing that a worker process tells")


class Lifeline:
    """A worker process's end. ``number`` is the process's, from 1."""

    def __init__(self, number: int, end: socket.socket, *, leave: Callable[[int], Any] = os._exit) -> None:
        self.number = number
        self._end = end
        self._leave = leave
        self._lock = threading.Lock()
        self._code = CLEAN
        self._ask: Callable[[Asked], None] | None = None
        self._is_cut = False
        self._thread = threading.Thread(target=self._listen, name="leasehold-lifeline", daemon=True)
        self._thread.start()

    @classmethod
    def inherited(cls, environment: MutableMapping[str, str] = os.environ) -> Self | None:
        """This process's, where it has a supervisor. Processes that user code starts have none: it is taken out."""
        told = environment.pop(VARIABLE, None)
        if told is None:
            return None
        number, _, descriptor = told.partition(":")
        os.set_inheritable(int(descriptor), False)
        return cls(int(number), socket.socket(fileno=int(descriptor)))

    def begin(self) -> None:
        """From now on a Ctrl-C is heard here, too: ``ChildProcess`` holds it back while the interpreter starts."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))

    def follow(self, ask: Callable[[Asked], None]) -> None:
        """From now on hand requests to ``ask``, which is called in a thread of its own; before, each ends the process.

        Before it works, a worker has nothing to hand over, and user code that hangs while it is imported would not
        let it come to the point where it could.
        """
        with self._lock:
            self._ask = ask

    def end_with(self, code: int) -> None:
        """The work is done: end with ``code``, at once where there is no supervisor any more, else when asked.

        The interpreter would wait for threads of user code for ever, and nobody would come and end the process.
        """
        with self._lock:
            self._ask, self._code = None, code
            if self._is_cut:
                self._leave_now()

    def tell(self, told: Told) -> bool:
        """Say it to the supervisor; False where none is there any more."""
        match told:
            case AtWork(worker_id, port):
                said: dict[str, Any] = {"told": "at work", "worker_id": worker_id, "port": port}
            case Failed(sentences):
                said = {"told": "failed", "sentences": _cut(sentences)}
        try:
            self._end.sendall(json.dumps(said).encode() + b"\n")
        except OSError:
            return False
        return True

    def _listen(self) -> None:
        known: dict[str, Asked] = {"drain": "drain", "leave": "leave"}
        # Cut off while what we had said lay there unread: an error to the kernel, and to us its end like any other.
        with suppress(OSError), self._end.makefile("r") as lines:
            for line in lines:
                if request := known.get(line.strip()):  # a later version's supervisor may know more
                    self._asked(request)
        self._is_cut = True
        self._asked("drain")

    def _asked(self, request: Asked) -> None:
        with self._lock:
            if self._ask is None:
                self._leave_now()
            else:
                self._ask(request)

    def _leave_now(self) -> None:
        """User code may hold the locks of these streams, so nothing waits long."""
        words = threading.Thread(target=_flush, daemon=True)
        words.start()
        words.join(_LAST_WORDS_SECONDS)
        self._leave(self._code)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


def _cut(sentences: Sequence[str]) -> list[str]:
    """As many as fit into a line that the supervisor reads."""
    left, kept = _REASON_CHARACTERS, []
    for sentence in sentences:
        if left <= 0:
            break
        kept.append(sentence[:left])
        left -= len(sentence)
    return kept
