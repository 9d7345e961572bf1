"""Learning of leases that a leader has given me, sooner than by the next look at the table."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Collection
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Final

from consumer.leasing.assignment import plan
from consumer.leasing.rules import Means
from consumer.leasing.waiting import wait_for
from lease_store.errors import LeaseStoreError

__all__ = ["Discovery"]

_log = logging.getLogger("leasehold.leasing")

_NO_INDEX_SECONDS: Final = 60.0
_EXPECTED_AT_ONCE: Final = 4
_EXPECTED_SECONDS: Final = 3.0


class Discovery:
    """Asks the index by owner about once a second where looks are further apart, and watches rows that are due.

    A leader of ours plans as I do, from nearly the same view: of what is free I know what it is about to give me. A few
    of these rows are read ten times a second; where one has moved, the index (or a look) tells of the rest.
    """

    def __init__(self, means: Means) -> None:
        self._means = means
        self._leases = means.leases
        self._expected: dict[str, int] = {}
        self._ask_now = asyncio.Event()
        self._is_over = False

    def stop(self) -> None:
        """Nothing more is asked."""
        self._is_over = True
        self._ask_now.set()

    def forget_all_but(self, keys: AbstractSet[str]) -> None:
        for key in self._expected.keys() - keys:
            del self._expected[key]

    async def run(self) -> None:
        """Ask, until ``stop``."""
        leases = self._leases
        no_index_until, is_urgent = -math.inf, False
        while not self._is_over:
            self._ask_now.clear()
            now = leases.clock.monotonic()
            period = self._means.row_period_seconds()
            if not leases.draining and (is_urgent or now >= leases.looked_at + period):
                if now >= no_index_until and not await self._ask():
                    no_index_until = now + _NO_INDEX_SECONDS
                if is_urgent and now < no_index_until:
                    self._means.look_now()
            is_urgent = await wait_for(self._ask_now, period * leases.random.uniform(0.8, 1.0), leases.clock)

    async def _ask(self) -> bool:
        """False where the table has no such index."""
        leases = self._leases
        try:
            async with leases.clock.timeout(leases.timing.call_seconds):
                keys = await leases.store.owned_by(leases.me)
        except (LeaseStoreError, TimeoutError) as error:
            _log.info("The index by owner of table %s could not be asked: %s", leases.store.name, error)
            return True
        for key in keys or ():
            if not (key in leases.held or self._is_over or self._is_finished(key)):
                self._means.spawn(self._means.writes.run_alone("follow", key, partial(self._means.follow_row, key)))
        return keys is not None

    def _is_finished(self, key: str) -> bool:
        """A finished row keeps its owner for as long as there is a row: for a day, and of many shards."""
        lease = self._leases.current(key)
        return lease is not None and lease.is_finished

    def expect(self, free: Collection[str]) -> None:
        """Of these leases, which are free, watch a few that a leader of ours will give me by plan."""
        leases = self._leases
        fresh = [key for key in free if self._expected.get(key) != leases.observations[key].lease.counter]
        if not fresh:
            return
        mine = {take.key for take in plan(leases.view()).takes if take.worker_id == leases.me}
        for key in fresh:
            self._expected[key] = leases.observations[key].lease.counter
        for key in [key for key in fresh if key in mine][:_EXPECTED_AT_ONCE]:
            self._means.spawn(self._watch(key, self._expected[key]))

    async def _watch(self, key: str, counter: int) -> None:
        leases = self._leases
        until = leases.clock.monotonic() + _EXPECTED_SECONDS
        while leases.clock.monotonic() < until and not (self._is_over or leases.draining or key in leases.held):
            await leases.clock.sleep(leases.random.uniform(0.1, 0.2))
            try:
                row = await leases.read(key)
            except LeaseStoreError as error:
                _log.info("Shard %s may become this worker's; its row is read again: %s", key, error)
                continue
            if row is None or row.counter != counter:
                self._ask_now.set()  # a leader is at work, and may have given me more
                await self._means.writes.run(key, partial(self._means.follow_row, key))
                return
