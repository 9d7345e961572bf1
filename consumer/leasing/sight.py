"""What one worker saw of the table, and what follows from it: who lives, what is free, what a plan depends on."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from consumer.clock import Clock
from consumer.leasing.assignment import LeaseView, PlanView, WorkerView
from consumer.leasing.held_lease import HeldLease
from consumer.leasing.load import cpu_of
from consumer.leasing.observation import Observation, Observations, Peer, Peers
from consumer.leasing.table_mode import TableMode
from consumer.leasing.timing import LeaseTiming
from lease_store.checkpoint import LATEST
from lease_store.layout import Layout
from lease_store.lease import Lease

__all__ = ["Sight"]

_TAKEN_BACK_REST_SECONDS: Final = 60.0
_NONE: Final[Mapping[str, str]] = MappingProxyType({})


class Sight:
    """One worker's knowledge of rows and peers, by its own clock. Lives on the lease loop.

    ``held`` are the tenures that are not over; ``table`` is what the last look told of the table's mode and layout;
    ``given`` is, by key, what I as the leader gave to one of ours: the counter that it left, and when it ought to have
    been accepted; ``own_samples`` is what my own row last said of my load; ``looked_at`` is when, by my clock, the last
    complete scan was begun; ``moved`` is set when a lease may be free now, ``finished`` when a row reached SHARD_END.
    """

    def __init__(self, *, me: str, timing: LeaseTiming, clock: Clock, max_leases: int | None = None) -> None:
        self.me = me
        self.timing = timing
        self.clock = clock
        self.max_leases = max_leases
        self.held: dict[str, HeldLease] = {}
        self.observations = Observations()
        self.peers = Peers(me)
        self.table = TableMode(mode="peer", because="nobody has looked yet", layout=Layout())
        self.draining = False
        self.given: dict[str, tuple[int, float]] = {}
        self.own_samples: Mapping[str, tuple[float, ...]] = {}
        self.looked_at = float("-inf")
        self.moved = asyncio.Event()
        self.finished = asyncio.Event()

    def believed(self, lease: Lease) -> Lease:
        """A row as it is to be read by the rules of its table, before anything is made of it.

        Beside a KCL 2.x nobody hands a lease over, and 2.7.2 leaves ``checkpointOwner`` behind in a row that it takes
        from a hand-off: who is named there has lost the lease, unless I am it and hold it still.
        """
        if self.table.mode != "2x" or lease.checkpoint_owner is None:
            return lease
        if lease.checkpoint_owner == self.me and lease.key in self.held:
            return lease
        return replace(lease, checkpoint_owner=None)

    def see(self, lease: Lease) -> Lease:
        """Note a row whose reply came just now; returns it as it is to be read."""
        lease, now = self.believed(lease), self.clock.monotonic()
        if self.observations.see(lease, now):
            self.note_moved([lease], now)
        if lease.actual_owner is None:
            self.moved.set()
        if lease.is_finished:
            self.tell_finished()
        return lease

    def note_moved(self, leases: Iterable[Lease], now: float) -> None:
        """These were seen to move, or for the first time: so their actual owners live, as far as they did that.

        Not so a worker to which somebody else gave a lease: it may be dead. At first sight of a lease nobody knows who
        moved it last, and a KCL's may have stood still for days.
        """
        for lease in leases:
            owner, by_owner = lease.actual_owner, self.observations[lease.key].moved_by_owner
            if owner is not None and (by_owner or (by_owner is None and not self.is_kcl(owner))):
                self.peers.see_lease_moved(owner, now)

    def share_rows(self) -> None:
        """Rows that stand as my tenures know them become one object for both: I may hold ten thousand."""
        for key, held in self.held.items():
            seen = self.observations.get(key)
            if seen is not None and seen.lease is not held.lease and seen.lease == held.lease:
                held.lease = seen.lease

    def tell_finished(self) -> None:
        """Wake whoever waits for a shard's end; who comes later waits for the next one."""
        finished, self.finished = self.finished, asyncio.Event()
        finished.set()

    def is_first(self) -> bool:
        """Whether I am the live worker of ours with the smallest id among those that are open to work."""
        workers = [worker for worker in self.workers() if worker.may_receive]
        open_to_work = [worker.worker_id for worker in workers if not self.is_kcl(worker.worker_id)]
        return not open_to_work or min(open_to_work) == self.me

    def is_kcl(self, worker_id: str) -> bool:
        """Whether a worker is known by a metric row that no worker of ours writes."""
        peer = self.peers.get(worker_id)
        return peer is not None and peer.row.beat is None

    def last_sign_of(self, worker_id: str) -> float | None:
        """When a lease that a worker owns, or its own row, was last seen to move; None where it owns no lease."""
        moves = [seen.seen_at for seen in self.observations if seen.lease.actual_owner == worker_id]
        peer = self.peers.get(worker_id)
        return max([*moves, *([peer.moved_at] if peer is not None else [])]) if moves else None

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

        A KCL that was just given it may not know yet; one of ours to which I gave it has no tenure before it wrote the
        next counter, and need not be waited for that long. Infinity where only the next look can tell, and for a row
        that ended: it stands still from then on.
        """
        if observation.lease.is_finished:
            return math.inf
        if (unheeded_at := self._unheeded_at(observation.lease)) is not None:
            return unheeded_at
        owner = observation.lease.actual_owner
        failover = self.peers.failover_of(owner, self.timing.failover_seconds)
        if owner is not None and observation.moved_by_owner is False and self.is_kcl(owner):
            failover += self.timing.kcl_discovery_seconds
        at = observation.free_at(failover)
        return at if owner is None or at <= self.looked_at + self.timing.look_seconds else math.inf

    def sole_from(self, key: str) -> float:
        """From when nobody of ours trusts a lease any more that was given to me while its owner had not let go of it.

        A KCL's leader compares no counter: where a scan shows an old one, it gives away what was renewed just now, and
        where its hand-offs are switched off, whatever it moves. A KCL that is ousted so is not waited for, nor does a
        KCL wait. Our own leader gives away what I have seen stand still for as long. In the past where no KCL is there.
        """
        seen = self.observations.get(key)
        ousted = None if seen is None or self.table.mode != "leader" else seen.ousted
        if ousted is None or ousted.owner == self.me or self.is_kcl(ousted.owner):
            return -math.inf
        if not any(peer.is_kcl for peer in self.peers):
            return -math.inf
        return ousted.wrote_at + self.peers.failover_of(ousted.owner, self.timing.failover_seconds)

    def _unheeded_at(self, lease: Lease) -> float | None:
        counter, at = self.given.get(lease.key, (None, 0.0))
        return at if counter == lease.counter else None

    def takeable(self) -> dict[str, float]:
        """When each lease that I do not hold may be taken, by key; without those of which only the next look can tell.

        These are nearly all, in a fleet where nothing happens.
        """
        witnessed = self.looked_at + self.timing.look_seconds
        known = {}
        for observation in self.observations:
            key = observation.lease.key
            lately = observation.seen_at + self.timing.failover_seconds > witnessed and key not in self.given
            if (lately and observation.lease.actual_owner is not None) or key in self.held:
                continue
            if (at := self.free_at(observation)) < math.inf:
                known[key] = at
        return known

    def is_free(self, key: str) -> bool:
        """Whether a lease that I do not hold may be taken now."""
        observation = self.observations.get(key)
        return observation is not None and key not in self.held and self.clock.monotonic() >= self.free_at(observation)

    def workers(self) -> list[WorkerView]:
        """Live workers by id, myself among them."""
        alive = self.peers.alive(self.witnessed_until, self.timing.failover_seconds)
        views = [
            WorkerView(peer.row.worker_id, self._may_receive(peer), peer.row.max_leases, peer.is_kcl) for peer in alive
        ]
        return sorted(
            [*views, WorkerView(self.me, not self.draining, self.max_leases)], key=lambda view: view.worker_id
        )

    def _may_receive(self, peer: Peer) -> bool:
        """Peers ask for themselves, so whoever asks lives; what a leader gives to the dead waits a failover time more.

        So one of ours is given nothing once it has missed a beat: who dies falls silent long before it is known to be
        dead.
        """
        if self.table.mode != "leader" or peer.is_kcl:
            return peer.may_receive if peer.is_kcl else not peer.row.draining
        its_timing = LeaseTiming(peer.row.failover_seconds or self.timing.failover_seconds)
        silent_seconds = self.witnessed_until - peer.moved_at
        return peer.may_receive and silent_seconds < its_timing.beat_seconds + self.timing.look_seconds

    def cpu(self) -> dict[str, float | None]:
        """The CPU in use (percent) that each live worker publishes, mine too; None where it publishes none."""
        alive = self.peers.alive(self.witnessed_until, self.timing.failover_seconds)
        published = {peer.row.worker_id: peer.row.samples for peer in alive} | {self.me: self.own_samples}
        return {worker_id: cpu_of(samples.get("C", ())) for worker_id, samples in published.items()}

    def view(self, coming: Mapping[str, str] = _NONE) -> PlanView:
        """What a plan depends on, as this worker sees it now; what is ``coming`` to a worker is its own already."""
        now = self.clock.monotonic()
        failover = self.timing.failover_seconds
        # A KCL opens LATEST at the tip, when it gets there: what came in between would be read by nobody.
        has_kcl = any(worker.is_kcl for worker in self.workers())
        leases = []
        for observation in self.observations:
            held = self.held.get(observation.lease.key)
            lease = observation.lease if held is None else held.lease
            if lease.is_finished:
                continue
            if (to := coming.get(lease.key)) is not None:
                leases.append(LeaseView(lease.key, to, may_move=False, actual_owner=to))
                continue
            owner = lease.actual_owner
            # What moved lately, as nearly all does, is free for nobody: asked first, for every row comes by here.
            is_silent = owner is None or now >= observation.seen_at + failover or lease.key in self.given
            may_be_free = held is None and is_silent
            is_free = may_be_free and now >= self.free_at(observation)
            if is_free and owner is not None:
                self.peers.see_still(owner, is_led=self.table.mode == "leader")
            taken_back_at = observation.taken_back_at
            rests = taken_back_at is not None and now < taken_back_at + _TAKEN_BACK_REST_SECONDS
            is_pending = lease.is_pending
            since = observation.pending_since if held is None else held.pending_since
            is_slow = is_pending and since is not None and now >= since + self.timing.slow_hand_off_seconds
            may_move = not (is_pending or rests or (has_kcl and lease.checkpoint == LATEST))
            leases.append(LeaseView(lease.key, lease.owner, is_free, is_pending, may_move, owner, is_slow))
        return PlanView(leases, self.workers())
