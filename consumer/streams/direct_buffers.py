"""Memory that bodies of replies are received into, used again and again.

A fresh buffer of a megabyte costs its pages' faults, half as much as reading and decoding a page without them. Who
holds a buffer is not asked of anybody but Python: while anything looks into a bytearray, a view or a part of a decoded
record, it can't change its size, and is left alone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from consumer.clock import Clock

__all__ = ["Buffers"]

# Bodies read ahead wait in their buffers; beyond this much, buffers are used once.
_KNOWN_BYTES: Final = 128 * 1024 * 1024
_KNOWN_BUFFERS: Final = 4096
_KEPT_SECONDS: Final = 5.0
# Thousands of small pages may be held at a time, and a look at each would cost more than a new buffer.
_LOOKS: Final = 16


class Buffers:
    """Buffers for one event loop. One that nobody has needed for some seconds is given back to the system."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: deque[bytearray] = deque(maxlen=_KNOWN_BUFFERS)
        self._bytes = 0
        self._used: set[int] = set()
        self._tidying: asyncio.TimerHandle | None = None

    def take(self, size: int) -> memoryview:
        """A view of ``size`` bytes, with anything in them.

        Nobody else gets them for as long as the view is there, or anything that was made from it without a copy.
        """
        # The one used last comes first, it is warm; after it the one that was looked at longest ago.
        for _ in range(min(len(self._known), _LOOKS)):
            buffer = self._known[0]
            # A small page must not hold a large buffer for as long as its records live.
            if size <= len(buffer) <= 2 * size and _is_free(buffer):
                break
            self._known.rotate(-1)
        else:
            buffer = self._new(size)
        self._used.add(id(buffer))
        return memoryview(buffer)[:size]

    def close(self) -> None:
        """Forget them all."""
        self._known.clear()
        self._bytes = 0
        if self._tidying is not None:
            self._tidying.cancel()
            self._tidying = None

    def _new(self, size: int) -> bytearray:
        step = 1 << max(12, size.bit_length() - 3)  # eighths to quarters, so that pages of a kind fit one another's
        buffer = bytearray(-(-size // step) * step)
        if self._bytes + len(buffer) <= _KNOWN_BYTES and len(self._known) < _KNOWN_BUFFERS:
            self._known.appendleft(buffer)
            self._bytes += len(buffer)
            if self._tidying is None:
                self._tidying = self._clock.call_later(_KEPT_SECONDS, self._tidy)
        return buffer

    def _tidy(self) -> None:
        kept = [buffer for buffer in self._known if id(buffer) in self._used or not _is_free(buffer)]
        self._known.clear()
        self._known.extend(kept)
        self._bytes = sum(map(len, self._known))
        self._used.clear()
        self._tidying = self._clock.call_later(_KEPT_SECONDS, self._tidy) if self._known else None


def _is_free(buffer: bytearray) -> bool:
    try:
        last = buffer.pop()
    except BufferError:
        return False
    buffer.append(last)
    return True
