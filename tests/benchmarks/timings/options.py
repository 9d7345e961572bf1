"""What the command line may change about all measures."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Options"]


@dataclass(frozen=True, slots=True)
class Options:
    """``rounds`` multiplies nothing: it is how often a measure that has rounds is repeated."""

    rounds: int = 3
    sleep_seconds: float = 20.0
    idle_seconds: float = 40.0
    wave_ends: int = 1000
