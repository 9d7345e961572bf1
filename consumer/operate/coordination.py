"""How a worker shares its lease table now, kept from the facts that tell it: mode, leader, workers, last plan."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import ClassVar

from consumer import hooks
from consumer.clock import Clock
from consumer.operate.by_fact import ByFact

__all__ = ["Coordination", "CoordinationHook"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Coordination:
    """A worker's place among the others, at one instant.

    ``mode`` is peer, leader or 2x, None before the first look at the table; ``because`` is what was seen that makes it
    so. ``lock_owner`` holds the leader lock, None where nobody does. ``workers`` and ``kcl_workers`` live by their
    rows, of our library (this one included) and of the Java KCL; in mode 2x nobody has a row.
    ``planned_seconds_ago``: None where this worker has not planned.
    """

    mode: str | None = None
    because: str = ""
    lock_owner: str | None = None
    is_leader: bool = False
    workers: int = 1
    kcl_workers: int = 0
    planned_seconds_ago: float | None = None


class CoordinationHook:
    """A hook that remembers the last word of each fact; facts come on the lease loop's thread, ``now`` on any."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._known = Coordination()
        self._planned_at: float | None = None

    def __call__(self, fact: hooks.Fact) -> None:
        handle = self._on.handler(fact)
        if handle is not None:
            with self._lock:
                handle(self, fact)

    def now(self) -> Coordination:
        """What is known now."""
        with self._lock:
            if self._planned_at is None:
                return self._known
            return replace(self._known, planned_seconds_ago=self._clock.monotonic() - self._planned_at)

    _on: ClassVar[ByFact] = ByFact()

    @_on.of(hooks.ModeChanged)
    def _(self, fact: hooks.ModeChanged) -> None:
        self._known = replace(self._known, mode=fact.mode, because=fact.because)

    @_on.of(hooks.LockSeen)
    def _(self, fact: hooks.LockSeen) -> None:
        self._known = replace(self._known, lock_owner=fact.owner, is_leader=fact.is_mine)

    @_on.of(hooks.WorkersSeen)
    def _(self, fact: hooks.WorkersSeen) -> None:
        self._known = replace(self._known, workers=fact.leasehold, kcl_workers=fact.kcl)

    @_on.of(hooks.Planned)
    def _(self, fact: hooks.Planned) -> None:
        self._planned_at = self._clock.monotonic()
