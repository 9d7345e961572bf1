"""Marking the leases of a table by hand: under which rules its workers share it from their next look on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from lease_store import verbs
from lease_store.lease import Lease
from lease_store.store import LeaseStore

__all__ = ["mark_leases"]

_CALL_SECONDS: Final = 5.0
_AT_ONCE: Final = 16


async def mark_leases(store: LeaseStore, leases: Sequence[Lease], rules: str) -> None:
    """Write the mark, one attribute, into each row that still exists; owners, counters and checkpoints stay.

    A write whose reply was lost may not stand: look again. Raises LeaseStoreError.
    """
    for start in range(0, len(leases), _AT_ONCE):
        writes = [verbs.mark_rules(lease, rules) for lease in leases[start : start + _AT_ONCE]]
        await asyncio.gather(*(store.write(write, timeout_seconds=_CALL_SECONDS) for write in writes))
