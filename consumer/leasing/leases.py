"""A worker's leases: what it holds, and the only writer of rows it does not hold."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Generator, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Protocol

from consumer.clock import Clock
from consumer.hooks import Hooks, LeaseRefused, LeaseTaken, TenureEnded, Throttled
from consumer.leasing.held_lease import HeldLease
from consumer.leasing.held_row import Terms
from consumer.leasing.lease_calls import Answer, Ask, LeaseCalls, Look, Send, Steps, Writing
from consumer.leasing.shared_reads import SharedReads
from consumer.leasing.sight import Sight
from consumer.leasing.tenure import StopReason
from consumer.leasing.timing import LeaseTiming
from lease_store import verbs
from lease_store.attributes import Place
from lease_store.errors import LeaseTableThrottled, LeaseTableUnavailable
from lease_store.lease import Lease, WorkerRow, share_values
from lease_store.store import Applied, LeaseStore, Refused, Unknown, WriteResult
from lease_store.verbs import Write

__all__ = ["Leases", "TenureListener"]

_log = logging.getLogger("leasehold.leasing")


class TenureListener(Protocol):
    """Who runs the shards: told, on the worker's loop, when a tenure begins and when it must stop."""

    def tenure_began(self, held: HeldLease) -> None:
        """Start the shard's consumer; ``LeaseLoop.consumer_stopped`` must follow when its user code has ended."""
        ...

    def stop_changed(self, held: HeldLease, reason: StopReason | None) -> None:
        """The consumer must stop for ``reason``, or may go on (None)."""
        ...


class Leases(Sight):
    """State of one worker's leasing and the writes that begin a tenure. Lives on the lease loop.

    ``has_held`` is whether there ever was a tenure; ``naming`` is, by key, the next owner that was chosen and that no
    row is known to name yet; ``renewals_are_late`` is asked before a tenure begins. A key is *occupied* while user code
    of a tenure, over or not, may still run: it is neither taken nor accepted then.
    """

    def __init__(
        self,
        store: LeaseStore,
        *,
        me: str,
        timing: LeaseTiming,
        clock: Clock,
        random: random.Random,
        hooks: Hooks,
        listener: TenureListener,
        max_leases: int | None = None,
    ) -> None:
        super().__init__(me=me, timing=timing, clock=clock, max_leases=max_leases)
        self.store = store
        self.calls = LeaseCalls(store, timing, clock)
        self.random = random
        self.hooks = hooks
        self.naming: dict[str, str] = {}
        self.has_held = False
        self.renewals_are_late: Callable[[], bool] = lambda: False
        self._listener = listener
        self._occupied: dict[str, HeldLease] = {}
        self._acquiring: set[str] = set()
        self._asking_for_more = asyncio.Lock()
        self._worker_rows = SharedReads(self._read_worker, clock)
        self._signalled: dict[str, StopReason] = {}
        self._terms = Terms(me=me, calls=self.calls, timing=timing, clock=clock, hooks=hooks, on_change=self._changed)

    def claimed(self) -> set[str]:
        """The keys that count against this worker's limit: held, being won, or with a row that names it as next owner.

        Empty where there is no limit.
        """
        if self.max_leases is None:
            return set()
        return {*self.named(), *self._acquiring, *self.held}

    def has_room(self, claimed: AbstractSet[str], key: str | None = None) -> bool:
        """Whether one more lease fits this worker's limit beside ``claimed``.

        A ``key`` among them has its place already, as long as this worker holds fewer: so one that looks full may take
        a lease which a dead owner was handing to it.
        """
        if key in claimed:
            return self.may_hold_more
        return self.max_leases is None or len(claimed) < self.max_leases

    @property
    def may_hold_more(self) -> bool:
        """Whether one tenure more, however it comes, keeps to the limit: asked right before each begins."""
        return self.max_leases is None or len(self._acquiring | self.held.keys()) < self.max_leases

    # -- tenures begin and end

    @property
    def is_acquiring(self) -> bool:
        """Whether a write that may begin a tenure is under way."""
        return bool(self._acquiring)

    def may_acquire(self, key: str) -> bool:
        """Not held, not being won, and no user code of an ended tenure of it runs here."""
        return key not in self.held and key not in self._occupied and key not in self._acquiring

    async def _take_on(self) -> None:
        """Before a tenure more: while renewals are late, what is held comes first; one of all that wait asks."""
        async with self._asking_for_more:
            while self.renewals_are_late():
                await self.clock.sleep(self.timing.gather_seconds)

    async def take(self, key: str, is_wanted: Callable[[], bool] = lambda: True) -> bool:
        """Win an idle or expired lease; False where somebody else did, or where the reply was lost.

        Those that wait for a place go together; ``is_wanted`` is asked when it is this one's turn.
        """
        while True:
            await self._take_on()
            writing = await self.calls.join(partial(self._begin_to_take, key, is_wanted))
            if writing is not None:
                return writing.outcome()

    def _begin_to_take(self, key: str, is_wanted: Callable[[], bool]) -> Writing | None:
        """None where renewals have become late while it waited."""
        return None if self.renewals_are_late() else Writing(self._taking(key, is_wanted))

    def _taking(self, key: str, is_wanted: Callable[[], bool]) -> Steps:
        observation = self.observations.get(key)
        if observation is None or not is_wanted() or not self._may_begin(key):
            return False
        if self.clock.monotonic() < self.free_at(observation):
            return False  # it moved while this waited for its turn: the counter known now is a live owner's
        with self._acquires(key):
            return (yield from self._winning(observation.lease))

    async def rob(self, key: str, owner: str) -> bool:
        """Take a live worker's lease by its counter, as it is now: workers of a KCL 2.x ask nobody.

        False where it is not ``owner``'s any more, or it moved in the same moment.
        """
        await self._take_on()
        return await self._carried(self._robbing(key, owner))

    def _robbing(self, key: str, owner: str) -> Steps:
        if not self._may_begin(key):
            return False
        with self._acquires(key):
            lease = yield from self._looking(key)
            if lease is None or lease.is_finished or lease.actual_owner != owner:
                return False
            return (yield from self._winning(lease))

    def _winning(self, lease: Lease) -> Steps:
        sent = self.clock.monotonic()
        result = yield from self._sending(verbs.take(lease, self.me), lease)
        if isinstance(result, Refused) and (row := result.lease) is not None and _is_as_old(row, lease):
            # Among others it asked that the row was as seen; a take by itself asks for the counter alone.
            sent = self.clock.monotonic()
            result = yield from self._sending(verbs.take(row, self.me))
        if isinstance(result, Applied) and result.lease is not None:
            return self._begin(result.lease, sent, "taken", lease.actual_owner)
        if isinstance(result, Refused) and (result.lease is None or result.lease.actual_owner != self.me):
            return False
        return (yield from self._accept_read(lease.key))

    async def accept(self, key: str) -> bool:
        """Begin, by a counter write, a tenure of a row that names me as actual owner and that I do not hold.

        False where that did not come about, also because this worker drains or is at its limit.
        """
        await self._take_on()
        return await self._carried(self._accepting(key))

    def _accepting(self, key: str) -> Steps:
        if not self._may_begin(key):
            return False
        with self._acquires(key):
            return (yield from self._accept_read(key))

    def _may_begin(self, key: str) -> bool:
        return not self.draining and self.may_acquire(key) and self.may_hold_more

    @contextmanager
    def _acquires(self, key: str) -> Iterator[None]:
        self._acquiring.add(key)
        try:
            yield
        finally:
            self._acquiring.discard(key)

    async def _carried(self, steps: Steps) -> bool:
        writing = await self.calls.join(lambda: Writing(steps))
        return writing is not None and writing.outcome()

    async def create(self, lease: Lease) -> bool:
        """Create a row; where it names me as owner, a tenure begins. True where the row exists now, whoever made it."""
        # A second creator (a retry, the other parent of a merge) must not begin a second tenure beside the first.
        begins = lease.owner == self.me and self.may_acquire(lease.key)
        if begins:
            self._acquiring.add(lease.key)
        try:
            sent = self.clock.monotonic()
            result = await self.write(verbs.create(lease))
            if isinstance(result, Applied):
                if result.lease is not None:
                    share_values(result.lease, lease)
                if begins and result.lease is not None:
                    self._begin(result.lease, sent, "created", None)
                return True
            if isinstance(result, Refused) or (begins and await self._carried(self._accept_read(lease.key))):
                return True
            return await self.read(lease.key) is not None
        finally:
            if begins:
                self._acquiring.discard(lease.key)

    def _accept_read(self, key: str) -> Steps:
        lease = yield from self._looking(key)
        if lease is None or lease.actual_owner != self.me or lease.is_finished or self.draining:
            return False
        sent = self.clock.monotonic()
        may_begin = sent >= self.sole_from(key)
        # Who had it may process until then, and each look asks again; meanwhile its giver must not think me dead.
        result = yield from self._sending(verbs.renew(lease, self.me), lease)
        if may_begin and isinstance(result, Applied) and result.lease is not None:
            return self._begin(result.lease, sent, "accepted", None)
        return False  # an unknown reply leaves the row as it is for the next scan or poll to see

    def _begin(self, lease: Lease, sent: float, how: str, previous: str | None) -> bool:
        self.see(lease)
        if self.clock.monotonic() >= sent + self.timing.trust_seconds:
            return False  # the reply came after its own trust: it begins nothing; the row names me and is accepted anew
        held = HeldLease(lease, self._terms, sent_at=sent)
        self.has_held = True
        self.held[lease.key] = held
        self._occupied[lease.key] = held
        self.hooks(LeaseTaken(lease.key, how, previous, held.fencing_token))
        self._listener.tenure_began(held)
        self._changed(held)
        return True

    def _changed(self, held: HeldLease) -> None:
        """After each reply of a tenure: is it over, is a hand-off pending, was one taken back?"""
        key = held.key
        if held.over is not None:
            if self.held.get(key) is held:
                del self.held[key]
                self.see(held.lease)
                self._signalled.pop(key, None)
                self.hooks(TenureEnded(key, held.over, held.hand_off_to or held.lease.owner))
                if not held.lease.is_finished:
                    self.moved.set()
                if held.over in ("lost", "expired"):
                    self._listener.stop_changed(held, "lost")
            return
        self.observations.see(held.lease, self.clock.monotonic())  # and one row is kept of it, not two
        # A draining worker hands its leases over in its own order (drain.py).
        if held.hand_off_to is not None and key not in self._signalled and not self.draining:
            self.signal(held, "hand_off")
        elif held.hand_off_to is None and self._signalled.get(key) == "hand_off":
            self.signal(held, None)

    def signal(self, held: HeldLease, reason: StopReason | None) -> None:
        """Tell the shard's consumer to stop, or to go on."""
        if reason is None:
            self._signalled.pop(held.key, None)
        else:
            self._signalled[held.key] = reason
        self._listener.stop_changed(held, reason)

    def is_releasing(self, key: str) -> bool:
        """Whether a lease that I hold is being let go, to nobody in particular."""
        return self._signalled.get(key) == "release"

    def consumer_stopped(self, held: HeldLease) -> None:
        """No user code of this tenure runs any more; the lease may be taken or accepted here again."""
        if self._occupied.get(held.key) is held:
            del self._occupied[held.key]
        if not held.lease.is_finished:
            self.moved.set()

    # -- rows that are not held

    async def write(self, write: Write) -> WriteResult:
        """One write to a row that is not held; a refusal is an observation. Raises LeaseStoreError: not applied."""
        try:
            return self._heard(write, await self.calls.write(write))
        except LeaseTableThrottled:
            self.hooks(Throttled(write.key, write.verb))
            raise

    def _sending(self, write: Write, seen: Lease | None = None) -> Generator[Ask, Answer, WriteResult]:
        """As ``write``; with others, where the row is said that it goes by."""
        try:
            answer = yield Send(write, seen=seen)
        except LeaseTableThrottled:
            self.hooks(Throttled(write.key, write.verb))
            raise
        assert isinstance(answer, Applied | Refused | Unknown)
        return self._heard(write, answer)

    def _heard(self, write: Write, result: WriteResult) -> WriteResult:
        if isinstance(result, Refused):
            if not write.puts:
                self.hooks(LeaseRefused(write.key, write.verb))
            if result.lease is None:
                self.observations.forget(write.key)
        if isinstance(result, Applied | Refused) and result.lease is not None:
            return replace(result, lease=self.see(result.lease))
        return result

    async def read(self, key: str) -> Lease | None:
        """One row by a consistent read, noted as an observation.

        Raises LeaseStoreError, also for a reply that never came.
        """
        try:
            async with self.clock.timeout(self.timing.call_seconds):
                lease = await self.store.read(key)
        except TimeoutError:
            raise LeaseTableUnavailable(
                f"No reply to a read of the lease of {key} within {self.timing.call_seconds:.1f} s."
            ) from None
        return self._shown(key, lease)

    def _looking(self, key: str) -> Generator[Ask, Answer, Lease | None]:
        """As ``read``, with others."""
        answer = yield Look(key)
        assert answer is None or isinstance(answer, Lease)
        return self._shown(key, answer)

    def _shown(self, key: str, lease: Lease | None) -> Lease | None:
        if lease is None:
            self.observations.forget(key)
            return None
        return self.see(lease)

    async def read_worker(self, worker_id: str) -> WorkerRow | None:
        """A peer's row by a consistent read, noted; many who ask at once share one.

        Raises LeaseStoreError, also for a reply that never came.
        """
        return await self._worker_rows.take(worker_id)

    async def _read_worker(self, worker_id: str) -> WorkerRow | None:
        """While rows move from legacy tables into the lease table, it may lie in either."""
        for place in self._worker_places():
            try:
                async with self.clock.timeout(self.timing.call_seconds):
                    row = await self.store.read_worker(worker_id, place)
            except TimeoutError:
                raise LeaseTableUnavailable(f"No reply to a read of the row of worker {worker_id}.") from None
            if row is not None:
                self.peers.see(row, self.clock.monotonic())
                return row
        return None

    async def delete_worker(self, row: WorkerRow) -> None:
        """The row of a worker that is gone, wherever it lies, if it has not moved. Raises LeaseStoreError."""
        for place in self._worker_places():
            await self.store.delete_worker(row, place)

    def _worker_places(self) -> tuple[Place, ...]:
        layout = self.table.layout
        if layout.status == "COMPLETE":
            return (layout.workers_at,)
        return ("leases", "metrics") if layout.workers_at == "leases" else ("metrics", "leases")


def _is_as_old(row: Lease, seen: Lease) -> bool:
    """Whether a row has not moved since it was seen, though it may name others now."""
    return row.counter == seen.counter and row.created_at == seen.created_at and not row.is_finished
