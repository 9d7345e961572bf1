"""How many requests to the lease table may be under way: one bound for all of a worker's, and renewals come first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["Places"]


class Places:
    """Room for ``most`` requests, of which ``kept`` are for renewals alone; ``taken`` are under way.

    Lives on the lease loop.
    A request's time-out runs while it waits for a connection: it must wait here instead, where no time runs.
    """

    def __init__(self, most: int, kept: int) -> None:
        self._most = most
        self._for_others = most - kept
        self.taken = 0
        self._waiting: list[Callable[[], bool]] = []
        self._tell_renewals: Callable[[], None] | None = None

    def take_for_renewals(self, tell: Callable[[], None]) -> bool:
        """Whether there was a place, which is the caller's now; if not, ``tell`` is called once there is one."""
        if self.taken >= self._most:
            self._tell_renewals = tell
            return False
        self.taken += 1
        return True

    def when_free(self, begin: Callable[[], bool], *, first: bool = False) -> None:
        """Have ``begin`` called with a place of its own, now or later; it answers whether it keeps the place.

        In the order in which they came, but for one that is to be ``first``.
        """
        self._waiting.insert(0 if first else len(self._waiting), begin)
        self._go_on()

    async def take(self) -> None:
        """Wait for a place."""
        mine = asyncio.get_running_loop().create_future()

        def begin() -> bool:
            if not mine.done():
                mine.set_result(None)
                return True
            return False

        self.when_free(begin)
        try:
            await mine
        except asyncio.CancelledError:
            if not mine.cancelled():
                self.give_back()  # it became mine in the same moment
            raise

    def give_back(self) -> None:
        """A place is free for whoever waits."""
        self.taken -= 1
        if self._tell_renewals is not None:
            self._tell_renewals()
            self._tell_renewals = None
        self._go_on()

    def _go_on(self) -> None:
        while self._waiting and self.taken < self._for_others:
            self.taken += 1
            if not self._waiting.pop(0)():
                self.taken -= 1
