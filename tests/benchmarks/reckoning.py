"""From turns to figures: pure functions. What a disturbance adds to a turn, it adds to its CPU seconds, never takes."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["LEAST_IDLE_SHARE", "Turn", "figures_of", "lower_quartile", "ratios_to"]

LEAST_IDLE_SHARE: Final = 0.15


@dataclass(frozen=True, slots=True)
class Turn:
    """One contender's window, from the edge of a page to the edge of another.

    ``server_idle_share`` is how much of it the canned server had nothing to do: 1 minus its CPU time and its waiting
    for a CPU. ``lease_writes`` are those that the server's tables saw in it.
    """

    records: int
    cpu_seconds: float
    wall_seconds: float
    server_idle_share: float
    lease_writes: int = 0

    @property
    def is_valid(self) -> bool:
        """Whether records were read, and the server was not what kept the contender waiting."""
        return self.records > 0 and self.server_idle_share >= LEAST_IDLE_SHARE

    @property
    def microseconds(self) -> float:
        """CPU time of a record."""
        return 1e6 * self.cpu_seconds / self.records


def lower_quartile(values: Sequence[float]) -> float:
    """The value that a quarter of them do not exceed, interpolated. Raises ValueError for none."""
    if not values:
        raise ValueError("There is no quartile of nothing.")
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=4, method="inclusive")[0]


def figures_of(turns: Sequence[Turn]) -> dict[str, Any]:
    """One contender's figures over its valid turns; units in the names."""
    costs = [turn.microseconds for turn in turns]
    cost = lower_quartile(costs)
    return {
        "microseconds_a_record": round(cost, 3),
        "records_per_cpu_second": round(1e6 / cost),
        "median_microseconds_a_record": round(statistics.median(costs), 3),
        "worst_microseconds_a_record": round(max(costs), 3),
        "median_records_per_second": round(statistics.median(turn.records / turn.wall_seconds for turn in turns)),
        "least_server_idle_share": round(min(turn.server_idle_share for turn in turns), 2),
        "turns_microseconds_a_record": [round(cost, 2) for cost in costs],
    }


def ratios_to(name: str, figures: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """How many times the records of each other contender ``name`` reads in a CPU second."""
    own = figures[name]["microseconds_a_record"]
    return {other: round(each["microseconds_a_record"] / own, 3) for other, each in figures.items() if other != name}
