"""A lease table behind a bad network: late, lost and refused calls, scans that go back; every write is recorded."""

from __future__ import annotations

import asyncio
import random
from bisect import insort
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, Final, TypeVar

from consumer.clock import Clock
from lease_store.attributes import LEASE_KEY, AttributeValue, Place
from lease_store.coordination import LOCK_KEY, LeaderLock
from lease_store.errors import (
    InvalidRow,
    LeaseStoreError,
    LeaseTableThrottled,
    LeaseTableUnavailable,
    LeaseTableUnreachable,
)
from lease_store.item import Row, from_item, lock_of, scan_of, worker_of
from lease_store.layout import LegacyRows
from lease_store.lease import Lease, TableScan, WorkerRow
from lease_store.memory import MemoryLeaseStore, permits
from lease_store.store import MOST_TOGETHER, Applied, Refused, Unknown, WriteResult, check_together
from lease_store.verbs import delete_row, delete_worker, put_worker
from lease_store.writes import Write
from tests.simulation.network import Journey, Network

__all__ = ["SimStore", "SimTable"]

T = TypeVar("T")
Item = Mapping[str, AttributeValue]
Watcher = Callable[[str, Write, Lease | None, Lease | None], None]
Sender = Callable[[str, Write], None]
Putter = Callable[[str, Item], None]
Readable = Row | tuple[str, str]
"""A row as the production codec reads it, or the (key, reason) of one that it can't read."""

_LONGEST_LAG_SECONDS: Final = 30.0
_STATEMENTS_FATES: Final = ("refused", "lost_request", "lost_reply")


def _unheard(what: str) -> None:
    """Where nobody keeps a trace."""


def _sent_unseen(worker: str, write: Write) -> None:
    """Where nobody judges what is sent."""


def _put_unseen(worker: str, item: Item) -> None:
    """Where nobody judges workers' own rows."""


class SimTable:
    """The table itself: conditional writes at one instant, and the past of each row for scans that go back.

    A row passes through the production codec once, when it is written; all who read it then share one frozen value.
    ``watcher`` hears of each write that stands, ``sending`` of each write that is sent, ``putting`` of each worker's
    own row, ``note`` of each fault. ``beside`` has the tables of a KCL 3.0 to 3.4, once they were added to it;
    ``has_index`` is whether there is an index by owner.
    """

    name = "simulated"

    def __init__(
        self,
        watcher: Watcher,
        *,
        note: Callable[[str], None] = _unheard,
        sending: Sender = _sent_unseen,
        putting: Putter = _put_unseen,
    ) -> None:
        self.note = note
        self.sending = sending
        self._putting = putting
        self._watcher = watcher
        self._items: dict[str, Item] = {}
        self._rows: dict[str, Readable] = {}
        self._past: dict[str, list[tuple[float, Readable | None, Item | None]]] = {}
        self._keys: list[str] = []
        self.beside = MemoryLeaseStore()
        self.has_index = False

    def write_as(self, worker: str, write: Write) -> WriteResult:
        """Judge and apply one write as the table does; the watcher hears of it if it stands."""
        if write.place != "leases":
            result = self.beside.apply(write)
            if isinstance(result, Applied):
                self._watcher(worker, write, None, None)
            return result
        before = self.lease(write.key)
        if not permits(write, self._items.get(write.key)):
            return Refused(before)
        if write.deletes:
            self._put(write.key, None)
        else:
            after = {**({} if write.puts else self._items.get(write.key, {})), **(write.sets or {})}
            for name in write.removes:
                after.pop(name, None)
            self._put(write.key, after)
        self._watcher(worker, write, before, self.lease(write.key))
        return Applied(self.lease(write.key))

    def lease(self, key: str) -> Lease | None:
        """The lease of ``key`` as it is now."""
        return self._row(key, Lease)

    def worker(self, worker_id: str, place: Place = "leases") -> WorkerRow | None:
        """The row of a worker as it is now."""
        if place != "leases":
            return worker_of(self.beside.get(worker_id, place), place)
        return self._row(worker_id, WorkerRow)

    def lock(self, place: Place = "leases") -> LeaderLock | None:
        """The leader's lock as it is now."""
        if place != "leases":
            return lock_of(self.beside.get(LOCK_KEY, place), place)
        return self._row(LOCK_KEY, LeaderLock)

    def _row(self, key: str, kind: type[T]) -> T | None:
        row = self._rows.get(key)
        if isinstance(row, tuple):
            raise InvalidRow(row[1])
        return row if isinstance(row, kind) else None

    def owned_by(self, worker_id: str, lag: Callable[[], float]) -> tuple[str, ...] | None:
        """What the index by owner shows, each row as it was ``lag()`` seconds ago; None where there is no index."""
        if not self.has_index:
            return None
        owner = {"S": worker_id}
        return tuple(item[LEASE_KEY]["S"] for item in self.items_as_of(lag) if item.get("leaseOwner") == owner)

    def draining_since(self, worker_id: str) -> float | None:
        """Virtual time since when a worker's row has said that it drains; None where it does not."""
        began = None
        for since, row, _ in reversed(self._past.get(worker_id, ())):
            if not (isinstance(row, WorkerRow) and row.draining):
                break
            began = since
        return began

    def get(self, key: str) -> Item | None:
        """One row in wire form."""
        return self._items.get(key)

    def put_item(self, item: Item) -> None:
        """Put a row in wire form, whatever stood there."""
        self._put(item[LEASE_KEY]["S"], item)

    def put_worker(self, row: WorkerRow, place: Place = "leases") -> bool:
        """A worker's own row; False where a put that was sent later is there already."""
        write = put_worker(row, place)
        if place != "leases":
            return isinstance(self.beside.apply(write), Applied)
        if not permits(write, self._items.get(write.key)):
            return False
        self._put(write.key, write.sets)
        self._putting(row.worker_id, self._items[write.key])
        return True

    def _put(self, key: str, item: Item | None) -> None:
        if item is None:
            del self._items[key], self._rows[key]
        else:
            self._items[key], self._rows[key] = item, _read(item)
        now = asyncio.get_running_loop().time()
        past = self._past.get(key)
        if past is None:
            past = self._past[key] = []
            insort(self._keys, key)
        past.append((now, self._rows.get(key), item))
        while len(past) > 2 and past[1][0] < now - _LONGEST_LAG_SECONDS:
            past.pop(0)

    def forget_deleted(self) -> None:
        """Let go of the past of rows that no scan can show any more, in a play of days."""
        until = asyncio.get_running_loop().time() - _LONGEST_LAG_SECONDS
        for key in [key for key, past in self._past.items() if past[-1][1] is None and past[-1][0] < until]:
            del self._past[key]
            self._keys.remove(key)

    def rows(self) -> TableScan:
        """Every row as it is now."""
        return scan_of(self._rows[key] for key in self._keys if key in self._rows)

    def scan_as_of(self, lag: Callable[[], float]) -> TableScan:
        """Every row as it was ``lag()`` seconds ago, drawn for each."""
        now = asyncio.get_running_loop().time()
        shown = []
        for key in self._keys:
            at = now - lag()
            row = next((row for since, row, _ in reversed(self._past[key]) if since <= at), None)
            if row is not None:
                shown.append(row)
        return scan_of(shown)

    def item(self, key: str, place: Place = "leases") -> Item | None:
        """One row of any of the tables, in wire form."""
        return self.get(key) if place == "leases" else self.beside.get(key, place)

    def lock_item(self) -> Item | None:
        """The leader's lock in wire form, in whichever table it lies."""
        return self.get(LOCK_KEY) or self.beside.get(LOCK_KEY, "coordinator")

    def item_as_of(self, key: str, lag: float) -> Item | None:
        """One row in wire form as it was ``lag`` seconds ago."""
        at = asyncio.get_running_loop().time() - lag
        return next((item for since, _, item in reversed(self._past.get(key, ())) if since <= at), None)

    def items_as_of(self, lag: Callable[[], float]) -> list[Item]:
        """Every row in wire form as it was ``lag()`` seconds ago, drawn for each."""
        items = [self.item_as_of(key, lag()) for key in self._keys]
        return [item for item in items if item is not None]


def _read(item: Item) -> Readable:
    try:
        return from_item(item)
    except InvalidRow as error:
        return item[LEASE_KEY]["S"], str(error)


class SimStore:
    """One worker's way to the table. ``network`` is asked at each call, so that faults can stop."""

    def __init__(
        self, table: SimTable, worker: str, clock: Clock, network: Callable[[], Network], draw: random.Random
    ) -> None:
        self.calls: dict[str, int] = {}
        self._table = table
        self._worker = worker
        self._clock = clock
        self._network = network
        self._draw = draw

    @property
    def name(self) -> str:
        return self._table.name

    def open(self) -> AbstractAsyncContextManager[None]:
        return _opened()

    def strikes(self, call: str, what: str) -> bool:
        """Visit a fault site of this worker: whether it strikes now."""
        odds = self._network().odds(call, what)
        if odds == 0.0 or self._draw.random() >= odds:
            return False
        self._table.note(f"{self._worker} {call}.{what}")
        return True

    async def write(self, write: Write, *, timeout_seconds: float) -> WriteResult:
        self._count(write.verb)
        self._table.sending(self._worker, write)
        try:
            async with self._clock.timeout(timeout_seconds):
                result = await self._send(write.verb, lambda: self._table.write_as(self._worker, write))
                if isinstance(result, Refused) and self.strikes(write.verb, "rowless"):
                    return await self._refused(write)
                return result
        except TimeoutError:
            return Unknown(f"no reply to {write.verb} of {write.key}")
        except ConnectionError:
            return Unknown(f"the connection broke under {write.verb} of {write.key}")

    @property
    def most_together(self) -> int:
        return MOST_TOGETHER

    async def write_many(
        self, writes: Sequence[Write], *, timeout_seconds: float
    ) -> list[WriteResult | LeaseStoreError]:
        """One journey for all, with what strikes one of them; each statement is then struck by itself, too."""
        check_together(writes)
        verb = writes[0].verb
        self._count("batch")
        for write in writes:
            self._count(write.verb)
            self._table.sending(self._worker, write)
        fates = [self._fate(write) for write in writes]
        try:
            async with self._clock.timeout(timeout_seconds):
                results = await self._send(verb, lambda: list(map(self._apply_one, writes, fates)))
                rowless = (isinstance(each, Refused) and self.strikes(verb, "rowless") for each in results)
                pairs = zip(writes, results, rowless, strict=True)
                return [await self._refused(write) if lacks else result for write, result, lacks in pairs]
        except TimeoutError:
            return [Unknown(f"no reply to a batch with {write.verb} of {write.key}") for write in writes]
        except ConnectionError:
            return [Unknown(f"the connection broke under a batch with {write.verb}") for write in writes]

    def _fate(self, write: Write) -> str | None:
        """What strikes a statement under a reply that is none the worse; drawn once, also for one carried twice."""
        return next((what for what in _STATEMENTS_FATES if self.strikes(write.verb, what)), None)

    def _apply_one(self, write: Write, fate: str | None) -> WriteResult | LeaseStoreError:
        if fate == "refused":
            return LeaseTableThrottled()
        if fate == "lost_request":
            return Unknown("the service failed before it")
        result = self._table.write_as(self._worker, write)
        return Unknown("the service failed after it") if fate == "lost_reply" else result

    async def read_many(self, keys: Sequence[str]) -> list[Lease | LeaseStoreError | None]:
        return await self._ask("read", lambda: [self._table.lease(key) for key in keys])

    async def _refused(self, write: Write) -> WriteResult:
        """As the store of a real table does: the row in the way is read, and where it can't be, nothing is known."""
        try:
            return Refused(await self.read(write.key))
        except LeaseStoreError as unread:
            return Unknown(f"{write.verb} of {write.key} was refused, and the row in its way can't be read: {unread}")

    async def read(self, key: str) -> Lease | None:
        return await self._ask("read", lambda: self._table.lease(key))

    async def scan(self) -> TableScan:
        return await self._ask("scan", lambda: self._table.scan_as_of(self._lag()))

    def _lag(self) -> Callable[[], float]:
        """How old each row of a reading is that may be late."""
        stale, draw = self._network().stale_seconds, self._draw
        return (lambda: 0.0) if stale == 0 else (lambda: draw.choice((0.0, draw.uniform(0.0, stale))))

    async def write_worker(self, row: WorkerRow, place: Place = "leases") -> bool:
        return await self._ask("beat", lambda: self._table.put_worker(row, place))

    async def read_worker(self, worker_id: str, place: Place = "leases") -> WorkerRow | None:
        return await self._ask("read_worker", lambda: self._table.worker(worker_id, place))

    async def delete_worker(self, row: WorkerRow, place: Place = "leases") -> None:
        await self._ask("delete_worker", lambda: self._table.write_as(self._worker, delete_worker(row, place)))

    async def legacy(self) -> LegacyRows | None:
        """There are none, unless a world has added them; a look is worth no journey of its own."""
        return self._table.beside.legacy_rows()

    async def read_lock(self, place: Place) -> LeaderLock | None:
        return await self._ask("read_lock", lambda: self._table.lock(place))

    async def owned_by(self, worker_id: str) -> tuple[str, ...] | None:
        return await self._ask("owned_by", lambda: self._table.owned_by(worker_id, self._lag()))

    async def ensure_owner_index(self) -> None:
        self._table.has_index = True

    async def delete_row(self, row: Any, place: Place = "leases") -> bool:
        write = delete_row(row, place)
        result = await self._ask("delete_row", lambda: self._table.write_as(self._worker, write))
        return isinstance(result, Applied)

    def _send(self, call: str, act: Callable[[], T]) -> asyncio.Future[T]:
        network = self._network()
        return Journey(network, self._draw, partial(self.strikes, call), network.odds(call, "late"), act).reply

    def _count(self, what: str) -> None:
        self.calls[what] = self.calls.get(what, 0) + 1

    async def _ask(self, call: str, act: Callable[[], T]) -> T:
        """A call without a time-out of its own: botocore's ends it."""
        self._count(call)
        try:
            async with self._clock.timeout(12.0):
                return await self._send(call, act)
        except TimeoutError:
            raise LeaseTableUnavailable("No reply.") from None
        except ConnectionError:
            raise LeaseTableUnreachable("The connection broke.") from None


@asynccontextmanager
async def _opened() -> AsyncIterator[None]:
    yield
