"""Making a lease table fit for a KCL 2.x, which stops working at the sight of any row that is no lease.

First the table is watched until it is sure that no 3.x leader and no KCL 3.x worker writes it: they would write their
rows again. Then every lease is marked, so that Leasehold's workers go on without rows of their own, from their next
look on; and what is no lease is deleted, a living worker's own row by itself. Deletes and marks are conditional and may
be repeated: a command that was interrupted is run again.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Final

from consumer.clock import Clock
from consumer.leasing.table_mode import RULES_2X
from consumer.operate.findings import Look
from consumer.operate.life_signs import LifeSigns
from consumer.operate.marking import mark_leases
from lease_store.coordination import ClientVersion, LeaderLock, TableMigration
from lease_store.lease import ForeignRow, Lease, WorkerRow
from lease_store.store import LeaseStore

__all__ = ["TwoXTable"]

OtherRow = WorkerRow | LeaderLock | ClientVersion | TableMigration | ForeignRow

_LOOK_SECONDS: Final = 2.0
_TOLD_EVERY_SECONDS: Final = 10.0
_SETTLED_SECONDS: Final = 5.0
_LONGEST_CLEARING_SECONDS: Final = 180.0
_FAILOVER_SECONDS: Final = 10.0
_STATES_3X: Final = ("CLIENT_VERSION_3X", "CLIENT_VERSION_3X_WITH_ROLLBACK")


class TwoXTable:
    """One run of the command over ``store``'s table; ``tell`` gets each line that people are to read."""

    def __init__(self, store: LeaseStore, *, clock: Clock, tell: Callable[[str], None]) -> None:
        self._store = store
        self._clock = clock
        self._tell = tell
        self._signs = LifeSigns()
        self._beats: dict[str, tuple[int | None, float]] = {}

    async def prepare(self, *, apply: bool) -> bool:
        """Watch, mark and clear; without ``apply`` watch and say what would be done.

        False where that may not be, or did not come to an end: what was told says why. Raises LeaseStoreError.
        """
        look = await self._look()
        if (refusal := _refusal(look, self._store.name)) is not None:
            self._tell(refusal)
            return False
        if not await self._is_left_alone():
            return False
        look = await self._look()
        self._tell_what(look, apply)
        return not apply or await self._clear()

    async def _look(self) -> Look:
        scan, legacy = await asyncio.gather(self._store.scan(), self._store.legacy())
        look = Look(at=self._clock.monotonic(), scan=scan, legacy=legacy)
        self._signs.see(look)
        for row in scan.workers:
            if row.worker_id not in self._beats or self._beats[row.worker_id][0] != row.beat:
                self._beats[row.worker_id] = (row.beat, look.at)
        return look

    async def _is_left_alone(self) -> bool:
        """Watch until everything of a KCL 3.x, or of a leader, is seen to live or is sure to be dead."""
        told_at = -math.inf
        while not self._signs.alive and (open_ := self._signs.undecided(now := self._clock.monotonic())):
            if now >= told_at + _TOLD_EVERY_SECONDS:
                told_at = now
                for what, seconds in open_:
                    self._tell(f"Watching {what}: unmoved so far, dead if it stays so for {seconds:.0f} s more.")
            await self._clock.sleep(min(_LOOK_SECONDS, max(seconds for _, seconds in open_)))
            await self._look()
        for what in self._signs.alive:
            self._tell(
                f"Refused: {what} moves, so its worker lives and would write such rows again. Stop the workers of KCL "
                "3.x (or, where a Leasehold worker leads, all that were told --coordination leader), then run this "
                "again. Nothing more is changed."
            )
        return not self._signs.alive

    def _tell_what(self, look: Look, apply: bool) -> None:
        verb = "Now" if apply else "With --apply"
        unmarked = _unmarked(look)
        self._tell(
            f"{verb}: {len(unmarked)} of {len(look.scan.leases)} lease rows of {self._store.name} are marked for the "
            "rules of KCL 2.x; owners, counters and checkpoints stay as they are."
        )
        for row in _others(look):
            own = "by itself, at its next look" if self._is_living(row) else "since nobody writes it any more"
            self._tell(f"{verb}: {_named(row)} goes, {own}.")
        if not apply:
            self._tell("This was a dry run, nothing was changed.")

    def _is_living(self, row: OtherRow) -> bool:
        """Whether a worker of Leasehold still writes this row: it will delete it, once it has seen a mark."""
        if not isinstance(row, WorkerRow) or row.beat is None:
            return False
        patience = max(_FAILOVER_SECONDS, row.failover_seconds or 0.0) + 1.0
        return self._clock.monotonic() < self._beats[row.worker_id][1] + patience

    async def _clear(self) -> bool:
        until = self._clock.monotonic() + _LONGEST_CLEARING_SECONDS
        clean_since: float | None = None
        while True:
            look = await self._look()
            if self._signs.alive:
                return await self._is_left_alone()  # which tells of it
            await mark_leases(self._store, _unmarked(look), RULES_2X)
            others = _others(look)
            for row in others:
                if not self._is_living(row):
                    await self._store.delete_row(row)
            clean_since = None if others or _unmarked(look) else clean_since or look.at
            if clean_since is not None and look.at >= clean_since + _SETTLED_SECONDS:
                self._tell_done(look)
                return True
            if look.at >= until:
                self._tell_unfinished(others)
                return False
            await self._clock.sleep(_LOOK_SECONDS)

    def _tell_done(self, look: Look) -> None:
        owners = sorted({lease.owner for lease in look.scan.leases if lease.owner and not lease.is_finished})
        self._tell(
            f"Done: lease table {self._store.name} holds {len(look.scan.leases)} lease rows, all marked, and nothing "
            f"else. Workers of a KCL 2.x may start now. Owners of its leases: {', '.join(owners) or 'none'}; those of "
            "Leasehold work on by the rules of 2.x."
        )

    def _tell_unfinished(self, others: Sequence[OtherRow]) -> None:
        names = "; ".join(_named(row) for row in others) or "rows that came up again and again"
        self._tell(
            f"Not finished after {_LONGEST_CLEARING_SECONDS:g} s: {names}. A Leasehold worker that does not know the "
            "rules of 2.x, or was told another --coordination, goes on writing its row: update or stop it, then run "
            "this again. No KCL 2.x worker can work in the table before."
        )


def _refusal(look: Look, table: str) -> str | None:
    """Why the table can't be made fit, whoever lives; None where it can."""
    for key, reason in look.unreadable:
        return f"Refused: row {key!r} can't be read, and so can't be judged: {reason} Delete or mend it by hand."
    version = look.legacy.client_version if look.legacy is not None else None
    if version is not None and version.state in _STATES_3X:
        return (
            f"Refused: the coordinator table beside {table} says {version.state}: its KCL is past 2.x. Roll it back "
            "first, with the KCL's own migration tool."
        )
    if not look.scan.leases:
        return (
            f"Refused: lease table {table} has no lease that could be marked. For a table that Leasehold makes first "
            "and a KCL 2.x is to join, start the workers with --coordination 2x instead."
        )
    return None


def _unmarked(look: Look) -> list[Lease]:
    return [lease for lease in look.scan.leases if lease.rules != RULES_2X]


def _others(look: Look) -> list[OtherRow]:
    """Every row of the lease table that is no lease."""
    scan = look.scan
    states = [row for row in (scan.lock, scan.client_version, scan.table_migration) if row is not None]
    return [*states, *scan.workers, *scan.foreign]


def _named(row: OtherRow) -> str:
    match row:
        case WorkerRow():
            return f"the row of worker {row.worker_id!r}"
        case LeaderLock():
            return f"the leader lock of {row.owner!r}"
        case ClientVersion() | TableMigration():
            return f"the state {row.state!r} (set by {row.modified_by or 'nobody that it names'})"
        case ForeignRow():
            return f"row {row.key!r} of type {row.entity_type}"
