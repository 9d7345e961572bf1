"""A tenure as the worker's loop sees it: reads one float of the held lease, everything else goes through the seam."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from consumer.clock import Clock
from consumer.errors import LeaseLost, LeaseStoreError
from consumer.leasing.held_lease import HeldLease
from consumer.leasing.lease_loop import LeaseLoop
from consumer.leasing.seam import LeaseSeam
from consumer.leasing.tenure import Tenure
from consumer.streams.shard_graph import child_leases
from consumer.streams.source import Shard
from lease_store.checkpoint import Checkpoint
from lease_store.lease import Lease

__all__ = ["HeldTenure", "LeasingDoor", "Told"]

Told = Callable[[Tenure, LeaseLost | LeaseStoreError | None], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasingDoor:
    """What all tenures of a worker share: the way to the lease loop, and what precedes and follows a shard.

    ``wait_for_lineage`` returns when what precedes it is done or gone; ``complete_parents`` makes rows that must be
    there before those of the given children.
    """

    loop: LeaseLoop
    seam: LeaseSeam
    clock: Clock
    wait_for_lineage: Callable[[HeldLease], Awaitable[None]]
    complete_parents: Callable[[Sequence[Lease]], Awaitable[None]]

    async def checkpoint_many(self, wanted: Sequence[tuple[Tenure, Checkpoint]], told: Told) -> None:
        """Store many at once; ``told`` hears of each, on the worker's loop."""
        tenures = {tenure.held: (tenure, place) for tenure, place in wanted if isinstance(tenure, HeldTenure)}

        def tell(held: HeldLease, error: LeaseLost | LeaseStoreError | None) -> None:
            self.seam.post(told, tenures[held][0], error)

        places = [(held, place) for held, (_, place) in tenures.items()]
        await self.seam.call(self.loop.checkpoint_many(places, tell))


class HeldTenure:
    """The ``Tenure`` of a ``HeldLease``."""

    __slots__ = ("_door", "held")

    def __init__(self, held: HeldLease, door: LeasingDoor) -> None:
        self.held = held
        self._door = door

    @property
    def lease(self) -> Lease:
        return self.held.first_lease

    @property
    def fencing_token(self) -> int:
        return self.held.fencing_token

    @property
    def is_trusted(self) -> bool:
        return self._door.clock.monotonic() < self.held.trusted_until

    def delivered(self, size_bytes: int) -> None:
        self.held.throughput.delivered_bytes += size_bytes

    def started(self) -> None:
        self.held.started()

    async def checkpoint(self, checkpoint: Checkpoint) -> None:
        await self._door.seam.call(self._door.loop.checkpoint(self.held, checkpoint))

    async def prepare(self, checkpoint: Checkpoint, state: bytes | None) -> None:
        await self._door.seam.call(self.held.prepare(checkpoint, state))

    async def let_go(self, *, shutdown_called: bool) -> bool:
        return await self._door.seam.call(self._door.loop.let_go(self.held, shutdown_called))

    async def end_shard(self, children: Sequence[Shard]) -> None:
        rows = child_leases(children, self.lease, ())
        await self._door.complete_parents(rows)
        await self._door.seam.call(self._door.loop.end_shard(self.held, rows))

    async def parents_done(self) -> None:
        await self._door.wait_for_lineage(self.held)
