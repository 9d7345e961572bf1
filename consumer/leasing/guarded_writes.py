"""Writes to rows that this worker does not hold: few at once, and a failure is put off and told, not raised."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from collections.abc import Set as AbstractSet
from typing import Final

from consumer.errors import LeaseLost
from consumer.leasing.leases import Leases
from consumer.retry import Trouble
from lease_store.errors import LeaseStoreError, LeaseTableAccessDenied, LeaseTableCredentials

__all__ = ["GuardedWrites"]

_log = logging.getLogger("leasehold.leasing")

_MOST_WRITES_AT_ONCE: Final = 16
_SHORTEST_PAUSE_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 5.0


class GuardedWrites:
    """Runs writes among few at once and remembers, by lease, when the next attempt may be made."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases
        self._places = asyncio.Semaphore(_MOST_WRITES_AT_ONCE)
        self._alone: set[tuple[str, str]] = set()
        self._troubles: dict[str, Trouble] = {}

    def not_before(self, key: str) -> float:
        """From when on (my clock) a write for this lease may be tried again; 0 where none has failed."""
        trouble = self._troubles.get(key)
        return 0.0 if trouble is None else trouble.retry_at

    def forget_all_but(self, keys: AbstractSet[str]) -> None:
        """Shards come and go for as long as a worker lives, and what it noted of each must go with it."""
        for key in self._troubles.keys() - keys:
            del self._troubles[key]

    async def run(self, key: str, work: Callable[[], Awaitable[object]]) -> None:
        """Run one write among few at once; what fails is left to the next scan or expiry, after a pause."""

        async def among_few() -> None:
            async with self._places:
                await work()

        await self.run_together(key, among_few)

    async def run_together(self, key: str, work: Callable[[], Awaitable[object]]) -> None:
        """As ``run``, for one of many writes that go together: they wait for others of their own kind only."""
        leases = self._leases
        try:
            await work()
            self._troubles.pop(key, None)
        except LeaseLost:
            return
        except LeaseStoreError as error:
            if isinstance(error, LeaseTableAccessDenied | LeaseTableCredentials) and not leases.has_held:
                raise  # never a lease of its own yet: whoever starts this worker should hear of it
            self._put_off(key, error)
            leases.moved.set()

    async def run_if(self, is_wanted: Callable[[], bool], key: str, work: Callable[[], Awaitable[object]]) -> None:
        """As ``run``, if it is wanted still when its turn comes: the mode may have ended while it waited."""

        async def if_wanted() -> None:
            if is_wanted():
                await work()

        await self.run(key, if_wanted)

    async def run_alone(self, what: str, key: str, work: Callable[[], Awaitable[object]]) -> None:
        """As ``run``, for ``what`` each look asks for anew: nothing where it is not over yet for the same row.

        While a table answers looks and no writes, such works would pile up.
        """
        if (what, key) in self._alone:
            return
        self._alone.add((what, key))
        try:
            await self.run(key, work)
        finally:
            self._alone.discard((what, key))

    def _put_off(self, key: str, error: LeaseStoreError) -> None:
        """Try again later and later; say so once a minute, for a table may refuse for hours."""
        leases = self._leases
        now = leases.clock.monotonic()
        trouble = self._troubles.setdefault(key, Trouble(leases.random, 0.4, _LONGEST_PAUSE_SECONDS))
        pause = trouble.put_off(now, least_seconds=_SHORTEST_PAUSE_SECONDS)
        if trouble.is_to_be_told(now):
            _log.warning("A lease write for shard %s failed and is tried again in %.1f s: %s", key, pause, error)
