"""The processes of a run: the canned server and the contenders, gone with the driver whatever happens to it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from consumer.testing import tether

__all__ = ["Canned", "Child", "free_port", "progress"]

ROOT: Final = Path(__file__).parents[2]
_GRACE_SECONDS: Final = 5.0


def progress(text: str) -> None:
    """A line for whoever watches; figures go to standard output."""
    print(text, file=sys.stderr, flush=True)


def free_port() -> int:
    """A port of the loopback that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _environment(own: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "LEASEHOLD_", "BENCH_"))}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**kept, "PYTHONPATH": path, **own}


class Child:
    """A process whose words go to a file. ``with Child(...)`` kills it surely, stopped or not."""

    def __init__(
        self, name: str, command: list[str], environment: Mapping[str, str], folder: Path, *, piped: bool = False
    ) -> None:
        self.name = name
        self._log = folder / f"{name}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                tether.command(*command),
                cwd=ROOT,
                env=_environment(environment),
                stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
                stdout=subprocess.PIPE if piped else log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Of the process itself."""
        return self._process.pid

    def check(self) -> None:
        """Raises RuntimeError with its last words where it has ended."""
        code = self._process.poll()
        if code is not None:
            raise RuntimeError(f"{self.name} ended with exit code {code}. It said:\n{self.last_words()}")

    def last_words(self) -> str:
        """The end of what it wrote."""
        return self._log.read_text(errors="replace")[-3000:] or "(nothing)"

    def stop(self) -> None:
        """Let it stand still until ``go_on``."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """After ``stop``."""
        self._process.send_signal(signal.SIGCONT)

    def cpu_seconds(self) -> float:
        """User and system time of all its threads so far, those that have ended included, to the nanosecond."""
        return time.clock_gettime((~self.pid << 3) | 2)  # what clock_getcpuclockid(3) makes of a pid (Linux)

    def end(self) -> None:
        """Kill it, and wait until it is gone."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(timeout=_GRACE_SECONDS)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end()


class Canned(Child):
    """The server of canned replies."""

    def __init__(self, folder: Path) -> None:
        super().__init__("canned", [sys.executable, "-m", "tests.benchmarks.canned"], {}, folder, piped=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self.check()
        self.url = f"http://127.0.0.1:{int(line)}"

    def counts(self) -> dict[str, Any]:
        """Calls so far and its clocks, see ``CannedServer``."""
        with urllib.request.urlopen(f"{self.url}/counts", timeout=_GRACE_SECONDS) as reply:
            found: dict[str, Any] = json.loads(reply.read())
            return found
