"""What shards that wait ask of the lease table, looked up once for all of them that ask at the same time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from contextlib import contextmanager

from consumer.clock import Clock
from consumer.leasing.lease_loop import LeaseLoop, TableState
from consumer.leasing.seam import LeaseSeam
from consumer.streams import incarnations
from lease_store.lease import Lease

__all__ = ["TableLook", "TableLooks"]


class TableLook:
    """The table as it was known at one instant, gone through once: ten thousand shards may ask of ten thousand rows."""

    def __init__(self, state: TableState) -> None:
        self.state = state
        self._by_key = {lease.key: lease for lease in state.leases}
        self._labels = {lease.stream for lease in state.leases}
        self._unfinished = {lease.stream for lease in state.leases if not lease.is_finished}
        self._begun = {lease.stream for lease in state.leases if lease.checkpoint.is_number or lease.is_finished}

    def is_older_drained(self, label: str | None) -> bool:
        """Whether every row of incarnations older than ``label`` is at SHARD_END; True where there are none."""
        return not any(incarnations.precedes(each, label) for each in self._unfinished)

    def older_labels(self, label: str | None) -> tuple[str, ...]:
        """The incarnations older than ``label`` that have rows, sorted."""
        return tuple(sorted(each for each in self._labels if each is not None and incarnations.precedes(each, label)))

    def has_begun(self, label: str | None) -> bool:
        """Whether any shard of an incarnation has got beyond where it started."""
        return label in self._begun

    def has_all_parents_done(self, lease: Lease) -> bool:
        """Whether the row of each parent is there and at SHARD_END."""
        rows = [self._by_key.get(parent) for parent in lease.parents]
        return all(row is not None and row.stream == lease.stream and row.is_finished for row in rows)


class TableLooks:
    """Looks at what the lease loop knows of the table, each shared by all who asked before it began."""

    def __init__(self, loop: LeaseLoop, seam: LeaseSeam, clock: Clock) -> None:
        self._loop = loop
        self._seam = seam
        self._clock = clock
        self._lock = asyncio.Lock()
        self._asking = 0
        self._last: TableLook | None = None
        self._began_at = -math.inf

    async def take(self) -> TableLook:
        """A look that begins now or later."""
        since = self._clock.monotonic()
        with self._counted():
            async with self._lock:
                if self._last is None or self._began_at < since:
                    began_at = self._clock.monotonic()
                    self._last = TableLook(await self._seam.call(self._loop.state()))
                    self._began_at = began_at
                return self._last

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """A look is kept for those who wait for it, and no longer: it holds all rows as they were."""
        self._asking += 1
        try:
            yield
        finally:
            self._asking -= 1
            if not self._asking:
                self._last = None
