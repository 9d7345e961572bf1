"""A lease table behind a bad network: late, lost and refused calls, scans that go back; every write is recorded."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from consumer.clock import Clock
from lease_store.errors import LeaseTableThrottled, LeaseTableUnavailable, LeaseTableUnreachable
from lease_store.item import lease_of, table_scan, worker_of, worker_to_item
from lease_store.lease import AttributeValue, Lease, TableScan, WorkerRow
from lease_store.memory import MemoryLeaseStore
from lease_store.store import Applied, Unknown, WriteResult
from lease_store.verbs import Write, delete_worker
from tests.simulation.loop import spawn_as

__all__ = ["Calm", "Network", "SimStore", "SimTable"]

T = TypeVar("T")
Item = Mapping[str, AttributeValue]
Watcher = Callable[[str, Write, Lease | None, Lease | None], None]


@dataclass(frozen=True, slots=True)
class Network:
    """Odds of one seed: each call may be late (up to ``late_seconds`` on either side), lost on either way, or refused.

    Scans show each row as it was up to ``stale_seconds`` ago, each row by a lag of its own.
    """

    least_seconds: float
    usual_seconds: float
    late: float
    late_seconds: float
    lost_request: float
    lost_reply: float
    refused: float
    doubled: float
    stale_seconds: float

    def delay(self, draw: random.Random) -> float:
        """One way of one call."""
        if draw.random() < self.late:
            return draw.uniform(0.0, self.late_seconds)
        return draw.uniform(self.least_seconds, self.usual_seconds)


def Calm(stale_seconds: float = 0.0, usual_seconds: float = 0.02) -> Network:
    """Nothing goes wrong; scans may still be stale."""
    return Network(0.001, usual_seconds, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, stale_seconds)


class SimTable(MemoryLeaseStore):
    """The table itself: conditional writes at one instant, and the past of each row for scans that go back."""

    def __init__(self, watcher: Watcher) -> None:
        super().__init__("simulated")
        self._watcher = watcher
        self._past: dict[str, list[tuple[float, Item | None]]] = {}

    def write_as(self, worker: str, write: Write) -> WriteResult:
        before = None if write.verb == "delete_worker" else self.lease(write.key)
        result = self.apply(write)
        if isinstance(result, Applied):
            self._remember(write.key)
            self._watcher(worker, write, before, result.lease)
        return result

    def lease(self, key: str) -> Lease | None:
        return lease_of(self.get(key))

    def put_item(self, item: Item) -> None:
        super().put_item(item)
        self._remember(item["leaseKey"]["S"])

    def _remember(self, key: str) -> None:
        now = asyncio.get_running_loop().time()
        past = self._past.setdefault(key, [])
        past.append((now, self.get(key)))
        while len(past) > 2 and past[1][0] < now - 30.0:
            past.pop(0)

    def scan_as_of(self, lag: Callable[[], float]) -> TableScan:
        now = asyncio.get_running_loop().time()
        items = []
        for key in sorted(self._past):
            at = now - lag()
            shown = next((item for since, item in reversed(self._past[key]) if since <= at), None)
            if shown is not None:
                items.append(shown)
        return table_scan(items)


class SimStore:
    """One worker's way to the table. ``network`` is asked at each call, so that faults can stop."""

    def __init__(
        self, table: SimTable, worker: str, clock: Clock, network: Callable[[], Network], draw: random.Random
    ) -> None:
        self._table = table
        self._worker = worker
        self._clock = clock
        self._network = network
        self._draw = draw
        self.calls: dict[str, int] = {}

    @property
    def name(self) -> str:
        return self._table.name

    def open(self) -> AbstractAsyncContextManager[None]:
        return _opened()

    async def write(self, write: Write, *, timeout_seconds: float) -> WriteResult:
        self._count(write.verb)
        reply = self._send(lambda: self._table.write_as(self._worker, write), self._network().doubled)
        try:
            async with self._clock.timeout(timeout_seconds):
                return await reply
        except TimeoutError:
            return Unknown(f"no reply to {write.verb} of {write.key}")

    async def read(self, key: str) -> Lease | None:
        self._count("read")
        return await self._ask(lambda: self._table.lease(key))

    async def scan(self) -> TableScan:
        self._count("scan")
        stale = self._network().stale_seconds
        lag = (lambda: 0.0) if stale == 0 else (lambda: self._draw.choice((0.0, self._draw.uniform(0.0, stale))))
        return await self._ask(lambda: self._table.scan_as_of(lag))

    async def write_worker(self, row: WorkerRow) -> None:
        self._count("beat")
        await self._ask(lambda: self._table.put_item(worker_to_item(row)))

    async def read_worker(self, worker_id: str) -> WorkerRow | None:
        self._count("read_worker")
        return await self._ask(lambda: worker_of(self._table.get(worker_id)))

    async def delete_worker(self, row: WorkerRow) -> None:
        await self._ask(lambda: self._table.write_as(self._worker, delete_worker(row)))

    def _count(self, what: str) -> None:
        self.calls[what] = self.calls.get(what, 0) + 1

    async def _ask(self, act: Callable[[], T]) -> T:
        """A call without a time-out of its own: botocore's ends it."""
        try:
            async with self._clock.timeout(12.0):
                return await self._send(act)
        except TimeoutError:
            raise LeaseTableUnavailable("No reply.") from None

    def _send(self, act: Callable[[], T], doubled: float = 0.0) -> Awaitable[T]:
        """One call on its way; ``doubled`` are the odds that the network carries it twice.

        A refused one is not: an error says that it was surely not applied.
        """
        network, draw = self._network(), self._draw
        reply: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        before, after, luck = network.delay(draw), network.delay(draw), draw.random()
        refusal = draw.choice((LeaseTableThrottled, LeaseTableUnreachable))
        steps = (network.lost_request, network.lost_request + network.refused)

        async def travel() -> None:
            await asyncio.sleep(before)
            if luck < steps[0]:
                return
            outcome: Any = None
            if luck >= steps[1]:
                outcome = act()
                if luck > 1.0 - network.lost_reply:
                    return
            await asyncio.sleep(after)
            if reply.done():
                return
            if luck < steps[1]:
                reply.set_exception(refusal())
                reply.exception()  # a doubled call's reply is asked for by nobody
            else:
                reply.set_result(outcome)

        spawn_as("", travel())
        if luck >= steps[1] and draw.random() < doubled:
            self._send(act)
        return reply


@asynccontextmanager
async def _opened() -> AsyncIterator[None]:
    yield
