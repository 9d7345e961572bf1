"""Whose turn it is to write a lease's row: one write at a time, in the order in which they came."""

from __future__ import annotations

import asyncio

__all__ = ["Turn"]


class Turn:
    """A lock that can be taken without waiting, or not at all, which asyncio's can't; and small, one a lease."""

    __slots__ = ("_is_taken", "_waiting")

    def __init__(self) -> None:
        self._is_taken = False
        self._waiting: list[asyncio.Future[None]] | None = None

    @property
    def is_free(self) -> bool:
        return not self._is_taken

    def take_if_free(self) -> bool:
        """Whether the turn was free, and is the caller's now."""
        was_free, self._is_taken = not self._is_taken, True
        return was_free

    async def take(self) -> None:
        """Wait for the turn."""
        if self.take_if_free():
            return
        if self._waiting is None:
            self._waiting = []
        mine = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():
                self.give_back()  # it was mine in the same moment
            raise

    def give_back(self) -> None:
        """The turn goes to who has waited longest, without being free in between."""
        while self._waiting:
            following = self._waiting.pop(0)
            if not following.done():
                following.set_result(None)
                return
        self._waiting = None
        self._is_taken = False
