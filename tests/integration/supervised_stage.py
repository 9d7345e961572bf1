"""A real ``leasehold run --processes N`` on real servers: what each of its processes was given, by process id.

Its worker processes share one standard output: each line is one unbuffered write of less than a pipe takes at once, and
begins with the process's id.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from consumer.testing import tether
from consumer.testing.ministack import Ministack
from consumer.testing.server_thread import StreamServerThread
from tests.integration.ledger import CLOCK, Ledger, Note
from tests.integration.process_stage import PROCESSOR, notes_of
from tests.integration.worker_stage import Orders

__all__ = ["Supervised", "SupervisedGroup", "page"]

_WITHIN_SECONDS: Final = 30.0
_PROCESSORS: Final = (
    PROCESSOR
    + """

class ByProcess(Orders):
    def tell(self, *entries):
        now = CLOCK.monotonic()
        for kind, *rest in entries:
            line = [now, kind, self.shard.shard_id, self.shard.fencing_token, *rest]
            os.write(1, f"{os.getpid()} {json.dumps(line)}\\n".encode())


class Blocks(ByProcess):
    def process_records(self, records, checkpointer):
        super().process_records(records, checkpointer)
        NEVER.wait()


import threading
NEVER = threading.Event()
"""
)


class Supervised:
    """The supervisor's process; notes of its worker processes go into the ledger, named by their process ids."""

    def __init__(self, popen: subprocess.Popen[bytes], ledger: Ledger, log: Path) -> None:
        self.pid = popen.pid
        self._popen = popen
        self._ledger = ledger
        self._log = log
        self._reader = threading.Thread(target=self._read, name=f"output of {popen.pid}", daemon=True)
        self._reader.start()

    def said(self) -> str:
        """Its log, and that of its worker processes."""
        return self._log.read_text(errors="replace")

    def send(self, number: signal.Signals) -> float:
        """Send the supervisor a signal; returns when."""
        self._popen.send_signal(number)
        return CLOCK.monotonic()

    def press(self, number: signal.Signals) -> None:
        """Send a signal as a terminal does, to the whole group of processes."""
        os.killpg(self.pid, number)

    def end(self, within_seconds: float = _WITHIN_SECONDS) -> int:
        """Its exit code; every process that held its output has closed it by then, too."""
        code = self._popen.wait(within_seconds)
        self._reader.join(_WITHIN_SECONDS)
        assert not self._reader.is_alive(), f"a process outlived its supervisor: {self.group()}; {self.said()}"
        return code

    def group(self) -> list[int]:
        """The ids of all processes of its group that still run (one that nobody has buried yet does not)."""
        command = ["ps", "-o", "pid=,state=", "-g", str(self.pid)]
        found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
        return [int(pid) for pid, state in (line.split() for line in found) if state != "Z"]

    async def until_none_is_left(self) -> None:
        """Until no process of its group runs; one that has closed its output is about to end, but still there."""
        async with CLOCK.timeout(_WITHIN_SECONDS):
            while self.group():
                await CLOCK.sleep(0.05)

    async def started(self, number: int, times: int = 1) -> int:
        """The id of worker process ``number`` at its ``times``-th start."""
        pattern = re.compile(rf"Process {number} \(pid (\d+)\) starts\.")
        return int((await self._in_log(pattern, times))[times - 1])

    async def at_work(self, *numbers: int) -> None:
        """Until these worker processes have got through their start."""
        for number in numbers:
            await self._in_log(re.compile(rf"Process {number} \(pid \d+\) is at work"), 1)

    async def port(self) -> int:
        """Of the page of all."""
        pattern = re.compile(r"leasehold\.http: Serving /metrics and /healthz on port (\d+)")
        return int((await self._in_log(pattern, 1))[0])

    async def _in_log(self, pattern: re.Pattern[str], times: int) -> list[str]:
        async with CLOCK.timeout(_WITHIN_SECONDS):
            while len(found := pattern.findall(self.said())) < times:
                assert self._popen.poll() is None, self.said()
                await CLOCK.sleep(0.05)
        return found

    def shards_of(self, pid: int) -> set[str]:
        """The shards of which this process has the newest tenure, as user code told it."""
        newest: dict[str, Note] = {}
        for note in self._ledger.of("initialize"):
            if note.shard_id not in newest or note.tenure > newest[note.shard_id].tenure:
                newest[note.shard_id] = note
        return {key for key, note in newest.items() if note.worker == str(pid)}

    def _read(self) -> None:
        assert self._popen.stdout is not None
        with self._popen.stdout as lines:
            for note in _notes(lines):
                self._ledger.take(note)
        self._ledger.wake()

    def close(self) -> None:
        """End what is left, the supervisor first, so that it starts nothing again."""
        if self._popen.poll() is None:
            self._popen.kill()
        self._popen.wait()
        for pid in self.group():
            os.kill(pid, signal.SIGKILL)
        self._reader.join(_WITHIN_SECONDS)


def _notes(lines: Iterator[bytes]) -> Iterator[Note]:
    for line in lines:
        pid, _, rest = line.partition(b" ")
        yield from notes_of(pid.decode(), [rest])


class SupervisedGroup:
    """Starts supervisors of one app on one table's stream, and ends what is left of them."""

    def __init__(self, folder: Path, ministack: Ministack, streams: StreamServerThread, shards: int) -> None:
        self.ledger = Ledger()
        self.orders = Orders(streams, self.ledger, shard_count=shards)
        self.all: list[Supervised] = []
        self._folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "LEASEHOLD_"))}
        self._environment = kept | ministack.environment | {"AWS_ENDPOINT_URL_DYNAMODB_STREAMS": streams.endpoint_url}
        self.app = f"app-{uuid4().hex}"
        self._flags = ["--source", self.orders.arn, "--app", self.app]
        self._flags += ["--initial-position", "TRIM_HORIZON", "--failover-seconds", "2"]
        (folder / "user_orders.py").write_text(_PROCESSORS)

    def start(self, processes: int | str, *flags: str, processor: str = "user_orders:ByProcess") -> Supervised:
        """A supervisor of ``processes``, in a group of its own."""
        command = [sys.executable, "-m", "consumer", "run", processor, "--processes", str(processes)]
        log = self._folder / f"supervisor-{len(self.all)}.log"
        with log.open("ab") as errors:
            popen = subprocess.Popen(
                tether.command(*command, *self._flags, *flags),
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        supervised = Supervised(popen, self.ledger, log)
        self.all.append(supervised)
        return supervised

    def close(self) -> None:
        for each in self.all:
            each.close()


def page(port: int, path: str) -> tuple[int, Any]:
    """What the page of all answers: its status, and JSON for ``/healthz``, else text."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=_WITHIN_SECONDS) as reply:
            status, text = reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            status, text = error.code, error.read().decode()
    return status, json.loads(text) if path == "/healthz" else text
