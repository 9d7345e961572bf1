"""What a call that failed leads to: pure decisions over what was tried, and what it came to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from consumer.delivery.reading import Busy, SomeFailed, UnknownFailed
from consumer.delivery.turns import Turn
from consumer.failures import Failure
from consumer.record import Record

__all__ = ["Split", "Step", "is_searched", "next_step", "split", "told"]

Failing = SomeFailed | UnknownFailed | Busy


class Step(Enum):
    """What becomes of records of which none is done."""

    AGAIN = "the same call is made again"
    HALVE = "they are tried in two halves"
    PARK = "the key waits, others go on"


@dataclass(frozen=True, slots=True)
class Split:
    """A batch of which some failed, by position: what is done, and what waits, under which key."""

    done: Sequence[int]
    held: Mapping[str, Sequence[int]]


def is_searched(turn: Turn, reading: Failing, *, bisects: bool) -> bool:
    """Whether the call was one of a search for the record whose failure it is: that of a batch counts for nobody."""
    return isinstance(reading, UnknownFailed) and len(turn.run) > 1 and (bisects or turn.is_apart)


def next_step(turn: Turn, reading: Failing, *, is_search: bool, parks: bool, is_over: bool) -> Step:
    """What follows where nothing of ``turn`` is done, once the failure was counted.

    ``is_search``: see ``is_searched``. ``parks``: who fails alone waits by itself, instead of holding up its lane.
    ``is_over``: attempts or time are used up; nothing is given up for that before it has failed alone.
    """
    is_one = len(turn.run) == 1
    if turn.parked is not None:
        return Step.AGAIN
    if is_search:
        return Step.HALVE
    is_named = isinstance(reading, SomeFailed)
    if is_one and not isinstance(reading, Busy) and (is_named or parks or turn.is_apart):
        return Step.PARK
    if is_over:
        return Step.PARK if is_one else Step.HALVE
    return Step.AGAIN


def split(records: Sequence[Record], failures: Mapping[int, Failure], key_of: Callable[[Record], str]) -> Split:
    """What failed waits, and what follows it under its key; the rest is done."""
    held: dict[str, list[int]] = {}
    done = []
    for at, record in enumerate(records):
        key = key_of(record)
        if key in held or at in failures:
            held.setdefault(key, []).append(at)
        else:
            done.append(at)
    return Split(done, held)


def told(step: Step, turn: Turn, reading: Failing, pause_seconds: float) -> str:
    """The rest of a sentence for whoever reads the log."""
    if step is Step.HALVE:
        return "the batch is taken apart to find the record whose failure it is"
    if step is Step.PARK:
        return "its key is parked, other keys go on"
    if isinstance(reading, Busy):
        return f"it asked for a pause of {reading.seconds:.1f} s, nothing is counted"
    if turn.parked is not None:
        return f"its key stays parked, other keys go on; again in {pause_seconds:.1f} s"
    return f"nothing is skipped, the same call is made again in {pause_seconds:.1f} s"
