"""A table in memory whose next replies are scripted, for one tenure at a time in virtual time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from consumer.hooks import Fact, Hooks
from consumer.leasing.held_lease import HeldLease
from consumer.leasing.held_row import Terms
from consumer.leasing.lease_calls import LeaseCalls
from consumer.leasing.leases import Leases
from consumer.leasing.timing import LeaseTiming
from consumer.testing.virtual_time import VirtualClock, run_virtual
from lease_store.attributes import Place
from lease_store.errors import LeaseTableThrottled
from lease_store.lease import Lease, WorkerRow
from lease_store.memory import MemoryLeaseStore
from lease_store.store import Applied, Unknown, WriteResult
from lease_store.verbs import Write, create

__all__ = ["ME", "Bench", "Step", "on_bench", "stand_still"]

ME = "me"


@dataclass(slots=True)
class Step:
    """What becomes of one call: it takes ``seconds``; it raises ``error``, or is ``applied`` and its reply ``lost``.

    ``late`` seconds after a lost call that was not applied, it is applied after all. ``before`` runs first.
    """

    seconds: float = 0.0
    error: Exception | None = None
    applied: bool = True
    lost: bool = False
    late: float | None = None
    before: Callable[[], None] | None = None


class Bench(MemoryLeaseStore):
    """Holds lease ``s`` as ``me`` at failover time 10 s; ``script`` is for the calls to come, then all is well."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = VirtualClock()
        self.script: deque[Step] = deque()
        self.sent: list[str] = []
        self.facts: list[Fact] = []
        self.changes: list[HeldLease] = []
        self.refuse_deletes = False
        self._tasks: list[asyncio.Task[Any]] = []
        self._lasting: list[asyncio.Task[Any]] = []

    @property
    def row(self) -> Lease:
        item = self.get("s")
        assert item is not None
        return self.rows().leases[0]

    def hold(self, **fields: Any) -> HeldLease:
        lease = Lease(key="s", **{"owner": ME, "counter": 7, "created_at": "1", **fields})
        assert isinstance(self.apply(create(lease)), Applied)
        return HeldLease(
            lease,
            Terms(
                me=ME,
                calls=LeaseCalls(self, LeaseTiming(10.0), self.clock),
                timing=LeaseTiming(10.0),
                clock=self.clock,
                hooks=Hooks([self.facts.append]),
                on_change=self.changes.append,
            ),
            sent_at=self.clock.monotonic(),
        )

    def other(self, make: Callable[[Lease], Write]) -> None:
        """Somebody else's write, at once."""
        assert isinstance(self.apply(make(self.row)), Applied)

    def begin(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run ``work`` beside the test; its reference is kept."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.append(task)
        return task

    def begin_for_good(self, work: Coroutine[Any, Any, None]) -> None:
        """Run ``work``, which outlives the test: whatever ends it earlier fails the test."""
        self._lasting.append(self.begin(work))

    def check(self) -> None:
        """Raise what ended something that was begun for good."""
        for task in self._lasting:
            if task.done():
                raise AssertionError("it was to outlive the test") from task.exception()

    async def write(self, write: Write, *, timeout_seconds: float) -> WriteResult:
        self.sent.append(write.verb)
        step = self.script.popleft() if self.script else Step()
        if step.before is not None:
            step.before()
        await self.clock.sleep(step.seconds)
        if step.error is not None:
            raise step.error
        result = self.apply(write) if step.applied else None
        if step.late is not None:
            asyncio.get_running_loop().call_later(step.late, self.apply, write)
        if step.lost or result is None:
            await self.clock.sleep(max(0.0, timeout_seconds - step.seconds))
            return Unknown("scripted")
        return result

    async def delete_worker(self, row: WorkerRow, place: Place = "leases") -> None:
        if self.refuse_deletes:
            raise LeaseTableThrottled("scripted")
        await super().delete_worker(row, place)

    async def read(self, key: str) -> Lease | None:
        self.sent.append("read")
        return await super().read(key)


async def stand_still(leases: Leases, seconds: float) -> None:
    """Nothing moves, as a scan that is begun at the end will have shown."""
    await leases.clock.sleep(seconds)
    leases.looked_at = leases.clock.monotonic()


def on_bench(test: Callable[[Bench], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test in virtual time with a bench of its own."""

    def run() -> None:
        async def main() -> None:
            bench = Bench()
            await test(bench)
            bench.check()

        run_virtual(main(), limit_seconds=10_000)

    run.__name__, run.__doc__, run.__module__ = test.__name__, test.__doc__, test.__module__
    return run
