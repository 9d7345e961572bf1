"""What the judges of the fleet's world know of a record, and of one worker's tenure of a shard."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

__all__ = ["CLOCKS_DRIFT", "CLOCKS_SECONDS", "Place", "Tenure", "Written"]

Place = tuple[str, str]
"""Incarnation (a row's ``stream``) and shard id."""

CLOCKS_SECONDS: Final = 5.0
"""By which workers' clocks and the service's differ at first."""
CLOCKS_DRIFT: Final = 0.006
"""And by how much a second then."""


@dataclass(eq=False, slots=True)
class Tenure:
    """One worker's tenure of a shard; a stored checkpoint covered ``done_before`` of its records when it began.

    ``tries`` counts calls that failed with a record among them, ``blamed`` those in which it was named or alone, of
    which ``failing`` has the records; ``pauses`` those that asked for one, ``not_before`` until when (virtual time).
    ``kinds``: what was last raised over a record. ``first_failed`` is virtual time. ``given``: user code was called
    with them.
    """

    place: Place
    done_before: int
    tries: Counter[int] = field(default_factory=Counter)
    blamed: Counter[int] = field(default_factory=Counter)
    pauses: Counter[int] = field(default_factory=Counter)
    kinds: dict[int, type[BaseException]] = field(default_factory=dict)
    first_failed: dict[int, float] = field(default_factory=dict)
    failing: dict[int, Written] = field(default_factory=dict)
    not_before: dict[int, float] = field(default_factory=dict)
    given: set[int] = field(default_factory=set)


@dataclass(slots=True)
class Written:
    """One record as the writer knows it. ``is_done``: user code is through with it, as it told its checkpointer.

    ``returned_in``: the tenure in which ``process_records`` last returned for it. ``has_letter``: the store for dead
    letters has acknowledged it. ``is_redriven``: somebody has run, or dropped, its letter.
    """

    serial: int
    key: str
    place: Place
    sequence: int
    arrived_at: float
    delivered: int = 0
    is_done: bool = False
    returned_in: Tenure | None = None
    has_letter: bool = False
    is_redriven: bool = False
