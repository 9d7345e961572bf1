"""What every contender does with the records it is handed: note how many there were, and that each came in its place.

The counts lie in a file that the driver maps as well: a slot of eight bytes (little-endian, signed) for each shard,
with the number of records handed over so far. Record ``i`` of a shard carries ``i``; the first batch that is not what
follows turns its slot to ``-1`` minus the count, for good.
"""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Callable, Sequence
from itertools import islice
from operator import lt
from pathlib import Path
from typing import Any, Final

__all__ = [
    "COUNTER",
    "NUMBER_BASE",
    "Slots",
    "from_attribute",
    "from_payload",
    "from_sequence_number",
    "is_next",
    "slot_of",
]

COUNTER: Final = "BENCH_COUNTER"
NUMBER_BASE: Final = 100_000_000_000  # what the attribute ``n`` adds, since DynamoDB's numbers have no leading zeros
_DIGITS: Final = 12


def from_sequence_number(mark: str) -> int:
    """A record's number, of either service."""
    return int(mark[-_DIGITS:])


def from_payload(mark: bytes | str) -> int:
    """A record's number from the beginning of its Kinesis payload."""
    return int(mark[:_DIGITS])


def from_attribute(mark: Any) -> int:
    """A record's number from the attribute ``n`` of its image."""
    return int(mark) - NUMBER_BASE


def is_next(count: int, marks: Sequence[Any], number_of: Callable[[Any], int]) -> bool:
    """Whether these are records ``count``, ``count + 1`` and so on, each once.

    They strictly ascend, and so many lie between the first and the last: whatever is lost, doubled or swapped shows.
    Marks must compare as their numbers do. Only the first and the last are turned into numbers, so that the check
    costs a contender some hundredths of a microsecond a record.
    """
    if number_of(marks[0]) != count or number_of(marks[-1]) - count != len(marks) - 1:
        return False
    return all(map(lt, marks, islice(marks, 1, None)))


def slot_of(shard_id: str) -> int:
    """The shard's place: the digits of its id."""
    return int(shard_id.split("-")[1])


class Slots:
    """The file of counts, shared with the driver."""

    def __init__(self, path: str | Path) -> None:
        with Path(path).open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self._counts = memoryview(self._map).cast("q")

    @classmethod
    def from_environment(cls) -> Slots:
        """The file that the driver named. Raises KeyError outside of a benchmark."""
        return cls(os.environ[COUNTER])

    @classmethod
    def create(cls, path: Path, shards: int) -> Slots:
        """A new file, all counts 0."""
        path.write_bytes(bytes(8 * shards))
        return cls(path)

    def hand_over(self, slot: int, marks: Sequence[Any], number_of: Callable[[Any], int]) -> None:
        """Count one batch of a shard, if it is the next one."""
        count = self._counts[slot]
        if not marks or count < 0:
            return
        if is_next(count, marks, number_of):
            self._counts[slot] = count + len(marks)
            return
        self._counts[slot] = -1 - count
        found = f"{number_of(marks[0])} to {number_of(marks[-1])}"
        print(f"Slot {slot}: after {count} records came {found}, {len(marks)} of them.", file=sys.stderr, flush=True)

    def total(self) -> int:
        """Records handed over so far."""
        return sum(map(abs, self._counts))

    def unread(self) -> int:
        """How many shards nothing was handed over from."""
        return sum(1 for count in self._counts if not count)

    def wrong(self) -> list[int]:
        """Slots where something was lost, doubled or swapped."""
        return [slot for slot, count in enumerate(self._counts) if count < 0]
