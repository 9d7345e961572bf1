"""What a measure of scale stands on: a canned server of its own, and a real ``leasehold run`` against it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.processes import Canned, Child, free_port, progress
from tests.benchmarks.worker_page import WorkerPage, value_of

__all__ = ["FAILOVER_SECONDS", "NOOP", "Span", "Stage", "Worker", "environment"]

FAILOVER_SECONDS: Final = 10.0
NOOP: Final = "tests.benchmarks.scale.processors:Noop"
_LOOK_SECONDS: Final = 0.25
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Span:
    """What passed between two looks: of the worker's process, and as the server counted it."""

    seconds: float
    cpu_seconds: float
    polls: int
    lease_writes: int
    lease_requests: int
    server_cpu_seconds: float

    @property
    def core_share(self) -> float:
        """The worker's share of one core."""
        return self.cpu_seconds / self.seconds

    @property
    def microseconds_a_poll(self) -> float:
        """All that the worker does, leases and metrics included, spread over its polls."""
        return 1e6 * self.cpu_seconds / self.polls


@dataclass(frozen=True, slots=True)
class _Look:
    at: float
    cpu_seconds: float
    counts: dict[str, Any]


class Worker(Child):
    """A real ``leasehold run`` with its metrics on."""

    def __init__(
        self, canned: Canned, folder: Path, name: str, command: Sequence[str], own: Mapping[str, str] | None = None
    ) -> None:
        self._canned = canned
        port = free_port()
        self.page = WorkerPage(port)
        leasehold = str(Path(sys.executable).with_name("leasehold"))
        words = [leasehold, "run", *command, "--http", f"127.0.0.1:{port}", "--log-level", "warning"]
        super().__init__(name, words, {**environment(canned), **(own or {})}, folder)

    def send(self, number: signal.Signals) -> None:
        """A signal to the process itself."""
        self._process.send_signal(number)

    def resident_megabytes(self) -> float:
        """Its resident memory now, in MB of 10^6 bytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE_BYTES / 1e6

    def metric(self, name: str) -> float:
        """The sum over the metric's labels, by its own page."""
        return value_of(self.page.text(), name)

    def until_reading(self, shards: int, within_seconds: float) -> float:
        """Until it holds and polls all shards; the seconds that this took. Raises TimeoutError, RuntimeError."""
        began = time.monotonic()
        while time.monotonic() - began < within_seconds:
            self.check()
            # It serves its page from its own start on: it is asked once there is something to hold.
            polls, opened = (self._calls(operation) for operation in ("GetRecords", "GetShardIterator"))
            if opened >= shards and polls >= shards and self.metric("leasehold_leases_held") >= shards:
                return time.monotonic() - began
            time.sleep(_LOOK_SECONDS)
        raise TimeoutError(
            f"{self.name}: {opened} of {shards} shards opened, {polls} polls after {within_seconds:g} s.\n"
            f"{self.last_words()}"
        )

    def lease_writes(self) -> int:
        """Rows of leases written so far, as its table counted them."""
        return int(self._canned.counts()["lease_writes"])

    def _calls(self, operation: str) -> int:
        calls = self._canned.counts()["calls"]
        return int(calls.get(f"kinesis.{operation}", 0) + calls.get(f"dynamodb.{operation}", 0))

    def _look(self) -> _Look:
        return _Look(time.monotonic(), self.cpu_seconds(), self._canned.counts())

    def watch(self, seconds: float) -> Span:
        """Let ``seconds`` pass."""
        before = self._look()
        time.sleep(seconds)
        after = self._look()

        def calls(look: _Look) -> int:
            return sum(count for name, count in look.counts["calls"].items() if name.endswith(".GetRecords"))

        def requests(look: _Look) -> int:
            made = look.counts["table_calls"]
            return sum(made.get(each, 0) for each in ("UpdateItem", "PutItem", "DeleteItem", "BatchExecuteStatement"))

        def passed(name: str) -> Any:
            return after.counts[name] - before.counts[name]

        return Span(
            seconds=after.at - before.at,
            cpu_seconds=after.cpu_seconds - before.cpu_seconds,
            polls=calls(after) - calls(before),
            lease_writes=passed("lease_writes"),
            lease_requests=requests(after) - requests(before),
            server_cpu_seconds=passed("cpu_seconds"),
        )


@dataclass(frozen=True, slots=True)
class Stage:
    """A folder for the words of its processes; ``serving`` starts a canned server and a worker beside each other."""

    folder: Path

    @contextmanager
    def serving(
        self,
        name: str,
        stream: str,
        *flags: str,
        processor: str = NOOP,
        environment: Mapping[str, str] | None = None,
    ) -> Iterator[tuple[Canned, Worker]]:
        """Both are gone afterwards, as they are where the driver is killed."""
        folder = self.folder / name
        folder.mkdir()
        progress(f"  {name}: {stream} {' '.join(flags)}")
        command = [
            *(processor, "--app", f"scale-{name}", "--source", f"kinesis:{stream}"),
            *("--initial-position", "TRIM_HORIZON", *flags),
        ]
        with Canned(folder) as canned, Worker(canned, folder, name, command, environment) as worker:
            yield canned, worker


def environment(canned: Canned) -> dict[str, str]:
    """What points a process at one canned server for all: streams and the lease table."""
    return {
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": canned.url,
    }
