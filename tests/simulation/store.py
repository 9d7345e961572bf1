"""A lease table behind a bad network: late, lost and refused calls, scans that go back; every write is recorded."""

from __future__ import annotations

import asyncio
import random
from bisect import insort
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from consumer.clock import Clock
from lease_store.errors import LeaseTableThrottled, LeaseTableUnavailable, LeaseTableUnreachable
from lease_store.item import LEASE_KEY, from_item
from lease_store.lease import AttributeValue, ForeignRow, Lease, TableScan, WorkerRow
from lease_store.memory import permits
from lease_store.store import Applied, Refused, Unknown, WriteResult
from lease_store.verbs import Write, delete_worker, put_worker
from tests.simulation.loop import spawn_as

__all__ = ["Calm", "Network", "SimStore", "SimTable"]

T = TypeVar("T")
Item = Mapping[str, AttributeValue]
Row = Lease | WorkerRow | ForeignRow
Watcher = Callable[[str, Write, Lease | None, Lease | None], None]

_LONGEST_LAG_SECONDS: Final = 30.0


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


class SimTable:
    """The table itself: conditional writes at one instant, and the past of each row for scans that go back.

    A row passes through the production codec once, when it is written; all who read it then share one frozen value.
    """

    name = "simulated"

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._items: dict[str, Item] = {}
        self._rows: dict[str, Row] = {}
        self._past: dict[str, list[tuple[float, Row | None]]] = {}
        self._keys: list[str] = []

    def write_as(self, worker: str, write: Write) -> WriteResult:
        """Judge and apply one write as the table does; the watcher hears of it if it stands."""
        before = self.lease(write.key)
        if not permits(write, self._items.get(write.key)):
            return Refused(before)
        if write.deletes:
            self._put(write.key, None)
        else:
            after = {**self._items.get(write.key, {}), **(write.sets or {})}
            for name in write.removes:
                after.pop(name, None)
            self._put(write.key, after)
        self._watcher(worker, write, before, self.lease(write.key))
        return Applied(self.lease(write.key))

    def lease(self, key: str) -> Lease | None:
        """The lease of ``key`` as it is now."""
        row = self._rows.get(key)
        return row if isinstance(row, Lease) else None

    def worker(self, worker_id: str) -> WorkerRow | None:
        """The row of a worker as it is now."""
        row = self._rows.get(worker_id)
        return row if isinstance(row, WorkerRow) else None

    def get(self, key: str) -> Item | None:
        """One row in wire form."""
        return self._items.get(key)

    def put_item(self, item: Item) -> None:
        """Put a row in wire form, whatever stood there."""
        self._put(item[LEASE_KEY]["S"], item)

    def put_worker(self, row: WorkerRow) -> bool:
        """A worker's own row; False where a put that was sent later is there already."""
        write = put_worker(row)
        if not permits(write, self._items.get(write.key)):
            return False
        self._put(write.key, write.sets)
        return True

    def _put(self, key: str, item: Item | None) -> None:
        if item is None:
            del self._items[key], self._rows[key]
        else:
            self._items[key], self._rows[key] = item, from_item(item)
        now = asyncio.get_running_loop().time()
        past = self._past.get(key)
        if past is None:
            past = self._past[key] = []
            insort(self._keys, key)
        past.append((now, self._rows.get(key)))
        while len(past) > 2 and past[1][0] < now - _LONGEST_LAG_SECONDS:
            past.pop(0)

    def rows(self) -> TableScan:
        """Every row as it is now."""
        return _scanned(self._rows[key] for key in self._keys if key in self._rows)

    def scan_as_of(self, lag: Callable[[], float]) -> TableScan:
        """Every row as it was ``lag()`` seconds ago, drawn for each."""
        now = asyncio.get_running_loop().time()
        shown = []
        for key in self._keys:
            at = now - lag()
            row = next((row for since, row in reversed(self._past[key]) if since <= at), None)
            if row is not None:
                shown.append(row)
        return _scanned(shown)


def _scanned(rows: Iterable[Row]) -> TableScan:
    """Rows that come sorted by key, by kind."""
    leases, workers, foreign = [], [], []
    for row in rows:
        if isinstance(row, Lease):
            leases.append(row)
        elif isinstance(row, WorkerRow):
            workers.append(row)
        else:
            foreign.append(row)
    return TableScan(tuple(leases), tuple(workers), tuple(foreign))


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

    async def write_worker(self, row: WorkerRow) -> bool:
        self._count("beat")
        return await self._ask(lambda: self._table.put_worker(row))

    async def read_worker(self, worker_id: str) -> WorkerRow | None:
        self._count("read_worker")
        return await self._ask(lambda: self._table.worker(worker_id))

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
