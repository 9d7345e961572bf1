"""One poison record in a thousand, policy by policy: what is done, repeated, given up, and how long other keys wait.

A whole worker reads a Kinesis shard in memory, in virtual time: each call takes 50 ms, and pauses are drawn as ever.
Other keys wait while nothing of theirs is written in a lane that has some of them: the longest such time, less the call
that writes them, is what the poison costs them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil, log2
from types import MappingProxyType
from typing import Any, Final

from consumer.delivery.lanes import lanes_of
from consumer.hooks import RecordsGivenUp
from tests.unit.delivery.whole_worker import Sink, World, play

__all__ = ["POLICIES", "Outcome", "Policy", "measure", "table", "tried"]

RECORDS: Final = 1000
KEYS: Final = 100
POISON: Final = 550
CALL_SECONDS: Final = 0.05
ATTEMPTS: Final = 5
_BATCH: Final = 100
_HALVINGS: Final = ceil(log2(_BATCH))
_NEVER_SECONDS: Final = 600.0
_RETRIES_SECONDS: Final = 0.5 + 1 + 2 + 4  # the ceilings of the pauses between five attempts
_AGE_SECONDS: Final = 60.0
_AGE_PAUSE_SECONDS: Final = 64.0  # the ceiling of the pause that the age may pass in


@dataclass(frozen=True, slots=True)
class Policy:
    """A line of the table. ``how`` is what the processor says of the poison (``whole_worker.Sink``).

    ``most_repeats`` and ``most_wait_seconds`` are bounds; ``repeats`` and ``wait`` name them. ``ends``: whether the
    policy comes to its end; then ``letters`` and ``dropped`` are all that is not written.
    """

    name: str
    how: str
    most_repeats: int
    repeats: str
    most_wait_seconds: float
    wait: str
    settings: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    with_store: bool = True
    letters: int = 1
    dropped: int = 0
    ends: bool = True


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a thousand records under one policy."""

    ended: bool
    distinct: int
    repeats: int
    letters: tuple[int, ...]
    dropped: int
    calls: int
    wait_seconds: float | None


# A batch of several is taken apart once: each halving tries a record of it once more.
_APART: Final = _BATCH * _HALVINGS
_BACK_OFF: Final = "the whole back-off, and taking it apart"
_BACK_OFF_SECONDS: Final = _RETRIES_SECONDS + (ATTEMPTS + 2 * _HALVINGS) * CALL_SECONDS
_BISECT_SECONDS: Final = (2 * _HALVINGS + ATTEMPTS) * CALL_SECONDS


def _plain(name: str, **settings: Any) -> Policy:
    return Policy(
        name,
        "raise",
        ATTEMPTS * _BATCH + _APART,
        "n x (attempts + log2 n)",
        _BACK_OFF_SECONDS,
        _BACK_OFF,
        MappingProxyType(settings),
    )


def _bisected(name: str, **settings: Any) -> Policy:
    settings = {"bisect": True, **settings}
    told = ("n log2 n", _BISECT_SECONDS, "the calls of the halvings", MappingProxyType(settings))
    return Policy(name, "raise", _APART, *told)


def _by_record(name: str, how: str, **settings: Any) -> Policy:
    follow = 0 if settings.get("batch_size") == 1 else RECORDS // KEYS
    repeats = "what follows it under its key in the batch" if follow else "none"
    wait = CALL_SECONDS if follow else 2 * CALL_SECONDS  # a record of its own key has a call of its own, too
    return Policy(name, how, follow, repeats, wait, "one retry", MappingProxyType(settings))


POLICIES: Final = (
    Policy(
        "plain retry, no store",
        "raise",
        10**9,
        "without end",
        0.0,
        "for ever: nothing behind it is done",
        with_store=False,
        letters=0,
        ends=False,
    ),
    _plain("plain retry"),
    _bisected("bisect"),
    _by_record("BatchFailures", "names"),
    _by_record("record.fail", "fails"),
    Policy(
        "batch_size=1",
        "raise",
        0,
        "none",
        _RETRIES_SECONDS + ATTEMPTS * CALL_SECONDS,
        "the whole back-off",
        MappingProxyType({"batch_size": 1}),
    ),
    _plain("plain retry, lanes=16", lanes=16),
    _bisected("bisect, lanes=16", lanes=16),
    _by_record("BatchFailures, lanes=16", "names", lanes=16),
    _by_record("record.fail, lanes=16", "fails", lanes=16),
    _by_record("batch_size=1, lanes=16", "raise", lanes=16, batch_size=1),
    _by_record(
        "record.fail, max_record_age_seconds=60", "fails", max_record_age_seconds=_AGE_SECONDS, max_attempts=10_000
    ),
    Policy(
        "plain retry, max_record_age_seconds=60",
        "raise",
        20 * _BATCH + _APART,
        "n x (attempts in the age + log2 n)",
        _AGE_SECONDS + _AGE_PAUSE_SECONDS + _BACK_OFF_SECONDS,
        "the age, one pause, and taking it apart",
        MappingProxyType({"max_record_age_seconds": _AGE_SECONDS, "max_attempts": 10_000}),
    ),
    Policy(
        "plain retry, on_give_up=drop",
        "raise",
        ATTEMPTS * _BATCH + _APART,
        "n x (attempts + log2 n)",
        _BACK_OFF_SECONDS,
        _BACK_OFF,
        MappingProxyType({"on_give_up": "drop", "max_attempts": ATTEMPTS}),
        with_store=False,
        letters=0,
        dropped=1,
    ),
    Policy(
        "record.fail, max_parked_keys=0",
        "fails",
        RECORDS // KEYS,
        "what follows it under its key in the batch",
        _BACK_OFF_SECONDS,
        "the whole back-off: its shard waits",
        MappingProxyType({"max_parked_keys": 0}),
    ),
)
"""Every policy, with batches of 100 where nothing else is said, and a store for dead letters (5 attempts)."""


def tried(policy: Policy, bad: frozenset[int] = frozenset({POISON})) -> Outcome:
    """Run ``policy`` over the thousand records, of which ``bad`` fail."""
    sink = Sink(bad, how=policy.how, seconds=CALL_SECONDS)
    world, ended = play(_filled(policy, sink), _NEVER_SECONDS)
    distinct = {number for number, _ in sink.writes}
    return Outcome(
        ended=ended,
        distinct=len(distinct),
        repeats=len(sink.writes) - len(distinct),
        letters=tuple(world.dead),
        dropped=sum(fact.count for fact in world.of(RecordsGivenUp) if fact.fate == "dropped"),
        calls=len(sink.calls),
        wait_seconds=_longest_wait(sink, policy.settings.get("lanes", 1)) if ended else None,
    )


def measure() -> dict[str, Any]:
    """All policies, for the tables of the page."""
    rows = []
    with _quiet():
        for policy in POLICIES:
            found = tried(policy)
            rows.append(
                {
                    "policy": policy.name,
                    "settings": dict(policy.settings),
                    "ended": found.ended,
                    "distinct_effects": found.distinct,
                    "repeats": found.repeats,
                    "repeats_bound": policy.repeats,
                    "most_repeats": policy.most_repeats if found.ended else None,
                    "dead_letters": len(found.letters),
                    "dropped": found.dropped,
                    "calls": found.calls,
                    "longest_wait_seconds": None if found.wait_seconds is None else round(found.wait_seconds, 2),
                    "wait_bound": policy.wait,
                }
            )
    return {"figures": {"records": RECORDS, "keys": KEYS, "batch_size": _BATCH, "policies": rows}, "goals": []}


def table(stored: Mapping[str, Any]) -> str:
    """A line a policy, of what ``measure`` found."""
    figures = stored["figures"]
    lines = [
        (
            f"**One poison record in {figures['records']:,}**, {figures['keys']} keys, in virtual time. "
            f"`{stored['command']}`, commit {stored['commit']}."
        ),
        "",
        "| policy | distinct effects | repeats | their bound | dead letters | longest wait of another key | which is |",
        "|---|---:|---:|---|---:|---:|---|",
    ]
    for row in figures["policies"]:
        wait = "-" if row["longest_wait_seconds"] is None else f"{row['longest_wait_seconds']:.2f} s"
        bound = row["repeats_bound"] + (f" = {row['most_repeats']:,}" if row["most_repeats"] else "")
        gone = f"{row['dead_letters']}" + (f" ({row['dropped']} dropped)" if row["dropped"] else "")
        repeats = f"{row['repeats']:,}" + ("" if row["ended"] else " in 10 min")
        cells = (row["policy"], row["distinct_effects"], repeats, bound, gone, wait, row["wait_bound"])
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def _filled(policy: Policy, sink: Sink) -> Callable[[], World]:
    def make() -> World:
        world = World(sink, with_store=policy.with_store, **{"batch_size": _BATCH, **policy.settings})
        for number in range(RECORDS):
            world.put(_key(number))
        return world

    return make


def _longest_wait(sink: Sink, lanes: int) -> float:
    """The longest time in which a lane wrote nothing of its other keys while some of them were left."""
    first: dict[int, float] = {}
    for number, at in sink.writes:
        first.setdefault(number, at)
    begun = min(call.began_at for call in sink.calls)
    times: dict[int, list[float]] = {}
    for number, at in first.items():
        if (number - POISON) % KEYS:
            times.setdefault(lanes_of((_key(number),), lanes)[0], [begun]).append(at)
    gaps = [later - earlier for lane in times.values() for earlier, later in pairwise(sorted(lane))]
    return max(gaps) - CALL_SECONDS


def _key(number: int) -> str:
    return f"key-{number % KEYS}"


@contextmanager
def _quiet() -> Iterator[None]:
    """What the worker tells of failures is no progress of a measure."""
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
