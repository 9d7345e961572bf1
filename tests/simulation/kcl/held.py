"""A lease that a KCL worker holds: what it remembers of the row, and since when by its own clock."""

from __future__ import annotations

import asyncio
from typing import Literal

from tests.simulation.kcl.rows import JavaLease

__all__ = ["JavaHeld", "Stop"]

Stop = Literal["hand_off", "shutdown", "lost"]


class JavaHeld:
    """One tenure of one lease in one worker.

    ``moved_at``: when the reply to the last write came, from which the KCL counts, though the write was applied
    earlier. ``over``: why it is held no more. ``stop``: what the dispatcher, once a second, told its consumer.
    """

    def __init__(self, lease: JavaLease, now: float) -> None:
        self.key = lease.key
        self.first_lease = lease
        self.lease = lease
        self.moved_at = now
        self.over: str | None = None
        self.stop: Stop | None = None
        self.hand_off_since: float | None = None
        self.busy = asyncio.Lock()

    @property
    def is_pending(self) -> bool:
        """Whether it knows of a hand-off under way."""
        return self.lease.checkpoint_owner is not None
