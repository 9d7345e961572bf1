"""An in-memory ``RecordSource`` over a shard log: the real sources' own code without sockets."""

from __future__ import annotations

import random
from contextlib import AbstractAsyncContextManager
from typing import Any

from consumer.clock import Clock
from consumer.config import DataPath
from consumer.streams.dynamodb_streams import DESCRIBES_PER_SECOND, DynamoDBStreamsSource
from consumer.streams.kinesis import KinesisSource
from consumer.streams.source import Opened, Page, Position, Shard, ShardListing, StreamIdentity
from consumer.testing.faults import FaultPlan
from consumer.testing.memory_session import MemorySession
from consumer.testing.shard_log import ShardLog

__all__ = ["MemoryRecordSource"]


class MemoryRecordSource:
    """Reads one stream of a shard log, exactly as ``DynamoDBStreamsSource`` and ``KinesisSource`` read the services.

    ``name`` is ``dynamodb:TABLE``, ``kinesis:STREAM`` or an ARN. Every call takes ``latency_seconds`` on ``clock``,
    half of it before the log is looked at. Calls are counted and go wrong by ``faults``, under the names of the
    service's operations. Several sources, one a worker, may share a log and a plan. Raises ConfigError for a name that
    is no source.
    """

    def __init__(
        self,
        log: ShardLog,
        name: str,
        *,
        clock: Clock,
        faults: FaultPlan | None = None,
        latency_seconds: float = 0.0,
        describes_per_second: float = DESCRIBES_PER_SECOND,
    ) -> None:
        self.faults = faults or FaultPlan(random.Random(0), now=clock.monotonic)
        # It has what the sources use of a session, and nothing else of one.
        session: Any = MemorySession(log, self.faults, clock=clock, latency_seconds=latency_seconds)
        self._source = (
            KinesisSource(name, session=session, clock=clock)
            if name.startswith("kinesis:") or ":kinesis:" in name
            else DynamoDBStreamsSource(name, session=session, clock=clock, describes_per_second=describes_per_second)
        )

    @property
    def name(self) -> str:
        """As it was given."""
        return self._source.name

    @property
    def max_reads_per_second(self) -> float | None:
        """5 for Kinesis; None for DynamoDB."""
        return self._source.max_reads_per_second

    def share(self, workers: int) -> None:
        """How many live workers share the service's limits."""
        self._source.share(workers)

    def open(self, data_path: DataPath = "auto") -> AbstractAsyncContextManager[None]:
        """As a real source, it is read from only while it is open."""
        return self._source.open(data_path)

    async def resolve(self) -> StreamIdentity:
        """The stream that the name means now."""
        return await self._source.resolve()

    async def list_shards(self, stream: StreamIdentity) -> ShardListing:
        """Every shard."""
        return await self._source.list_shards(stream)

    async def children(self, stream: StreamIdentity, shard_id: str) -> tuple[Shard, ...]:
        """The shards that follow ``shard_id``, as far as the listing shows them."""
        return await self._source.children(stream, shard_id)

    async def iterator(self, stream: StreamIdentity, shard_id: str, position: Position) -> Opened:
        """An iterator at ``position``."""
        return await self._source.iterator(stream, shard_id, position)

    async def read(self, stream: StreamIdentity, shard_id: str, iterator: str, limit: int) -> Page:
        """The next page."""
        return await self._source.read(stream, shard_id, iterator, limit)
