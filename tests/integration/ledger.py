"""What was written, what user code was given, by which worker and in which order; and what must be true of it."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from consumer.clock import SystemClock

__all__ = [
    "CLOCK",
    "Ledger",
    "Note",
    "Written",
    "disorder",
    "early_children",
    "lost",
    "records",
    "repeats",
    "repeats_within_tenures",
]

T = TypeVar("T")

CLOCK: Final = SystemClock()
WITHIN_SECONDS: Final = 40.0
_SHOWN: Final = 25

Written = tuple[str, int]
"""A key and the version of its item: versions of a key count from 1 without gaps."""


@dataclass(frozen=True, slots=True)
class Note:
    """What user code of one tenure (its fencing token) was told: ``kind`` is a callback's name, or ``record``.

    ``at`` is by the machine's monotonic clock, which all processes share. ``number``, ``key`` and ``version`` are a
    record's.
    """

    at: float
    worker: str
    kind: str
    shard_id: str
    tenure: int
    number: int = 0
    key: str = ""
    version: int = 0


class Ledger:
    """Collects notes from any thread and wakes whoever waits for them. Made on the loop that waits."""

    def __init__(self) -> None:
        self.notes: list[Note] = []
        self.written: list[Written] = []
        self.delivered: set[Written] = set()
        self._versions: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()

    def next_version(self, key: str) -> int:
        """The version to write for ``key``; it counts as written from now on."""
        self._versions[key] += 1
        self.written.append((key, self._versions[key]))
        return self._versions[key]

    def take(self, *notes: Note) -> None:
        """Add notes, in the order in which they come."""
        with self._lock:
            self.notes += notes
            self.delivered |= {(note.key, note.version) for note in notes if note.kind == "record"}
        self.wake()

    def wake(self) -> None:
        """Let whoever waits look again; legal in any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._changed.set)

    def of(self, *kinds: str, worker: str | None = None) -> list[Note]:
        """The notes of ``kinds``, of one worker or all."""
        with self._lock:
            return [note for note in self.notes if note.kind in kinds and worker in (None, note.worker)]

    async def until(self, reached: Callable[[], T], what: str, within_seconds: float = WITHIN_SECONDS) -> T:
        """The first true value of ``reached``, looked for after every wake. Fails with ``what`` it waited for."""
        try:
            async with CLOCK.timeout(within_seconds):
                while True:
                    self._changed.clear()
                    if value := reached():
                        return value
                    await self._changed.wait()
        except TimeoutError:
            last = "\n".join(str(note) for note in self.notes[-_SHOWN:])
            raise AssertionError(f"Not within {within_seconds:g} s: {what}. The last notes:\n{last}") from None

    async def until_all_delivered(self, within_seconds: float = WITHIN_SECONDS) -> None:
        """Until everything that was written so far has been delivered."""
        wanted = set(self.written)
        try:
            await self.until(lambda: wanted <= self.delivered, f"{len(wanted)} records delivered", within_seconds)
        except AssertionError as error:
            missing = sorted(wanted - self.delivered)
            raise AssertionError(f"{len(missing)} records are missing, {missing[:5]} first. {error}") from None


def records(notes: Iterable[Note]) -> list[Note]:
    """The deliveries among ``notes``, by time."""
    return sorted((note for note in notes if note.kind == "record"), key=lambda note: note.at)


def lost(notes: Iterable[Note], written: Iterable[Written]) -> list[Written]:
    """What nobody was given."""
    return sorted(set(written) - {(note.key, note.version) for note in records(notes)})


def repeats(notes: Iterable[Note]) -> list[Written]:
    """What was delivered more than once, by whomever."""
    counts = Counter((note.key, note.version) for note in records(notes))
    return sorted(each for each, count in counts.items() if count > 1)


def repeats_within_tenures(notes: Iterable[Note]) -> list[str]:
    """Tenures to which records were not given in strictly ascending order, whatever came before and after them."""
    found = []
    last: dict[tuple[str, str, int], int] = {}
    for note in records(notes):
        tenure = (note.worker, note.shard_id, note.tenure)
        if note.number <= last.get(tenure, -1):
            found.append(f"{tenure}: {note.number} after {last[tenure]}")
        last[tenure] = max(note.number, last.get(tenure, -1))
    return found


def disorder(notes: Iterable[Note], *, first: int | None = 1) -> list[str]:
    """Keys whose first deliveries are not consecutive versions from ``first`` on (None: from whatever came first).

    That is at once: no version overtakes another, and a new owner goes on at or below the highest one delivered.
    """
    found = []
    highest: dict[str, int] = {}
    for note in records(notes):
        expected = highest[note.key] + 1 if note.key in highest else (first or note.version)
        if note.version > expected:
            found.append(f"{note.key}: version {note.version} in {note.shard_id} by {note.worker}, not {expected}")
        highest[note.key] = max(note.version, highest.get(note.key, 0))
    return found


def early_children(notes: Iterable[Note], parents: Mapping[str, Sequence[str]]) -> list[str]:
    """Shards of which a record was given before one of their parents' was given for the first time."""
    first: dict[str, float] = {}
    last_new: dict[str, float] = defaultdict(float)
    seen: set[Written] = set()
    for note in records(notes):
        first.setdefault(note.shard_id, note.at)
        if (note.key, note.version) not in seen:
            last_new[note.shard_id] = note.at
        seen.add((note.key, note.version))
    return [
        f"{child} before the end of {parent}"
        for child, above in parents.items()
        for parent in above
        if child in first and first[child] < last_new[parent]
    ]
