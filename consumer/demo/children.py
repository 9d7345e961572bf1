"""The demo's child processes: each with a log of its own, all of them ended by their process id."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from consumer.testing import tether

__all__ = ["Child", "Children"]

_LAST_WORDS_BYTES: Final = 1200


class Child:
    """A process, its name in the demo, and the file that holds what it says."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; -9 after a kill -9."""
        return self._process.poll()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; legal after its end, too."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once; returns when it is gone."""
        self._process.kill()
        self._process.wait()

    def said(self) -> str:
        """The end of its log."""
        return self._log.read_bytes()[-_LAST_WORDS_BYTES:].decode(errors="replace").strip()


class Children:
    """All children of a run; leaving this context kills those that are left, the newest first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._children: list[Child] = []

    def start(self, name: str, *arguments: str, environment: Mapping[str, str]) -> Child:
        """Run ``python ARGUMENTS`` in the folder, away from the terminal's signals; output goes to ``NAME.log``."""
        log = self._folder / f"{name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                tether.command(sys.executable, *arguments),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                env=dict(environment),
                # Ctrl-C goes to the demo alone, which then ends everything in its own order.
                start_new_session=True,
            )
        child = Child(name, process, log)
        self._children.append(child)
        return child

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What is still here after a clean run is a server; after anything else nobody waits for a drain.
        for child in reversed(self._children):
            child.kill()
