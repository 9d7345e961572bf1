"""Real ``leasehold run`` processes whose user code reports every call on standard output, line by line.

A line is one unbuffered write, made before the call returns: what a killed process was given is known to the last
record. The processes can't outlive the test (Linux).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from consumer.testing import tether
from tests.integration.ledger import CLOCK, Ledger, Note

__all__ = ["PROCESSOR", "Process", "Processes", "notes_of"]

PROCESSOR: Final = """
import json, os
from consumer import RecordProcessor
from consumer.clock import SystemClock

CLOCK = SystemClock()


class Orders(RecordProcessor):
    def tell(self, *entries):
        now = CLOCK.monotonic()
        tenure = [self.shard.shard_id, self.shard.fencing_token]
        lines = [json.dumps([now, kind, *tenure, *rest]) for kind, *rest in entries]
        os.write(1, "".join(line + "\\n" for line in lines).encode())

    def initialize(self, shard):
        self.shard = shard
        self.tell(["initialize"])
        if shard.pending_checkpoint is not None:
            self.tell(["pending", int(shard.pending_checkpoint.checkpoint.sequence_number)])

    def process_records(self, records, checkpointer):
        self.tell(["batch"])
        for record in records:
            self.tell(["record", int(record.sequence_number), *self.change(record)])
        if os.environ.get("ONLY_PREPARES"):
            checkpointer.prepare(state=b"half way")

    def change(self, record):
        if hasattr(record, "partition_key"):
            return record.partition_key, int(record.data)
        return record.keys["pk"], int(record.new_image["version"])

    def lease_lost(self):
        self.tell(["lease_lost"])

    def shard_ended(self, checkpointer):
        self.tell(["shard_ended"])
        return super().shard_ended(checkpointer)

    def shutdown_requested(self, checkpointer):
        self.tell(["shutdown_requested"])
"""


class Process:
    """One worker process; what its user code reports goes into the ledger as it comes."""

    def __init__(self, name: str, popen: subprocess.Popen[bytes], ledger: Ledger, log: Path) -> None:
        self.name = name
        self.code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._popen = popen
        self._ledger = ledger
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._reader = threading.Thread(target=self._read, name=f"output of {name}", daemon=True)
        self._reader.start()

    @property
    def has_ended(self) -> bool:
        return self.code.done()

    def said(self) -> str:
        """Its log."""
        return self._log.read_text(errors="replace")

    def send(self, number: signal.Signals) -> float:
        """Send it a signal; returns when."""
        now = CLOCK.monotonic()
        self._popen.send_signal(number)
        return now

    async def end(self, within_seconds: float = 40.0) -> int:
        """Its exit code. All that it reported is in the ledger by then."""
        async with CLOCK.timeout(within_seconds):
            return await asyncio.shield(self.code)

    def kill(self) -> None:
        """End it, if it still runs; stopped processes, too."""
        if self._popen.poll() is None:
            self._popen.kill()
        self._popen.wait()
        self._reader.join(10.0)

    def _read(self) -> None:
        assert self._popen.stdout is not None
        with self._popen.stdout as lines:
            for note in notes_of(self.name, lines):
                self._ledger.take(note)
        code = self._popen.wait()
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._ended, code)

    def _ended(self, code: int) -> None:
        self.code.set_result(code)
        self._ledger.wake()


def notes_of(worker: str, lines: Iterable[bytes]) -> Iterator[Note]:
    """What its lines tell; one that a kill cut off tells nothing: a pipe takes no more than 4 KB at once for sure."""
    for line in lines:
        if line.endswith(b"\n"):
            at, kind, shard_id, tenure, *record = json.loads(line)
            yield Note(at, worker, kind, shard_id, tenure, *record)


class Processes:
    """Starts processes of one app and ends what is left of them."""

    def __init__(self, folder: Path, environment: dict[str, str], ledger: Ledger, *flags: str) -> None:
        self.all: list[Process] = []
        self._folder = folder
        self._ledger = ledger
        self._flags = flags
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "LEASEHOLD_"))}
        self._environment = kept | environment
        (folder / "user_orders.py").write_text(PROCESSOR)

    def start(self, name: str, **environment: str) -> Process:
        """A worker of that name; ``environment`` is for it alone."""
        command = [sys.executable, "-m", "consumer", "run", "user_orders:Orders", "--worker-id", name, *self._flags]
        return self.launch(name, command, **environment)

    def launch(self, name: str, command: Sequence[str], **environment: str) -> Process:
        """Any command whose lines are those of ``PROCESSOR``; ``environment`` is for it alone."""
        log = self._folder / f"{name}.log"
        with log.open("ab") as errors:
            popen = subprocess.Popen(
                tether.command(*command),
                cwd=self._folder,
                env=self._environment | environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        process = Process(name, popen, self._ledger, log)
        self.all.append(process)
        return process

    def shards_of(self, process: Process) -> set[str]:
        """The shards of which this process has the newest tenure, as user code told it."""
        newest: dict[str, Note] = {}
        for note in self._ledger.of("initialize"):
            if note.shard_id not in newest or note.tenure > newest[note.shard_id].tenure:
                newest[note.shard_id] = note
        ended = {note.shard_id for note in self._ledger.of("shard_ended")}
        return {key for key, note in newest.items() if note.worker == process.name and key not in ended}

    async def until_shared(self, *counts: int, within_seconds: float = 60.0) -> None:
        """Until the processes that run have that many shards each, in any order, by what their user code was told."""

        def reached() -> bool:
            running = [each for each in self.all if not each.has_ended]
            return sorted(len(self.shards_of(each)) for each in running) == sorted(counts)

        await self._ledger.until(reached, f"shards shared {counts}", within_seconds)

    def close(self) -> None:
        for process in self.all:
            process.kill()
