"""Leases held on a bench whose batches are scripted, their renewals and their checkpoints, in virtual time."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from consumer.hooks import Hooks
from consumer.leasing.checkpoints import Checkpoints
from consumer.leasing.held_lease import HeldLease
from consumer.leasing.held_row import Terms
from consumer.leasing.lease_calls import LeaseCalls
from consumer.leasing.renewals import Renewals
from consumer.leasing.timing import LeaseTiming
from lease_store import verbs
from lease_store.errors import LeaseStoreError
from lease_store.lease import Lease
from lease_store.store import Unknown, WriteResult
from lease_store.writes import Write
from tests.unit.leasing.scripted_store import ME, Bench, on_bench

__all__ = ["TIMING", "Round", "on_round"]

TIMING = LeaseTiming(10.0)
Fate = Callable[[Write], WriteResult | LeaseStoreError | None]


class Round:
    """Leases held on a bench and their renewals; ``sent`` has each request as (when, keys), reads as ("read", keys).

    ``fates`` says of each batch to come what becomes of its statements: None is as the table has it. A batch with a
    fate of "lost" is never answered, and applied where it says so.
    """

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.sent: list[tuple[float, list[str]]] = []
        self.reads: list[list[str]] = []
        self.fates: list[Fate | str] = []
        self.started = bench.clock.monotonic()
        self.calls = LeaseCalls(bench, TIMING, bench.clock)
        self.most = 25
        write, read = bench.write, bench.read
        bench.write_many = self._write_many  # type: ignore[method-assign]
        bench.read_many = self._read_many  # type: ignore[method-assign]

        async def write_one(each: Write, *, timeout_seconds: float) -> WriteResult:
            self._note([each.key])
            return await write(each, timeout_seconds=timeout_seconds)

        bench.write = write_one  # type: ignore[method-assign]
        self._read = read
        self.checkpoints = Checkpoints(self.calls)
        self.renewals = Renewals(self.calls, TIMING, bench.clock, random.Random(1), self._spawn)
        bench.begin_for_good(self.renewals.run())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.bench.begin(work)

    def _note(self, keys: list[str]) -> None:
        self.sent.append((round(self.bench.clock.monotonic() - self.started, 3), keys))

    def hold(self, *keys: str) -> list[HeldLease]:
        """Win leases now."""
        return [self._hold(key) for key in keys]

    def _hold(self, key: str) -> HeldLease:
        lease = Lease(key=key, owner=ME, counter=7, created_at="1")
        self.bench.apply(verbs.create(lease))
        held = HeldLease(
            lease,
            Terms(
                me=ME,
                calls=self.calls,
                timing=TIMING,
                clock=self.bench.clock,
                hooks=Hooks([self.bench.facts.append]),
                on_change=self.bench.changes.append,
            ),
            sent_at=self.bench.clock.monotonic(),
        )
        self.renewals.add(held)
        return held

    async def _write_many(
        self, writes: Sequence[Write], *, timeout_seconds: float
    ) -> list[WriteResult | LeaseStoreError]:
        self._note([write.key for write in writes])
        fate = self.fates.pop(0) if self.fates else None
        if isinstance(fate, str):
            if fate == "lost, applied":
                for write in writes:
                    self.bench.apply(write)
            await self.bench.clock.sleep(timeout_seconds)
            return [Unknown("lost")] * len(writes)
        if fate is None:
            return [self.bench.apply(write) for write in writes]
        return [fated if (fated := fate(write)) is not None else self.bench.apply(write) for write in writes]

    async def _read_many(self, keys: Sequence[str]) -> list[Lease | LeaseStoreError | None]:
        self.reads.append(list(keys))
        return [await self._read(key) for key in keys]

    async def until(self, seconds: float) -> None:
        """Wait until so long after the start."""
        await self.bench.clock.sleep(self.started + seconds - self.bench.clock.monotonic())


def on_round(test: Callable[[Round], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    async def play(bench: Bench) -> None:
        await test(Round(bench))

    play.__name__, play.__doc__, play.__module__ = test.__name__, test.__doc__, test.__module__
    return on_bench(play)
