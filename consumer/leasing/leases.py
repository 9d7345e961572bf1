"""A worker's leases: what it saw of the table, what it holds, and the only writer of rows it does not hold."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Set as AbstractSet
from typing import Final, Protocol

from consumer.clock import Clock
from consumer.hooks import Hooks, LeaseRefused, LeaseTaken, TenureEnded, Throttled
from consumer.leasing.assignment import LeaseView, PlanView, WorkerView
from consumer.leasing.held_lease import HeldLease
from consumer.leasing.observation import Observation, Observations, Peers
from consumer.leasing.tenure import StopReason
from consumer.leasing.timing import LeaseTiming
from lease_store import verbs
from lease_store.errors import LeaseTableThrottled, LeaseTableUnavailable
from lease_store.lease import Lease, WorkerRow
from lease_store.store import Applied, LeaseStore, Refused, WriteResult
from lease_store.verbs import Write

__all__ = ["Leases", "TenureListener"]

_log = logging.getLogger("leasehold.leasing")

_TAKEN_BACK_REST_SECONDS: Final = 60.0


class TenureListener(Protocol):
    """Who runs the shards: told, on the worker's loop, when a tenure begins and when it must stop."""

    def tenure_began(self, held: HeldLease) -> None:
        """Start the shard's consumer; ``LeaseLoop.consumer_stopped`` must follow when its user code has ended."""
        ...

    def stop_changed(self, held: HeldLease, reason: StopReason | None) -> None:
        """The consumer must stop for ``reason``, or may go on (None)."""
        ...


class Leases:
    """State of one worker's leasing and the writes that begin a tenure. Lives on the lease loop.

    ``held`` are the tenures that are not over, ``has_held`` is whether there ever was one; ``looked_at`` is when, by my
    clock, the last complete scan was begun; ``moved`` is set when a lease may be free now, ``finished`` when a row
    reached SHARD_END; ``naming`` is, by key, the next owner that was chosen and that no row is known to name yet. A key
    is *occupied* while user code of a tenure, over or not, may still run: it is neither taken nor accepted then.
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
        self.store = store
        self.me = me
        self.timing = timing
        self.clock = clock
        self.random = random
        self.hooks = hooks
        self.max_leases = max_leases
        self.held: dict[str, HeldLease] = {}
        self.observations = Observations()
        self.peers = Peers(me)
        self.draining = False
        self.naming: dict[str, str] = {}
        self.has_held = False
        self.looked_at = float("-inf")
        self.moved = asyncio.Event()
        self.finished = asyncio.Event()
        self._listener = listener
        self._occupied: dict[str, HeldLease] = {}
        self._acquiring: set[str] = set()
        self._signalled: dict[str, StopReason] = {}

    # -- what is seen

    def see(self, lease: Lease) -> None:
        """Note a row whose reply came just now."""
        now = self.clock.monotonic()
        if self.observations.see(lease, now):
            self.peers.see_lease_moved(lease.actual_owner, now)
        if lease.actual_owner is None:
            self.moved.set()
        if lease.is_finished:
            self.tell_finished()

    def tell_finished(self) -> None:
        """Wake whoever waits for a shard's end; who comes later waits for the next one."""
        finished, self.finished = self.finished, asyncio.Event()
        finished.set()

    def is_describer(self) -> bool:
        """Whether I am the live worker with the smallest id, who does the fleet's chores; two at once do no harm."""
        open_to_work = [worker.worker_id for worker in self.workers() if worker.may_receive]
        return not open_to_work or min(open_to_work) == self.me

    def current(self, key: str) -> Lease | None:
        """The row as this worker knows it best: its own tenure's, else the observation."""
        if key in self.held:
            return self.held[key].lease
        observation = self.observations.get(key)
        return None if observation is None else observation.lease

    def current_leases(self) -> list[Lease]:
        """Every known row, by key."""
        held = self.held
        seen = [each.lease for each in self.observations]
        leases = [held[lease.key].lease if lease.key in held else lease for lease in seen]
        unseen = [tenure.lease for key, tenure in held.items() if key not in self.observations]
        return sorted([*leases, *unseen], key=lambda lease: lease.key) if unseen else leases

    def named(self) -> list[str]:
        """The keys of unfinished rows that name this worker as owner, or as the next one, sorted."""
        return [lease.key for lease in self.current_leases() if lease.owner == self.me and not lease.is_finished]

    @property
    def witnessed_until(self) -> float:
        """Until when silence is known to be silence: scans may be far apart, and nobody saw what moved since the last.

        Where they are further apart than a failover time, every live lease would look expired between two of them.
        """
        return min(self.clock.monotonic(), self.looked_at + self.timing.look_seconds)

    def free_at(self, observation: Observation) -> float:
        """When the lease may be taken, by the longer failover time of mine and its actual owner's.

        Infinity where only the next look can tell.
        """
        owner = observation.lease.actual_owner
        at = observation.free_at(self.peers.failover_of(owner, self.timing.failover_seconds))
        return at if owner is None or at <= self.looked_at + self.timing.look_seconds else math.inf

    def takeable(self) -> dict[str, float]:
        """When each lease that I do not hold may be taken, by key; without those of which only the next look can tell.

        These are nearly all, in a fleet where nothing happens.
        """
        witnessed = self.looked_at + self.timing.look_seconds
        known = {}
        for observation in self.observations:
            key = observation.lease.key
            lately = observation.seen_at + self.timing.failover_seconds > witnessed
            if (lately and observation.lease.actual_owner is not None) or key in self.held:
                continue
            if not observation.lease.is_finished and (at := self.free_at(observation)) < math.inf:
                known[key] = at
        return known

    def is_free(self, key: str) -> bool:
        """Whether a lease that I do not hold may be taken now."""
        observation = self.observations.get(key)
        return observation is not None and key not in self.held and self.clock.monotonic() >= self.free_at(observation)

    def workers(self) -> list[WorkerView]:
        """Live workers by id, myself among them."""
        alive = self.peers.alive(self.witnessed_until, self.timing.failover_seconds)
        views = [WorkerView(each.row.worker_id, not each.row.draining, each.row.max_leases) for each in alive]
        return sorted(
            [*views, WorkerView(self.me, not self.draining, self.max_leases)], key=lambda view: view.worker_id
        )

    def view(self, coming: AbstractSet[str] = frozenset()) -> PlanView:
        """What a plan depends on, as this worker sees it now; leases that it is about to take are its own."""
        now = self.clock.monotonic()
        failover = self.timing.failover_seconds
        leases = []
        for observation in self.observations:
            held = self.held.get(observation.lease.key)
            lease = observation.lease if held is None else held.lease
            if lease.is_finished:
                continue
            if lease.key in coming:
                leases.append(LeaseView(lease.key, self.me, may_move=False, actual_owner=self.me))
                continue
            owner = lease.actual_owner
            # What moved lately, as nearly all does, is free for nobody: asked first, for every row comes by here.
            may_be_free = held is None and (owner is None or now >= observation.seen_at + failover)
            is_free = may_be_free and now >= self.free_at(observation)
            taken_back_at = observation.taken_back_at
            rests = taken_back_at is not None and now < taken_back_at + _TAKEN_BACK_REST_SECONDS
            is_pending = lease.is_pending
            since = observation.pending_since if held is None else held.pending_since
            is_slow = is_pending and since is not None and now >= since + self.timing.slow_hand_off_seconds
            may_move = not (is_pending or rests)
            leases.append(LeaseView(lease.key, lease.owner, is_free, is_pending, may_move, owner, is_slow))
        return PlanView(leases, self.workers())

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

    async def take(self, key: str) -> bool:
        """Win an idle or expired lease; False where somebody else did, or where the reply was lost."""
        observation = self.observations.get(key)
        if observation is None or self.draining or not self.may_acquire(key) or not self.may_hold_more:
            return False
        if self.clock.monotonic() < self.free_at(observation):
            return False  # it moved while this waited for its turn: the counter known now is a live owner's
        previous = observation.lease.actual_owner
        self._acquiring.add(key)
        try:
            sent = self.clock.monotonic()
            result = await self.write(verbs.take(observation.lease, self.me))
            if isinstance(result, Applied) and result.lease is not None:
                return self._begin(result.lease, sent, "taken", previous)
            if isinstance(result, Refused) and (result.lease is None or result.lease.actual_owner != self.me):
                return False
            return await self._accept_read(key)
        finally:
            self._acquiring.discard(key)

    async def accept(self, key: str) -> bool:
        """Begin, by a counter write, a tenure of a row that names me as actual owner and that I do not hold.

        False where that did not come about, also because this worker drains or is at its limit.
        """
        if self.draining or not self.may_acquire(key) or not self.may_hold_more:
            return False
        self._acquiring.add(key)
        try:
            return await self._accept_read(key)
        finally:
            self._acquiring.discard(key)

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
                if begins and result.lease is not None:
                    self._begin(result.lease, sent, "created", None)
                return True
            if isinstance(result, Refused) or (begins and await self._accept_read(lease.key)):
                return True
            return await self.read(lease.key) is not None
        finally:
            if begins:
                self._acquiring.discard(lease.key)

    async def _accept_read(self, key: str) -> bool:
        lease = await self.read(key)
        if lease is None or lease.actual_owner != self.me or lease.is_finished or self.draining:
            return False
        sent = self.clock.monotonic()
        result = await self.write(verbs.renew(lease, self.me))
        if isinstance(result, Applied) and result.lease is not None:
            return self._begin(result.lease, sent, "accepted", None)
        return False  # an unknown reply leaves the row as it is for the next scan or poll to see

    def _begin(self, lease: Lease, sent: float, how: str, previous: str | None) -> bool:
        self.see(lease)
        if self.clock.monotonic() >= sent + self.timing.trust_seconds:
            return False  # the reply came after its own trust: it begins nothing; the row names me and is accepted anew
        held = HeldLease(
            lease,
            me=self.me,
            sent_at=sent,
            store=self.store,
            timing=self.timing,
            clock=self.clock,
            hooks=self.hooks,
            on_change=self._changed,
        )
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
            result = await self.store.write(write, timeout_seconds=self.timing.call_seconds)
        except LeaseTableThrottled:
            self.hooks(Throttled(write.key, write.verb))
            raise
        if isinstance(result, Refused):
            if not write.puts:
                self.hooks(LeaseRefused(write.key, write.verb))
            if result.lease is None:
                self.observations.forget(write.key)
        if isinstance(result, Applied | Refused) and result.lease is not None:
            self.see(result.lease)
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
        if lease is None:
            self.observations.forget(key)
        else:
            self.see(lease)
        return lease

    async def read_worker(self, worker_id: str) -> WorkerRow | None:
        """A peer's row by a consistent read, noted. Raises LeaseStoreError, also for a reply that never came."""
        try:
            async with self.clock.timeout(self.timing.call_seconds):
                row = await self.store.read_worker(worker_id)
        except TimeoutError:
            raise LeaseTableUnavailable(f"No reply to a read of the row of worker {worker_id}.") from None
        if row is not None:
            self.peers.see(row, self.clock.monotonic())
        return row
