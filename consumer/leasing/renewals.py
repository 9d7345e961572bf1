"""The heartbeats of all leases that a worker holds, by one task: each when it is due, several in one request.

No lease has a task of its own, and none is sent early: a renewal counts from the last write, checkpoints included. One
that is due may wait a little for others (``gather_seconds``), where there are some to come: measured, a request for two
costs the worker hardly more CPU than one for one, and a request for 25 a ninth of what 25 requests do.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import math
import random
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from consumer.clock import Clock
from consumer.errors import LeaseLost
from consumer.leasing.held_lease import HeldLease
from consumer.leasing.lease_calls import LeaseCalls, Writing
from consumer.leasing.timing import LeaseTiming
from consumer.leasing.waiting import wait_for
from consumer.retry import Trouble
from lease_store.errors import LeaseStoreError

__all__ = ["Renewals"]

_log = logging.getLogger("leasehold.leasing")


class Renewals:
    """Keeps each lease that was added until its tenure is over. Lives on the lease loop."""

    def __init__(
        self,
        calls: LeaseCalls,
        timing: LeaseTiming,
        clock: Clock,
        random: random.Random,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._calls = calls
        self._timing = timing
        self._clock = clock
        self._random = random
        self._spawn = spawn
        self._due: list[tuple[float, HeldLease]] = []
        self._troubles: dict[str, Trouble] = {}
        self._under_way = 0
        self._late_until = -math.inf
        self._sleeps_until = -math.inf
        self._woken = asyncio.Event()

    def add(self, held: HeldLease) -> None:
        """Renew a lease from now on."""
        self._put(held)

    def are_late(self) -> bool:
        """Whether renewals go out later than a call may take: what is held comes first, and no lease more is taken on.

        A worker that wins leases faster than it can keep them loses those it has; one that has lost all begins anew.
        """
        if not self._due:
            return self._under_way > 0 and self._was_late()
        at, held = self._due[0]
        return self._was_late() or self._is_late(max(at, self._due_at(held)))

    def _is_late(self, due_at: float) -> bool:
        return self._clock.monotonic() > due_at + self._timing.gather_seconds + self._timing.call_seconds

    def _was_late(self) -> bool:
        """Whether the last round was; not for ever, since where checkpoints stand for renewals no other may come."""
        return self._clock.monotonic() < self._late_until

    async def run(self) -> None:
        """Renew until cancelled."""
        while True:
            self._woken.clear()
            self._sleeps_until = self._start_due()
            seconds = self._sleeps_until - self._clock.monotonic()
            await wait_for(self._woken, None if seconds == math.inf else max(0.0, seconds), self._clock)

    def _start_due(self) -> float:
        """Begin what is due; when to be asked again, infinity where only an event can tell."""
        places = self._calls.places
        while places.take_for_renewals(self._woken.set):
            group, at = self._next()
            if not group:
                places.give_back()
                return at
            self._late_until = self._clock.monotonic() + self._timing.renew_seconds if self._is_late(at) else -math.inf
            self._under_way += 1
            self._spawn(self._renew(group))
        return math.inf

    def _next(self) -> tuple[Sequence[HeldLease], float]:
        """Whom to renew by one request now, or nobody and when the next are due."""
        group: list[tuple[float, HeldLease]] = []
        aside: list[tuple[float, HeldLease]] = []
        while self._due and len(group) < self._calls.most_together:
            at, held = self._due[0]
            if held.over is not None:
                heapq.heappop(self._due)
                self._troubles.pop(held.key, None)
            elif (later := self._due_at(held)) > at:  # a checkpoint was a heartbeat, or the last attempt failed
                heapq.heapreplace(self._due, (later, held))
            elif group and at > group[0][0] + self._timing.gather_seconds:
                break
            else:
                fits = not group or (held.goes_together and group[0][1].goes_together)
                (group if fits else aside).append(heapq.heappop(self._due))
        at = group[-1][0] if group else math.inf
        if at > self._clock.monotonic():
            aside += group
            group = []
        for each in aside:
            heapq.heappush(self._due, each)
        return [held for _, held in group], at

    def _due_at(self, held: HeldLease) -> float:
        """When to write for it: also when its trust runs out, to see that it ends."""
        trouble = self._troubles.get(held.key)
        retry_at = -math.inf if trouble is None else trouble.retry_at
        return min(max(held.renew_due_at, retry_at), held.trusted_until)

    def _put(self, held: HeldLease) -> None:
        at = max(self._due_at(held), self._clock.monotonic())  # what was settled from an old send has not waited here
        heapq.heappush(self._due, (at, held))
        if at < self._sleeps_until:
            self._woken.set()

    async def _renew(self, group: Sequence[HeldLease]) -> None:
        try:
            await self._calls.carry(self._begun(group))
        finally:
            self._under_way -= 1

    def _begun(self, group: Sequence[HeldLease]) -> list[Writing]:
        """The heartbeats of those whose turn to write is free; none of the others is waited for."""
        begun = []
        for held in group:
            writing = held.begin_renewal(partial(self._ended, held), together=len(group) > 1)
            if writing is None:
                self._spawn(self._renew_alone(held))  # it waits for its turn, and holds no other's meanwhile
            else:
                begun.append(writing)
        return begun

    async def _renew_alone(self, held: HeldLease) -> None:
        try:
            await held.renew_if_due()
        except (LeaseLost, LeaseStoreError) as error:
            self._noted(held, error)
        else:
            self._noted(held, None)

    def _ended(self, held: HeldLease, writing: Writing) -> None:
        self._noted(held, writing.error)

    def _noted(self, held: HeldLease, error: LeaseLost | LeaseStoreError | None) -> None:
        """What came of a renewal, and with it when the next is due."""
        if isinstance(error, LeaseStoreError):
            self._put_off(held, error)
        else:
            self._troubles.pop(held.key, None)
        if held.over is None:
            self._put(held)

    def _put_off(self, held: HeldLease, error: LeaseStoreError) -> None:
        """Try again later and later; say so once a minute, for a table may refuse for long."""
        now = self._clock.monotonic()
        longest = min(1.0, self._timing.renew_seconds)
        trouble = self._troubles.setdefault(held.key, Trouble(self._random, 0.05, longest))
        trouble.put_off(now)
        if trouble.is_to_be_told(now):
            _log.warning("Could not renew the lease of shard %s, trying again: %s", held.key, error)
