"""Shard sync: make the lease rows that a stream's shards lack, delete those that are done with.

One worker of the fleet does it at intervals (the live one with the smallest id), any worker when it starts on a table
without leases of the stream and when a shard ended without its children in sight: a listing takes a call for each
hundred shards, and the account has ten a second. What is to be done is decided by ``streams.shard_graph``.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from dataclasses import dataclass, replace
from typing import Final

from consumer.clock import Clock
from consumer.config import WorkerConfig
from consumer.errors import DataTrimmed, LeaseholdError, PositionRefused, ShardNotFound, StreamError, StreamMissing
from consumer.hooks import GapFound, Hooks
from consumer.leasing.held_lease import HeldLease
from consumer.leasing.lease_loop import LeaseLoop, TableState
from consumer.leasing.seam import LeaseSeam
from consumer.retry import Backoff, retrying
from consumer.shards.late_gaps import LateGaps
from consumer.streams import incarnations, shard_graph
from consumer.streams.shard_audit import Finding, audit
from consumer.streams.source import Position, RecordSource, ShardListing, StreamIdentity, base_of
from lease_store.checkpoint import AT_TIMESTAMP
from lease_store.errors import LeaseStoreError
from lease_store.lease import Lease

__all__ = ["ShardSync"]

_log = logging.getLogger("leasehold.shards")

_ROWS_AT_ONCE: Final = 16
_TRIES: Final = 5
_LISTING_AGE_SECONDS: Final = 2.0
_STILL_TRUE_SECONDS: Final = 60.0
_SURELY_SEEN_SECONDS: Final = 1.0
_SHARE_EVERY_SECONDS: Final = 5.0
_GONE_FOR_SECONDS: Final = 600.0
# Looks further apart than these many audits (one may fail) leave unknown what was in between.
_AUDITS_APART: Final = 3
# Far longer than listings are late; all the while the child is told as stuck.
_UNLISTED_FOR_SECONDS: Final = 600.0
_UNLISTED: Final[tuple[float, ShardListing | None]] = (-math.inf, None)


class ShardSync:
    """Keeps the table's rows in step with the stream's shards; ``stream`` is the present incarnation.

    Lives on the worker's loop.
    """

    def __init__(
        self,
        source: RecordSource,
        stream: StreamIdentity,
        loop: LeaseLoop,
        seam: LeaseSeam,
        config: WorkerConfig,
        *,
        clock: Clock,
        random: random.Random,
        hooks: Hooks,
    ) -> None:
        self.stream = stream
        self._source = source
        self._loop = loop
        self._seam = seam
        self._config = config
        self._start = config.initial_position
        self._clock = clock
        self._random = random
        self._hooks = hooks
        self._wanted = asyncio.Event()
        self._listings: dict[str, tuple[float, ShardListing | None]] = {}
        self._listing_lock = asyncio.Lock()
        self._deletable_since: dict[str, float] = {}
        self._looked_for_deletable_at = -math.inf
        self._complete_since: dict[str, float] = {}
        self._joined: str | None = None
        self._told: frozenset[Finding] = frozenset()
        self._gaps = LateGaps(self._is_known, clock=clock, hooks=hooks)

    def identity_of(self, label: str | None) -> StreamIdentity:
        """The incarnation that a row belongs to: the present one, or an older one that is still being drained."""
        if label is None or label == self.stream.label:
            return self.stream
        arn, at, _ = label.rpartition("@")
        return replace(self.stream, arn=arn if at else label, label=label, enabled=False)

    def want(self) -> None:
        """Sync soon, whoever's turn it is: a shard has ended without children, or a parent's row is missing."""
        self._wanted.set()

    async def start(self) -> None:
        """The first sync, unless others have made it: then leases can be taken. Raises StreamError, LeaseStoreError."""
        state = await self._seam.call(self._loop.state())
        if self._has_rows(state):
            self._source.share(state.live_workers)
        else:
            await self.once()

    async def run(self) -> None:
        """Sync at intervals until cancelled; what fails is tried again and never ends it."""
        backoff = Backoff(self._random, 0.5, self._config.audit_interval_seconds)
        pause = self._config.audit_interval_seconds
        # What others left undone when they died is found as soon as it is known that they did.
        due = self._clock.monotonic() + min(pause, self._config.failover_seconds + _SURELY_SEEN_SECONDS)
        while True:
            wanted = await self._wait(min(max(0.0, due - self._clock.monotonic()), _SHARE_EVERY_SECONDS))
            try:
                state = await self._seam.call(self._loop.state())
                self._source.share(state.live_workers)
                if not wanted and self._clock.monotonic() < due:
                    continue
                if (wanted or state.is_describer) and not state.draining:
                    self._follow_incarnation(await self._source.resolve())
                    await self.once()
                backoff.reset()
                pause = self._config.audit_interval_seconds
            except LeaseholdError as error:
                pause = max(0.2, backoff.next_seconds())
                _log.warning(
                    "Shard sync of %s failed and is tried again in %.1f s: %s", self._source.name, pause, error
                )
                if wanted:
                    self._wanted.set()
            due = self._clock.monotonic() + pause * self._random.uniform(0.9, 1.1)

    async def _wait(self, seconds: float) -> bool:
        """True when somebody wanted a sync, which is granted once a second at most."""
        try:
            async with self._clock.timeout(seconds):
                await self._wanted.wait()
        except TimeoutError:
            return False
        await self._clock.sleep(self._random.uniform(0.5, 1.0))
        self._wanted.clear()
        return True

    def _follow_incarnation(self, stream: StreamIdentity) -> None:
        if stream.label != self.stream.label and base_of(stream.label) == base_of(self.stream.label):
            before, self.stream = self.stream.label, stream
            self._tell_of_new_incarnation(before)

    def _tell_of_new_incarnation(self, before: str) -> None:
        if self._joined == self.stream.label:
            return
        self._joined = self.stream.label
        _log.warning(
            "Stream %s was re-enabled or recreated as %s: its shards are read once those of %s are done; changes made "
            "while it was off are in neither.",
            self._source.name,
            self.stream.label,
            before,
        )
        self._hooks(GapFound("", f"end of {before}", f"start of {self.stream.label}", stopped=False))

    async def _list(self, label: str | None, *, since: float) -> ShardListing | None:
        """A complete listing of one incarnation that began at ``since`` (monotonic) or later, shared by all who ask.

        None where an older incarnation is gone. Raises StreamError.
        """
        stream = self.identity_of(label)
        async with self._listing_lock:
            listed_at, listing = self._listings.get(stream.label, _UNLISTED)
            if listed_at >= since:
                return listing
            began = self._clock.monotonic()
            try:
                listing = await self._source.list_shards(stream)
            except StreamMissing:
                if stream is self.stream:
                    raise
                listing = None
            self._listings[stream.label] = (began, listing)
            return listing

    async def once(self) -> None:
        """One sync, now. Raises StreamError, LeaseStoreError."""
        # Before the first call: workers that start together must not each take the whole budget for their listings.
        self._source.share((await self._seam.call(self._loop.state())).live_workers)
        listing = await self._list(None, since=self._clock.monotonic())
        assert listing is not None  # the present stream's; where it is missing, that was raised
        state = await self._complete_older(await self._seam.call(self._loop.state()))
        is_new = not self._has_rows(state)
        if is_new:
            # Another's row, or mine whose reply was lost, says that the group has begun: before what is listed by now.
            state = await self._seam.call(self._loop.seen_since(self._clock.monotonic()))
            is_new = not self._has_rows(state)
        missing = self._missing(listing, state)
        if is_new and (older := incarnations.older_labels(state.leases, self.stream.label)):
            self._tell_of_new_incarnation(older[-1])
        if missing and is_new:
            # The first row settles what LATEST stands for, for all; where another worker made it, its pin counts.
            await self._create(missing[:1])
            state = await self._seam.call(self._loop.seen_since(self._clock.monotonic()))
            missing = self._missing(listing, state)
        else:
            await self._gaps.report(missing, listing, state.leases)
        await self._create_from_below(missing, listing)
        await self._replace(listing, state)
        await self._delete(listing, state)
        findings = frozenset(audit(listing.shards, state.leases, self.stream.label))
        for finding in sorted(findings - self._told, key=lambda each: each.shard_id):
            _log.info("Shard %s %s", finding.shard_id, finding.sentence)
        self._told = findings
        if missing:
            await self._seam.call(self._loop.apply_plan())

    def _has_rows(self, state: TableState) -> bool:
        return any(lease.stream == self.stream.label for lease in state.leases)

    async def _complete_older(self, state: TableState) -> TableState:
        """Make rows that older incarnations still lack: a stream that was re-enabled is read to its end first."""
        older = incarnations.older_labels(state.leases, self.stream.label)
        self._listings = {label: seen for label, seen in self._listings.items() if label in {*older, self.stream.label}}
        created = False
        for label in older:
            rows = await self._missing_of(label, state.leases, since=self._clock.monotonic())
            if rows and (listing := self._listings[label][1]) is not None:
                await self._gaps.report(rows, listing, state.leases)
            await self._create(rows)
            created = created or bool(rows)
        return await self._seam.call(self._loop.state()) if created else state

    async def _missing_of(self, label: str, leases: tuple[Lease, ...], *, since: float) -> tuple[Lease, ...]:
        listing = await self._list(label, since=since)
        if listing is None:
            return ()
        return shard_graph.leases_to_create(listing.shards, leases, self._start, label, server_time=listing.server_time)

    def _missing(self, listing: ShardListing, state: TableState) -> tuple[Lease, ...]:
        pin = shard_graph.pin_for(self._start, listing.server_time, self._clock.wall())
        return shard_graph.leases_to_create(
            listing.shards, state.leases, self._start, self.stream.label, pin=pin, server_time=listing.server_time
        )

    async def _create_from_below(self, missing: tuple[Lease, ...], listing: ShardListing) -> None:
        """Rows in order; in a group at LATEST, what comes before a late leaf only once the leaf's row is seen to stand.

        It may have stood for longer than scans show: then there is nothing to be read before it.
        """
        made: set[str] = set()
        while missing:
            above = {parent for row in missing for parent in row.parents if self._start.kind == "LATEST"}
            first = tuple(row for row in missing if row.checkpoint != AT_TIMESTAMP or row.key not in above) or missing
            await self._create(first)
            made |= {row.key for row in first}
            left = self._missing(listing, await self._seam.call(self._loop.state())) if first != missing else ()
            missing = tuple(row for row in left if row.key not in made)

    async def _create(self, rows: tuple[Lease, ...]) -> None:
        """Rows in order, few at once: any first part of them leaves a table that converges."""
        for first in range(0, len(rows), _ROWS_AT_ONCE):
            batch = rows[first : first + _ROWS_AT_ONCE]
            made = await asyncio.gather(*(self._make(row) for row in batch), return_exceptions=True)
            for result in made:
                if isinstance(result, BaseException):
                    raise result
        if len(rows) > 1:
            _log.info("Created %d lease rows for %s.", len(rows), self._source.name)

    async def _make(self, row: Lease) -> None:
        """A throttled table refuses some of many rows: one of them must not send the others back to the listing."""
        await retrying(
            lambda: self._seam.call(self._loop.create(row)), clock=self._clock, random=self._random, attempts=_TRIES
        )

    async def _replace(self, listing: ShardListing, state: TableState) -> None:
        """Rows of a recreated Kinesis stream, which repeats its shard ids, once the old rows are done."""
        for old, new in shard_graph.replaceable(listing.shards, state.leases, self._start, self.stream.label):
            await self._seam.call(self._loop.replace(old, new))

    async def _delete(self, listing: ShardListing, state: TableState) -> None:
        """Rows that are done with. Listings may leave a shard out, and a row made anew is read from its start."""
        older = incarnations.older_labels(state.leases, self.stream.label)
        shown = [shown for label in older if (shown := self._listings.get(label, _UNLISTED)[1]) is not None]
        found = shard_graph.deletable(
            state.leases,
            listing.shards,
            self.stream.label,
            older_shards=[shard for each in shown for shard in each.shards],
            server_time=listing.server_time,
        )
        now = self._clock.monotonic()
        if now - self._looked_for_deletable_at > _AUDITS_APART * self._config.audit_interval_seconds:
            self._deletable_since.clear()  # others were the describer meanwhile, or this worker stood still
        self._looked_for_deletable_at = now
        self._deletable_since = {lease.key: self._deletable_since.get(lease.key, now) for lease in found}
        for lease in found:
            if now - self._deletable_since[lease.key] >= _GONE_FOR_SECONDS:
                await self._seam.call(self._loop.delete(lease))

    async def wait_for_lineage(self, held: HeldLease) -> None:
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
        leases = (await self._seam.call(self._loop.state())).leases
        since = wait.listed_since(self._clock.monotonic(), self._config.audit_interval_seconds)
        if not incarnations.old_stream_drained(leases, lease.stream):
            return False
        if not any(row.stream == lease.stream and (row.checkpoint.is_number or row.is_finished) for row in leases):
            # The first shard of its incarnation: those before it must be known completely, and not only by their rows.
            for label in incarnations.older_labels(leases, lease.stream):
                if not await self._is_complete(label, leases, since=since):
                    return False
        if not absent:
            return shard_graph.may_start(lease, leases, None)
        known = [parent for parent in absent if await self._is_known(lease.stream, parent)]
        if known:
            lately = self._shown_lately(lease.stream, {lease.key, *known})
            listing = lately or await self._list(lease.stream, since=since)
            shown, now = ((), None) if listing is None else (listing.shards, listing.server_time)
            if unlisted := {*known} - {shard.id for shard in shown}:
                await self._read_unlisted(lease, leases, unlisted, wait)
                return False
            wait.missed_since = None
            if not shard_graph.may_start(lease, leases, shown, start=self._start, server_time=now):
                self.want()
                return False
        _log.info("Shard %s starts: its parents %s are gone, or no part of what is to be read.", lease.key, absent)
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
        await self._create(rows)

    async def _is_complete(self, label: str, leases: tuple[Lease, ...], *, since: float) -> bool:
        """Whether an older incarnation lacks no row, and has lacked none for as long as a child may be listed late."""
        if await self._missing_of(label, leases, since=since):
            self._complete_since.pop(label, None)
            self.want()
            return False
        if self._listings.get(label, _UNLISTED)[1] is None:
            return True  # it is gone
        now = self._clock.monotonic()
        return now - self._complete_since.setdefault(label, now) >= self._config.child_wait_seconds

    def _shown_lately(self, label: str | None, shard_ids: set[str]) -> ShardListing | None:
        """This worker's own listing of the last minute where it shows all of these: what closed stays closed."""
        listed_at, listing = self._listings.get(self.identity_of(label).label, _UNLISTED)
        if listing is None or listed_at < self._clock.monotonic() - _STILL_TRUE_SECONDS:
            return None
        return listing if shard_ids <= {shard.id for shard in listing.shards} else None

    async def _is_known(self, label: str | None, shard_id: str) -> bool:
        """Whether the service knows the shard, asked itself: a listing may be late with it, or leave it out."""
        try:
            await self._source.iterator(self.identity_of(label), shard_id, Position("TRIM_HORIZON"))
        except (DataTrimmed, ShardNotFound, StreamMissing, PositionRefused):
            return False  # trimmed: nothing of it is left; refused: what a row names as a parent is no shard's id
        return True


@dataclass(slots=True)
class _Wait:
    """A child's wait for what comes before it, and since when a parent that the service knows is in no listing."""

    began: float
    missed_since: float | None = None

    def listed_since(self, now: float, audit_interval_seconds: float) -> float:
        """When a listing that decides must have begun: one may be the older, the longer it showed nothing new."""
        missed_for = 0.0 if self.missed_since is None else now - self.missed_since
        return max(self.began, now - min(max(_LISTING_AGE_SECONDS, missed_for / 2), audit_interval_seconds))
