"""The leader's lock: who may want it, who holds it, and until when its holder may trust itself.

Source: the DynamoDB lock client 1.4.0 as KCL 3.5.1 uses it (seen when run). A row ``Leader`` names an owner, carries a
version that is new with each heartbeat, and stores its own duration: whoever wants the lock must see one version stand
still for the *stored* duration, by a clock of its own. All of its values are text, acquiring replaces the whole row,
releasing deletes it.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from consumer.hooks import LockSeen
from consumer.leasing.leases import Leases
from consumer.leasing.waiting import wait_for
from consumer.retry import Backoff
from lease_store import verbs
from lease_store.attributes import Place
from lease_store.coordination import LeaderLock
from lease_store.errors import LeaseStoreError, LeaseTableUnavailable
from lease_store.store import Applied
from lease_store.verbs import Write

__all__ = ["LeaderCandidate", "SeenLock", "is_gone", "may_acquire", "see_lock"]

_log = logging.getLogger("leasehold.leasing")

_MOST_UNSETTLED: Final = 8
_RELEASE_ATTEMPTS: Final = 5
_JUST_AFTER_SECONDS: Final = 0.01
_AGAIN_SECONDS: Final = 0.2
_DEFERS_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class SeenLock:
    """The lock as last read (None: there is none), and since when, by my clock, it is so or its version stands still.

    ``has_moved``: another version was seen before this one, so that somebody was alive to write it.
    """

    lock: LeaderLock | None = None
    since: float = -math.inf
    has_moved: bool = False


def see_lock(seen: SeenLock, lock: LeaderLock | None, now: float) -> SeenLock:
    """What is known after a read whose reply came at ``now``."""
    is_same = (seen.lock is None) == (lock is None) and (seen.lock is None or lock is None or _same(seen.lock, lock))
    if is_same and seen.since > -math.inf:
        return replace(seen, lock=lock)
    return SeenLock(lock, now, has_moved=seen.lock is not None)


def _same(one: LeaderLock, other: LeaderLock) -> bool:
    return (one.version, one.is_released) == (other.version, other.is_released)


def may_acquire(seen: SeenLock, me: str, now: float) -> bool:
    """Whether the lock is nobody's: absent, released, or unmoved for the duration that its row states.

    A lock in my name that I do not hold is one that I took without hearing of it, and let go of.
    """
    lock = seen.lock
    return lock is None or lock.is_released or lock.owner == me or now > seen.since + lock.duration_seconds


def is_gone(seen: SeenLock, now: float, *, sign_at: float | None, failover_seconds: float) -> bool:
    """Whether nobody plans: the lock is nobody's, or its holder has shown no sign of life for 3 failover times.

    ``sign_at``: when a lease or the row of the holder last moved; None where it owns no lease. A KCL's lock lasts 120 s
    beyond its holder's last heartbeat, but whoever owns leases and lives moves them each third of a failover time. One
    that owns none shows itself every 30 s only, and may live though it looks gone: what has stood still for 3 failover
    times all the same it has not looked after, and may be taken under its eyes.
    """
    lock = seen.lock
    if lock is None or lock.is_released or now > seen.since + lock.duration_seconds:
        return True
    last = seen.since if sign_at is None else max(seen.since, sign_at)
    return now >= last + 3 * failover_seconds


@dataclass(frozen=True, slots=True)
class _Sent:
    """A version of the lock that may stand in the row, the place of the row, and when it was sent."""

    lock: LeaderLock
    place: Place
    at: float


class LeaderCandidate:
    """One worker's part in the election: it looks at the lock, takes it when nobody's, keeps it, and gives it up.

    ``place`` tells which table has the lock, anew with each look: in tables of KCL 3.0 to 3.4 it moves when their
    migration is complete, and a lock at the old place must be given up. ``look_seconds`` tells how far apart looks may
    be; ``on_change`` is called when this worker begins or ceases to lead. Two leaders at once do no harm to leases,
    each of whose writes is conditional, but would undo each other's plans: a holder that has not heard from the table
    trusts itself for less time than its own row says.
    """

    def __init__(
        self,
        leases: Leases,
        place: Callable[[], Place],
        look_seconds: Callable[[], float],
        on_change: Callable[[], None],
    ) -> None:
        self.seen = SeenLock()
        self._seen_at: Place = place()
        self._leases = leases
        self._place = place
        self._look_seconds = look_seconds
        self._on_change = on_change
        self._began_at = leases.clock.monotonic()
        self._held: _Sent | None = None
        self._former: str | None = None
        self._sent: deque[_Sent] = deque(maxlen=_MOST_UNSETTLED)
        self._trusted_until = -math.inf
        self._backoff = Backoff(leases.random, 0.1, leases.timing.lock_heartbeat_seconds)
        self._stopping = asyncio.Event()
        self._told: tuple[str | None, bool] | None = None

    @property
    def is_leader(self) -> bool:
        """Whether this worker holds the lock, and may trust that it does."""
        return not self._stopping.is_set() and self._now() < self._trusted_until

    async def run(self) -> None:
        """Look, take and keep until ``stop``, then give the lock up, so that another worker leads at once."""
        while not self._stopping.is_set():
            try:
                await self._step()
                self._backoff.reset()
                pause = self._pause()
            except LeaseStoreError as error:
                pause = self._backoff.next_seconds()
                _log.warning("Could not reach the leader's lock of table %s: %s", self._leases.store.name, error)
            self._tell()
            await wait_for(self._stopping, max(0.0, pause), self._leases.clock)
        await self._give_up()
        self._tell()

    def stop(self) -> None:
        """Lead no more, from now on; ``run`` gives the lock up."""
        self._stopping.set()

    def _pause(self) -> float:
        """Until the next heartbeat; for who does not hold the lock, until the next look or its expiry, if earlier."""
        now = self._now()
        if self._held is not None:
            return self._held.at + self._leases.timing.lock_heartbeat_seconds - now
        if self._may_acquire(self._place()):
            return _AGAIN_SECONDS  # the reply to an acquisition was lost, or it is left to others for a moment
        pause = self._leases.random.uniform(0.5, 1.0) * self._look_seconds()
        lock = self.seen.lock
        return (
            pause if lock is None else min(pause, self.seen.since + lock.duration_seconds - now + _JUST_AFTER_SECONDS)
        )

    async def _step(self) -> None:
        held, place = self._held, self._place()
        if held is not None and held.place != place:
            await self._give_up()
        elif held is not None:
            version = self._fresh_version()
            lock = replace(held.lock, version=version)
            await self._write(verbs.heartbeat_lock(held.lock, version, place), lock)
        else:
            if not self._may_acquire(place) or self._defers():  # one that has just expired is taken without a look
                await self._look(place)
            if self._held is None and self._may_acquire(place) and not self._defers():
                lock = LeaderLock(
                    owner=self._leases.me,
                    version=self._fresh_version(),
                    duration_seconds=self._leases.timing.lock_seconds,
                )
                await self._write(verbs.acquire_lock(self.seen.lock, lock, place), lock)
                if self._held is not None and self._former is not None:
                    # It died or stopped, though the last row of a KCL looks fresh for a minute.
                    self._leases.peers.see_still(self._former, is_led=True)
                    self._former = None

    def _may_acquire(self, place: Place) -> bool:
        looked = self._seen_at == place and self.seen.since > -math.inf
        return looked and may_acquire(self.seen, self._leases.me, self._now())

    def _defers(self) -> bool:
        """Whether the free lock is left, for a moment, to whoever has watched the leases for longer than I.

        Who has just begun sees what is free a failover time after the others.
        """
        leases, now, lock = self._leases, self._now(), self.seen.lock
        if now >= self._began_at + leases.timing.failover_seconds:
            return False
        free_since = self.seen.since
        if lock is not None and not lock.is_released and lock.owner != leases.me:
            free_since += lock.duration_seconds
        has_owners = any(seen.lease.actual_owner not in (None, leases.me) for seen in leases.observations)
        return has_owners and now < free_since + _DEFERS_SECONDS

    def _fresh_version(self) -> str:
        """Shaped as Java's are, and drawn from the worker's own generator."""
        return str(UUID(int=self._leases.random.getrandbits(128), version=4))

    async def _write(self, write: Write, lock: LeaderLock) -> None:
        """Acquire it, or send a heartbeat; whatever is not plainly applied is settled by a read."""
        sent = _Sent(lock, write.place, self._now())
        self._sent.append(sent)
        result = await self._leases.store.write(write, timeout_seconds=self._leases.timing.call_seconds)
        if isinstance(result, Applied):
            self._note(lock, write.place)
            self._hold(sent)
        else:
            await self._look(write.place)

    async def _look(self, place: Place) -> None:
        """Read the row, and find in it what I sent and never heard of."""
        lock = await self._read(place)
        self._note(lock, place)
        mine = self._mine_in(lock, place)
        if mine is not None:
            self._hold(mine)
        elif self._held is not None:
            owner = "nobody" if lock is None else lock.owner
            _log.warning("This worker leads no more: the lock of table %s is %s's.", self._leases.store.name, owner)
            self._forget()

    def _mine_in(self, lock: LeaderLock | None, place: Place) -> _Sent | None:
        """Which of the writes that I sent the row shows."""
        if lock is None or lock.owner != self._leases.me:
            return None
        return next((sent for sent in self._sent if (sent.lock.version, sent.place) == (lock.version, place)), None)

    async def _read(self, place: Place) -> LeaderLock | None:
        try:
            async with self._leases.clock.timeout(self._leases.timing.call_seconds):
                return await self._leases.store.read_lock(place)
        except TimeoutError:
            raise LeaseTableUnavailable("No reply to a read of the leader's lock.") from None

    def _note(self, lock: LeaderLock | None, place: Place) -> None:
        before = self.seen if self._seen_at == place else SeenLock()
        self.seen, self._seen_at = see_lock(before, lock, self._now()), place
        if lock is not None and lock.owner != self._leases.me:
            self._former = lock.owner

    def _now(self) -> float:
        return self._leases.clock.monotonic()

    def _hold(self, sent: _Sent) -> None:
        """The row holds what I sent: trust runs from then. What I sent before it can't be applied any more.

        What I sent later may yet be, and is found by the next look.
        """
        was_leader = self.is_leader
        self._held = sent
        while self._sent[0] is not sent:
            self._sent.popleft()
        self._trusted_until = sent.at + self._leases.timing.lock_trust_seconds
        if self.is_leader != was_leader:
            self._on_change()

    def _forget(self) -> None:
        self._held = None
        self._sent.clear()
        self._trusted_until = -math.inf
        self._on_change()

    async def _give_up(self) -> None:
        """Delete my row where it is still mine."""
        self._trusted_until = -math.inf
        for _ in range(_RELEASE_ATTEMPTS):
            held = self._held
            if held is None:
                return
            try:
                await self._leases.store.write(
                    verbs.release_lock(held.lock, held.place), timeout_seconds=self._leases.timing.call_seconds
                )
                lock = await self._read(held.place)
                self._held = self._mine_in(lock, held.place)
                if self._held is None:
                    self._note(lock, held.place)
                    self._forget()
                    return
            except LeaseStoreError as error:
                _log.warning("The leader's lock could not be given up yet: %s", error)
            await self._leases.clock.sleep(self._backoff.next_seconds())
        _log.warning("The leader's lock stays behind; others wait %.0f s for it.", self._leases.timing.lock_seconds)
        self._forget()

    def _tell(self) -> None:
        """Who leads now, where that has changed."""
        lock = self.seen.lock
        owner = None if lock is None or lock.is_released else lock.owner
        told = (owner, self.is_leader)
        if told != self._told:
            self._told = told
            leader = "this worker" if self.is_leader else owner or "nobody"
            _log.info("Leader of lease table %s: %s.", self._leases.store.name, leader)
            self._leases.hooks(LockSeen("", owner, self.is_leader))
