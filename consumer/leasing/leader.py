"""Rules of a table in which whoever holds the leader's lock plans for all, be it a Java KCL 3.x or one of us.

What a death costs, with all looks a second apart (F the failover time, latencies left out):

- A worker of ours dies at 0, its last renewal was seen by 1 s: its leases are free at F + 1 s at the latest, are
  assigned at that instant, and whoever they are for reads their rows from the moment they look free to it
  (``Discovery.expect``): elsewhere by F + 1.2 s.
- It was the leader: its lock states 0.9 F, its last heartbeat was seen by others within 1 s, so one of them leads by
  0.9 F + 1 s, before those leases are free, and plans by what it saw as a follower. So all is elsewhere by
  max(0.9 F, F) + 1.2 s, within F + 2 s.
- The dead leader was a KCL, whose lock lasts for 120 s after its last heartbeat. Nobody may lead meanwhile; but a lease
  that has stood still for 3 F while its leader gave no sign of life for as long is taken by the worker of ours that the
  plan names, another one of ours a little later: by 3 F + 1 s and a grace of at most 1 s.
- A KCL dies, and we lead: F + 1 s to the assignment; one that never moved what it was given gets the time that a KCL
  takes to hear of it (``LeaseTiming.kcl_discovery_seconds``) besides.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from functools import partial
from typing import Final

from consumer.hooks import Planned
from consumer.leasing.assignment import HandOff, Plan, PlanView, plan
from consumer.leasing.discovery import Discovery
from consumer.leasing.handoff import is_ready
from consumer.leasing.load import LoadWatch
from consumer.leasing.lock import LeaderCandidate
from consumer.leasing.observation import Observation
from consumer.leasing.relief import Weights
from consumer.leasing.rules import Means
from consumer.leasing.safety import SafetyTakes
from consumer.leasing.taking import held_back
from consumer.leasing.timing import notice_seconds
from consumer.leasing.waiting import wait_for
from lease_store import verbs
from lease_store.errors import LeaseStoreError
from lease_store.lease import WorkerRow
from lease_store.store import Applied, Refused

__all__ = ["LeaderRules"]

_log = logging.getLogger("leasehold.leasing")

_INDEX_AGAIN_SECONDS: Final = 60.0
_MOST_TOWARDS_ONE: Final = 12
_NOT_READY_SECONDS: Final = 0.5
_ACCEPTED_SECONDS: Final = 1.0
_TOLD_EVERY_SECONDS: Final = 60.0


class LeaderRules:
    """``Rules`` under a leader: a candidate for its lock, planning for all while it holds it, else taking nothing.

    ``wants_index``: have the index by owner made even where no KCL asks for it.
    """

    def __init__(self, means: Means, *, wants_index: bool = False) -> None:
        self._means = means
        self._leases = means.leases
        self._candidate = LeaderCandidate(
            means.leases, lambda: self._leases.table.layout.lock_at, means.row_period_seconds, self._leadership_changed
        )
        self._safety = SafetyTakes(means)
        self._coming: dict[str, str] = {}
        self._loads = LoadWatch()
        self._weights: Weights | None = None
        self._told_heavy: AbstractSet[str] = frozenset()
        self._lacking: Mapping[str, int] = {}
        self._struck: Mapping[str, int] = {}
        self._wants_index = wants_index
        self._index_at = self._told_at = -math.inf
        self._began_at = means.leases.clock.monotonic()
        self._is_over = asyncio.Event()
        self._discovery = Discovery(means)

    def is_describer(self) -> bool:
        """The leader, where it is one of us; else the first of us, since a KCL's leader repairs after minutes."""
        lock = self._candidate.seen.lock
        if self._candidate.is_leader or lock is None:
            return self._candidate.is_leader or self._leases.is_first()
        leader = self._leases.peers.get(lock.owner)
        is_one_of_us = leader is not None and not leader.is_kcl
        alive = is_one_of_us and leader in self._leases.peers.alive(
            self._leases.witnessed_until, self._leases.timing.failover_seconds
        )
        return not alive and self._leases.is_first()

    def forget_all_but(self, keys: AbstractSet[str]) -> None:
        self._safety.forget_all_but(keys)
        self._discovery.forget_all_but(keys)
        given = self._leases.given
        for key in [key for key, (counter, _) in given.items() if key not in keys or self._has_moved(key, counter)]:
            del given[key]

    def _has_moved(self, key: str, counter: int) -> bool:
        seen = self._leases.observations.get(key)
        return seen is None or seen.lease.counter != counter

    async def run(self) -> None:
        """The candidate's looks and heartbeats, and asking the index what is mine; at the end the lock is given up."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._candidate.run())
            tasks.create_task(self._discovery.run())

    def stop(self) -> None:
        """Plan nothing more; ``run`` gives the lock up at once, since others wait for it."""
        self._is_over.set()
        self._leases.given.clear()
        self._discovery.stop()
        self._safety.stop()
        self._candidate.stop()

    def _leadership_changed(self) -> None:
        self._lacking = {}
        self._leases.moved.set()

    # -- after each look

    def follow(self) -> None:
        """Lead: even the load out, end what a KCL lets lapse. Follow: keep what need not leave any more.

        Both delete what a KCL that is dead has left.
        """
        if self._is_over.is_set():
            return
        leases = self._leases
        # A follower watches, too: whoever becomes the leader knows at once what has lasted for minutes.
        self._weights = self._loads.see(leases.current_leases(), leases.cpu(), leases.clock.monotonic())
        if self._candidate.is_leader:
            self._even_out()
            self._force_slow()
            self._ensure_index()
        elif self._led_by_us():
            self._keep_slow()
        self._strike_dead()

    def _even_out(self) -> None:
        """Start the hand-offs on which this look and the one before agree: amid a change, looks show what passes."""
        view = self._view()
        made = plan(view)
        lacking = Counter(move.worker_id for move in (*made.hand_offs, *made.later))
        may_start = {to: min(count, self._lacking.get(to, 0)) for to, count in lacking.items()}
        self._lacking = lacking
        started = 0
        for move in (*made.hand_offs, *self._sooner(view, made)):
            if may_start[move.worker_id] > 0:
                may_start[move.worker_id] -= 1
                started += 1
                self._begin(move.key, move.worker_id, self._hand_off(move))
        self._leases.hooks(Planned("", started))
        self._keep(made.take_backs)
        self._tell_unplaced(made.unplaced)
        self._tell_heavy()

    def _sooner(self, view: PlanView, made: Plan) -> Iterator[HandOff]:
        """What is planned for later and may begin now.

        Peers ask for few at a time, each of which is noticed at once, and for the next one when it has come. A leader
        hears of that by its next look only; but what it moves goes on being read until its receiver has noticed.
        """
        under_way = Counter(lease.owner for lease in view.leases if lease.is_pending or lease.key in self._coming)
        under_way.update(move.worker_id for move in made.hand_offs)
        waits_long = {lease.owner for lease in view.leases if lease.is_slow}
        for move in made.later:
            to = move.worker_id
            if to not in waits_long and not self._leases.is_kcl(to) and under_way[to] < _MOST_TOWARDS_ONE:
                under_way[to] += 1
                yield move

    def _tell_heavy(self) -> None:
        """Why leases move though all have as many: said once, until that worker's load has been another."""
        weights = self._weights
        if weights is None:
            return
        for name in sorted(weights.excess.keys() - self._told_heavy):
            percent = 100.0 * weights.excess[name] / weights.mean
            _log.info(
                "Worker %s has borne %.0f %% more than the fleet's mean for minutes: some of its shards move, if "
                "others can bear them.",
                name,
                percent,
            )
        self._told_heavy = weights.excess.keys()

    def _view(self) -> PlanView:
        return replace(self._leases.view(self._coming), weights=self._weights)

    def _hand_off(self, move: HandOff) -> Callable[[], Awaitable[object]]:
        async def start() -> None:
            leases = self._leases
            lease, held = leases.current(move.key), leases.held.get(move.key)
            if lease is None or lease.is_finished or lease.is_pending or lease.owner != move.owner:
                return
            if not await self._is_ready(move.worker_id):
                return
            if held is not None:
                await held.start_hand_off(move.worker_id)
            elif self._candidate.is_leader:
                result = await leases.write(verbs.start_hand_off(lease, move.worker_id))
                if move.worker_id == leases.me and not isinstance(result, Refused):
                    self._means.spawn(self._means.receiver.poll(move.key))

        return start

    def _force_slow(self) -> None:
        """A KCL that lets a hand-off lapse is cut off, as by its own leader; our workers take theirs back in time."""
        leases, now = self._leases, self._leases.clock.monotonic()
        limit = leases.timing.kcl_hand_off_seconds
        for seen in leases.observations:
            owner, since = seen.lease.checkpoint_owner, seen.pending_since
            lapsed = owner is not None and since is not None and now >= since + limit and leases.is_kcl(owner)
            to = seen.lease.owner
            if lapsed and to is not None and seen.lease.key not in self._coming and not seen.lease.is_finished:
                _log.warning(
                    "%s has not let go of shard %s for %.0f s: it is given to %s.", owner, seen.lease.key, limit, to
                )
                self._begin(seen.lease.key, to, self._assignment(seen, to))

    def _strike_dead(self) -> None:
        """Delete the metric row of a KCL whose leases had to be taken over, or whose lock ran out or was given up.

        A KCL that leads goes by its last row for a minute, and gives it leases that nobody reads. One that lives writes
        its row again within 30 s. Two of us do no harm: it goes only as it was seen.
        """
        dead = [peer.row for peer in self._leases.peers if peer.is_kcl and peer.is_doubted]
        for row in dead:
            if self._struck.get(row.worker_id) != row.updated_at:
                self._means.spawn(self._strike(row))
        self._struck = {row.worker_id: row.updated_at for row in dead}

    async def _strike(self, row: WorkerRow) -> None:
        try:
            await self._leases.delete_worker(row)
        except LeaseStoreError as error:
            _log.info("The row of %s, which is dead, stays for its own leader to delete: %s", row.worker_id, error)

    def _keep_slow(self) -> None:
        """As a follower: where a hand-off of mine is under way, ask the plan whether it is needed."""
        if any(held.hand_off_to is not None for held in self._leases.held.values()):
            self._keep(plan(self._view()).take_backs)

    def _keep(self, keys: Collection[str]) -> None:
        """Take back what is on its way from me, where the load is even without it."""
        for key in keys:
            held = self._leases.held.get(key)
            if held is not None:
                self._means.spawn(self._means.writes.run_alone("keep", key, partial(self._means.owner.keep, held)))

    def _led_by_us(self) -> bool:
        lock = self._candidate.seen.lock
        leader = None if lock is None else self._leases.peers.get(lock.owner)
        return leader is not None and not leader.is_kcl

    # -- what is free

    def apply_takes(self) -> float | None:
        """Lead: assign what is free. Follow: nothing, unless nobody leads and it has been free for long."""
        if self._leases.draining or self._is_over.is_set():
            return None
        if self._candidate.is_leader:
            return self._assign_free()
        return self._safety.apply(self._candidate.seen, self._discovery.expect)

    def _assign_free(self) -> float | None:
        leases = self._leases
        now = leases.clock.monotonic()
        not_before = self._means.writes.not_before
        open_at = {
            key: max(when, not_before(key)) for key, when in leases.takeable().items() if key not in self._coming
        }
        free = [key for key, when in open_at.items() if when <= now]
        new = [key for key in free if leases.observations[key].lease.is_new]
        waits = held_back(leases, new, self._means.scan_period_seconds(), began_at=self._began_at)
        if len(waits) < len(free):
            made = plan(self._view())
            for take in made.takes:
                if take.key in open_at and open_at[take.key] <= now and take.key not in waits:
                    self._begin(take.key, take.worker_id, self._placement(take.key, take.worker_id))
        return min([when for when in (*open_at.values(), *waits.values()) if when > now], default=None)

    def _placement(self, key: str, to: str) -> Callable[[], Awaitable[object]]:
        async def place() -> None:
            leases = self._leases
            seen = leases.observations.get(key)
            if seen is None or not leases.is_free(key) or not self._candidate.is_leader:
                return
            if to == leases.me:
                await leases.take(key)
            elif await self._is_ready(to):
                await self._assignment(seen, to)()

        return place

    def _assignment(self, seen: Observation, to: str) -> Callable[[], Awaitable[object]]:
        async def assign() -> None:
            if not self._candidate.is_leader:
                return
            result = await self._leases.write(verbs.assign(seen.lease, to))
            if isinstance(result, Applied) and result.lease is not None and not self._leases.is_kcl(to):
                patience = notice_seconds(self._means.scan_period_seconds()) + _ACCEPTED_SECONDS
                self._leases.given[seen.lease.key] = (result.lease.counter, self._leases.clock.monotonic() + patience)
                self._leases.moved.set()

        return assign

    async def _is_ready(self, to: str) -> bool:
        """Whether a lease may be given to ``to``, by its row, read right before it is named.

        So a worker that leaves waits, after its mark, only for what was begun before. Where it does not do, the next
        plan comes a little later, and knows.
        """
        if to == self._leases.me:
            return not self._leases.draining
        if await is_ready(self._leases, to):
            return True
        await wait_for(self._is_over, _NOT_READY_SECONDS, self._leases.clock)
        self._leases.moved.set()
        return False

    def _begin(self, key: str, to: str, write: Callable[[], Awaitable[object]]) -> None:
        """Write among few at once; until it is done, plans count the lease where it goes."""
        self._coming[key] = to
        self._means.spawn(self._carry_out(key, write))

    async def _carry_out(self, key: str, write: Callable[[], Awaitable[object]]) -> None:
        try:
            await self._means.writes.run_if(lambda: not self._is_over.is_set(), key, write)
        finally:
            self._coming.pop(key, None)

    def _tell_unplaced(self, keys: Collection[str]) -> None:
        now = self._leases.clock.monotonic()
        if keys and now >= self._told_at + _TOLD_EVERY_SECONDS:
            self._told_at = now
            _log.warning(
                "%d shards are read by nobody, since every worker holds as many as its limit allows (--max-leases); "
                "the first is %s. Start another worker, or raise the limit.",
                len(keys),
                min(keys),
            )

    # -- the index by owner

    def _ensure_index(self) -> None:
        """A KCL waits for the index by owner, and asks it what it owns."""
        leases, now = self._leases, self._leases.clock.monotonic()
        is_wanted = self._wants_index or any(peer.is_kcl for peer in leases.peers)
        if is_wanted and now >= self._index_at:
            self._index_at = now + _INDEX_AGAIN_SECONDS
            self._means.spawn(self._make_index())

    async def _make_index(self) -> None:
        try:
            await self._leases.store.ensure_owner_index()
            self._index_at = math.inf
        except LeaseStoreError as error:
            _log.warning("The index by owner of table %s is missing: %s", self._leases.store.name, error)
