"""Who took what when, as looks tell: when a KCL 2.x's taker looks next, and who may not have heard that it was robbed.

What is let go lies idle until such a look.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from lease_store.lease import Lease

__all__ = ["Takers"]

_EPSILON_SECONDS: Final = 0.025


class Takers:
    """A KCL's taker looks every two failover times (its ``LeaseCoordinator``), and takes in the moment of a look."""

    def __init__(self, failover_seconds: float) -> None:
        self._period_seconds = 2 * (failover_seconds + _EPSILON_SECONDS)
        self._owners: dict[str, str | None] = {}
        self._took_at: dict[str, float] = {}
        self._changed_at: dict[str, float] = {}

    def see(self, table: Iterable[Lease], now: float) -> None:
        """Note a look at the whole table."""
        is_first = not self._owners
        owners = {lease.key: lease.owner for lease in table}
        for key, owner in owners.items():
            if owner is not None and key in self._owners and self._owners[key] != owner:
                self._took_at[owner] = now
            if not is_first and self._owners.get(key) != owner:
                self._changed_at[key] = now
        self._owners = owners
        self._changed_at = {key: at for key, at in self._changed_at.items() if key in owners}
        living = set(owners.values())
        self._took_at = {owner: at for owner, at in self._took_at.items() if owner in living}

    def next_look(self, owner: str, now: float) -> float:
        """When ``owner`` looks next, if it goes by the same failover time; at once where it was not seen to take."""
        took_at = self._took_at.get(owner)
        if took_at is None:
            return now
        return took_at + math.ceil((now - took_at) / self._period_seconds) * self._period_seconds

    def changed_at(self, key: str) -> float:
        """When a lease was seen to have another owner than before; minus infinity where it was not."""
        return self._changed_at.get(key, -math.inf)
