"""A KCL 2.7.2 worker's leasing, written by hand from its taker and its renewer: nothing but counters in lease rows.

It renews every F/3, looks every two failover times, and processes nothing. Like the real one it leaves a
``checkpointOwner`` where it stands, and throws, taking nothing, while the table has a row that is no lease.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from dataclasses import dataclass, field

from consumer.testing.virtual_time import VirtualClock
from lease_store.checkpoint import SHARD_END
from lease_store.lease import AttributeValue, Lease, TableScan
from lease_store.memory import MemoryLeaseStore
from lease_store.store import Applied
from lease_store.verbs import Is, Write

__all__ = ["Kcl2x"]


@dataclass(slots=True)
class Kcl2x:
    """One worker. ``took``: (when, key, whose it was); ``lost``: (when, key); ``errors``: how often its taker threw.

    ``looks_first_at``: seconds from its start to its taker's first pass.
    """

    name: str
    store: MemoryLeaseStore
    clock: VirtualClock
    random: random.Random
    failover_seconds: float = 10.0
    max_leases: int | None = None
    looks_first_at: float = 0.0
    held: dict[str, int] = field(default_factory=dict)
    took: list[tuple[float, str, str | None]] = field(default_factory=list)
    lost: list[tuple[float, str]] = field(default_factory=list)
    errors: int = 0
    looked_at: float = -math.inf
    _seen: dict[str, tuple[int, float]] = field(default_factory=dict)

    async def run(self) -> None:
        """Lease until cancelled, which is how it dies: nothing is released."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._renew_forever())
            tasks.create_task(self._take_forever())

    async def _renew_forever(self) -> None:
        while True:
            await self.clock.sleep(self.failover_seconds / 3 - 0.025)
            for key, counter in list(self.held.items()):
                if self._write(key, counter):
                    self.held[key] = counter + 1
                else:
                    del self.held[key]
                    self.lost.append((self.clock.monotonic(), key))

    async def _take_forever(self) -> None:
        await self.clock.sleep(self.looks_first_at)
        while True:
            scan, self.looked_at = self.store.rows(), self.clock.monotonic()
            if scan.workers or scan.foreign:
                self.errors += 1
            else:
                self._look(scan)
            await self.clock.sleep(2 * (self.failover_seconds + 0.025))

    def _look(self, scan: TableScan) -> None:
        now = self.clock.monotonic()
        self._seen = {lease.key: self._moved(lease, now) for lease in scan.leases}
        leases = {lease.key: lease for lease in scan.leases}
        for key in self._wanted(leases, now):
            lease = leases[key]
            if self._write(key, lease.counter, {"leaseOwner": {"S": self.name}}):
                self.held[key] = lease.counter + 1
                self._seen[key] = (lease.counter + 1, now)
                self.took.append((now, key, lease.owner))

    def _moved(self, lease: Lease, now: float) -> tuple[int, float]:
        known = self._seen.get(lease.key)
        if known is None:
            return lease.counter, now if lease.owner else -math.inf
        return known if known[0] == lease.counter else (lease.counter, now)

    def _wanted(self, leases: dict[str, Lease], now: float) -> list[str]:
        idle = {key: now - self._seen[key][1] for key in leases}
        free = [key for key, lease in leases.items() if lease.owner is None or idle[key] > self.failover_seconds]
        count = Counter(lease.owner for key, lease in leases.items() if key not in free and lease.owner)
        mine = count.setdefault(self.name, 0)
        most = math.inf if self.max_leases is None else self.max_leases
        target = min(most, max(1, -(-len(leases) // len(count))))
        need = int(target - mine)
        if very_old := [key for key in leases if idle[key] > 3 * self.failover_seconds]:
            self.random.shuffle(very_old)
            return very_old[: max(0, int(min(most - mine, len(very_old))))]
        if need <= 0 or free:
            self.random.shuffle(free)
            return free[: max(0, need)]
        victim = max(sorted(count), key=lambda owner: count[owner])
        over = count[victim] - int(target)
        if over < 0 or (over == 0 and need <= 1):
            return []
        return [self.random.choice(sorted(key for key, lease in leases.items() if lease.owner == victim))]

    def _write(self, key: str, counter: int, sets: dict[str, AttributeValue] | None = None) -> bool:
        """Any write of a KCL 2.x to a lease: the counter as known, and nothing else, is its condition."""
        moved: dict[str, AttributeValue] = {"leaseCounter": {"N": str(counter + 1)}, **(sets or {})}
        expects = (Is("leaseCounter", {"N": str(counter)}),)
        return isinstance(self.store.apply(Write("kcl", key, expects, moved)), Applied)

    def take(self, key: str) -> None:
        """Win a lease now, whoever's it is, as its taker would at one of its looks."""
        counter = next(lease.counter for lease in self.store.rows().leases if lease.key == key)
        assert self._write(key, counter, {"leaseOwner": {"S": self.name}})
        self.held[key] = counter + 1

    def end_shard(self, key: str) -> None:
        """Store the end of a shard that it holds; it goes on holding the row, as the real one does."""
        ended: dict[str, AttributeValue] = {"checkpoint": {"S": SHARD_END.sequence_number}}
        assert self._write(key, self.held[key], ended)
        self.held[key] += 1
