"""The wheel of a worker: which shard is read when, and how many at once; an idle shard costs a place in a heap."""

from __future__ import annotations

import asyncio
import math
from heapq import heappop, heappush
from typing import Any, Final, Protocol

from consumer.clock import Clock

__all__ = ["Poll", "PollWheel"]

# By the worker's clock a timer may fire a little early; a rest that the loop's clock can't tell from now never passes.
_EARLY_SECONDS: Final = 1e-6
# Where so many are due every second, each waking of the loop is for some of them: a quarter of the CPU of an idle poll.
_MANY: Final = 100
_BUNCH_SECONDS: Final = 0.02
_PATIENCE_SECONDS: Final = 75.0  # above a source's own time-outs: only for a call that hangs beyond them


class Poll(Protocol):
    """What has its turn on a wheel."""

    def begin(self) -> asyncio.Task[None] | None:
        """Begin what is due: the task that does it, or None where it is not wanted any more."""
        ...

    def give_up(self) -> None:
        """What was begun takes too long: cancel it."""
        ...

    def __lt__(self, other: Any, /) -> bool:
        """Whether it comes before another one that is due at the same instant."""
        ...


class PollWheel:
    """Begins polls in the order in which they are due, at most ``limit`` at once; lives on one loop.

    A poll whose time has come while all places are taken waits for one, and nothing of its own is under way until then:
    neither a connection nor a time-out. Among those that are due who has been due for longest comes first, so that no
    shard is passed over, however many records the others have. Where more than a hundred wait for their time, a poll
    may be up to 20 ms late, so as to begin together with those due next. The wheel has one timer and no task; what
    takes longer than ``patience_seconds`` is told to give up, within a second of that.
    """

    __slots__ = (
        "_begun",
        "_clock",
        "_is_open",
        "_is_turning",
        "_limit",
        "_patience",
        "_queue",
        "_timer",
        "_timer_at",
    )

    def __init__(self, clock: Clock, limit: int, *, patience_seconds: float = _PATIENCE_SECONDS) -> None:
        if limit < 1:
            raise ValueError(f"limit={limit}: a wheel on which nothing can be under way never turns.")
        self._clock = clock
        self._limit = limit
        self._patience = patience_seconds
        self._queue: list[tuple[float, Poll]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._is_open = True
        self._is_turning = False
        self._begun: dict[asyncio.Task[None], tuple[float, Poll]] = {}  # in the order in which they began

    @property
    def under_way(self) -> int:
        """Polls that have begun and not ended."""
        return len(self._begun)

    def put(self, poll: Poll, at: float) -> None:
        """Give ``poll`` its turn at the instant ``at`` (monotonic), or as soon after it as there is a place.

        Whoever is put is on the wheel until ``begin`` is called, once: it can't be taken down, only decline.
        """
        if self._is_open:
            heappush(self._queue, (at, poll))
            now = self._clock.monotonic()
            if at <= now + _EARLY_SECONDS:
                self._turn()
            else:
                self._set_timer(now)  # those that are due have theirs: a bunch is begun by it alone

    def close(self) -> None:
        """Nothing begins any more; what is under way is its owner's to end."""
        self._is_open = False
        self._queue.clear()
        self._turn()

    def _turn(self) -> None:
        if self._is_turning:
            return  # who begins may make room for others: they are seen when it has begun, and counts
        self._is_turning = True
        now = self._clock.monotonic()
        try:
            while self._queue and len(self._begun) < self._limit and self._queue[0][0] <= now + _EARLY_SECONDS:
                poll = heappop(self._queue)[1]
                task = poll.begin()
                if task is not None:
                    self._begun[task] = (now + self._patience, poll)
                    task.add_done_callback(self._ended)
        finally:
            self._is_turning = False
        self._set_timer(now)

    def _ended(self, task: asyncio.Task[None]) -> None:
        was_full = len(self._begun) >= self._limit
        del self._begun[task]
        if was_full:
            self._turn()

    def _set_timer(self, now: float) -> None:
        """Wake for the next that is due, and for what takes too long; who waits for a place is woken by an end."""
        at = math.inf
        if self._queue and len(self._begun) < self._limit:
            at = self._queue[0][0] + (_BUNCH_SECONDS if len(self._queue) > _MANY else 0.0)
        if self._begun:
            at = min(at, next(iter(self._begun.values()))[0])
        if self._timer is not None:
            if self._timer_at <= at < math.inf:
                return  # it wakes early enough, and sets the next one
            self._timer.cancel()
            self._timer = None
        if at < math.inf:
            self._timer_at = at
            self._timer = self._clock.call_later(at - now, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._give_up_late()
        self._turn()

    def _give_up_late(self) -> None:
        late_since = self._clock.monotonic() + _EARLY_SECONDS
        # One that is done has been told of by nobody yet: its poll may be at its next turn already.
        late = [task for task, (until, _) in self._begun.items() if until <= late_since and not task.done()]
        for task in late:
            _, poll = self._begun[task]
            self._begun[task] = (late_since + 1.0, poll)  # told again each second, should it not listen
            poll.give_up()
