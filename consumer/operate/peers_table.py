"""Giving a table that a KCL 2.x has left to Leasehold's workers alone.

Nothing in the rows tells a KCL 2.x from a worker of ours that works by its rules, so that it is its owner who must know
that none will come back: here it is shown who renews leases, and every lease is marked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from consumer.clock import Clock
from consumer.leasing.table_mode import RULES_PEER, mode_of
from consumer.operate.marking import mark_leases
from lease_store.lease import Lease, TableScan
from lease_store.store import LeaseStore

__all__ = ["PeersTable"]

# A KCL renews each lease every 3.3 s at its default failover time, and so do we.
_WATCH_SECONDS: Final = 12.0
_LOOKS: Final = 4


class PeersTable:
    """One run of the command over ``store``'s table; ``tell`` gets each line that people are to read."""

    def __init__(self, store: LeaseStore, *, clock: Clock, tell: Callable[[str], None]) -> None:
        self._store = store
        self._clock = clock
        self._tell = tell

    async def prepare(self, *, apply: bool) -> bool:
        """Watch who works, then mark; without ``apply`` say what would be done. False where that may not be."""
        scan, legacy = await asyncio.gather(self._store.scan(), self._store.legacy())
        told = mode_of(scan, legacy, table=self._store.name)
        if told.conflict is not None or told.mode == "leader" or told.layout.client_version is not None:
            shared = f"lease table {self._store.name} is shared with a KCL 3.x: {told.because}."
            self._tell(f"Refused: {told.conflict or shared}")
            return False
        owners = await self._owners_that_move(scan)
        unmarked = _unmarked(await self._store.scan())
        self._tell(
            f"Workers that renewed leases within {_WATCH_SECONDS:g} s: {', '.join(owners) or 'none'}. None of them may "
            "be a KCL's: by the rules of peers each of ours has a row in the table again, and no KCL 2.x takes a lease "
            "beside such a row."
        )
        if not apply:
            self._tell(f"With --apply: {len(unmarked)} lease rows are marked. This was a dry run, nothing was changed.")
            return True
        for _ in range(_LOOKS):
            await mark_leases(self._store, unmarked, RULES_PEER)
            unmarked = _unmarked(await self._store.scan())
            if not unmarked:
                break
            await self._clock.sleep(_WATCH_SECONDS / _LOOKS)
        else:
            self._tell(f"Not finished: {len(unmarked)} leases came up without a mark again and again; run this again.")
            return False
        self._tell(
            f"Done: every lease of {self._store.name} is marked. Leasehold's workers go on as peers from their next "
            "look on; for a KCL 2.x to come back, run prepare-2x first."
        )
        return True

    async def _owners_that_move(self, scan: TableScan) -> list[str]:
        before = {lease.key: lease.counter for lease in scan.leases}
        owners: set[str] = set()
        for _ in range(_LOOKS):
            await self._clock.sleep(_WATCH_SECONDS / _LOOKS)
            scan = await self._store.scan()
            owners |= {
                lease.owner for lease in scan.leases if lease.owner and lease.counter > before.get(lease.key, -1)
            }
        return sorted(owners)


def _unmarked(scan: TableScan) -> list[Lease]:
    return [lease for lease in scan.leases if lease.rules != RULES_PEER]
