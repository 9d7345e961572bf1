"""How many bytes the pages read ahead may hold in the whole worker."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

__all__ = ["ByteBudget", "Grant"]


class Grant:
    """Bytes asked of a budget: reserved at once or in turn, settled to what was needed, given back when done with."""

    __slots__ = ("_budget", "_wake", "granted", "size_bytes")

    def __init__(self, budget: ByteBudget, size_bytes: int, wake: Callable[[], None]) -> None:
        self._budget = budget
        self._wake = wake
        self.size_bytes = size_bytes
        self.granted = False

    def settle(self, size_bytes: int) -> None:
        """The page came and has this size; it may exceed what was reserved, by one page at most."""
        self._budget._change(size_bytes - self.size_bytes)
        self.size_bytes = size_bytes

    def give_back(self) -> None:
        """The page is processed, was never read, or the bytes are not wanted any more; a second call does nothing."""
        self._budget._give_back(self)

    def _grant(self) -> None:
        self.granted = True
        self._wake()


class ByteBudget:
    """Reservations against one limit, granted in the order they were asked for; lives on one loop.

    The queue holds at most one request a shard. A request above the whole limit is never granted: its shard makes do
    with the one page that every shard may hold. Being what all readers of a worker share, it also knows whether any of
    them ``was_answered``.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.was_answered = False
        self._limit = limit_bytes
        self._used = 0
        self._is_serving = False
        self._queue: deque[Grant] = deque()

    @property
    def used_bytes(self) -> int:
        """Bytes reserved or held now."""
        return self._used

    def ask(self, size_bytes: int, wake: Callable[[], None]) -> Grant:
        """Ask for ``size_bytes``; look at ``granted`` now, and again after ``wake``, which is never called at once."""
        grant = Grant(self, size_bytes, wake)
        if not self._queue and self._used + size_bytes <= self._limit:
            self._used += size_bytes
            grant.granted = True
        elif size_bytes <= self._limit:
            self._queue.append(grant)
        return grant

    def _change(self, by_bytes: int) -> None:
        self._used += by_bytes
        if by_bytes < 0:
            self._serve()

    def _give_back(self, grant: Grant) -> None:
        if grant.granted:
            grant.granted = False
            self._change(-grant.size_bytes)
        elif grant in self._queue:
            self._queue.remove(grant)
            self._serve()

    def _serve(self) -> None:
        if self._is_serving:
            return  # who is woken may give back at once: that is seen here, and not once more below it
        self._is_serving = True
        try:
            while self._queue and self._used + self._queue[0].size_bytes <= self._limit:
                grant = self._queue.popleft()
                self._used += grant.size_bytes
                grant._grant()
        finally:
            self._is_serving = False
