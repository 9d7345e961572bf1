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
from collections.abc import Sequence
from typing import Final

from consumer.clock import Clock
from consumer.config import InitialPosition, WorkerConfig
from consumer.errors import LeaseholdError
from consumer.hooks import GapFound, Hooks
from consumer.leasing.held_lease import HeldLease
from consumer.leasing.lease_loop import LeaseLoop, TableState
from consumer.leasing.seam import LeaseSeam
from consumer.retry import Backoff, retrying
from consumer.shards.late_gaps import LateGaps
from consumer.shards.lineage_wait import LineageWait
from consumer.shards.listings import Listings
from consumer.streams import incarnations, shard_graph
from consumer.streams.shard_audit import Finding, audit
from consumer.streams.source import RecordSource, ShardListing, StreamIdentity, base_of
from lease_store.checkpoint import AT_TIMESTAMP
from lease_store.lease import Lease

__all__ = ["ShardSync"]

_log = logging.getLogger("leasehold.shards")

_LATEST: Final = InitialPosition("LATEST")
_ROWS_AT_ONCE: Final = 16
_TRIES: Final = 5
_SURELY_SEEN_SECONDS: Final = 1.0
_SHARE_EVERY_SECONDS: Final = 5.0
_GONE_FOR_SECONDS: Final = 600.0
# Looks further apart than these many audits (one may fail) leave unknown what was in between.
_AUDITS_APART: Final = 3


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
        self._source = source
        self._listings = Listings(source, stream, clock)
        self._loop = loop
        self._seam = seam
        self._config = config
        self._start = config.initial_position
        self._clock = clock
        self._random = random
        self._hooks = hooks
        self._wanted = asyncio.Event()
        self._deletable_since: dict[str, float] = {}
        self._looked_for_deletable_at = -math.inf
        self._joined: str | None = None
        self._told: frozenset[Finding] = frozenset()
        self._gaps = LateGaps(self._listings.is_known, clock=clock, hooks=hooks)
        self._wait_before = LineageWait(
            self, self._listings, loop, seam, config, want=self.want, gaps=self._gaps, clock=clock, random=random
        )

    @property
    def stream(self) -> StreamIdentity:
        """The present incarnation."""
        return self._listings.stream

    def identity_of(self, label: str | None) -> StreamIdentity:
        """The incarnation that a row belongs to."""
        return self._listings.identity_of(label)

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
                elif not state.draining:
                    await self._clean_up(state)  # where a KCL is the describer, nobody else cleans up after us
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
            before, self._listings.stream = self.stream.label, stream
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

    async def once(self) -> None:
        """One sync, now. Raises StreamError, LeaseStoreError."""
        # Before the first call: workers that start together must not each take the whole budget for their listings.
        self._source.share((await self._seam.call(self._loop.state())).live_workers)
        listing = await self._listings.get(None, since=self._clock.monotonic())
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
            await self.create(missing[:1])
            state = await self._seam.call(self._loop.seen_since(self._clock.monotonic()))
            missing = self._missing(listing, state)
        else:
            await self._gaps.report(missing, listing, state.leases)
        await self._create_from_below(missing, listing)
        await self._replace(listing, state)
        await self._delete(listing, state)
        await self._clean_up(state)
        findings = frozenset(audit(listing.shards, state.leases, self.stream.label, shared=state.shared))
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
        self._listings.keep_only(older)
        created = False
        for label in older:
            rows = await self.missing_of(label, state, since=self._clock.monotonic())
            if rows and (listing := self._listings.last(label)) is not None:
                await self._gaps.report(rows, listing, state.leases)
            await self.create(rows)
            created = created or bool(rows)
        return await self._seam.call(self._loop.state()) if created else state

    async def missing_of(self, label: str, state: TableState, *, since: float) -> tuple[Lease, ...]:
        """The rows that an older incarnation lacks, by a listing that began at ``since`` or later."""
        listing = await self._listings.get(label, since=since)
        if listing is None:
            return ()
        return self._missing(listing, state, label)

    def _missing(self, listing: ShardListing, state: TableState, label: str | None = None) -> tuple[Lease, ...]:
        """The rows that an incarnation lacks."""
        # A KCL's group may have started at LATEST, whatever this worker was told, and its rows carry no instant.
        start = _LATEST if self._start.kind == "TRIM_HORIZON" else self._start
        return shard_graph.leases_to_create(
            listing.shards,
            state.leases,
            self._start,
            label or self.stream.label,
            pin=shard_graph.pin_for(start, listing.server_time, self._clock.wall()),
            server_time=listing.server_time,
            shared=state.shared,
        )

    async def _create_from_below(self, missing: tuple[Lease, ...], listing: ShardListing) -> None:
        """Rows in order; in a group at LATEST, what comes before a late leaf only once the leaf's row is seen to stand.

        It may have stood for longer than scans show: then there is nothing to be read before it.
        """
        made: set[str] = set()
        while missing:
            above = {parent for row in missing for parent in row.parents if self._start.kind == "LATEST"}
            first = tuple(row for row in missing if row.checkpoint != AT_TIMESTAMP or row.key not in above) or missing
            await self.create(first)
            made |= {row.key for row in first}
            left = self._missing(listing, await self._seam.call(self._loop.state())) if first != missing else ()
            missing = tuple(row for row in left if row.key not in made)

    async def create(self, rows: tuple[Lease, ...]) -> None:
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
        shown = [shown for label in older if (shown := self._listings.last(label)) is not None]
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

    async def complete_parents(self, children: Sequence[Lease]) -> None:
        """In a shared table: rows that other parents of ``children`` lack are made before the children's own.

        A KCL takes a parent without a row for one that is done, and would read the child of a merge before its second
        parent; it has both parents' rows or makes no child's either. Raises StreamError, LeaseStoreError.
        """
        merged = [child for child in children if len(child.parents) > 1]
        state = await self._seam.call(self._loop.state()) if merged else None
        if state is None or not state.shared:
            return
        parents = sorted({parent for child in merged for parent in child.parents} - {row.key for row in state.leases})
        absent = {parent for parent in parents if await self._seam.call(self._loop.read(parent)) is None}
        if not absent:
            return
        label = merged[0].stream
        listing = await self._listings.get(label, since=self._clock.monotonic())
        rows = () if listing is None else self._missing(listing, state, label)
        await self.create(tuple(row for row in rows if row.key in absent))

    async def _clean_up(self, state: TableState) -> None:
        """In a shared table: rows that the KCL itself would have deleted by now, had it finished their shards."""
        for lease in shard_graph.done_with(state.leases, self.stream.label) if state.shared else ():
            await self._seam.call(self._loop.delete(lease))

    async def wait_for_lineage(self, held: HeldLease) -> None:
        """Return when all that comes before the shard is done or gone; see ``LineageWait``."""
        await self._wait_before.until_done(held)
