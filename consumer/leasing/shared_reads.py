"""One read for all who ask for the same row at once: a worker that leaves asks for its heirs' rows for each lease."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from consumer.clock import Clock
from lease_store.errors import LeaseStoreError

__all__ = ["SharedReads"]

RowT = TypeVar("RowT")


@dataclass(slots=True)
class _Reading(Generic[RowT]):
    """One read under way; ``is_told`` once it has ended with ``row`` or ``error``, and was not cancelled."""

    began_at: float
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    is_told: bool = False
    row: RowT | None = None
    error: LeaseStoreError | None = None

    def told(self) -> RowT | None:
        if self.error is not None:
            raise self.error
        return self.row


class SharedReads(Generic[RowT]):
    """Reads by ``read``, each shared by all who asked for that row before it was begun. Lives on the lease loop."""

    def __init__(self, read: Callable[[str], Awaitable[RowT | None]], clock: Clock) -> None:
        self._read = read
        self._clock = clock
        self._readings: dict[str, _Reading[RowT]] = {}

    async def take(self, name: str) -> RowT | None:
        """What a read shows that begins now or later. Raises LeaseStoreError, to each who shares it."""
        asked_at = self._clock.monotonic()
        while (reading := self._readings.get(name)) is not None:
            await reading.ended.wait()
            if reading.is_told and reading.began_at >= asked_at:
                return reading.told()
        reading = self._readings[name] = _Reading(self._clock.monotonic())
        try:
            reading.row = await self._read(name)
            reading.is_told = True
        except LeaseStoreError as error:
            reading.error, reading.is_told = error, True
        finally:
            del self._readings[name]
            reading.ended.set()
        return reading.told()
