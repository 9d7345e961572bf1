"""Moving a live lease: the receiver asks and polls, the owner finishes its batch and lets go, or takes it back."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from consumer.errors import LeaseLost
from consumer.hooks import HandOffFinished, HandOffTakenBack
from consumer.leasing.assignment import spread
from consumer.leasing.held_lease import HeldLease
from consumer.leasing.leases import Leases
from lease_store import verbs
from lease_store.errors import LeaseStoreError
from lease_store.store import Refused

__all__ = ["OwnerSide", "ReceiverSide", "choose_receivers", "next_owner", "settle_mine"]

_log = logging.getLogger("leasehold.leasing")

_FAST_POLLING_SECONDS: Final = 30.0
_RETRY_SECONDS: Final = 0.2
_LOOK_SECONDS: Final = 2.0


def choose_receivers(leases: Leases, keys: list[str], *, besides: frozenset[str] = frozenset()) -> dict[str, str]:
    """A live peer for each key, as limits allow: not draining, its row seen to move, the least loaded first.

    A place that was chosen for another lease is taken, though no row tells it yet. None in a table of mode 2x, where
    what is let go is found by whoever lacks it.
    """
    if leases.table.mode == "2x":
        return {}
    moving = {peer.row.worker_id for peer in leases.peers if peer.may_receive} - besides
    receivers = [worker for worker in leases.workers() if worker.worker_id in moving and worker.may_receive]
    if not keys or not receivers:
        return {}  # as at most steps of a drain, and for each lease where a whole fleet stops: no row is gone through
    naming = {key: to for key, to in leases.naming.items() if key not in keys}
    owners = [naming.get(lease.key, None if lease.is_free else lease.owner) for lease in leases.view().leases]
    return spread(keys, Counter(owner for owner in owners if owner is not None), receivers)


async def settle_mine(leases: Leases, key: str) -> bool:
    """Accept a row that names me as actual owner and that I do not hold, or pass it on; False: to be asked again.

    Two peers that hand over at once may both count on the same place here, since each knows of the other by rows alone.
    So the limit is kept by whom it binds: what comes beyond it goes on to a peer with room, or to whoever comes first.
    A draining worker passes on everything, also what an owner that died meanwhile was handing to it.
    """
    lease = leases.current(key)
    if lease is None or lease.is_finished or not leases.may_acquire(key):
        return False
    is_mine = lease.actual_owner == leases.me
    if is_mine and not leases.draining and leases.may_hold_more:
        return await leases.accept(key)
    if is_mine and lease.is_pending:
        ready = await is_ready(leases, lease.owner or "")
        await leases.write((verbs.finish_hand_off if ready else verbs.take_back)(lease, leases.me))
    elif is_mine or (lease.owner == leases.me and leases.draining and leases.is_free(key)):
        async with next_owner(leases, key) as receiver:
            result = await leases.write(verbs.pass_on(lease, leases.me, receiver))
        if isinstance(result, Refused) and leases.table.mode == "2x" and leases.is_free(key):
            # Another is named there, who is not believed and had a failover time to move it: once more without.
            await leases.write(verbs.take(lease, leases.me))
    else:
        return False
    return True


async def is_ready(leases: Leases, to: str) -> bool:
    """The receiver's own row, read consistently: it is there, does not drain, and has moved lately."""
    row = await leases.read_worker(to)
    if row is None:
        return False
    peer = leases.peers.get(to)
    return not row.draining and (peer is None or peer.is_alive(leases.witnessed_until, leases.timing.failover_seconds))


@asynccontextmanager
async def next_owner(
    leases: Leases, key: str, *, chosen: str | None = None, besides: frozenset[str] = frozenset()
) -> AsyncIterator[str | None]:
    """The peer to name for a lease, ``chosen`` if it can be; its place is kept while the caller writes its name.

    Its row is read first: nobody is named who has marked that it leaves. So a worker that leaves need only wait, after
    its mark, for writes that are under way, however rarely others scan.
    """
    try:
        to = chosen or choose_receivers(leases, [key], besides=besides).get(key)
        while to is not None:
            leases.naming[key] = to
            if await is_ready(leases, to):
                break
            besides |= {to}
            to = choose_receivers(leases, [key], besides=besides).get(key)
        yield to
    finally:
        leases.naming.pop(key, None)


class ReceiverSide:
    """Asks for leases and accepts them the moment their old owner has let go."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases
        self._polling: set[str] = set()
        self._given_up: set[str] = set()

    def wants(self, key: str) -> bool:
        """Whether a row that names me as next owner is to be polled: not yet, and not in vain already."""
        return key not in self._polling and key not in self._given_up

    def settle(self, pending_to_me: set[str]) -> None:
        """Forget hand-offs given up on that are no longer pending."""
        self._given_up &= pending_to_me

    async def ask(self, key: str) -> None:
        """Start a hand-off of a peer's lease to me, then poll. Nothing comes of it where the row has changed."""
        leases = self._leases
        lease = leases.current(key)
        if lease is None or lease.owner in (None, leases.me) or lease.is_pending or key in self._polling:
            return
        self._polling.add(key)
        try:
            result = await leases.write(verbs.start_hand_off(lease, leases.me))
        except LeaseStoreError as error:
            _log.info("Could not ask for the lease of shard %s: %s", key, error)
            return
        finally:
            self._polling.discard(key)
        if not isinstance(result, Refused):
            await self.poll(key)  # after a lost reply the row tells whether it names me

    async def poll(self, key: str) -> None:
        """Read the row every 0.1 to 0.2 s until it is mine to accept, names another, or 30 s have passed.

        Polling does not suspend suspicion: the reads are observations, and an owner that dies meanwhile is taken over
        as any other.
        """
        leases = self._leases
        self._polling.add(key)
        try:
            until = leases.clock.monotonic() + _FAST_POLLING_SECONDS
            while leases.clock.monotonic() < until and not leases.draining and key not in leases.held:
                await leases.clock.sleep(leases.random.uniform(0.1, 0.2))
                try:
                    row = await leases.read(key)
                    if row is None or row.is_finished:
                        return
                    if row.actual_owner == leases.me:  # though a third worker may have asked me for it already
                        if await settle_mine(leases, key):
                            return
                    elif row.owner != leases.me:
                        return
                except LeaseStoreError as error:
                    _log.info("Polling for the lease of shard %s goes on: %s", key, error)
            self._given_up.add(key)
        finally:
            self._polling.discard(key)


class OwnerSide:
    """Lets leases go.

    ``hand_off_timeout_seconds``: how long a live receiver waits for a batch to end before it is taken back.
    """

    def __init__(self, leases: Leases, hand_off_timeout_seconds: float) -> None:
        self._leases = leases
        self._timeout_seconds = hand_off_timeout_seconds
        self._watched: set[HeldLease] = set()

    async def look_at_receivers(self) -> None:
        """Read the rows of those to whom a lease of mine is to go, again and again: scans may be far apart.

        One of them may leave, which it can't while a row names it, or be dead.
        """
        leases = self._leases
        while True:
            await leases.clock.sleep(min(_LOOK_SECONDS, leases.timing.beat_seconds))
            for to in sorted({to for held in leases.held.values() if (to := held.hand_off_to) is not None}):
                try:
                    await leases.read_worker(to)
                except LeaseStoreError as error:
                    _log.info("The row of worker %s, which is to have leases, will be read again: %s", to, error)

    def watches(self, held: HeldLease) -> bool:
        """Whether somebody sees to this lease's hand-off."""
        return held in self._watched

    async def watch(self, held: HeldLease) -> None:
        """See a hand-off to its end: taken back if the receiver dies or drains, or the batch takes too long.

        Where I drain, the batch may take its time: there is nothing to go back to.
        """
        if held in self._watched:
            return  # by a task that has not noticed yet that one hand-off was taken back and another began
        self._watched.add(held)
        try:
            while held.over is None and (to := held.hand_off_to) is not None:
                if why := self._hopeless(to, held):
                    try:
                        await self._take_back(held, to, why)
                    except LeaseStoreError as error:
                        _log.warning("Could not take back the lease of shard %s, trying again: %s", held.key, error)
                    else:
                        continue  # another may have begun while that was written, and nobody else would watch it
                await self._pause(held)
        except LeaseLost:
            return
        finally:
            self._watched.discard(held)

    async def keep(self, held: HeldLease) -> None:
        """Take back a hand-off that waits for a long batch, since the fleet is balanced without it.

        Raises LeaseLost, LeaseStoreError.
        """
        to = held.hand_off_to
        if to is not None and not self._leases.draining:
            await self._take_back(held, to, "its batch runs on, and the load is even without it")

    def _hopeless(self, to: str, held: HeldLease) -> str | None:
        now = self._leases.clock.monotonic()
        began = now if held.pending_since is None else held.pending_since
        timeout = self._timeout_seconds
        if self._leases.is_kcl(to):
            timeout = max(timeout, self._leases.timing.kcl_hand_off_seconds)  # as long as its own leader waits
        if now >= began + timeout and not self._leases.draining:
            return f"the running batch did not end within {timeout:g} s"
        peer = self._leases.peers.get(to)
        if peer is None or not peer.is_alive(self._leases.witnessed_until, self._leases.timing.failover_seconds):
            # A receiver so new that no scan has shown it yet is no dead one: it gets one failover time.
            return "the next owner is dead" if now >= began + self._patience_seconds(to) else None
        return "the next owner is draining" if peer.row.draining else None

    def _patience_seconds(self, to: str) -> float:
        """How long a receiver that shows no sign of life is waited for: a KCL shows one every 30 s only."""
        timing = self._leases.timing
        if self._leases.is_kcl(to) or (self._leases.table.mode == "leader" and self._leases.peers.get(to) is None):
            return timing.kcl_hand_off_seconds
        return timing.failover_seconds

    async def let_go(self, held: HeldLease, *, shutdown_called: bool) -> bool:
        """Hand over, or release (draining only); True when the tenure is over, False when it was taken back.

        The caller's user code is idle and its checkpoint stored. Tries on until trust has run out.
        """
        refused: set[str] = set()
        while held.over is None:
            try:
                await self._step(held, shutdown_called, refused)
                if held.over is None and held.hand_off_to is None and not (shutdown_called or self._must_go(held)):
                    return False
            except LeaseLost:
                break
            except LeaseStoreError as error:
                _log.warning("Could not let go of the lease of shard %s, trying again: %s", held.key, error)
                await self._pause(held)
        return True

    def _must_go(self, held: HeldLease) -> bool:
        return self._leases.draining or self._leases.is_releasing(held.key)

    async def _step(self, held: HeldLease, shutdown_called: bool, refused: set[str]) -> None:
        to = held.hand_off_to
        began = held.pending_since
        if to is not None and to not in refused and await is_ready(self._leases, to):
            await held.finish_hand_off()
        elif to is not None:
            refused.add(to)
            await self._take_back(held, to, "the next owner is dead or draining")
        elif self._leases.draining:
            async with next_owner(self._leases, held.key, besides=frozenset(refused)) as receiver:
                await (held.release() if receiver is None else held.start_hand_off(receiver))
        elif self._leases.is_releasing(held.key):
            await held.release()
        elif shutdown_called:
            # KCL contract: a processor told to shut down is not used again; the row is mine and is accepted anew.
            await held.restart()
        if held.over == "handed_off" and held.lease.owner is not None:
            seconds = 0.0 if began is None else self._leases.clock.monotonic() - began
            self._leases.hooks(HandOffFinished(held.key, held.lease.owner, seconds))

    async def _take_back(self, held: HeldLease, to: str, why: str) -> None:
        if await held.take_back(to):  # else another task of this worker did, and told it
            self._leases.hooks(HandOffTakenBack(held.key, to, why))
            _log.info("The lease of shard %s stays here: its hand-off to %s was taken back, %s.", held.key, to, why)

    async def _pause(self, held: HeldLease) -> None:
        try:
            async with self._leases.clock.timeout(_RETRY_SECONDS):
                await held.ended.wait()
        except TimeoutError:
            return
