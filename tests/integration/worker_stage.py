"""Workers in this process over real servers: leases in ministack, a table's stream in the stream server.

The stream server runs in a thread, so that a handler that blocks the workers' loop blocks no server.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest

from consumer.clock import SystemClock
from consumer.config import InitialPosition, WorkerConfig
from consumer.hooks import Fact, Hook, LeaseTaken, TenureEnded
from consumer.processor import RecordProcessor, ShardContext
from consumer.streams import DynamoDBStreamsSource, RecordSource
from consumer.testing.ministack import Ministack
from consumer.testing.server_thread import StreamServerThread
from consumer.worker import Outcome, Worker
from lease_store import Lease
from lease_store.dynamodb import DynamoDBLeaseStore
from tests.integration.going_on import going_on
from tests.integration.ledger import CLOCK, Ledger, Note
from tests.integration.stream_sources import SESSION, point_at

__all__ = ["AsyncRecorder", "Group", "Member", "Orders", "Recorder", "ShiftedClock", "Stage", "set_stage"]


class ShiftedClock(SystemClock):
    """The machine's time, plus what a test adds."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead

    def wall(self) -> float:
        return super().wall() + self.ahead


class Recorder(RecordProcessor):
    """Notes in the ledger whatever it is told, in a thread."""

    def __init__(self, ledger: Ledger, worker: str) -> None:
        self.ledger = ledger
        self.worker = worker
        self.shard_id = ""
        self.tenure = 0

    def initialize(self, shard: ShardContext) -> Any:
        self.shard_id, self.tenure = shard.shard_id, shard.fencing_token
        self.note("initialize")

    def process_records(self, records: Any, checkpointer: Any) -> Any:
        self.ledger.take(*(self.record(each) for each in records))

    def lease_lost(self) -> Any:
        self.note("lease_lost")

    def shard_ended(self, checkpointer: Any) -> Any:
        self.note("shard_ended")
        return super().shard_ended(checkpointer)

    def shutdown_requested(self, checkpointer: Any) -> Any:
        self.note("shutdown_requested")

    def note(self, kind: str) -> None:
        self.ledger.take(Note(CLOCK.monotonic(), self.worker, kind, self.shard_id, self.tenure))

    def record(self, each: Any) -> Note:
        """The note of one record, of either kind of stream."""
        if hasattr(each, "partition_key"):
            key, version = each.partition_key, int(each.data)
        else:
            key, version = each.keys["pk"], int(each.new_image["version"])
        number = int(each.sequence_number)
        return Note(CLOCK.monotonic(), self.worker, "record", self.shard_id, self.tenure, number, key, version)


class AsyncRecorder(Recorder):
    """The same on the worker's own loop, giving way between records."""

    async def process_records(self, records: Any, checkpointer: Any) -> None:
        for each in records:
            self.ledger.take(self.record(each))
            await CLOCK.sleep(0)


class Member:
    """One running worker; ``held`` are the shards it holds now, ``facts`` all that its hooks were told."""

    def __init__(self, name: str, worker: Worker, stack: AsyncExitStack, ledger: Ledger, facts: list[Fact]) -> None:
        self.name = name
        self.worker = worker
        self.facts = facts
        self.running = asyncio.ensure_future(worker.run())
        self.running.add_done_callback(lambda _: ledger.wake())
        self._stack = stack

    @property
    def held(self) -> set[str]:
        """Shards whose tenure began and has not ended, by the facts."""
        held: set[str] = set()
        for fact in tuple(self.facts):
            if isinstance(fact, LeaseTaken):
                held.add(fact.shard_id)
            elif isinstance(fact, TenureEnded):
                held.discard(fact.shard_id)
        return held

    def told(self, *kinds: type[Fact]) -> list[Any]:
        """The facts of ``kinds``."""
        return [fact for fact in tuple(self.facts) if isinstance(fact, kinds)]

    async def stop(self, within_seconds: float = 30.0) -> Outcome:
        """Drain and leave."""
        self.worker.stop()
        async with CLOCK.timeout(within_seconds):
            outcome = await self.running
        await self._stack.aclose()
        return outcome

    async def crash(self) -> None:
        """End at once, as a killed process does: nothing is stored, handed over or released."""
        self.running.cancel()
        await asyncio.wait([self.running])
        await self._stack.aclose()


class Group:
    """The workers of one app, and the lease table they share."""

    def __init__(self, ministack: Ministack, ledger: Ledger, source: Callable[[], RecordSource], **config: Any) -> None:
        self.app = f"app-{uuid4().hex}"
        self.ledger = ledger
        self.members: list[Member] = []
        self._ministack = ministack
        self._source = source
        self._config = {"initial_position": InitialPosition("TRIM_HORIZON"), "failover_seconds": 3.0, **config}

    def lease_store(self) -> DynamoDBLeaseStore:
        """A view of the lease table of its own."""
        return DynamoDBLeaseStore(self.app, endpoint_url=self._ministack.endpoint_url, region_name="us-east-1")

    async def start(
        self,
        name: str,
        processor: Callable[..., RecordProcessor] = Recorder,
        *,
        hooks: Sequence[Hook] = (),
        **config: Any,
    ) -> Member:
        """A worker that runs; ``processor`` is made with the ledger and the worker's name."""
        facts: list[Fact] = []

        def hook(fact: Fact) -> None:
            facts.append(fact)
            self.ledger.wake()

        made = WorkerConfig(**{"app": self.app, "worker_id": name, **self._config, **config})
        worker = Worker(
            self._source(), self.lease_store(), lambda: processor(self.ledger, name), made, hooks=(hook, *hooks)
        )
        async with AsyncExitStack() as entered:
            await entered.enter_async_context(worker)
            member = Member(name, worker, entered.pop_all(), self.ledger, facts)
        self.members.append(member)
        return member

    async def until_held(self, *counts: int, within_seconds: float = 40.0) -> None:
        """Until the members that run hold that many shards each, in any order, and no tenure begins or ends."""

        def reached() -> bool:
            held = [len(member.held) for member in self.members if not member.running.done()]
            return sorted(held) == sorted(counts)

        await self.ledger.until(reached, f"shards held {counts}", within_seconds)

    async def leases(self) -> dict[str, Lease]:
        """The table's lease rows now, by key."""
        store = self.lease_store()
        async with store.open():
            return {lease.key: lease for lease in (await store.scan()).leases}

    async def close(self) -> None:
        """End what still runs, without a drain; raises what ended a worker by itself."""
        for member in self.members:
            if member.running.done() and not member.running.cancelled():
                member.running.result()
            await member.crash()


class Orders:
    """The stream of a table with changes going on."""

    def __init__(self, streams: StreamServerThread, ledger: Ledger, table: str = "orders", **settings: Any) -> None:
        self.streams = streams
        self.ledger = ledger
        self.table = table
        self.arn = self._create(**settings)

    def source(self) -> DynamoDBStreamsSource:
        return DynamoDBStreamsSource(f"dynamodb:{self.table}", session=SESSION)

    def put(self, *keys: str) -> None:
        """The next version of each of ``keys``."""
        for key in keys:
            self._append(key, self.ledger.next_version(key))

    def parents(self) -> dict[str, Sequence[str]]:
        """Every shard of the stream with its parents."""
        state = self.streams.call(lambda: self.streams.server.log.stream(self.table).state())
        return {shard["id"]: shard["parents"] for shard in state["shards"]}

    def written_to(self, keys: int = 64, per_second: float = 150.0) -> AbstractAsyncContextManager[None]:
        """Changes come, one key after the other, for as long as this is entered."""
        return going_on(lambda place: self.put(f"k{place % keys}"), 1 / per_second, CLOCK)

    def _create(self, **settings: Any) -> str:
        return self.streams.create_table(self.table, **settings)

    def _append(self, key: str, version: int) -> None:
        self.streams.put_item(self.table, new_image={"pk": key, "version": version})


class Stage:
    """What a test of whole workers stands on."""

    def __init__(self, ministack: Ministack, streams: StreamServerThread, clock: ShiftedClock) -> None:
        self.ministack = ministack
        self.streams = streams
        self.clock = clock
        self.ledger = Ledger()
        self.groups: list[Group] = []

    def orders(self, **settings: Any) -> Orders:
        """A table's stream; ``settings`` are ``ShardLog.create_table``'s."""
        return Orders(self.streams, self.ledger, **settings)

    def group(self, source: Callable[[], RecordSource], **config: Any) -> Group:
        """An app, to start workers of."""
        self.groups.append(Group(self.ministack, self.ledger, source, **config))
        return self.groups[-1]


@asynccontextmanager
async def set_stage(monkeypatch: pytest.MonkeyPatch, ministack: Ministack) -> AsyncIterator[Stage]:
    """Botocore's own settings point at a stream server of this test; every worker is gone afterwards."""
    clock = ShiftedClock()
    with StreamServerThread(clock=clock) as streams:
        point_at(monkeypatch, streams)
        stage = Stage(ministack, streams, clock)
        try:
            yield stage
        finally:
            for group in stage.groups:
                await group.close()
