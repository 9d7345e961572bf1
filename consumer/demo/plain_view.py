"""The demo told in lines: for pipes, logs, narrow terminals, and where rich is not installed."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Final, Protocol, Self, TextIO

from consumer.demo.scene import Snapshot

__all__ = ["PlainView", "View"]

_EVERY_SECONDS: Final = 5.0


class View(Protocol):
    """Shows a run while it goes on; entered before it and left after it, whichever way it ends."""

    def __enter__(self) -> View: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def say(self, text: str) -> None:
        """A line before the run begins or after it has ended."""
        ...

    def show(self, snapshot: Snapshot) -> None:
        """The run as it is now; called several times a second."""
        ...


class PlainView:
    """Each event as it comes, and a line on progress every 5 s."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._told = 0
        self._next = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._out.flush()

    def say(self, text: str) -> None:
        print(text, file=self._out, flush=True)

    def show(self, snapshot: Snapshot) -> None:
        for event in snapshot.events:
            if event.number > self._told:
                self.say(f"{event.at:6.1f} s  {event.text}")
                self._told = event.number
        if snapshot.elapsed_seconds >= self._next:
            self._next += _EVERY_SECONDS
            self.say(f"{snapshot.elapsed_seconds:6.1f} s  {progress(snapshot)}")


def progress(snapshot: Snapshot) -> str:
    """The run in one line."""
    waiting = snapshot.written - snapshot.delivered
    shards = ", ".join(f"{worker.name} {worker.shards}" for worker in snapshot.workers if worker.shards)
    return (
        f"{snapshot.phase.value}: {snapshot.written} written, {max(0, waiting)} on their way; "
        f"shards: {shards or 'nobody has any yet'}"
    )
