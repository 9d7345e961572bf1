"""Every long-lived object of the product, as data: how each is made, started and stopped."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from aiobotocore.session import AioSession
from prometheus_client import CollectorRegistry

from consumer.cli.signals import StopSignals
from consumer.clock import SystemClock
from consumer.config import InitialPosition, WorkerConfig
from consumer.delivery.threads import DaemonThreads
from consumer.demo.children import Children
from consumer.demo.stage import build_stage
from consumer.hooks import BatchProcessed, Fact, Hooks
from consumer.leasing.lease_loop import LeaseLoop, LeaseSettings
from consumer.leasing.seam import LeaseSeam, LeasesInline, LeasesInThread
from consumer.operate.server import serve
from consumer.operate.status import WorkerStatus
from consumer.processor import RecordProcessor
from consumer.streams import DynamoDBStreamsSource, KinesisSource
from consumer.streams.direct_pool import Connections
from consumer.testing.memory_source import MemoryRecordSource
from consumer.testing.ministack import Ministack
from consumer.testing.proxy import Proxy
from consumer.testing.server_process import StreamServerProcess
from consumer.testing.server_thread import StreamServerThread
from consumer.testing.shard_log import ShardLog
from consumer.testing.stream_server import StreamServer
from consumer.worker import Worker
from lease_store.dynamodb import DynamoDBLeaseStore
from lease_store.memory import MemoryLeaseStore
from lease_store.store import LeaseStore
from tests.stress.letter_objects import LettersAtHand
from tests.stress.process_objects import OneProcess, PageOfProcesses, ProcessesDrained, ProcessesLeft

__all__ = ["CONTEXTS", "OBJECTS", "LongLived", "Make", "Surroundings"]

CLOCK: Final = SystemClock()
_CONFIG: Final = WorkerConfig(app="stress", initial_position=InitialPosition("TRIM_HORIZON"), failover_seconds=2.0)


class LongLived(Protocol):
    """Started once; stopped as often as anybody likes, and before it was started."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


@dataclass
class Surroundings:
    """The servers that objects connect to, and a folder."""

    ministack: Ministack
    streams: StreamServerThread
    session: AioSession
    folder: Path

    def table(self) -> DynamoDBLeaseStore:
        return DynamoDBLeaseStore(
            "stress", session=self.session, endpoint_url=self.ministack.endpoint_url, region_name="us-east-1"
        )

    def orders(self) -> DynamoDBStreamsSource:
        return DynamoDBStreamsSource("dynamodb:orders", session=self.session)

    def clicks(self) -> KinesisSource:
        return KinesisSource("kinesis:clicks", session=self.session)

    def memory(self) -> MemoryRecordSource:
        log = ShardLog(CLOCK.wall)
        log.create_table("orders", shard_count=2)
        for number in range(10):
            log.put_item("orders", new_image={"pk": f"k{number}"})
        return MemoryRecordSource(log, "dynamodb:orders", clock=CLOCK)


class Reader(RecordProcessor):
    """User code in a thread, of which there is then one."""

    def process_records(self, records: Any, checkpointer: Any) -> None:
        for _ in records:
            continue


class Entered:
    """What is entered and left as a context."""

    def __init__(self, context: AbstractAsyncContextManager[Any]) -> None:
        self.context = context

    async def start(self) -> None:
        await self.context.__aenter__()

    async def stop(self) -> None:
        await self.context.__aexit__(None, None, None)


class DirectConnections:
    """Connections that were used, and on which a request is under way when they are closed."""

    def __init__(self, near: Surroundings) -> None:
        self.connections = Connections(
            near.streams.endpoint_url,
            None,
            clock=CLOCK,
            limit=2,
            connect_timeout_seconds=3.0,
            read_timeout_seconds=3.0,
            kept_seconds=3.0,
        )
        self.asking: asyncio.Future[Any] | None = None

    async def start(self) -> None:
        try:
            for _ in range(2):
                await self.ask()
            self.asking = asyncio.ensure_future(self.ask())
            self.asking.add_done_callback(lambda done: done.cancelled() or done.exception())
            await CLOCK.sleep(0)  # what has not begun can't be under way
        except BaseException:
            await self.stop()
            raise

    async def ask(self) -> None:
        """What it says is refused; an answer it is."""
        await self.connections.exchange(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}", 3.0)

    async def stop(self) -> None:
        await self.connections.close()


class RunningWorker:
    """A worker at work: entered, running, its first batch done."""

    def __init__(self, near: Surroundings, seam: LeaseSeam) -> None:
        self.at_work = asyncio.Event()
        self.worker = Worker(near.memory(), MemoryLeaseStore(), Reader, _CONFIG, seam=seam, hooks=[self.hear])
        self.running: asyncio.Future[Any] | None = None

    def hear(self, fact: Fact) -> None:
        if isinstance(fact, BatchProcessed):
            self.at_work.set()

    async def start(self) -> None:
        await self.worker.__aenter__()
        try:
            self.running = asyncio.ensure_future(self.worker.run())
            await self.at_work.wait()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """As at the end of a process that is not drained: the run is cancelled, the worker is left."""
        running, self.running = self.running, None
        try:
            if running is not None:
                running.cancel()
                await asyncio.wait([running])
        finally:
            await self.worker.__aexit__(None, None, None)


class DrainedWorker(RunningWorker):
    """The same, told to stop: it drains."""

    async def stop(self) -> None:
        self.worker.stop()
        self.worker.stop()
        try:
            if self.running is not None and self.at_work.is_set():
                await self.running
        finally:
            await super().stop()


class Seam:
    """The lease loop's place, with a call under way when it stops."""

    def __init__(self, seam: LeaseSeam, store: LeaseStore | None = None) -> None:
        self.seam = seam
        self.store = store or MemoryLeaseStore()
        self.asking: asyncio.Future[Any] | None = None

    async def start(self) -> None:
        await self.seam.start(self.store.open())
        try:
            self.seam.run(_for_ever())
            self.asking = asyncio.ensure_future(self.seam.call(_for_ever()))
            self.asking.add_done_callback(lambda done: done.cancelled() or done.exception())
            await CLOCK.sleep(0)  # what has not begun can't be under way
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        await self.seam.stop()


class Leasing:
    """The lease loop itself, on a seam."""

    def __init__(self, seam: LeaseSeam) -> None:
        self.seam = seam
        self.store = MemoryLeaseStore()

    async def start(self) -> None:
        await self.seam.start(self.store.open())
        try:
            settings = LeaseSettings(
                worker_id="me-1",
                stream_base="arn",
                failover_seconds=2.0,
                hand_off_timeout_seconds=1.0,
                scan_read_units_per_second=50.0,
            )
            loop = LeaseLoop(self.store, settings, self, clock=CLOCK, random=random.Random(1), hooks=Hooks(()))
            await self.seam.call(loop.start())
            self.seam.run(loop.run())
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        await self.seam.stop()

    def tenure_began(self, held: Any) -> None:
        raise AssertionError("there is no lease to hold")

    def stop_changed(self, held: Any, reason: Any) -> None:
        raise AssertionError("there is no lease to hold")


class Threads:
    """The pool for user code, with one thread started."""

    def __init__(self) -> None:
        self.pool = DaemonThreads(4)

    async def start(self) -> None:
        try:
            await self.pool.run(lambda: None)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        self.pool.close()


async def _for_ever() -> None:
    await asyncio.Event().wait()


class Blocking:
    """What is started by a call and stopped by another, without a loop."""

    def __init__(self, begin: Callable[[], AbstractContextManager[Any]]) -> None:
        self.begin = begin
        self.begun: AbstractContextManager[Any] | None = None

    async def start(self) -> None:
        self.begun = self.begin()
        self.begun.__enter__()

    async def stop(self) -> None:
        if self.begun is not None:
            self.begun.__exit__(None, None, None)


class DemoStage:
    """The demo's stream server, started as the demo does it."""

    def __init__(self, near: Surroundings) -> None:
        self.near = near
        self.children = Children(near.folder)

    async def start(self) -> None:
        try:
            await build_stage("kinesis", self.near.ministack, self.children, clock=CLOCK, random=random.Random(1))
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        self.children.__exit__(None, None, None)


def _page() -> AbstractAsyncContextManager[int]:
    return serve("127.0.0.1", 0, registry=CollectorRegistry(), status=lambda: WorkerStatus(worker_id="w"))


def _signals() -> StopSignals:
    return StopSignals(lambda: None, drain_timeout_seconds=1.0, failover_seconds=1.0, unfinished=lambda: ())


Make = Callable[[Surroundings], LongLived]

# Their stop is a method that anybody may call, at any time and more than once.
OBJECTS: Final[dict[str, Make]] = {
    "worker, entered": lambda near: Entered(Worker(near.memory(), MemoryLeaseStore(), Reader, _CONFIG)),
    "worker, running": lambda near: RunningWorker(near, LeasesInThread()),
    "worker, running inline": lambda near: RunningWorker(near, LeasesInline()),
    "worker, drained": lambda near: DrainedWorker(near, LeasesInThread()),
    "leases in a thread": lambda near: Seam(LeasesInThread()),
    "leases inline": lambda near: Seam(LeasesInline()),
    "lease loop in a thread": lambda near: Leasing(LeasesInThread()),
    "lease loop inline": lambda near: Leasing(LeasesInline()),
    "threads for user code": lambda near: Threads(),
    "stream server": lambda near: Entered(StreamServer()),
    "proxy": lambda near: Entered(Proxy(near.ministack.endpoint_url)),
    "direct connections": DirectConnections,
    "stream server in a process": lambda near: Blocking(StreamServerProcess.start),
    "the demo's stage": DemoStage,
    "worker process": lambda near: OneProcess(),
    "supervisor, cancelled": lambda near: ProcessesLeft(),
    "supervisor, drained": lambda near: ProcessesDrained(),
    "page of several processes": lambda near: PageOfProcesses(),
}

# Contexts and no more: there is nothing to call before they are entered, or twice.
CONTEXTS: Final[dict[str, Make]] = {
    "worker on real servers": lambda near: Entered(Worker(near.orders(), near.table(), Reader, _CONFIG)),
    "lease table": lambda near: Entered(near.table().open()),
    "leases in a thread, on a real table": lambda near: Seam(LeasesInThread(), near.table()),
    "source of a table": lambda near: Entered(near.orders().open()),
    "source of Kinesis": lambda near: Entered(near.clicks().open()),
    "source in memory": lambda near: Entered(near.memory().open()),
    "metrics page": lambda near: Entered(_page()),
    "stream server in a thread": lambda near: Blocking(StreamServerThread),
    "signals": lambda near: Blocking(_signals),
    "ministack": lambda near: Blocking(Ministack.start),
    "dead letters in a queue": lambda near: LettersAtHand("sqs", str(near.folder), near.ministack.endpoint_url),
    "dead letters in a file": lambda near: LettersAtHand("file", str(near.folder), near.ministack.endpoint_url),
}
