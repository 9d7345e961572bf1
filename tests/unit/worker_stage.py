"""A whole worker on a stage: a stream and a lease table in memory, virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import wraps
from random import Random
from typing import Any

from consumer.clock import Clock
from consumer.config import InitialPosition, WorkerConfig
from consumer.dead_letters.store import DeadLetterStore
from consumer.delivery.threads import InlineThreads
from consumer.errors import LeaseTableThrottled
from consumer.hooks import Fact
from consumer.leasing.seam import LeasesInline
from consumer.operate.cpu import CpuReader
from consumer.processor import RecordProcessor
from consumer.testing.memory_source import MemoryRecordSource
from consumer.testing.shard_log import ShardLog
from consumer.testing.virtual_time import VirtualClock, run_virtual
from consumer.worker import Worker
from lease_store.attributes import Place
from lease_store.lease import WorkerRow
from lease_store.memory import MemoryLeaseStore

__all__ = ["Stage", "Table", "staged"]


class Table(MemoryLeaseStore):
    """A table whose deletes of worker rows can be refused for their rate."""

    throttles_deletes = False

    async def delete_worker(self, row: WorkerRow, place: Place = "leases") -> None:
        if self.throttles_deletes:
            raise LeaseTableThrottled
        await super().delete_worker(row, place)


class Stage:
    """A table with two records, of one shard unless told, a lease table, and workers over both."""

    def __init__(self, clock: Clock, *, shards: int = 1) -> None:
        self.clock = clock
        self.table = Table()
        self.log = ShardLog(clock.wall)
        self.log.create_table("orders", ["pk"], shard_count=shards)
        for total in (1, 2):
            self.put(total)
        self.facts: list[Fact] = []
        self.totals: list[int] = []
        self.seen = asyncio.Event()
        self.blocked = asyncio.Event()
        self.config = WorkerConfig(app="audit", initial_position=InitialPosition("TRIM_HORIZON"))

    def put(self, total: int, key: str = "a") -> None:
        self.log.put_item("orders", new_image={"pk": {"S": key}, "total": {"N": str(total)}})

    def worker(
        self,
        factory: Callable[[], RecordProcessor],
        *,
        cpu: CpuReader | None = None,
        letters: DeadLetterStore | None = None,
        **config: Any,
    ) -> Worker:
        return Worker(
            MemoryRecordSource(self.log, "dynamodb:orders", clock=self.clock),
            self.table,
            factory,
            replace(self.config, **config),
            clock=self.clock,
            random=Random(1),
            hooks=[self.facts.append],
            seam=LeasesInline(),
            threads=InlineThreads(),
            cpu=cpu,
            dead_letters=letters,
        )

    def reader(self) -> RecordProcessor:
        stage = self

        class Reader(RecordProcessor):
            def process_records(self, records: Any, checkpointer: Any) -> None:
                stage.totals += [int(record.new_image["total"]) for record in records]
                stage.seen.set()

        return Reader()

    def blocker(self) -> RecordProcessor:
        stage = self

        class Blocker(RecordProcessor):
            async def process_records(self, records: Any, checkpointer: Any) -> None:
                stage.blocked.set()
                await asyncio.Event().wait()

        return Blocker()


def staged(test: Callable[[Stage], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    async def main() -> None:
        await test(Stage(VirtualClock()))

    @wraps(test)
    def run() -> None:
        run_virtual(main(), limit_seconds=3600)

    del run.__wrapped__  # type: ignore[attr-defined]  # or pytest would look for a fixture named stage
    return run
