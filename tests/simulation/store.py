"""A lease table behind a bad network: late, lost and refused calls, scans that go back; every write is recorded."""

from __future__ import annotations

import asyncio
import random
from bisect import insort
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

from consumer.clock import Clock
from lease_store.errors import (
    InvalidRow,
    LeaseStoreError,
    LeaseTableThrottled,
    LeaseTableUnavailable,
    LeaseTableUnreachable,
)
from lease_store.item import LEASE_KEY, from_item
from lease_store.lease import AttributeValue, ForeignRow, Lease, TableScan, WorkerRow
from lease_store.memory import permits
from lease_store.store import Applied, Refused, Unknown, WriteResult
from lease_store.verbs import Write, delete_worker, put_worker
from tests.simulation.loop import context_of

__all__ = ["Calm", "Network", "SimStore", "SimTable"]

T = TypeVar("T")
Item = Mapping[str, AttributeValue]
Row = Lease | WorkerRow | ForeignRow | InvalidRow
Watcher = Callable[[str, Write, Lease | None, Lease | None], None]
Sender = Callable[[str, Write], None]

_LONGEST_LAG_SECONDS: Final = 30.0
_REFUSALS: Final = (LeaseTableThrottled, LeaseTableUnreachable)
_WORLD: Final = context_of("")


def _unheard(what: str) -> None:
    """Where nobody keeps a trace."""


def _sent_unseen(worker: str, write: Write) -> None:
    """Where nobody judges what is sent."""


@dataclass(frozen=True, slots=True)
class Network:
    """What may happen to a call, each with odds of its own. All names but the first two are fault sites.

    ``late``: up to ``late_seconds`` on either way; ``lost_request``, ``lost_reply``: no reply ever; ``refused``: an
    error that says *not applied*; ``doubled``: carried twice; ``cut``: the connection breaks under it, which the caller
    hears at once, while the request may still arrive; ``rowless``: a refusal comes without the row in the way, which is
    then read. Scans show each row as it was up to ``stale_seconds`` ago, each row by a lag of its own.

    ``sites`` are odds of single places that replace the general ones: ``{"renew.lost_reply": 0.25}``.
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
    cut: float = 0.0
    rowless: float = 0.0
    sites: Mapping[str, float] = field(default_factory=dict)

    def odds(self, call: str, what: str) -> float:
        """The odds that ``what`` strikes at this call."""
        general: float = getattr(self, what)
        return self.sites.get(f"{call}.{what}", general) if self.sites else general

    def delay(self, draw: random.Random, late: float) -> float:
        """One way of one call."""
        if draw.random() < late:
            return draw.uniform(0.0, self.late_seconds)
        return draw.uniform(self.least_seconds, self.usual_seconds)


def Calm(stale_seconds: float = 0.0, usual_seconds: float = 0.02) -> Network:
    """Nothing goes wrong; scans may still be stale."""
    return Network(0.001, usual_seconds, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, stale_seconds)


class SimTable:
    """The table itself: conditional writes at one instant, and the past of each row for scans that go back.

    A row passes through the production codec once, when it is written; all who read it then share one frozen value.
    ``watcher`` hears of each write that stands, ``sending`` of each write that is sent, ``note`` of each fault.
    """

    name = "simulated"

    def __init__(
        self, watcher: Watcher, *, note: Callable[[str], None] = _unheard, sending: Sender = _sent_unseen
    ) -> None:
        self.note = note
        self.sending = sending
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
        return self._row(key, Lease)

    def worker(self, worker_id: str) -> WorkerRow | None:
        """The row of a worker as it is now."""
        return self._row(worker_id, WorkerRow)

    def _row(self, key: str, kind: type[T]) -> T | None:
        row = self._rows.get(key)
        if isinstance(row, InvalidRow):
            raise row
        return row if isinstance(row, kind) else None

    def draining_since(self, worker_id: str) -> float | None:
        """Virtual time since when a worker's row has said that it drains; None where it does not."""
        began = None
        for since, row in reversed(self._past.get(worker_id, ())):
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
            self._items[key], self._rows[key] = item, _read(item)
        now = asyncio.get_running_loop().time()
        past = self._past.get(key)
        if past is None:
            past = self._past[key] = []
            insort(self._keys, key)
        past.append((now, self._rows.get(key)))
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
        return _scanned((key, self._rows[key]) for key in self._keys if key in self._rows)

    def scan_as_of(self, lag: Callable[[], float]) -> TableScan:
        """Every row as it was ``lag()`` seconds ago, drawn for each."""
        now = asyncio.get_running_loop().time()
        shown = []
        for key in self._keys:
            at = now - lag()
            row = next((row for since, row in reversed(self._past[key]) if since <= at), None)
            if row is not None:
                shown.append((key, row))
        return _scanned(shown)


def _read(item: Item) -> Row:
    try:
        return from_item(item)
    except InvalidRow as error:
        return error


def _scanned(rows: Iterable[tuple[str, Row]]) -> TableScan:
    """Rows that come sorted by key, by kind."""
    kinds: dict[type, list[Any]] = {Lease: [], WorkerRow: [], ForeignRow: [], InvalidRow: []}
    for key, row in rows:
        kinds[type(row)].append((key, str(row)) if isinstance(row, InvalidRow) else row)
    return TableScan(*(tuple(kind) for kind in kinds.values()))


class _Journey:
    """One call on its way: when it arrives, when its reply does, and what strikes it on either."""

    def __init__(
        self, network: Network, draw: random.Random, strikes: Callable[[str], bool], late: float, act: Callable[[], Any]
    ) -> None:
        self.reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._act = act
        self._back = network.delay(draw, late)
        self._is_lost = strikes("lost_request")
        self._refusal = draw.choice(_REFUSALS) if strikes("refused") else None
        self._is_reply_lost = strikes("lost_reply")
        there = network.delay(draw, late)
        self._after(there, self._arrive)
        if strikes("cut"):
            self._after(draw.uniform(0.0, there + self._back), self._cut)
        # A refused one is not carried twice: an error says that it was surely not applied.
        if self._refusal is None and strikes("doubled"):
            self._after(network.delay(draw, late), act)

    def _after(self, seconds: float, step: Callable[..., Any], *args: Any) -> None:
        asyncio.get_running_loop().call_later(seconds, step, *args, context=_WORLD)

    def _arrive(self) -> None:
        if self._is_lost:
            return
        if self._refusal is not None:
            self._after(self._back, self._answer, None, self._refusal())
            return
        outcome = self._act()
        if not self._is_reply_lost:
            self._after(self._back, self._answer, outcome, None)

    def _cut(self) -> None:
        self._answer(None, ConnectionResetError())

    def _answer(self, outcome: Any, error: Exception | None) -> None:
        if self.reply.done():
            return
        if error is None:
            self.reply.set_result(outcome)
        else:
            self.reply.set_exception(error)


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

    async def _refused(self, write: Write) -> WriteResult:
        """As the store of a real table does: the row in the way is read, and where it can't be, nothing is known."""
        try:
            return Refused(await self.read(write.key))
        except LeaseStoreError as unread:
            return Unknown(f"{write.verb} of {write.key} was refused, and the row in its way can't be read: {unread}")

    async def read(self, key: str) -> Lease | None:
        return await self._ask("read", lambda: self._table.lease(key))

    async def scan(self) -> TableScan:
        stale, draw = self._network().stale_seconds, self._draw
        lag = (lambda: 0.0) if stale == 0 else (lambda: draw.choice((0.0, draw.uniform(0.0, stale))))
        return await self._ask("scan", lambda: self._table.scan_as_of(lag))

    async def write_worker(self, row: WorkerRow) -> bool:
        return await self._ask("beat", lambda: self._table.put_worker(row))

    async def read_worker(self, worker_id: str) -> WorkerRow | None:
        return await self._ask("read_worker", lambda: self._table.worker(worker_id))

    async def delete_worker(self, row: WorkerRow) -> None:
        await self._ask("delete_worker", lambda: self._table.write_as(self._worker, delete_worker(row)))

    def _send(self, call: str, act: Callable[[], T]) -> asyncio.Future[T]:
        network = self._network()
        return _Journey(network, self._draw, partial(self.strikes, call), network.odds(call, "late"), act).reply

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
