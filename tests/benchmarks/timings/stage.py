"""What a measure stands on: ministack, the stream server and real ``leasehold run`` processes, gone when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import boto3

from consumer.clock import SystemClock
from consumer.testing import tether
from consumer.testing.ministack import Ministack
from lease_store.dynamodb import DynamoDBLeaseStore
from lease_store.lease import Lease
from tests.benchmarks.timings.figures import Event, Journal

__all__ = ["CLOCK", "Stage", "Table", "WorkerProcess", "progress", "until"]

CLOCK: Final = SystemClock()
_HERE: Final = Path(__file__).parent
_POLL_SECONDS: Final = 0.02
_REPLY_BYTES: Final = 1 << 27


def progress(text: str) -> None:
    """A line for whoever watches; figures go to standard output."""
    print(text, file=sys.stderr, flush=True)


async def until(reached: Callable[[], Any], what: str, within_seconds: float = 60.0) -> Any:
    """The first true value of ``reached``. Raises TimeoutError with ``what`` it waited for."""
    deadline = CLOCK.monotonic() + within_seconds
    while not (value := reached()):
        if CLOCK.monotonic() > deadline:
            raise TimeoutError(f"Not within {within_seconds:g} s: {what}.")
        await CLOCK.sleep(_POLL_SECONDS)
    return value


class WorkerProcess:
    """A process of user code with its journal and its log."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, folder: Path, spawned_at: float) -> None:
        self.name = name
        self.spawned_at = spawned_at
        self._process = process
        self._folder = folder
        self._journal = Journal(folder / f"{name}.journal", name)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        """What it wrote on standard error."""
        return (self._folder / f"{self.name}.log").read_text(errors="replace")

    def events(self, *kinds: str) -> list[Event]:
        """Its journal so far, or only the events of ``kinds``."""
        return [event for event in self._journal.events() if not kinds or event.kind in kinds]

    def send(self, number: signal.Signals) -> float:
        """Send a signal, unless it has ended; returns when."""
        if self._process.returncode is None:
            self._process.send_signal(number)
        return CLOCK.monotonic()

    async def wait(self, within_seconds: float) -> int:
        """Its exit code. Raises TimeoutError with its last words."""
        try:
            async with CLOCK.timeout(within_seconds):
                return await self._process.wait()
        except TimeoutError:
            raise TimeoutError(f"{self.name} still runs after {within_seconds:g} s:\n{self.log[-1000:]}") from None

    async def end(self) -> None:
        """Kill it, if it still runs."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    def cpu_seconds(self) -> float:
        """User and system time of all its threads so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_megabytes(self) -> float:
        """Its resident memory now, in MB of 10^6 bytes."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@dataclass(frozen=True, slots=True)
class Table:
    """A table with a stream, and its lease table, named after it."""

    name: str
    stage: Stage

    @property
    def app(self) -> str:
        return f"{self.name}-audit"

    async def do(self, command: str, **fields: Any) -> Any:
        """One command to the writer beside the stream's log."""
        return await self.stage.ask({"do": command, "table": self.name, **fields})

    async def leases(self) -> tuple[Lease, ...]:
        """The rows of the lease table now."""
        return (await (await self.stage.lease_store(self.app)).scan()).leases

    async def until_balanced(self, workers: Iterable[WorkerProcess], shards: int, within_seconds: float = 60.0) -> None:
        """Until the workers hold all shards, as evenly as it goes, and every one was initialized."""
        names = [worker.name for worker in workers]
        deadline = CLOCK.monotonic() + within_seconds
        while CLOCK.monotonic() < deadline:
            rows = [each for each in await self.leases() if not each.is_finished]
            counts = [sum(1 for row in rows if (row.owner or "").startswith(f"{name}-")) for name in names]
            settled = not any(row.is_pending or row.owner is None for row in rows)
            if settled and sum(counts) == len(rows) == shards and max(counts) - min(counts) <= 1:
                return
            await CLOCK.sleep(0.25)
        raise TimeoutError(f"Not balanced within {within_seconds:g} s: {dict(zip(names, counts, strict=True))}.")


class Stage:
    """Servers and workers of one measure. ``async with Stage.set() as stage``."""

    def __init__(
        self,
        ministack: Ministack,
        server: asyncio.subprocess.Process,
        endpoint_url: str,
        folder: Path,
        stack: AsyncExitStack,
    ) -> None:
        self.ministack = ministack
        self.endpoint_url = endpoint_url
        self.folder = folder
        self._server = server
        self._stack = stack
        self._stores: dict[str, DynamoDBLeaseStore] = {}
        self._asking = asyncio.Lock()
        self._workers: list[WorkerProcess] = []

    @classmethod
    @asynccontextmanager
    async def set(cls) -> AsyncIterator[Stage]:
        """A fresh stage; every process and file of it is gone afterwards, whatever happened."""
        async with AsyncExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="leasehold-benchmark-")))
            ministack = stack.enter_context(Ministack.start())
            command = [sys.executable, "-m", "tests.benchmarks.timings.stream_process"]
            server = await asyncio.create_subprocess_exec(
                *command,
                cwd=_HERE.parents[2],
                limit=_REPLY_BYTES,
                start_new_session=True,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            stack.push_async_callback(_end_server, server)
            assert server.stdout is not None
            ready = json.loads(await server.stdout.readline())
            stage = cls(ministack, server, ready["endpoint_url"], folder, stack)
            stack.push_async_callback(stage._end_workers)
            yield stage

    async def ask(self, command: dict[str, Any]) -> Any:
        """Send a command to the stream server's process and wait for the answer."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        async with self._asking:
            self._server.stdin.write(json.dumps(command).encode() + b"\n")
            await self._server.stdin.drain()
            line = await self._server.stdout.readline()
        if not line:
            raise RuntimeError(f"The stream server's process ended over {command}; its error is above.")
        return json.loads(line)

    async def table(self, name: str, shard_count: int) -> Table:
        """A real table in ministack, so that DescribeTable answers as ever, whose stream the stream server serves."""
        client = boto3.client(
            "dynamodb",
            endpoint_url=self.ministack.endpoint_url,
        )
        reply = client.create_table(
            TableName=name,
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        )
        client.close()
        arn = reply["TableDescription"]["LatestStreamArn"]
        await self.ask({"do": "create", "table": name, "shard_count": shard_count, "stream_arn": arn})
        return Table(name, self)

    async def lease_store(self, table_name: str) -> DynamoDBLeaseStore:
        """The driver's own view of a lease table, made if need be and open until the stage is gone."""
        if table_name not in self._stores:
            store = DynamoDBLeaseStore(table_name, endpoint_url=self.ministack.endpoint_url)
            await self._stack.enter_async_context(store.open())
            self._stores[table_name] = store
        return self._stores[table_name]

    async def worker(self, table: Table, name: str, *flags: str, processor: str = "Journalling") -> WorkerProcess:
        """A real ``leasehold run``. ``flags`` are added to those that every worker needs."""
        command = [
            str(Path(sys.executable).with_name("leasehold")),
            "run",
            f"bench_processors:{processor}",
            *("--app", table.app, "--source", f"dynamodb:{table.name}", "--initial-position", "TRIM_HORIZON"),
            *("--worker-id", name, *flags),
        ]
        return await self.process(name, command)

    async def process(self, name: str, command: list[str]) -> WorkerProcess:
        """Any process that writes a journal, with the environment of a worker."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "LEASEHOLD_"))}
        environment = {
            **kept,
            **self.environment,
            "BENCHMARK_JOURNAL": str(self.folder / f"{name}.journal"),
            "PYTHONPATH": os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(_HERE.parents[2])])),
        }
        with (self.folder / f"{name}.log").open("wb") as log:
            spawned_at = CLOCK.monotonic()
            process = await asyncio.create_subprocess_exec(
                *tether.command(*command),
                cwd=_HERE,
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        worker = WorkerProcess(name, process, self.folder, spawned_at)
        self._workers.append(worker)
        return worker

    @property
    def environment(self) -> dict[str, str]:
        """What points a process at this stage's servers."""
        return {**self.ministack.environment, "AWS_ENDPOINT_URL_DYNAMODB_STREAMS": self.endpoint_url}

    async def _end_workers(self) -> None:
        for worker in self._workers:
            await worker.end()


async def _end_server(server: asyncio.subprocess.Process) -> None:
    """It ends with its input; killed where it does not."""
    assert server.stdin is not None
    server.stdin.close()
    with contextlib.suppress(TimeoutError):
        async with CLOCK.timeout(3.0):
            await server.wait()
            return
    server.kill()
    await server.wait()
