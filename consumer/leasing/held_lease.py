"""A tenure: one worker's time as owner of one lease, from a won write to its end, never revived.

It has the only turn in which renewals, checkpoints and hand-offs of its lease are written, so that at most one write
is in flight, and it alone judges what a reply means, whether the write went by itself or with others. It knows until
when it may be trusted: the *send* of its last successful write, plus the failover time, less a margin.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator
from typing import Final, Literal, NoReturn, TypeGuard

from consumer.clock import Clock
from consumer.errors import LeaseLost
from consumer.hooks import Hooks, LeaseRefused, LeaseRenewed, Throttled
from consumer.leasing.lease_calls import Answer, LeaseCalls, Look, OnEnd, Send, Steps, Writing
from consumer.leasing.throughput import Throughput
from consumer.leasing.timing import LeaseTiming
from consumer.leasing.turn import Turn
from lease_store import verbs
from lease_store.checkpoint import Checkpoint
from lease_store.errors import LeaseStoreError, LeaseTableThrottled
from lease_store.item import to_item
from lease_store.lease import Lease
from lease_store.store import Applied, Refused, Unknown, WriteResult
from lease_store.verbs import Write

__all__ = ["EndReason", "HeldLease"]

_log = logging.getLogger("leasehold.leasing")

EndReason = Literal["handed_off", "released", "ended", "restarted", "lost", "expired"]
Make = Callable[[Lease], Write | None]
_NEVER: Final = float("-inf")
_SETTLE_PAUSE_SECONDS: Final = 0.1
_MOST_ATTEMPTS: Final = 20


class HeldLease:
    """One tenure. Every method runs on the lease loop; other threads read attributes that are set once or are values.

    Those are ``key``, ``first_lease``, ``fencing_token``, ``trusted_until`` and, once the tenure is over, ``over`` and
    ``lease``. The other way, ``throughput.delivered_bytes`` is what another thread writes and this one reads.

    ``pending_since``: when this worker learnt of the hand-off that is under way; None where none is.
    ``on_change`` is called after every reply, with this object: the place to notice a pending hand-off or the end.
    """

    def __init__(
        self,
        lease: Lease,
        *,
        me: str,
        sent_at: float,
        calls: LeaseCalls,
        timing: LeaseTiming,
        clock: Clock,
        hooks: Hooks,
        on_change: Callable[[HeldLease], None],
    ) -> None:
        self.lease = lease
        self.pending_since = clock.monotonic() if lease.is_pending else None
        self.first_lease = lease
        self.fencing_token = lease.counter
        self.trusted_until = sent_at + timing.trust_seconds
        self.renewed_at = sent_at
        self.over: EndReason | None = None
        stored = lease.throughput_kbps
        self.throughput = Throughput(None if stored is None else float(stored), sent_at, timing.kcl_renew_seconds)
        self._me = me
        self._calls = calls
        self._timing = timing
        self._clock = clock
        self._hooks = hooks
        self._on_change = on_change
        self._turn = Turn()
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
    def key(self) -> str:
        return self.lease.key

    @property
    def hand_off_to(self) -> str | None:
        """The worker that waits for this lease, as the last reply told."""
        return self.lease.owner if self.lease.is_pending and self.lease.owner != self._me else None

    @property
    def renew_due_at(self) -> float:
        """When the next heartbeat is due; every successful write is one."""
        return self.renewed_at + self._timing.renew_seconds

    def end(self, reason: EndReason) -> None:
        """The tenure is over: no trust, no further write."""
        if self.over is None:
            self.over = reason
            self.trusted_until = _NEVER
            if self._ended is not None:
                self._ended.set()
            self._on_change(self)

    async def renew(self) -> None:
        """Heartbeat. Raises LeaseLost when the tenure is over, LeaseStoreError when the write was not applied."""
        await self._write(self._renewal())

    async def renew_if_due(self) -> None:
        """Heartbeat, unless a checkpoint was one while this waited for its turn. Raises as ``renew``."""
        await self._write(self._renewal_if_due())

    @property
    def goes_together(self) -> bool:
        """Whether a write may go with those of other leases: not where its reply is waited for, to hand over."""
        return not self.lease.is_pending

    def begin_renewal(self, on_end: OnEnd, *, together: bool) -> Writing | None:
        """A heartbeat in its turn, to be carried ``together`` with others or not; None where it would have to wait.

        ``on_end`` is called when it and its turn have ended; at once where it is not due any more.
        """
        return self._begin(self._renewal_if_due(together), on_end)

    def begin_checkpoint(self, checkpoint: Checkpoint, on_end: OnEnd, *, together: bool) -> Writing | None:
        """As ``begin_renewal``, for ``checkpoint``."""
        return self._begin(self._checkpointing(checkpoint, together), on_end)

    def _begin(self, steps: Steps, on_end: OnEnd) -> Writing | None:
        if not self._turn.take_if_free():
            return None

        def ended(writing: Writing) -> None:
            self._turn.give_back()
            on_end(writing)

        return Writing(steps, ended)

    def _renewal_if_due(self, together: bool = False) -> Steps:
        if self.over is None and self._clock.monotonic() < min(self.renew_due_at, self.trusted_until):
            return False
        return (yield from self._renewal(together))

    def _renewal(self, together: bool = False) -> Steps:
        kbps = self._kbps()
        return (yield from self._steps(lambda lease: verbs.renew(lease, self._me, kbps), together=together))

    def _kbps(self) -> float | None:
        """Taken once a write: one that is sent again after a lost reply must be known for the same."""
        return self.throughput.kbps_at(self._clock.monotonic())

    async def checkpoint(self, checkpoint: Checkpoint) -> None:
        """Store progress, never going back. Raises as ``renew``."""
        await self._write(self._checkpointing(checkpoint))

    def _checkpointing(self, checkpoint: Checkpoint, together: bool = False) -> Steps:
        self._require_tenure()  # first: a lost tenure shows the new owner's row, whose progress is none of ours
        if checkpoint < self.lease.checkpoint and self.lease.checkpoint.is_number:
            # Only a hand that edits the table moves a row that is mine forward: begin anew, from where it says.
            self.end("restarted")
            raise LeaseLost(
                f"The row of shard {self.key} was moved forward to {self.lease.checkpoint}, beyond {checkpoint}, "
                "which this worker has reached; delivery goes on from there."
            )
        kbps = self._kbps()

        def make(lease: Lease) -> Write:
            return verbs.set_checkpoint(lease, self._me, checkpoint, kbps)

        return (yield from self._steps(make, together=together))

    async def prepare(self, checkpoint: Checkpoint, state: bytes | None) -> None:
        """Lay down a checkpoint that is not meant yet, beside the one that is. Raises as ``renew``."""
        await self._write(self._steps(lambda lease: verbs.prepare_checkpoint(lease, self._me, checkpoint, state)))

    async def start_hand_off(self, to: str) -> None:
        """Name the next owner, going on as the actual one; nothing where a hand-off is pending already."""

        def make(lease: Lease) -> Write | None:
            return None if lease.is_pending else verbs.start_hand_off(lease, to)

        await self._write(self._steps(make, extends_trust=False))

    async def take_back(self, to: str) -> bool:
        """End the hand-off to ``to`` and stay the owner; False, and nothing written, where it is not pending."""

        def make(lease: Lease) -> Write | None:
            return verbs.take_back(lease, self._me) if lease.is_pending and lease.owner == to else None

        return await self._write(self._steps(make))

    async def finish_hand_off(self) -> None:
        """Let go in favour of the next owner; nothing where no hand-off is pending.

        The send ends the tenure, whatever the reply.
        """

        def make(lease: Lease) -> Write | None:
            return verbs.finish_hand_off(lease, self._me) if lease.is_pending else None

        await self._write(self._steps(make, ends=True))

    async def release(self) -> None:
        """Let go in favour of the next owner or of whoever comes first.

        The send ends the tenure, whatever the reply.
        """

        def make(lease: Lease) -> Write:
            return verbs.finish_hand_off(lease, self._me) if lease.is_pending else verbs.release(lease, self._me)

        await self._write(self._steps(make, ends=True))

    async def end_shard(self, children: tuple[str, ...]) -> None:
        """Store SHARD_END; the rows of ``children`` exist by now."""
        try:
            await self._write(self._steps(lambda lease: verbs.end_shard(lease, self._me, children)))
        except LeaseLost:
            if self.over != "ended":  # an earlier sending of it has arrived, as a renewal found
                raise
        self.end("ended")

    # -- one write at a time, settled before the next

    async def _write(self, steps: Steps) -> bool:
        """Carry one write to its end, when it is its turn. False where there was nothing to write."""
        await self._turn.take()
        writing = Writing(steps, self._give_turn_back)
        await self._calls.carry([writing])
        return writing.outcome()

    def _give_turn_back(self, _: Writing) -> None:
        self._turn.give_back()

    def _steps(self, make: Make, *, ends: bool = False, extends_trust: bool = True, together: bool = False) -> Steps:
        """Write until it stands; ``make`` says what is to be written over the row as known, None for nothing more.

        False where it was nothing from the beginning.
        """
        self._require_tenure()
        deadline = self.trusted_until
        write = make(self.lease)
        for attempt in range(_MOST_ATTEMPTS):
            if write is None:
                # Nothing is left to end: a tenure whose last write was refused goes on with the trust it had.
                self.trusted_until = deadline
                self._on_change(self)
                return attempt > 0
            sent = self._clock.monotonic()
            if sent >= deadline:
                self._expire("its write was not known to stand before trust ran out")
            write = verbs.as_seen(write, self.lease) if together else write
            result = yield from self._attempt(write, deadline, ends)
            if isinstance(result, Applied) and result.lease is not None:
                self._settled(result.lease, sent, extends_trust and not ends)
                break
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

    def _attempt(self, write: Write, deadline: float, ends: bool) -> Generator[Send, Answer, WriteResult]:
        if ends:
            self.trusted_until = _NEVER
        try:
            result = yield Send(write, deadline)
        except LeaseStoreError as error:
            if isinstance(error, LeaseTableThrottled):
                self._hooks(Throttled(self.key, write.verb))
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
            self._unsettled_since = min(sent, self._unsettled_since or sent)
        return (yield from self._read_row(deadline)), self._unsettled_since

    def _read_row(self, deadline: float) -> Generator[Look, Answer, Lease | None]:
        """The row by a consistent read, asked for until it is told or trust has run out."""
        look = Look(self.key)
        while True:
            try:
                row = yield look
            except LeaseStoreError:
                if self._clock.monotonic() + _SETTLE_PAUSE_SECONDS >= deadline:
                    self._expire("a write's reply was lost and the row could not be read before trust ran out")
                look = Look(self.key, _SETTLE_PAUSE_SECONDS)
                continue
            assert row is None or isinstance(row, Lease)
            return row

    def _note(self, lease: Lease) -> None:
        """The row as a reply showed it: is a hand-off under way, and since when is it known?"""
        if not lease.is_pending:
            self.pending_since = None
        elif self.pending_since is None or lease.owner != self.lease.owner:
            self.pending_since = self._clock.monotonic()
        self.lease = lease

    def _settled(self, lease: Lease, trust_from: float, extends_trust: bool) -> None:
        """A write stands.

        It carries trust from the send of the oldest write that it may have been, and revives nothing.
        """
        now = self._clock.monotonic()
        self._note(lease)
        if lease.is_finished:
            # A renewal may find a late end's counter instead of its own: nothing is written to such a row again.
            self.end("ended")
        if not extends_trust or self.over is not None:
            return
        self._unsettled_since = None
        self.renewed_at = trust_from
        self.trusted_until = max(self.trusted_until, trust_from + self._timing.trust_seconds)
        if now >= self.trusted_until:
            self._expire("the reply came after trust had run out")
        self._hooks(LeaseRenewed(self.key, self.trusted_until - now))
        self._on_change(self)

    def _stands(self, write: Write, row: Lease, ends: bool) -> bool:
        """Whether a row read after a lost reply proves the write: each field as written, and its writer the owner.

        A renewal writes nothing but the counter, which whoever took the lease has moved just as far. A write that ends
        the tenure names another owner, and over it is in either case.
        """
        mine = row.actual_owner == self._me and row.created_at == self.lease.created_at
        return (ends or mine) and write.stands_in(to_item(row))

    def _goes_on_from(self, row: Lease | None) -> TypeGuard[Lease]:
        """Whether this tenure lives in ``row``: mine, not ended, its counter as known or moved by a write of mine.

        All unsettled writes were conditional on the counter as known, so one at most was applied: a counter further on
        means that somebody else owned the lease in between, though it may be mine again by now.
        """
        return (
            row is not None
            and row.actual_owner == self._me
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
        self._hooks(LeaseRefused(self.key, write.verb))
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

    def _require_tenure(self) -> None:
        if self.over is None and self._clock.monotonic() >= self.trusted_until:
            self.end("expired")
        if self.over is not None:
            raise LeaseLost(f"This worker's tenure of {self.key} is over ({self.over}); nothing was stored.")
