"""The checkpoints of all shards of a worker that are due at its tick: brought to the lease table together."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from random import Random
from typing import Final

from consumer.clock import Clock
from consumer.leasing.held_tenure import Told
from consumer.leasing.tenure import Tenure
from lease_store.checkpoint import Checkpoint

__all__ = ["CheckpointRounds", "StoreMany"]

# What was woken by one tick arrives within this, and a checkpoint that comes so much later is none the worse for it.
_GATHER_SECONDS: Final = 0.01

StoreMany = Callable[[Sequence[tuple[Tenure, Checkpoint]], Told], Awaitable[None]]
"""Stores each checkpoint under its tenure; tells of each, on the worker's loop, what went wrong (None: it stands)."""


class CheckpointRounds:
    """One tick an interval for all shards: a write for each would cost more than reading the records it is for.

    The tick has a phase of its own, drawn once, so that workers of one machine do not write at one instant.
    """

    def __init__(
        self, store_many: StoreMany, clock: Clock, random: Random, interval_seconds: float, context: Context
    ) -> None:
        self._store_many = store_many
        self._clock = clock
        self.interval_seconds = interval_seconds
        self._phase = random.uniform(0.0, interval_seconds)
        self._context = context
        self._wanted: dict[Tenure, tuple[Checkpoint, asyncio.Future[None]]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._rounds: set[asyncio.Task[None]] = set()

    def next_tick(self) -> float:
        """When the next one is (monotonic): within the interval."""
        now = self._clock.monotonic()
        if not self.interval_seconds:
            return now
        return (math.floor((now - self._phase) / self.interval_seconds) + 1) * self.interval_seconds + self._phase

    async def store(self, tenure: Tenure, checkpoint: Checkpoint) -> None:
        """As ``tenure.checkpoint``, together with all that are asked for within a few milliseconds."""
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._wanted[tenure] = checkpoint, stored
        if self._timer is None:
            self._timer = self._clock.call_later(_GATHER_SECONDS, self._begin_round)
        await stored

    def close(self) -> None:
        """No round begins any more; writes that are under way learn their fate without us."""
        if self._timer is not None:
            self._timer.cancel()
        for task in self._rounds:
            task.cancel()

    def _begin_round(self) -> None:
        self._timer = None
        wanted, self._wanted = self._wanted, {}
        wanted = {tenure: each for tenure, each in wanted.items() if not each[1].done()}
        if wanted:
            task = asyncio.get_running_loop().create_task(self._round(wanted), context=self._context)
            self._rounds.add(task)
            task.add_done_callback(self._rounds.discard)

    async def _round(self, wanted: dict[Tenure, tuple[Checkpoint, asyncio.Future[None]]]) -> None:
        def told(tenure: Tenure, error: BaseException | None) -> None:
            _settle(wanted[tenure][1], error)

        try:
            await self._store_many([(tenure, checkpoint) for tenure, (checkpoint, _) in wanted.items()], told)
        except Exception as error:
            for _, stored in wanted.values():
                _settle(stored, error)
        except asyncio.CancelledError:
            for _, stored in wanted.values():
                stored.cancel()
            raise


def _settle(stored: asyncio.Future[None], error: BaseException | None) -> None:
    """Whoever waits may have gone meanwhile."""
    if stored.done():
        return
    if error is None:
        stored.set_result(None)
    else:
        stored.set_exception(error)
