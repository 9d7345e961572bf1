"""The loop of worlds in which whole workers run for days."""

from __future__ import annotations

from tests.simulation.loop import SimLoop

__all__ = ["FleetLoop"]


class FleetLoop(SimLoop):
    """A simulated loop that gives up after 30 virtual days."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, limit_seconds=30 * 86_400.0)
