"""Keys whose first record failed: it, and what follows it under the same key, wait while other keys go on."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from consumer.delivery.attempts import Attempts
from consumer.delivery.batching import Run
from consumer.record import Record

__all__ = ["ParkedKey", "ParkingBounds", "ParkingLot", "Room"]

_ITEM_BYTES: Final = 1024  # what a record holds besides its images, about


@dataclass(eq=False, slots=True)
class ParkedKey:
    """One key: its records in order, of which the first is tried alone until it is done or given up.

    ``is_leaving``: it is being given up, and not tried any more. ``since`` is monotonic.
    """

    key: str
    attempts: Attempts
    since: float
    is_leaving: bool = False
    items: deque[tuple[int, Record]] = field(default_factory=deque)
    size_bytes: int = 0

    def first(self) -> Run:
        """The record to be tried."""
        index, record = self.items[0]
        return Run((record,), (index,), None, self.since)

    def rest(self) -> Run | None:
        """What follows the first, None where nothing does."""
        followers = list(self.items)[1:]
        if not followers:
            return None
        return Run([record for _, record in followers], [index for index, _ in followers], None, self.since)


@dataclass(frozen=True, slots=True)
class ParkingBounds:
    """How much of one shard may wait parked, and how far the head may run ahead, since a takeover repeats all of it."""

    keys: int
    size_bytes: int
    ahead_records: int
    ahead_seconds: float


class Room(Enum):
    """How many of the records that are not parked may go on."""

    NONE = "none"
    SAMPLE = "one for each parked record that is tried: whose fault it is that those fail, only others can tell"
    PLENTY = "all"


class ParkingLot:
    """The parked keys of one shard, of all its lanes."""

    __slots__ = ("_size_bytes", "bounds", "keys")

    def __init__(self, bounds: ParkingBounds) -> None:
        self.bounds = bounds
        self.keys: dict[str, ParkedKey] = {}
        self._size_bytes = 0

    def __len__(self) -> int:
        return len(self.keys)

    def room(self, now: float) -> Room:
        """For others while some wait, of the records that were taken; how many more are is for ``ahead_records``.

        Past a bound others are samples, until what waits holds twice the bytes that it was to hold.
        """
        bounds = self.bounds
        is_full = len(self.keys) > bounds.keys or self._size_bytes > bounds.size_bytes
        if not is_full and now - self.oldest_since() < bounds.ahead_seconds:
            return Room.PLENTY
        return Room.NONE if self._size_bytes > 2 * bounds.size_bytes else Room.SAMPLE

    def first_records(self) -> list[Record]:
        """Of each key, the record that it waits for."""
        return [parked.items[0][1] for parked in self.keys.values()]

    def oldest_since(self) -> float:
        """When the key that waits longest was parked (monotonic); there is one."""
        return next(iter(self.keys.values())).since  # keys keep the order in which they were parked

    def park(self, key: str, attempts: Attempts, now: float) -> ParkedKey:
        """A place for ``key``, which has none."""
        parked = self.keys[key] = ParkedKey(key, attempts, now)
        return parked

    def add(self, parked: ParkedKey, index: int, record: Record) -> None:
        """A record more of a parked key; it must not hold on to its page."""
        size = record.size_bytes + _ITEM_BYTES
        parked.items.append((index, record))
        parked.size_bytes += size
        self._size_bytes += size

    def leave(self, parked: ParkedKey) -> None:
        """The key goes on."""
        del self.keys[parked.key]
        self._size_bytes -= parked.size_bytes
