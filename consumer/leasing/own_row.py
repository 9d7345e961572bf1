"""This worker's own row: where it belongs, as often as others expect it, and gone where it would do harm."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from consumer.leasing.leases import Leases
from consumer.leasing.waiting import wait_for
from consumer.retry import Backoff
from lease_store.attributes import Place
from lease_store.errors import LeaseStoreError, LeaseTableUnavailable
from lease_store.layout import LegacyRows
from lease_store.lease import TableScan, WorkerRow

__all__ = ["OwnRow"]

_log = logging.getLogger("leasehold.leasing")

_FAST_BEATS: Final = 3
_GONE_SECONDS: Final = 3600
"""Beyond the 60 s for which a KCL's leader believes a row, and well below the day after which it deletes it."""


class OwnRow:
    """The row by which others see that this worker lives, and what a leader reads of its load.

    ``filled`` adds what is known of the load to a row. In a table of mode 2x there is no such row, since one stops a
    KCL 2.x; where the place for it has moved, the one at the old place is deleted, since one in a lease table makes a
    KCL 3.0 to 3.4 log errors.
    """

    def __init__(self, leases: Leases, filled: Callable[[WorkerRow], WorkerRow] = lambda row: row) -> None:
        self._leases = leases
        self._filled = filled
        self._beat = 0
        self._written_at: Place | None = None
        self._astray: set[Place] = set()
        self._turn = asyncio.Lock()
        self._moved = asyncio.Event()

    async def beat_forever(self) -> None:
        """Write at intervals, at once where the place changes."""
        leases = self._leases
        backoff = Backoff(leases.random, 0.1, leases.timing.beat_seconds)
        while True:
            self._moved.clear()
            try:
                await self.write()
                backoff.reset()
                pause = self._pause()
            except LeaseStoreError as error:
                pause = backoff.next_seconds()
                _log.warning("Could not write this worker's own row, trying again: %s", error)
            await wait_for(self._moved, pause, leases.clock)

    def _pause(self) -> float:
        seconds = self._leases.timing.beat_seconds
        # The first beats come fast: peers hand nothing to a worker whose row they have not seen move.
        return min(1.0, seconds) if self._beat <= _FAST_BEATS else seconds

    def look(self, scan: TableScan, legacy: LegacyRows | None) -> None:
        """After each look at the table: its layout may have changed, and a row of mine lie where none belongs."""
        place = self._place()
        found: list[tuple[Place, tuple[WorkerRow, ...]]] = [("leases", scan.workers)]
        if legacy is not None:
            found.append(("metrics", legacy.workers))
        me = self._leases.me
        self._astray |= {where for where, rows in found if where != place and any(row.worker_id == me for row in rows)}
        if self._astray or (self._written_at is not None and self._written_at != place):
            self._moved.set()

    def _place(self) -> Place | None:
        table = self._leases.table
        return table.layout.workers_at if table.publishes else None

    async def write(self) -> None:
        """One beat, at the place where it belongs now. Raises LeaseStoreError."""
        async with self._turn:
            place = self._place()
            if self._written_at is not None and self._written_at != place:
                self._astray.add(self._written_at)
            for where in sorted(self._astray - {place}):
                await self._delete(where)
            if place is None:
                return
            self._beat += 1
            self._written_at = place
            await self._put(self._row(), place)

    async def _put(self, written: WorkerRow, place: Place) -> None:
        leases = self._leases
        try:
            async with leases.clock.timeout(leases.timing.call_seconds):
                if await leases.store.write_worker(written, place):
                    return
                row = await leases.store.read_worker(leases.me, place)
        except TimeoutError:
            raise LeaseTableUnavailable("No reply to the write of this worker's own row.") from None
        if row is not None and (row.beat, row.draining) == (written.beat, written.draining):
            return  # something on its way carried it twice, and the refusal is the second one's
        if row is not None and row.beat is not None:
            # Only a hand that edits the table, or a second worker of this id, is ahead of me.
            self._beat = max(self._beat, row.beat)
        raise LeaseTableUnavailable(f"This worker's own row is at beat {self._beat} already.")

    async def leave(self) -> None:
        """After a complete drain: remove the row, so that peers need not wait for it to go stale."""
        try:
            async with self._turn:
                if self._written_at is not None:
                    await self._delete(self._written_at)
        except LeaseStoreError as error:
            _log.warning("This worker's own row stays behind; a peer sweeps it once it is stale: %s", error)

    async def _delete(self, place: Place) -> None:
        """The row goes, whichever beat of mine stands there; one that is still on its way is found by a later look."""
        leases = self._leases
        try:
            async with leases.clock.timeout(leases.timing.call_seconds):
                row = await leases.store.read_worker(leases.me, place)
                if row is not None:
                    await leases.store.delete_worker(row, place)
        except TimeoutError:
            raise LeaseTableUnavailable("No reply to the deletion of this worker's own row.") from None
        self._astray.discard(place)
        if self._written_at == place:
            self._written_at = None

    def _row(self) -> WorkerRow:
        leases = self._leases
        wall = int(leases.clock.wall())
        row = WorkerRow(
            worker_id=leases.me,
            beat=self._beat,
            draining=leases.draining,
            failover_seconds=leases.timing.failover_seconds,
            max_leases=leases.max_leases,
            # A KCL knows no draining mark, and would give back what was just handed over.
            updated_at=wall - (_GONE_SECONDS if leases.draining else 0),
        )
        filled = replace(self._filled(row), support_updated_at=wall)
        leases.own_samples = filled.samples
        return filled
