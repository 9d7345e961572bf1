"""A tenure as the worker's loop sees it: reads one float of the held lease, everything else goes through the seam."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from consumer.clock import Clock
from consumer.leasing.held_lease import HeldLease
from consumer.leasing.lease_loop import LeaseLoop
from consumer.leasing.seam import LeaseSeam
from consumer.leasing.tenure import StopReason
from consumer.streams.shard_graph import child_leases
from consumer.streams.source import Shard
from lease_store.checkpoint import Checkpoint
from lease_store.lease import Lease

__all__ = ["HeldTenure"]


class HeldTenure:
    """The ``Tenure`` of a ``HeldLease``.

    ``wait_for_lineage`` returns when what precedes it is done or gone; ``complete_parents`` makes rows that must be
    there before those of the given children.
    """

    def __init__(
        self,
        held: HeldLease,
        loop: LeaseLoop,
        seam: LeaseSeam,
        clock: Clock,
        *,
        wait_for_lineage: Callable[[HeldLease], Awaitable[None]],
        complete_parents: Callable[[Sequence[Lease]], Awaitable[None]],
    ) -> None:
        self.held = held
        self._loop = loop
        self._seam = seam
        self._clock = clock
        self._wait_for_lineage = wait_for_lineage
        self._complete_parents = complete_parents
        self._stop: StopReason | None = None
        self._changed = asyncio.Event()

    @property
    def lease(self) -> Lease:
        return self.held.first_lease

    @property
    def fencing_token(self) -> int:
        return self.held.fencing_token

    @property
    def is_trusted(self) -> bool:
        return self._clock.monotonic() < self.held.trusted_until

    @property
    def stop_requested(self) -> StopReason | None:
        return self._stop

    def request_stop(self, reason: StopReason | None) -> None:
        """What the lease loop said last; once lost, always lost."""
        if self._stop not in ("lost", reason):
            self._stop = reason
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()

    async def stop_or_resume(self) -> None:
        await self._changed.wait()

    def delivered(self, size_bytes: int) -> None:
        self.held.throughput.delivered_bytes += size_bytes

    async def checkpoint(self, checkpoint: Checkpoint) -> None:
        await self._seam.call(self._loop.checkpoint(self.held, checkpoint))

    async def prepare(self, checkpoint: Checkpoint, state: bytes | None) -> None:
        await self._seam.call(self.held.prepare(checkpoint, state))

    async def let_go(self, *, shutdown_called: bool) -> bool:
        return await self._seam.call(self._loop.let_go(self.held, shutdown_called))

    async def end_shard(self, children: Sequence[Shard]) -> None:
        rows = child_leases(children, self.lease, ())
        await self._complete_parents(rows)
        await self._seam.call(self._loop.end_shard(self.held, rows))

    async def parents_done(self) -> None:
        await self._wait_for_lineage(self.held)
