"""The seam between looking at a table and deciding about leases of others: one object of rules for each mode."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Protocol

from consumer.leasing.guarded_writes import GuardedWrites
from consumer.leasing.handoff import OwnerSide, ReceiverSide
from consumer.leasing.leases import Leases

__all__ = ["Means", "Rules"]


@dataclass(frozen=True, slots=True)
class Means:
    """What rules act with.

    ``spawn`` starts a task on the lease loop; ``scan_period_seconds`` tells how far apart this worker's looks are now,
    ``row_period_seconds`` how far apart its reads of a single row or of the index by owner may be; ``look_now`` has the
    table scanned before its time, at most once a second; ``follow_row`` reads one row and does what it asks of this
    worker, as a look does.
    """

    leases: Leases
    writes: GuardedWrites
    owner: OwnerSide
    receiver: ReceiverSide
    spawn: Callable[[Coroutine[Any, Any, None]], object]
    scan_period_seconds: Callable[[], float]
    row_period_seconds: Callable[[], float]
    look_now: Callable[[], None]
    follow_row: Callable[[str], Awaitable[None]]


class Rules(Protocol):
    """What a worker does, in one mode of its table, about leases that it does not hold.

    Whoever looks at the table has noted what moved, settles rows that name this worker, and learns of hand-offs before
    it asks; an object of rules decides the rest. It is made when its mode begins and thrown away when the mode ends.
    Every method runs on the lease loop.
    """

    def follow(self) -> None:
        """After a look: give, ask for or assign what the plan says. Not called while this worker drains."""
        ...

    def apply_takes(self) -> float | None:
        """Start taking what this worker may take now; returns when, by my clock, to be asked again (None: when told).

        Called at the earliest expiry, after each look, and whenever a lease may have become free.
        """
        ...

    def is_describer(self) -> bool:
        """Whether this worker does the fleet's chores (shard sync, deleting what is over)."""
        ...

    def forget_all_but(self, keys: AbstractSet[str]) -> None:
        """Leases that are not among ``keys`` have no row any more."""
        ...

    async def run(self) -> None:
        """Whatever goes on besides looks, for as long as the rules hold.

        Returns after ``stop``, when what others would wait for is given up.
        """
        ...

    def stop(self) -> None:
        """The mode ends, or this worker drains: nothing is begun any more, what is under way goes on to its end."""
        ...
