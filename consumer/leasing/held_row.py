"""The row of a lease that is held: what is known of it, until when its owner may trust in it, and what replies mean.

Each write of a tenure is one way of steps (see ``lease_calls``), whether it goes by itself or with others: sent, judged
by its reply, settled by a read where that was lost, and sent again over the row as it turned out to be.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Final, Literal, NoReturn, TypeGuard

from consumer.clock import Clock
from consumer.errors import LeaseLost
from consumer.hooks import Hooks, LeaseRefused, LeaseRenewed, Throttled
from consumer.leasing.lease_calls import Answer, LeaseCalls, Look, Send, Steps
from consumer.leasing.timing import LeaseTiming
from lease_store.errors import LeaseStoreError, LeaseTableThrottled
from lease_store.item import to_item
from lease_store.lease import Lease, share_values
from lease_store.store import Applied, Refused, Unknown, WriteResult
from lease_store.verbs import Write

__all__ = ["EndReason", "HeldRow", "Make", "Terms"]

_log = logging.getLogger("leasehold.leasing")

EndReason = Literal["handed_off", "released", "ended", "restarted", "lost", "expired"]
Make = Callable[[Lease], Write | None]
"""What is to be written over the row as known; None for nothing more."""
_NEVER: Final = float("-inf")
_SETTLE_PAUSE_SECONDS: Final = 0.1
_MOST_ATTEMPTS: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What all tenures of a worker share; ``on_change`` is told of each after every reply."""

    me: str
    calls: LeaseCalls
    timing: LeaseTiming
    clock: Clock
    hooks: Hooks
    on_change: Callable[[Any], None]


class HeldRow:
    """What one tenure knows and may believe; ``HeldLease`` has the writes. There may be ten thousand: it is small."""

    __slots__ = (
        *("_ended", "_first", "_terms", "_unsettled_since", "fencing_token", "lease", "over", "pending_since"),
        *("renewed_at", "trusted_until"),
    )

    def __init__(self, lease: Lease, terms: Terms, *, sent_at: float) -> None:
        self.lease = lease
        self.pending_since = terms.clock.monotonic() if lease.is_pending else None
        self._first: Lease | None = lease
        self.fencing_token = lease.counter
        self.trusted_until = sent_at + terms.timing.trust_seconds
        self.renewed_at = sent_at
        self.over: EndReason | None = None
        self._terms = terms
        self._unsettled_since: float | None = None
        self._ended: asyncio.Event | None = None

    @property
    def ended(self) -> asyncio.Event:
        """Set once the tenure is over; made for who waits for it, which for most leases nobody does."""
        if self._ended is None:
            self._ended = asyncio.Event()
            if self.over is not None:
                self._ended.set()
        return self._ended

    @property
    def first_lease(self) -> Lease:
        """The row that began it, in whose reply the place to start from was read; a later one once that was used."""
        first = self._first
        return self.lease if first is None else first

    def started(self) -> None:
        """The place to start from was used. Ten thousand rows as they once were would be a fifth of what is kept."""
        self._first = None

    def __lt__(self, other: HeldRow) -> bool:
        """Among several with a renewal due at one instant."""
        return self.key < other.key

    @property
    def key(self) -> str:
        return self.lease.key

    @property
    def hand_off_to(self) -> str | None:
        """The worker that waits for this lease, as the last reply told."""
        return self.lease.owner if self.lease.is_pending and self.lease.owner != self._terms.me else None

    @property
    def renew_due_at(self) -> float:
        """When the next heartbeat is due; every successful write is one."""
        return self.renewed_at + self._terms.timing.renew_seconds

    def end(self, reason: EndReason) -> None:
        """The tenure is over: no trust, no further write."""
        if self.over is None:
            self.over = reason
            self.trusted_until = _NEVER
            if self._ended is not None:
                self._ended.set()
            self._terms.on_change(self)

    def _steps(self, make: Make, *, ends: bool = False, extends_trust: bool = True, together: bool = False) -> Steps:
        """Write until it stands. False where there was nothing to write from the beginning.

        ``ends``: the send ends the tenure. ``together``: the write may go with others.
        """
        self._require_tenure()
        deadline = self.trusted_until
        write = make(self.lease)
        for attempt in range(_MOST_ATTEMPTS):
            if write is None:
                # Nothing is left to end: a tenure whose last write was refused goes on with the trust it had.
                self.trusted_until = deadline
                self._terms.on_change(self)
                return attempt > 0
            sent = self._terms.clock.monotonic()
            if sent >= deadline:
                self._expire("its write was not known to stand before trust ran out")
            try:
                result = yield from self._attempt(write, deadline, ends, together)
            except GeneratorExit:  # whoever carried it has gone: it may have been applied, or may yet be
                self._leave_unsettled(sent)
                raise
            if isinstance(result, Applied) and result.lease is not None:
                self._settled(result.lease, sent, extends_trust and not ends)
                break
            self._stop_if_over()
            row, trust_from = yield from self._row_behind(result, deadline, sent)
            if trust_from is not None and row is not None and self._stands(write, row, ends):
                self._settled(row, trust_from, extends_trust and not ends)
                break
            if not self._goes_on_from(row):
                self._lose(write, row)
            # Not applied, or an earlier write of mine came late, or a hand-off was started: go on from that row.
            self._note(row)
            write = make(row)
        else:
            self._expire(
                f"its {'' if write is None else write.verb} was refused {_MOST_ATTEMPTS} times by a row that allows it"
            )
        if ends and write is not None:
            self.end("released" if write.verb == "release" else "handed_off")
        return True

    def _attempt(
        self, write: Write, deadline: float, ends: bool, together: bool
    ) -> Generator[Send, Answer, WriteResult]:
        if ends:
            self.trusted_until = _NEVER
        try:
            result = yield Send(write, deadline, self.lease if together else None)
        except LeaseStoreError as error:
            if isinstance(error, LeaseTableThrottled):
                self._terms.hooks(Throttled(self.key, write.verb))
            # Not applied: a tenure that it was to end goes on, unless an earlier sending of it may still arrive.
            if ends and self._unsettled_since is not None:
                self._expire("the write that ends it may or may not arrive")
            if self.over is None:
                self.trusted_until = deadline
            raise
        assert isinstance(result, Applied | Refused | Unknown)
        return result

    def _row_behind(
        self, result: WriteResult, deadline: float, sent: float
    ) -> Generator[Look, Answer, tuple[Lease | None, float | None]]:
        """The row after a write not plainly applied, and the oldest send whose fate it settles (None: no such)."""
        if isinstance(result, Refused) and self._unsettled_since is None:
            return result.lease, None
        if isinstance(result, Unknown):
            self._leave_unsettled(sent)
        return (yield from self._read_row(deadline)), self._unsettled_since

    def _leave_unsettled(self, sent: float) -> None:
        self._unsettled_since = sent if self._unsettled_since is None else min(sent, self._unsettled_since)

    def _read_row(self, deadline: float) -> Generator[Look, Answer, Lease | None]:
        """The row by a consistent read, asked for until it is told or trust has run out."""
        look = Look(self.key)  # made however late: it may show a write that carries trust beyond the deadline
        while True:
            try:
                row = yield look
            except LeaseStoreError:
                self._stop_if_over()
                if self._terms.clock.monotonic() + _SETTLE_PAUSE_SECONDS >= deadline:
                    self._expire("a write's reply was lost and the row could not be read before trust ran out")
                look = Look(self.key, deadline, _SETTLE_PAUSE_SECONDS)
                continue
            self._stop_if_over()
            assert row is None or isinstance(row, Lease)
            return row

    def _note(self, lease: Lease) -> None:
        """The row as a reply showed it: is a hand-off under way, and since when is it known?"""
        if not lease.is_pending:
            self.pending_since = None
        elif self.pending_since is None or lease.owner != self.lease.owner:
            self.pending_since = self._terms.clock.monotonic()
        share_values(lease, self.lease)
        self.lease = lease

    def _settled(self, lease: Lease, trust_from: float, extends_trust: bool) -> None:
        """A write stands.

        It carries trust from the send of the oldest write that it may have been, and revives nothing.
        """
        now = self._terms.clock.monotonic()
        self._note(lease)
        if lease.is_finished:
            # A renewal may find a late end's counter instead of its own: nothing is written to such a row again.
            self.end("ended")
        if not extends_trust or self.over is not None:
            return
        self._unsettled_since = None
        self.renewed_at = trust_from
        self.trusted_until = max(self.trusted_until, trust_from + self._terms.timing.trust_seconds)
        if now >= self.trusted_until:
            self._expire("the reply came after trust had run out")
        self._terms.hooks(LeaseRenewed(self.key, self.trusted_until - now))
        self._terms.on_change(self)

    def _stands(self, write: Write, row: Lease, ends: bool) -> bool:
        """Whether a row read after a lost reply proves the write: each field as written, and its writer the owner.

        A renewal writes nothing but the counter, which whoever took the lease has moved just as far. A write that ends
        the tenure names another owner, and over it is in either case.
        """
        mine = row.actual_owner == self._terms.me and row.created_at == self.lease.created_at
        return (ends or mine) and write.stands_in(to_item(row))

    def _goes_on_from(self, row: Lease | None) -> TypeGuard[Lease]:
        """Whether this tenure lives in ``row``: mine, not ended, its counter as known or moved by a write of mine.

        All unsettled writes were conditional on the counter as known, so one at most was applied: a counter further on
        means that somebody else owned the lease in between, though it may be mine again by now.
        """
        return (
            row is not None
            and row.actual_owner == self._terms.me
            and row.created_at == self.lease.created_at
            and not row.is_finished
            and (
                row.counter == self.lease.counter
                or (row.counter == self.lease.counter + 1 and self._unsettled_since is not None)
            )
        )

    def _expire(self, why: str) -> NoReturn:
        self.end("expired")
        raise LeaseLost(f"This worker's tenure of {self.key} is over: {why}.")

    def _lose(self, write: Write, row: Lease | None) -> NoReturn:
        self._terms.hooks(LeaseRefused(self.key, write.verb))
        owner = "nobody, the row is gone" if row is None else row.actual_owner or "nobody"
        _log.warning(
            "Lost the lease of shard %s: its %s was refused; %s owns it now and goes on from the last checkpoint.",
            self.key,
            write.verb,
            owner,
        )
        if row is not None:
            self.lease = row
        self.end("lost")
        raise LeaseLost(f"The lease of {self.key} belongs to {owner} now; nothing was stored.")

    def _stop_if_over(self) -> None:
        """It was ended while its write was under way: its row may be another tenure's by now, and is let alone."""
        if self.over is not None:
            raise LeaseLost(f"This worker's tenure of {self.key} is over ({self.over}); its last write may stand.")

    def _require_tenure(self) -> None:
        if self.over is None and self._terms.clock.monotonic() >= self.trusted_until:
            self.end("expired")
        if self.over is not None:
            raise LeaseLost(f"This worker's tenure of {self.key} is over ({self.over}); nothing was stored.")
