"""A worker's leaving: its shards handed over within the drain's time-out, and what stays behind said aloud."""

from __future__ import annotations

import asyncio
import logging
from enum import Enum

from consumer.clock import Clock
from consumer.config import WorkerConfig
from consumer.delivery.time_limit import Overdue
from consumer.leasing.lease_loop import LeaseLoop
from consumer.leasing.seam import LeaseSeam
from consumer.shards.held_shards import HeldShards

__all__ = ["Leaving", "Outcome"]

_log = logging.getLogger("leasehold.worker")


class Outcome(Enum):
    """How a worker's run ended."""

    CLEAN = "clean"
    DRAIN_TIMED_OUT = "drain timed out"
    BATCH_TIMED_OUT = "batch timed out"


class Leaving:
    """One worker's way out, on its own loop."""

    def __init__(self, worker_id: str, config: WorkerConfig, loop: LeaseLoop, seam: LeaseSeam, clock: Clock) -> None:
        self._worker_id = worker_id
        self._config = config
        self._loop = loop
        self._seam = seam
        self._clock = clock

    async def drain(self, shards: HeldShards) -> Outcome:
        """Mark, hand over, wait for user code, leave: within the drain's time-out, or say what stays behind."""
        _log.info("Worker %s drains its %d shard%s.", self._worker_id, len(shards), "" if len(shards) == 1 else "s")
        try:
            async with self._clock.timeout(self._config.drain_timeout_seconds):
                await self._seam.call(self._loop.drain(self._config.drain_timeout_seconds))
                await shards.until_none()
                await self._seam.call(self._loop.leave())
        except TimeoutError:
            if shards.is_over() and not await self._is_named():
                _log.warning(
                    "Worker %s leaves at its deadline of %g s. It holds no shard, and no row is known that names it; a "
                    "peer that names it all the same, unaware of its leaving, takes that lease back or it expires.",
                    self._worker_id,
                    self._config.drain_timeout_seconds,
                )
                return Outcome.CLEAN
            _log.error(
                "Worker %s could not drain within %g s. Still held: %s; these leases expire within %g s and their next "
                "owners go on from the last checkpoints stored: records after them come again.",
                self._worker_id,
                self._config.drain_timeout_seconds,
                ", ".join(shards.keys) or "no shard, only rows that name this worker",
                self._config.failover_seconds,
            )
            return Outcome.DRAIN_TIMED_OUT
        _log.info("Worker %s has left; no lease names it.", self._worker_id)
        return Outcome.CLEAN

    async def drain_all_but(self, overdue: Overdue, shards: HeldShards) -> Outcome:
        """As ``drain``, but for shards with calls that nothing ends here: those are left behind."""
        whole = asyncio.ensure_future(self.drain(shards))
        rest = asyncio.ensure_future(shards.until_only(lambda: overdue.shards))
        try:
            await asyncio.wait([whole, rest], return_when=asyncio.FIRST_COMPLETED)
            if whole.done():
                whole.result()
            else:
                _log.error(
                    "Worker %s leaves %s behind, whose calls do not end; the leases expire within %g s, and their next "
                    "owners go on from the last checkpoints stored: records after them come again.",
                    self._worker_id,
                    ", ".join(shards.keys),
                    self._config.failover_seconds,
                )
            return Outcome.BATCH_TIMED_OUT
        finally:
            whole.cancel()
            rest.cancel()
            await asyncio.wait([whole, rest])

    async def _is_named(self) -> bool:
        """Whether rows hold this worker back, as far as can be told within a second."""
        try:
            async with self._clock.timeout(1.0):
                return await self._seam.call(self._loop.is_named())
        except TimeoutError:
            return True
