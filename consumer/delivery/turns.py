"""What a lane tries: pieces of the batch in hand, and turns."""

from __future__ import annotations

from dataclasses import dataclass, field

from consumer.delivery.attempts import Attempts
from consumer.delivery.batching import Run
from consumer.delivery.breaker import Unit
from consumer.delivery.parking import ParkedKey

__all__ = ["Piece", "Turn"]


@dataclass(eq=False, slots=True)
class Piece:
    """Records that are tried at once. ``is_apart``: a part of a batch of which nobody knows what failed."""

    run: Run
    attempts: Attempts = field(default_factory=Attempts)
    is_apart: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """What is to be tried now: a piece of the batch in hand, or the first record of a parked key."""

    run: Run
    attempts: Attempts
    unit: Unit
    parked: ParkedKey | None = None
    is_apart: bool = True
