"""A tenure: one worker's time as owner of one lease, from a won write to its end, never revived.

It has the only turn in which renewals, checkpoints and hand-offs of its lease are written, so that at most one write
is in flight, and it alone judges what a reply means, whether the write went by itself or with others. It knows until
when it may be trusted: the *send* of its last successful write, plus the failover time, less a margin.
"""

from __future__ import annotations

from consumer.errors import LeaseLost
from consumer.leasing.held_row import EndReason, HeldRow, Terms
from consumer.leasing.lease_calls import OnEnd, Steps, Writing
from consumer.leasing.throughput import Throughput
from consumer.leasing.turn import Turn
from lease_store import verbs
from lease_store.checkpoint import Checkpoint
from lease_store.lease import Lease
from lease_store.verbs import Write

__all__ = ["EndReason", "HeldLease"]


class HeldLease(HeldRow):
    """One tenure. Every method runs on the lease loop; other threads read attributes that are set once or are values.

    Those are ``key``, ``first_lease``, ``fencing_token``, ``trusted_until`` and, once the tenure is over, ``over`` and
    ``lease``. The other way, ``throughput.delivered_bytes`` is what another thread writes and this one reads, and
    ``started`` what it calls.

    ``pending_since``: when this worker learnt of the hand-off that is under way; None where none is.
    ``on_change`` of its terms is called after every reply, with this object: the place to notice a pending hand-off or
    the end.
    """

    __slots__ = ("_turn", "throughput")

    def __init__(self, lease: Lease, terms: Terms, *, sent_at: float) -> None:
        super().__init__(lease, terms, sent_at=sent_at)
        stored = lease.throughput_kbps
        self.throughput = Throughput(None if stored is None else float(stored), sent_at)
        self._turn = Turn()

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
        if self.over is None and self._terms.clock.monotonic() < min(self.renew_due_at, self.trusted_until):
            return False
        return (yield from self._renewal(together))

    def _renewal(self, together: bool = False) -> Steps:
        kbps = self._kbps()
        return (yield from self._steps(lambda lease: verbs.renew(lease, self._terms.me, kbps), together=together))

    def _kbps(self) -> float | None:
        """Taken once a write: one that is sent again after a lost reply must be known for the same."""
        return self.throughput.kbps_at(self._terms.clock.monotonic(), self._terms.timing.kcl_renew_seconds)

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
            return verbs.set_checkpoint(lease, self._terms.me, checkpoint, kbps)

        return (yield from self._steps(make, together=together))

    async def prepare(self, checkpoint: Checkpoint, state: bytes | None) -> None:
        """Lay down a checkpoint that is not meant yet, beside the one that is. Raises as ``renew``."""
        await self._write(self._steps(lambda lease: verbs.prepare_checkpoint(lease, self._terms.me, checkpoint, state)))

    async def start_hand_off(self, to: str) -> None:
        """Name the next owner, going on as the actual one; nothing where a hand-off is pending already."""

        def make(lease: Lease) -> Write | None:
            return None if lease.is_pending else verbs.start_hand_off(lease, to)

        await self._write(self._steps(make, extends_trust=False, together=True))

    async def take_back(self, to: str) -> bool:
        """End the hand-off to ``to`` and stay the owner; False, and nothing written, where it is not pending."""

        def make(lease: Lease) -> Write | None:
            return verbs.take_back(lease, self._terms.me) if lease.is_pending and lease.owner == to else None

        return await self._write(self._steps(make))

    async def finish_hand_off(self) -> None:
        """Let go in favour of the next owner; nothing where no hand-off is pending.

        The send ends the tenure, whatever the reply.
        """

        def make(lease: Lease) -> Write | None:
            return verbs.finish_hand_off(lease, self._terms.me) if lease.is_pending else None

        await self._write(self._steps(make, ends=True, together=True))

    async def release(self) -> None:
        """Let go in favour of the next owner or of whoever comes first.

        The send ends the tenure, whatever the reply.
        """

        def make(lease: Lease) -> Write:
            let_go = verbs.finish_hand_off if lease.is_pending else verbs.release
            return let_go(lease, self._terms.me)

        await self._write(self._steps(make, ends=True, together=True))

    async def restart(self) -> None:
        """Be over, for a tenure anew to begin here, once nothing is under way that would be written beside its own."""
        await self._turn.take()
        try:
            self.end("restarted")
        finally:
            self._turn.give_back()

    async def end_shard(self, children: tuple[str, ...]) -> None:
        """Store SHARD_END; the rows of ``children`` exist by now."""
        try:
            await self._write(self._steps(lambda lease: verbs.end_shard(lease, self._terms.me, children)))
        except LeaseLost:
            if self.over != "ended":  # an earlier sending of it has arrived, as a renewal found
                raise
        self.end("ended")

    # -- one write at a time, settled before the next

    async def _write(self, steps: Steps) -> bool:
        """Carry one write to its end, when it is its turn. False where there was nothing to write."""
        await self._turn.take()
        writing = Writing(steps, self._give_turn_back)
        try:
            if writing.ask is not None:
                await self._terms.calls.join(lambda: writing)
        finally:
            writing.abandon()
        return writing.outcome()

    def _give_turn_back(self, _: Writing) -> None:
        self._turn.give_back()
