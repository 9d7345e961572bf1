"""A KCL 3.5's leasing, written by hand from its recorded requests: lock, metric row, discovery, renewal, hand-off.

Where it leads it plans nothing by itself: a test says what it assigns, and sees what a worker of ours makes of it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import Final

from consumer.testing.virtual_time import VirtualClock
from lease_store import verbs
from lease_store.attributes import Place
from lease_store.coordination import ClientVersion, LeaderLock, coordination_to_item
from lease_store.item import worker_to_item
from lease_store.lease import Lease, WorkerRow
from lease_store.memory import MemoryLeaseStore
from lease_store.store import Applied
from lease_store.verbs import Absent, Is, Write

__all__ = ["Kcl3x"]

_REPORT_SECONDS: Final = 30.0


@dataclass(slots=True)
class Kcl3x:
    """One worker. ``leads``: it holds the lock from its start on. ``held``: counters by key, as it knows them.

    ``batch_seconds``: from when it learns of a hand-off to when it lets go.
    """

    name: str
    store: MemoryLeaseStore
    clock: VirtualClock
    leads: bool = False
    failover_seconds: float = 10.0
    batch_seconds: float = 1.0
    lock_seconds: float = 120.0
    beat_seconds: float = 30.0
    samples: tuple[float, ...] = ()
    places: tuple[Place, Place] = ("leases", "leases")
    held: dict[str, int] = field(default_factory=dict)
    _lets_go_at: dict[str, float] = field(default_factory=dict)

    async def run(self) -> None:
        """Work until cancelled, which is how it dies: a KCL releases nothing but the lock, and only where it stops."""
        lock_at, _ = self.places
        if lock_at == "leases":
            self.store.put_item(coordination_to_item(ClientVersion(state="CLIENT_VERSION_3X", modified_by=self.name)))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._every(_REPORT_SECONDS, self._report))
            tasks.create_task(self._every(self.failover_seconds / 3 - 0.025, self._renew))
            tasks.create_task(self._every(self.failover_seconds - 0.025, self._discover))
            if self.leads:
                tasks.create_task(self._every(self.beat_seconds, self._hold_lock))

    async def _every(self, seconds: float, work: object) -> None:
        while True:
            work()  # type: ignore[operator]
            await self.clock.sleep(seconds)

    def _report(self) -> None:
        samples = {"C": self.samples} if self.samples else {}
        row = WorkerRow(
            worker_id=self.name,
            beat=None,
            updated_at=int(self.clock.wall()),
            samples=samples,
            ranges=dict.fromkeys(samples, (100.0,)),
            support_updated_at=int(self.clock.wall()),
        )
        place = self.places[1]
        self.store.put_item(worker_to_item(row, place), place)

    def _hold_lock(self) -> None:
        version = f"{self.name}-{self.clock.monotonic()}"
        lock = LeaderLock(owner=self.name, version=version, duration_seconds=self.lock_seconds)
        self.store.put_item(coordination_to_item(lock, self.places[0]), self.places[0])

    def _rows(self) -> dict[str, Lease]:
        return {lease.key: lease for lease in self.store.rows().leases}

    def _discover(self) -> None:
        """No write accepts a lease; rows of a pending hand-off are passed over."""
        for lease in self._rows().values():
            if (
                lease.owner == self.name
                and not lease.is_pending
                and lease.key not in self.held
                and not lease.is_finished
            ):
                self.held[lease.key] = lease.counter

    def _renew(self) -> None:
        now = self.clock.monotonic()
        for key, counter in list(self.held.items()):
            row = self._rows().get(key)
            knows = key in self._lets_go_at
            if knows and now >= self._lets_go_at[key] and row is not None:
                self.store.apply(verbs.assign(row, row.owner or ""))
                del self.held[key], self._lets_go_at[key]
            elif self._renewed(key, counter, knows):
                self.held[key] = counter + 1
            elif row is not None and row.checkpoint_owner == self.name and row.counter == counter:
                self._lets_go_at[key] = now + self.batch_seconds
                if self._renewed(key, counter, True):
                    self.held[key] = counter + 1
            else:
                del self.held[key]
                self._lets_go_at.pop(key, None)

    def _renewed(self, key: str, counter: int, knows: bool) -> bool:
        expects = (Is("leaseCounter", {"N": str(counter)}), *(() if knows else (Absent("checkpointOwner"),)))
        write = Write("renew", key, expects, {"leaseCounter": {"N": str(counter + 1)}})
        return isinstance(self.store.apply(write), Applied)

    # -- as the leader

    def assign(self, key: str, to: str) -> None:
        """The row becomes ``to``'s, by owners alone: the KCL compares no counter."""
        row = self._rows()[key]
        assert isinstance(self.store.apply(verbs.assign(row, to)), Applied)

    def hand_off(self, key: str, to: str) -> None:
        """``to`` is to be next, once the owner has let go."""
        assert isinstance(self.store.apply(verbs.start_hand_off(self._rows()[key], to)), Applied)

    def make(self, count: int, owner: str | None = None) -> None:
        """Leases as a KCL 3.5 makes them."""
        for number in range(count):
            lease = Lease(key=f"shard-{number:02d}", hash_range=("0", "1"))
            self.store.apply(verbs.create(replace(lease, owner=owner)))
