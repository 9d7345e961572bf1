"""Rules of a table that a KCL 2.x shares: lease rows alone tell who lives, and all that passes between workers is one.

What a KCL 2.x does is said in ``two_x_plan``; here is when. Looks come every second or so, a KCL's takers only every
two failover times: what is let go for one of them lies idle until it looks, at most that long, and nothing of it comes
twice. Nobody is asked or handed anything: whatever it may do to a row, a KCL 2.x does by the counter alone.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Final

from consumer.leasing.names import seems_ours
from consumer.leasing.newcomers import Newcomers
from consumer.leasing.rules import Means
from consumer.leasing.shuffle import shuffle_leader
from consumer.leasing.takers import Takers
from consumer.leasing.timing import grace_seconds
from consumer.leasing.two_x_plan import TwoXPlan, TwoXRow, TwoXView, two_x_plan
from consumer.streams.shard_graph import done_with
from lease_store import verbs
from lease_store.checkpoint import LATEST
from lease_store.lease import Lease
from lease_store.store import Applied

__all__ = ["TwoXRules"]

_log = logging.getLogger("leasehold.leasing")

_VERY_OLD_FAILOVERS: Final = 3
_LET_GO_FAILOVERS: Final = 0.5
"""In this time a KCL has renewed a row that it just finished, which goes on counting as its load."""
_AHEAD_OF_TAKER_FAILOVERS: Final = 0.5
"""Time for the batch that is under way to end: what is not free when a KCL looks, it robs."""
_ROB_FAILOVERS: Final = 0.5
_SPURNED_TIMES: Final = 6
"""So many times as long as a lease lay there in vain, nothing more is let go for a worker that has none."""


class TwoXRules:
    """``Rules`` beside a KCL 2.x.

    ``rests_until`` is of leases taken from the dead: they are read at once, by whoever comes first, and are no surplus
    before their work has begun in earnest. Where nobody took what was let go, somebody seems to need less than by
    count: nothing more is let go then until other workers are seen, or one that has none says once more that it is here
    (a limit of leases leaves room for one). A KCL that wants it all the same robs it.
    """

    def __init__(self, means: Means) -> None:
        self._means = means
        self._leases = means.leases
        self._failover = means.leases.timing.failover_seconds
        self._taking: set[str] = set()
        self._grace: dict[str, float] = {}
        self._rests_until: dict[str, float] = {}
        self._ended_at: dict[str, int] = {}
        self._offered: dict[str, float] = {}
        self._surplus = _Least(_LET_GO_FAILOVERS * self._failover)
        self._robbing = _Least(_ROB_FAILOVERS * self._failover)
        self._takers = Takers(self._failover)
        self._newcomers = Newcomers(_VERY_OLD_FAILOVERS * self._failover)
        self._robbed_at = self._announced_at = -math.inf
        self._spurned_by: set[str] = set()
        self._spurned_until = -math.inf
        self._is_over = False

    def is_describer(self) -> bool:
        """Whether I am the one whom every KCL 2.x takes for the leader, or the one among the living if that one died.

        A KCL counts the dead as well, for as long as a row names them.
        """
        leader = shuffle_leader(lease.owner for lease in self._leases.current_leases() if lease.owner is not None)
        living = self._living() | {self._leases.me}
        if leader not in living:
            leader = shuffle_leader(self._living()) or self._leases.me
        return leader == self._leases.me

    def forget_all_but(self, keys: AbstractSet[str]) -> None:
        for noted in (self._grace, self._rests_until, self._ended_at, self._offered):
            for key in noted.keys() - keys:
                del noted[key]

    async def run(self) -> None:
        """Looks are all that is needed."""

    def stop(self) -> None:
        """What was to be let go stays, unless this worker drains: others may now ask for it."""
        self._is_over = True
        if not self._leases.draining:
            self._keep_all_but(frozenset())

    # -- after each look

    def follow(self) -> None:
        """Let a surplus go, or rob, where looks have agreed on it for long enough; clean up behind my own shards."""
        now, table = self._leases.clock.monotonic(), {lease.key: lease for lease in self._leases.current_leases()}
        self._newcomers.see(table.values(), self._living(), now)
        self._takers.see(table.values(), now)
        made = self._plan()
        self._let_go(made, self._surplus.see(len(made.releases), now), now)
        must_rob = self._robbing.see(made.lacking if made.rob is not None else 0, now)
        if made.lacking and table and not self._leases.held:
            self._say_that_i_came(table, now)
        if must_rob and made.rob is not None:
            self._rob(made.rob)
        self._clean_up(table)

    def _let_go(self, made: TwoXPlan, surplus: int, now: float) -> None:
        self._keep_all_but(frozenset(made.releases))
        if surplus and self._is_wanted_soon(made.needy, now) and not self._is_spurned(now):
            for key in made.releases[:surplus]:
                held = self._leases.held.get(key)
                if held is not None and not self._leases.is_releasing(key):
                    _log.info("The lease of shard %s is let go: another worker has less than its share.", key)
                    self._offered[key] = self._patience_seconds(made.needy)
                    self._leases.signal(held, "release")

    def _is_spurned(self, now: float) -> bool:
        """Whether those who lack something left alone what was let go for them, and nothing is new since."""
        if self._living() != self._spurned_by:
            return False
        return now < self._spurned_until or not self._newcomers.waiting(now)

    def _patience_seconds(self, needy: Sequence[str]) -> float:
        """How long what I let go is left to others: ours take at once, if their limit allows, which nobody can tell."""
        if all(map(seems_ours, needy)):
            return max(_LET_GO_FAILOVERS * self._failover, 1.0 + 2 * self._means.scan_period_seconds())
        return _VERY_OLD_FAILOVERS * self._failover

    def _is_wanted_soon(self, needy: Sequence[str], now: float) -> bool:
        """Whether somebody who lacks a lease takes it soon: one of ours at once, a KCL when its taker looks."""
        looks = (now if seems_ours(owner) else self._takers.next_look(owner, now) for owner in needy)
        return min(looks, default=now) <= now + _AHEAD_OF_TAKER_FAILOVERS * self._failover

    def _say_that_i_came(self, table: Mapping[str, Lease], now: float) -> None:
        """In some row, where workers of ours may read it: they let go for me. Again after a while, if they did not."""
        if now < self._announced_at + self._failover or not any(seems_ours(owner) for owner in self._living()):
            return
        self._announced_at = now
        unfinished = [key for key in sorted(table) if not table[key].is_finished]
        lease = table[self._leases.random.choice(unfinished or sorted(table))]
        announce = partial(self._leases.write, verbs.announce(lease, self._newcomers.announcement(self._leases.me)))
        self._means.spawn(self._means.writes.run(lease.key, announce))

    def _clean_up(self, table: Mapping[str, Lease]) -> None:
        """Not left to the next audit: what stands still for three failover times is taken by a KCL, as its load."""
        mine = {lease.stream for lease in table.values() if lease.is_finished and lease.owner == self._leases.me}
        for label in mine - {None}:
            for lease in done_with(table.values(), label or ""):
                if lease.owner == self._leases.me:
                    self._means.spawn(self._means.writes.run_alone("delete", lease.key, partial(self._delete, lease)))

    async def _delete(self, lease: Lease) -> None:
        if isinstance(await self._leases.write(verbs.delete(lease)), Applied):
            self._leases.observations.forget(lease.key)

    def _keep_all_but(self, keys: AbstractSet[str]) -> None:
        for key, held in list(self._leases.held.items()):
            if self._leases.is_releasing(key) and key not in keys:
                self._leases.signal(held, None)

    def _rob(self, key: str) -> None:
        """Not faster than the robbed notice it, and than what I won is counted as mine by everybody.

        One of ours is never robbed: it lets go by itself, and who is robbed trusts in its lease until it hears of it.
        So what a KCL has just robbed of one of ours stays with that KCL for as long.
        """
        leases = self._leases
        now, owner = leases.clock.monotonic(), leases.observations[key].lease.owner or ""
        pause = max(leases.timing.renew_seconds, 2 * self._means.scan_period_seconds())
        unheard_until = self._takers.changed_at(key) + leases.timing.trust_seconds
        not_before = max(self._robbed_at + pause, self._means.writes.not_before(key), unheard_until)
        if seems_ours(owner) or now < not_before or key in self._taking or not leases.may_acquire(key):
            return
        if leases.has_room(leases.claimed() | self._taking, key):
            self._robbed_at = now
            self._start(key, partial(leases.rob, key, owner))

    # -- at once

    def apply_takes(self) -> float | None:
        """Start taking what is free and of my share, what the dead left, and what nobody else wants."""
        leases = self._leases
        if leases.draining or self._is_over:
            return None
        now = leases.clock.monotonic()
        free_at = leases.takeable()
        due = [max(when, self._means.writes.not_before(key)) for key, when in free_at.items() if when > now]
        if len(due) == len(free_at):
            return min(due, default=None)
        made = self._plan()
        open_from = dict.fromkeys(made.takes, now) | dict.fromkeys(made.unwanted, now) | self._spare_from(made, now)
        claimed = leases.claimed() | self._taking
        for key, since in open_from.items():
            since = max(since, self._means.writes.not_before(key))
            if since > now:
                due.append(since)
            elif leases.may_acquire(key) and key not in self._taking and leases.has_room(claimed, key):
                claimed.add(key)
                self._note(key, now, is_unwanted=key in made.unwanted)
                self._start(key, partial(leases.take, key))
        due += [at for key in free_at if (at := self._very_old_at(key)) > now]
        return min(due, default=None)

    def _spare_from(self, made: TwoXPlan, now: float) -> dict[str, float]:
        """From when on I take what a death left beyond my share: those who lack something come first."""
        period = self._means.scan_period_seconds()
        self._grace = {
            key: self._grace.get(key) or now + grace_seconds(period) * self._leases.random.randint(12, 18) / 20
            for key in made.spare
        }
        return self._grace

    def _note(self, key: str, now: float, *, is_unwanted: bool) -> None:
        if is_unwanted:
            self._spurned_by = self._living()
            waited = now - self._leases.observations[key].seen_at
            self._spurned_until = now + _SPURNED_TIMES * waited
        elif self._leases.observations[key].lease.owner is not None:
            self._rests_until[key] = now + _VERY_OLD_FAILOVERS * self._failover

    def _start(self, key: str, win: Callable[[], Awaitable[bool]]) -> None:
        self._taking.add(key)
        self._means.spawn(self._take(key, win))

    async def _take(self, key: str, win: Callable[[], Awaitable[bool]]) -> None:
        try:
            await self._means.writes.run_if(lambda: not self._is_over, key, win)
        finally:
            self._taking.discard(key)

    # -- what the plan depends on

    def _plan(self) -> TwoXPlan:
        leases, now = self._leases, self._leases.clock.monotonic()
        rows = [row for lease in leases.current_leases() if (row := self._row(lease, now)) is not None]
        leaving = {key for key in leases.held if leases.is_releasing(key)}
        resting = {key for key, until in self._rests_until.items() if now < until} | self._unread()
        newcomers = self._newcomers.waiting(now)
        return two_x_plan(TwoXView(leases.me, rows, leaving, resting, newcomers, leases.max_leases))

    def _unread(self) -> set[str]:
        """What stands at LATEST still: a KCL would begin at the end that the shard has when it comes to it."""
        unread = {key for key, held in self._leases.held.items() if held.lease.checkpoint == LATEST}
        return unread if unread and not all(map(seems_ours, self._living())) else set()

    def _row(self, lease: Lease, now: float) -> TwoXRow | None:
        key = lease.key
        if lease.is_finished:
            return TwoXRow(key, lease.owner, is_finished=True) if self._is_renewed(lease, now) else None
        if key in self._leases.held or key in self._taking:
            return TwoXRow(key, self._leases.me)
        return TwoXRow(key, lease.owner, self._leases.is_free(key), self._very_old_at(key) <= now)

    def _is_renewed(self, lease: Lease, now: float) -> bool:
        """Whether a finished row still moves, as under a KCL, which holds and counts it until it cleans up."""
        seen = self._leases.observations.get(lease.key)
        first = self._ended_at.setdefault(lease.key, lease.counter)
        lately = seen is not None and now < seen.seen_at + self._leases.timing.failover_seconds
        return lease.owner not in (None, self._leases.me) and lease.counter > first and lately

    def _very_old_at(self, key: str) -> float:
        seen = self._leases.observations.get(key)
        if seen is None:
            return math.inf
        if seen.lease.owner not in (None, self._leases.me):
            self._offered.pop(key, None)
        return seen.seen_at + self._offered.get(key, _VERY_OLD_FAILOVERS * self._failover)

    def _living(self) -> set[str]:
        """The owners of leases that move, and of those that I hold."""
        now = self._leases.clock.monotonic()
        rows = [self._row(lease, now) for lease in self._leases.current_leases()]
        return {row.owner for row in rows if row is not None and row.owner is not None and not row.is_expired}


class _Least:
    """The least of what was seen during the last ``seconds``; 0 until a look is that old."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._seen: deque[tuple[float, int]] = deque(maxlen=4 + int(2 * seconds))  # looks are a second apart

    def see(self, value: int, now: float) -> int:
        self._seen.append((now, value))
        began = now - self._seconds
        while len(self._seen) > 1 and self._seen[1][0] <= began:
            self._seen.popleft()
        return min(each for _, each in self._seen) if self._seen[0][0] <= began else 0
