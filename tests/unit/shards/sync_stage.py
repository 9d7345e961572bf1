"""What tests of the shard sync stand on: a lease table of plain rows and a stream that lists what it is told."""

from __future__ import annotations

import random
from collections.abc import Coroutine
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from consumer.config import InitialPosition, WorkerConfig
from consumer.errors import DataTrimmed, ShardNotFound
from consumer.hooks import Fact, Hooks
from consumer.leasing.lease_loop import TableState
from consumer.leasing.seam import LeasesInline
from consumer.shards.shard_sync import ShardSync
from consumer.streams.source import Opened, Position, Shard, ShardListing, StreamIdentity
from consumer.testing.virtual_time import VirtualClock, run_virtual
from lease_store.checkpoint import TRIM_HORIZON, Checkpoint
from lease_store.errors import LeaseTableThrottled
from lease_store.lease import Lease

__all__ = ["BEGUN", "STREAM", "Stage", "Table", "kcl_row", "row", "tenure", "virtual"]

STREAM = StreamIdentity("arn:s", "arn:s@2", "arn:s")
BEGUN = Checkpoint("100")


class Table:
    """What ShardSync asks of the lease loop, over plain rows."""

    def __init__(self, *rows: Lease) -> None:
        self.rows = {row.key: row for row in rows}
        self.calls: list[str] = []
        self.unseen: set[str] = set()
        self.refusals: dict[str, int] = {}
        self.is_describer = True

    async def state(self) -> TableState:
        self.calls.append("state")
        rows = tuple(self.rows[key] for key in sorted(self.rows.keys() - self.unseen))
        return TableState(rows, 1, self.is_describer, False, shared=any(row.created_at is None for row in rows))

    async def seen_since(self, instant: float) -> TableState:
        self.unseen.clear()
        return await self.state()

    async def create(self, lease: Lease) -> None:
        self.calls.append(f"create {lease.key}")
        if self.refusals.get(lease.key, 0):
            self.refusals[lease.key] -= 1
            raise LeaseTableThrottled
        self.rows.setdefault(lease.key, replace(lease, created_at=lease.created_at or "1-x"))
        self.unseen.discard(lease.key)  # a refusal shows the row

    async def read(self, key: str) -> Lease | None:
        return self.rows.get(key)

    async def delete(self, lease: Lease) -> None:
        self.calls.append(f"delete {lease.key}")
        self.rows.pop(lease.key, None)

    async def apply_plan(self) -> None:
        self.calls.append("plan")

    async def parents_finished(self, held: Any) -> tuple[str, ...]:
        self.calls.append("parents_finished")
        return tuple(parent for parent in held.first_lease.parents if parent not in self.rows)


class Stage:
    def __init__(self, *shards: Shard, rows: tuple[Lease, ...] = (), start: str = "TRIM_HORIZON") -> None:
        self.clock = VirtualClock()
        self.shards = shards
        self.listings = 0
        self.asked: list[str] = []
        self.unlisted: set[str] = set()
        self.trimmed: set[str] = set()
        self.facts: list[Fact] = []
        self.table = Table(*rows)
        self.sync = ShardSync(
            self,  # type: ignore[arg-type]  # all it needs of a source
            STREAM,
            self.table,  # type: ignore[arg-type]
            LeasesInline(),
            WorkerConfig(app="audit", initial_position=InitialPosition.parse(start)),
            clock=self.clock,
            random=random.Random(1),
            hooks=Hooks([self.facts.append]),
        )

    name = "kinesis:s"

    def share(self, workers: int) -> None: ...

    async def resolve(self) -> StreamIdentity:
        return STREAM

    async def list_shards(self, stream: StreamIdentity) -> ShardListing:
        self.listings += 1
        shown = tuple(shard for shard in self.shards if shard.id not in self.unlisted)
        return ShardListing(shown, server_time=1_800_000_000.0)

    async def iterator(self, stream: StreamIdentity, shard_id: str, position: Position) -> Opened:
        self.asked.append(shard_id)
        if shard_id in self.trimmed:
            raise DataTrimmed
        if all(shard.id != shard_id for shard in self.shards):
            raise ShardNotFound
        return Opened("iterator")


def row(key: str, checkpoint: Checkpoint = TRIM_HORIZON, *parents: str, **fields: Any) -> Lease:
    return Lease(key=key, checkpoint=checkpoint, parents=parents, stream=STREAM.label, created_at="1-x", **fields)


def kcl_row(key: str, checkpoint: Checkpoint = TRIM_HORIZON, *parents: str, **fields: Any) -> Lease:
    """As ``leasing.adopted`` shows the row of a KCL: the stream's label, and nothing else of ours."""
    return Lease(key=key, checkpoint=checkpoint, parents=parents, stream=STREAM.label, **fields)


def tenure(lease: Lease) -> Any:
    return SimpleNamespace(first_lease=lease, over=None)


def virtual(main: Coroutine[Any, Any, None]) -> None:
    run_virtual(main, limit_seconds=600)
