"""A `leasehold run` process whose lines are read as they come."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

__all__ = ["Running"]

_WITHIN_SECONDS = 30.0


class Running:
    """A `leasehold run`; its lines come one by one, stdout and stderr apart."""

    def __init__(self, folder: Path, environment: dict[str, str], *arguments: str) -> None:
        command = [sys.executable, "-m", "consumer", "run", *arguments, "--app", f"app-{uuid4().hex}"]
        self.process = subprocess.Popen(
            [*command, "--initial-position", "TRIM_HORIZON"],
            cwd=folder,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.out: queue.Queue[str] = queue.Queue(maxsize=10_000)
        self.log: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self.out.put), daemon=True),
            threading.Thread(target=self._read, args=(self.process.stderr, self.log.append), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(pipe: Iterator[str], take: object) -> None:
        for line in pipe:
            take(line.rstrip("\n"))  # type: ignore[operator]

    def line(self) -> str:
        """The next line of what the processor printed."""
        try:
            return self.out.get(timeout=_WITHIN_SECONDS)
        except queue.Empty:
            raise AssertionError(f"the processor printed nothing; the log: {self.log}") from None

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def end(self, within_seconds: float = _WITHIN_SECONDS) -> int:
        """The exit code."""
        code = self.process.wait(within_seconds)
        for reader in self._readers:
            reader.join(_WITHIN_SECONDS)
        return code

    def said(self) -> str:
        return "\n".join(self.log)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.end()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe:
                pipe.close()
