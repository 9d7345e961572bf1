"""A shard's wait for what comes before it: its parents, and older incarnations of the stream."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from consumer.clock import Clock
from consumer.config import WorkerConfig
from consumer.errors import StreamError
from consumer.leasing.held_lease import HeldLease
from consumer.leasing.lease_loop import LeaseLoop, TableState
from consumer.leasing.seam import LeaseSeam
from consumer.retry import Backoff
from consumer.shards.late_gaps import LateGaps
from consumer.shards.listings import Listings
from consumer.shards.table_look import TableLooks
from consumer.streams import shard_graph
from consumer.streams.source import Shard
from lease_store.errors import LeaseStoreError
from lease_store.lease import Lease

__all__ = ["LineageWait", "MissingRows"]

_log = logging.getLogger("leasehold.shards")

_LISTING_AGE_SECONDS: Final = 2.0
# Far longer than listings are late; all the while the child is told as stuck.
_UNLISTED_FOR_SECONDS: Final = 600.0


class MissingRows(Protocol):
    """What a wait needs of the shard sync: which rows an older incarnation lacks, and to make some."""

    async def missing_of(self, label: str, state: TableState, *, since: float) -> tuple[Lease, ...]: ...

    async def create(self, rows: tuple[Lease, ...]) -> None: ...


class LineageWait:
    """Holds shards back until what comes before them is done. ``want`` asks for a sync, which makes missing rows."""

    def __init__(
        self,
        rows: MissingRows,
        listings: Listings,
        loop: LeaseLoop,
        seam: LeaseSeam,
        config: WorkerConfig,
        *,
        want: Callable[[], None],
        gaps: LateGaps,
        clock: Clock,
        random: random.Random,
    ) -> None:
        self._rows = rows
        self._listings = listings
        self._loop = loop
        self._seam = seam
        self._config = config
        self._start = config.initial_position
        self._want = want
        self._gaps = gaps
        self._clock = clock
        self._random = random
        self._looks = TableLooks(loop, seam, clock)
        self._complete_since: dict[str, float] = {}

    async def until_done(self, held: HeldLease) -> None:
        """Return when all that comes before the shard is done or gone: older incarnations, then its parents.

        A parent without a row blocks as long as the service knows it: its row is to be made first, where it is part of
        what this group reads.
        """
        lease = held.first_lease
        if lease.checkpoint.is_number:
            return  # it has begun, so that was done: a takeover must not wait for a table or a listing to say so again
        backoff = Backoff(self._random, 0.2, 2.0)
        wait = _Wait(self._clock.monotonic())
        while held.over is None:
            try:
                absent = await self._seam.call(self._loop.parents_finished(held))
                if await self._may_start(lease, absent, wait):
                    return
            except (StreamError, LeaseStoreError) as error:
                _log.info("Shard %s still waits for what comes before it: %s", lease.key, error)
            await self._clock.sleep(0.1 + backoff.next_seconds())

    async def _may_start(self, lease: Lease, absent: tuple[str, ...], wait: _Wait) -> bool:
        """Whether nothing comes before ``lease``, whose parents are finished or ``absent``."""
        look = await self._looks.take()
        state = look.state
        since = wait.listed_since(self._clock.monotonic(), self._config.audit_interval_seconds)
        if not look.is_older_drained(lease.stream):
            return False
        if not look.has_begun(lease.stream):
            # The first shard of its incarnation: those before it must be known completely, and not only by their rows.
            for label in look.older_labels(lease.stream):
                if not await self._is_complete(label, state, since=since):
                    return False
        if not absent:
            return look.has_all_parents_done(lease) or shard_graph.may_start(lease, state.leases, None)
        known = [parent for parent in absent if await self._listings.is_known(lease.stream, parent)]
        if known and not await self._are_none_of_ours(known, lease, state, since, wait):
            return False
        _log.info("Shard %s starts: its parents %s are gone, or no part of what is to be read.", lease.key, absent)
        return True

    async def _are_none_of_ours(
        self, parents: list[str], child: Lease, state: TableState, since: float, wait: _Wait
    ) -> bool:
        """Whether ``parents``, which the service knows and which have no rows, are no part of what is to be read."""
        lately = self._listings.shown_lately(child.stream, {child.key, *parents})
        listing = lately or await self._listings.get(child.stream, since=since)
        shown, now = ((), None) if listing is None else (listing.shards, listing.server_time)
        may_start = partial(shard_graph.may_start, child, state.leases, start=self._start, server_time=now)
        unlisted = {*parents} - {shard.id for shard in shown}
        # Of a shared table it may be known all the same that they are done: of their heirs one has begun.
        if unlisted and not (state.shared and may_start((*shown, *map(Shard, unlisted)), shared=True)):
            await self._read_unlisted(child, state.leases, unlisted, wait)
            return False
        wait.missed_since = None
        if not may_start(shown, shared=state.shared):
            self._want()
            return False
        return True

    async def _read_unlisted(self, child: Lease, leases: tuple[Lease, ...], parents: set[str], wait: _Wait) -> None:
        """Make the rows of parents that the service answers for and no listing shows, once it is clear that none will.

        Their records are read whole and in order so, which a child that started without them would leave unread. Only
        what came before them is known from nowhere: a gap.
        """
        now = self._clock.monotonic()
        wait.missed_since = now if wait.missed_since is None else wait.missed_since
        if now - wait.missed_since < _UNLISTED_FOR_SECONDS:
            return
        rows = shard_graph.unlisted_parents(parents, child, leases, self._start)
        for row in rows:
            why = f"its child {child.key} names it, and no listing shows it or what came before it"
            self._gaps.tell(row, "what came before it", why)
        await self._rows.create(rows)

    async def _is_complete(self, label: str, state: TableState, *, since: float) -> bool:
        """Whether an older incarnation lacks no row, and has lacked none for as long as a child may be listed late."""
        if await self._rows.missing_of(label, state, since=since):
            self._complete_since.pop(label, None)
            self._want()
            return False
        if self._listings.last(label) is None:
            return True  # it is gone
        now = self._clock.monotonic()
        return now - self._complete_since.setdefault(label, now) >= self._config.child_wait_seconds


@dataclass(slots=True)
class _Wait:
    """A child's wait for what comes before it, and since when a parent that the service knows is in no listing."""

    began: float
    missed_since: float | None = None

    def listed_since(self, now: float, audit_interval_seconds: float) -> float:
        """When a listing that decides must have begun: one may be the older, the longer it showed nothing new."""
        missed_for = 0.0 if self.missed_since is None else now - self.missed_since
        return max(self.began, now - min(max(_LISTING_AGE_SECONDS, missed_for / 2), audit_interval_seconds))
