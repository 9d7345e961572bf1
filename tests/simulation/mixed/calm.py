"""A mixed world in which nothing happens but what a scenario does."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from tests.simulation.leases.draw import CALM_WORK
from tests.simulation.mixed.draw import DEFAULT_TIMES, drawn
from tests.simulation.mixed.world import MixedWorld
from tests.simulation.network import Calm

__all__ = ["Scenario", "played_calmly"]

Scenario = Callable[[MixedWorld], Coroutine[Any, Any, None]]


def played_calmly(scenario: Scenario, seed: int = 1, **changes: Any) -> MixedWorld:
    """The world after a scenario without a violation; ``changes`` are of its draw."""
    calm = {
        "faults": "none",
        "failover": 10.0,
        "times": DEFAULT_TIMES,
        "network": Calm(usual_seconds=0.03),
        "work": CALM_WORK,
        "keys": 6,
        "protocol": "3x",
        "coordination": "auto",
        "skew": 5.0,
        "drift": 0.005,
    }
    world = MixedWorld(seed, replace(drawn(1), **(calm | changes)))
    world.play(scenario(world))
    assert world.judge.violations == []
    return world
