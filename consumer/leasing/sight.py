"""What one worker saw of the table, and what follows from it: who lives, what is free, what a plan depends on."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Set as AbstractSet
from typing import Final

from consumer.clock import Clock
from consumer.leasing.assignment import LeaseView, PlanView, WorkerView
from consumer.leasing.held_lease import HeldLease
from consumer.leasing.observation import Observation, Observations, Peers
from consumer.leasing.timing import LeaseTiming
from lease_store.lease import Lease

__all__ = ["Sight"]

_TAKEN_BACK_REST_SECONDS: Final = 60.0


class Sight:
    """One worker's knowledge of rows and peers, by its own clock. Lives on the lease loop.

    ``held`` are the tenures that are not over; ``looked_at`` is when, by my clock, the last complete scan was begun;
    ``moved`` is set when a lease may be free now, ``finished`` when a row reached SHARD_END.
    """

    def __init__(self, *, me: str, timing: LeaseTiming, clock: Clock, max_leases: int | None = None) -> None:
        self.me = me
        self.timing = timing
        self.clock = clock
        self.max_leases = max_leases
        self.held: dict[str, HeldLease] = {}
        self.observations = Observations()
        self.peers = Peers(me)
        self.draining = False
        self.looked_at = float("-inf")
        self.moved = asyncio.Event()
        self.finished = asyncio.Event()

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

    def is_first(self) -> bool:
        """Whether I am the live worker with the smallest id among those that are open to work."""
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
