"""Large replies are decoded one after another, with time in between for what is done with their records.

A page that is processed before the next one is made is still in the caches of its core when user code reads it and when
it is freed. Made all at once, dozens of replies that lie ready together push one another out: a tenth to a fifth of all
CPU time went into waiting for memory (``tests/benchmarks``).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from consumer.clock import Clock

__all__ = ["DecodeLine"]

PageT = TypeVar("PageT")

# Turns of the loop from a page to the end of its user code: its reader goes on, its consumer begins, a thread is given
# the batch and answers. Twice as many bring nothing more (tests/benchmarks/README.md).
_TURNS_BETWEEN: Final = 4
# Those turns are a millisecond or two where nothing else wants the processor. Where user code computes, in threads or
# on the loop, they are as long as it takes: who waits for them would get the less of it, the busier it is.
_LONG_SECONDS: Final = 0.01
# What is smaller costs less than a turn, and a reply without records is most of what an idle worker reads.
_LARGE_BYTES: Final = 64 * 1024


@dataclass(slots=True)
class _Waiting:
    body: bytes | memoryview
    decode: Callable[[bytes | memoryview], Any]
    page: asyncio.Future[Any]


class DecodeLine:
    """The large replies of one event loop, in the order in which they came. Nobody waits who comes alone.

    On a loop that is slow to turn nobody waits for more than some turns: all that are there are decoded then.
    """

    __slots__ = ("_clock", "_is_moving", "_line", "_moved_at")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._line: deque[_Waiting] = deque()
        self._is_moving = False
        self._moved_at = 0.0

    async def decoded(self, body: bytes | memoryview, decode: Callable[[bytes | memoryview], PageT]) -> PageT:
        """What ``decode`` makes of ``body``, now or once those before it are done. Raises what ``decode`` raises."""
        if len(body) < _LARGE_BYTES:
            return decode(body)
        if not self._is_moving:
            self._is_moving = True
            self._begin_to_move()
            return decode(body)
        page: asyncio.Future[PageT] = asyncio.get_running_loop().create_future()
        self._line.append(_Waiting(body, decode, page))
        return await page

    def _begin_to_move(self) -> None:
        self._moved_at = self._clock.monotonic()
        self._move_later(_TURNS_BETWEEN)

    def _move_later(self, turns: int) -> None:
        asyncio.get_running_loop().call_soon(self._move, turns - 1)

    def _move(self, turns: int) -> None:
        """Decode the next one here and not in its reader's task: a reader that is cancelled must not hold the line."""
        is_slow = self._clock.monotonic() - self._moved_at > _LONG_SECONDS
        if turns and not is_slow:
            self._move_later(turns)
            return
        has_moved = False
        while self._line and (is_slow or not has_moved):
            waiting = self._line.popleft()
            if not waiting.page.done():  # or it was cancelled
                _decode(waiting)
                has_moved = True
        self._is_moving = has_moved
        if has_moved:
            self._begin_to_move()


def _decode(waiting: _Waiting) -> None:
    try:
        page = waiting.decode(waiting.body)
    except Exception as error:
        waiting.page.set_exception(error)
    else:
        waiting.page.set_result(page)
