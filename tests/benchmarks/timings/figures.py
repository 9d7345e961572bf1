"""From journals to figures: pure functions over what processors noted down."""

from __future__ import annotations

import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Event", "Journal", "Pause", "pauses", "percentile", "repeats", "spread", "verdict"]

_ENOUGH_FOR_P99 = 100


@dataclass(frozen=True, slots=True)
class Event:
    """A line of a worker's journal. ``number`` is a record's, or the fencing token of an ``initialize``."""

    at: float
    kind: str
    shard_id: str
    number: Any
    worker: str


class Journal:
    """A worker's journal, read on from where the last look ended."""

    def __init__(self, path: Path, worker: str) -> None:
        self._path = path
        self._worker = worker
        self._offset = 0
        self._events: list[Event] = []

    def events(self) -> list[Event]:
        """Every whole line so far, in its order; a line that a kill -9 cut off is none."""
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._offset)
                content = file.read()
            whole = content[: content.rfind(b"\n") + 1]
            self._offset += len(whole)
            self._events += [
                Event(at, kind, shard_id, number, self._worker)
                for at, kind, shard_id, number in map(json.loads, whole.splitlines())
            ]
        return self._events


@dataclass(frozen=True, slots=True)
class Pause:
    """A shard between two workers.

    The last record by the old one; when that one's user code was asked to stop (None: it never was); the new one's
    ``initialize``; its first record.
    """

    shard_id: str
    last_at: float
    asked_at: float | None
    initialized_at: float
    first_at: float

    @property
    def seconds(self) -> float:
        return self.first_at - self.last_at


def pauses(events: Iterable[Event], old: str, after: float) -> dict[str, Pause]:
    """For each shard that ``old`` read before ``after`` and another worker later: its last and the other's first."""
    by_shard: dict[str, list[Event]] = defaultdict(list)
    for event in sorted(events, key=lambda each: each.at):
        by_shard[event.shard_id].append(event)
    found = {}
    for shard_id, history in by_shard.items():
        records = [each for each in history if each.kind == "record"]
        before = [each for each in records if each.at <= after]
        others = [each for each in records if each.worker != old and each.at > after]
        if not before or before[-1].worker != old or not others:
            continue
        first = others[0]
        last = max(each.at for each in records if each.worker == old and each.at <= first.at)
        asked = _last(history, "shutdown_requested", old, first.at)
        began = _last(history, "initialize", first.worker, first.at)
        found[shard_id] = Pause(shard_id, last, asked, first.at if began is None else began, first.at)
    return found


def _last(history: Iterable[Event], kind: str, worker: str, until: float) -> float | None:
    times = (each.at for each in history if each.kind == kind and each.worker == worker and each.at <= until)
    return max(times, default=None)


def repeats(events: Iterable[Event]) -> int:
    """How many deliveries were of a record that had been delivered before."""
    return sum(count - 1 for count in Counter(each.number for each in events if each.kind == "record").values())


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` (0 to 1) of ``values`` do not exceed. Raises ValueError for none."""
    if not values:
        raise ValueError("There is no percentile of nothing.")
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def spread(values: Sequence[float], unit: str = "seconds") -> dict[str, float | int | None]:
    """Median and worst of ``values``, and the 99th percentile where there are enough for one; units in the names."""
    found: dict[str, float | int | None] = {"count": len(values), f"median_{unit}": None, f"worst_{unit}": None}
    if values:
        found |= {f"median_{unit}": round(statistics.median(values), 3), f"worst_{unit}": round(max(values), 3)}
    if len(values) >= _ENOUGH_FOR_P99:
        found[f"p99_{unit}"] = round(percentile(values, 0.99), 3)
    return found


def verdict(figures: Mapping[str, Any], goals: Mapping[str, float]) -> dict[str, Any]:
    """``figures`` with each goal and whether it was met: no figure may exceed its goal, or be missing."""
    judged = {
        name: {"goal": goal, "met": figures[name] is not None and figures[name] <= goal} for name, goal in goals.items()
    }
    return {**figures, "goals": judged}
