"""One read for all who ask for the same row at once: a worker that leaves asks for its heirs' rows for each lease."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from consumer.clock import Clock
from lease_store.errors import LeaseStoreError

__all__ = ["SharedReads"]

RowT = TypeVar("RowT")


@dataclass(slots=True)
class _Reading(Generic[RowT]):
    """What was read of one row last, and when that was begun; kept for those who wait, and no longer."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    asking: int = 0
    began_at: float = -math.inf
    outcome: RowT | LeaseStoreError | None = None


class SharedReads(Generic[RowT]):
    """Reads by ``read``, each shared by all who asked for that row before it was begun. Lives on the lease loop."""

    def __init__(self, read: Callable[[str], Awaitable[RowT | None]], clock: Clock) -> None:
        self._read = read
        self._clock = clock
        self._readings: dict[str, _Reading[RowT]] = {}

    async def take(self, name: str) -> RowT | None:
        """What a read shows that begins now or later. Raises LeaseStoreError, to each who shares it."""
        asked_at = self._clock.monotonic()
        reading = self._readings.setdefault(name, _Reading())
        reading.asking += 1
        try:
            async with reading.lock:
                if reading.began_at < asked_at:
                    began_at = self._clock.monotonic()
                    try:
                        reading.outcome = await self._read(name)
                    except LeaseStoreError as error:
                        reading.outcome = error
                    reading.began_at = began_at
                outcome = reading.outcome
        finally:
            reading.asking -= 1
            if not reading.asking:
                del self._readings[name]
        if isinstance(outcome, LeaseStoreError):
            raise outcome
        return outcome
