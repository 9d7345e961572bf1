"""How fast a worker may call user code: records and bytes a second, over all of its shards."""

from __future__ import annotations

import asyncio
from typing import Final, Self

from consumer.clock import Clock
from consumer.delivery_settings import DeliverySettings

__all__ = ["Pace"]

# What saves itself up while nothing is delivered, in seconds' worth: a burst is no faster than a second's mean.
_SAVED_SECONDS: Final = 1.0
# A pause shorter than this may be none at all to a clock, and would be waited for again and again.
_LEAST_PAUSE_SECONDS: Final = 0.001


class Pace:
    """A token bucket by weight: within any time at most what that time allows, and a second's worth beyond it.

    A batch that is more than a second's worth goes once all that can be saved up is there, and is paid for afterwards.
    Turns are taken in the order in which they were asked for, whichever shard asks. For one event loop.
    """

    def __init__(self, clock: Clock, *, records_per_second: float | None, bytes_per_second: float | None) -> None:
        self._clock = clock
        now = clock.monotonic()
        self._records = None if records_per_second is None else _Bucket(records_per_second, now)
        self._bytes = None if bytes_per_second is None else _Bucket(bytes_per_second, now)
        self._first = asyncio.Lock()
        """Held by whoever asked first of those that wait."""

    @classmethod
    def of(cls, settings: DeliverySettings, clock: Clock) -> Self | None:
        """What the settings ask for; None where they set no pace, so that nobody need ask."""
        records, size = settings.max_records_per_second, settings.max_bytes_per_second
        if records is None and size is None:
            return None
        return cls(clock, records_per_second=records, bytes_per_second=size)

    async def turn(self, records: int, size_bytes: int) -> None:
        """Return when a batch of so much may be delivered; it counts from then on, and not where this is cancelled."""
        async with self._first:
            while (pause_seconds := self._pause_seconds(records, size_bytes)) > 0:
                await self._clock.sleep(max(pause_seconds, _LEAST_PAUSE_SECONDS))
            if self._records is not None:
                self._records.spend(records)
            if self._bytes is not None:
                self._bytes.spend(size_bytes)

    def _pause_seconds(self, records: int, size_bytes: int) -> float:
        now = self._clock.monotonic()
        return max(
            0.0 if self._records is None else self._records.pause_seconds(records, now),
            0.0 if self._bytes is None else self._bytes.pause_seconds(size_bytes, now),
        )


class _Bucket:
    """What may be spent now: saved up at ``per_second``, to a second's worth at most; below zero is debt."""

    __slots__ = ("_at", "_most", "_per_second", "_saved")

    def __init__(self, per_second: float, now: float) -> None:
        self._per_second = per_second
        self._most = self._saved = per_second * _SAVED_SECONDS
        self._at = now

    def pause_seconds(self, weight: float, now: float) -> float:
        """Until ``weight`` may be spent, or all that can be saved up is there."""
        self._saved = min(self._most, self._saved + (now - self._at) * self._per_second)
        self._at = now
        return (min(weight, self._most) - self._saved) / self._per_second

    def spend(self, weight: float) -> None:
        """To be called where ``pause_seconds`` has just said that nothing is left to wait for."""
        self._saved -= weight
