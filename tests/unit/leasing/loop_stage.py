"""Pieces of a lease loop over a scripted store, up to the whole loop."""

from __future__ import annotations

import random
from collections.abc import Coroutine
from typing import Any

from consumer.hooks import Hooks
from consumer.leasing.handoff import OwnerSide
from consumer.leasing.held_lease import HeldLease
from consumer.leasing.lease_loop import LeaseLoop, LeaseSettings
from consumer.leasing.leases import Leases, TenureListener
from consumer.leasing.table_watch import TableWatch
from consumer.leasing.timing import LeaseTiming
from lease_store.lease import Lease
from tests.unit.leasing.scripted_store import ME, Bench

__all__ = ["STREAM", "CountedLeases", "Deaf", "child_of", "leases_on", "loop_on", "watch_on"]

STREAM = "clicks@1"


class Deaf:
    """A listener that does nothing."""

    def tenure_began(self, held: HeldLease) -> None: ...
    def stop_changed(self, held: HeldLease, reason: Any) -> None: ...


class CountedLeases(Leases):
    """Counts how often the whole table is gone through."""

    walks = 0

    def current_leases(self) -> list[Lease]:
        self.walks += 1
        return super().current_leases()


def leases_on(bench: Bench, listener: TenureListener | None = None, **fields: Any) -> CountedLeases:
    return CountedLeases(
        bench,
        me=ME,
        timing=LeaseTiming(10.0),
        clock=bench.clock,
        random=random.Random(1),
        hooks=Hooks([bench.facts.append]),
        listener=listener or Deaf(),
        **fields,
    )


def watch_on(bench: Bench, spawned: list[Coroutine[Any, Any, None]], **fields: Any) -> tuple[CountedLeases, TableWatch]:
    leases = leases_on(bench, **fields)
    return leases, TableWatch(
        leases, spawned.append, OwnerSide(leases, 30.0), stream_base="clicks", read_units_per_second=50.0
    )


def loop_on(bench: Bench, stream_base: str = "clicks") -> LeaseLoop:
    """A loop that runs; within its failover time, or the rows of ``other`` would be taken."""
    settings = LeaseSettings(ME, stream_base, 10.0, 30.0, 50.0)
    hooks = Hooks([bench.facts.append])
    loop = LeaseLoop(bench, settings, Deaf(), clock=bench.clock, random=random.Random(1), hooks=hooks)
    bench.begin_for_good(loop.run())
    return loop


async def child_of(loop: LeaseLoop, key: str, *parents: str) -> HeldLease:
    await loop.create(Lease(key=key, parents=parents, stream=STREAM, created_at="1"), owner=ME)
    return loop.leases.held[key]
