"""Whose rules hold: re-read with every look at the table, and the rules of this worker changed where they do."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Final

from consumer.errors import LeaseTableConflict
from consumer.hooks import ModeChanged
from consumer.leasing.leader import LeaderRules
from consumer.leasing.lock import SeenLock, see_lock
from consumer.leasing.mode_words import changed
from consumer.leasing.peer import PeerRules
from consumer.leasing.rules import Means, Rules
from consumer.leasing.table_check import unknown_movers
from consumer.leasing.table_mode import Coordination, Mode, TableMode, mode_of
from consumer.leasing.two_x import TwoXRules
from lease_store.layout import Layout, LegacyRows
from lease_store.lease import Lease, TableScan

__all__ = ["ModeWatch"]

_log = logging.getLogger("leasehold.leasing")

_SETTLING_SECONDS: Final = 10.0
"""How long after a change of the layout a lock may still move at the old place, by a holder that has not heard of it.
"""


class ModeWatch:
    """The mode of the table as this worker knows it, and ``rules``, the ones in force."""

    def __init__(self, means: Means, coordination: Coordination) -> None:
        self.rules: Rules = PeerRules(means)
        self._means = means
        self._leases = means.leases
        self._coordination = coordination
        self._known: TableMode | None = None
        self._mover: str | None = None
        self._suspects: Mapping[str, str] = {}
        self._locks = (SeenLock(), SeenLock())
        self._layout_since = -math.inf
        self._changed = asyncio.Event()

    def judge(self, scan: TableScan, legacy: LegacyRows | None) -> None:
        """Note the mode and the layout that a look showed, and change the rules with it. Raises LeaseTableConflict."""
        leases, known = self._leases, self._known
        table = mode_of(
            scan,
            legacy,
            table=leases.store.name,
            coordination=self._coordination,
            known=known,
            mover=self._mover,
        )
        conflict = table.conflict or self._two_leaders(table.layout)
        if conflict is not None:
            raise LeaseTableConflict(conflict)
        self._known = leases.table = table
        if known is None or known.mode != table.mode:
            self._change(table, None if known is None else known.mode)

    def _change(self, table: TableMode, previous: Mode | None) -> None:
        """At once: nothing more is planned by the old rules, whatever they began goes on to its end."""
        leases = self._leases
        _log.log(
            logging.INFO if previous is None else logging.WARNING,
            "%s",
            changed(leases.store.name, table.mode, table.because, previous=previous),
        )
        leases.hooks(ModeChanged("", table.mode, previous, table.because))
        if previous is not None or table.mode != "peer":
            self.rules.stop()
            self.rules = self._made_for(table.mode)
            if leases.draining:
                self.rules.stop()
            self._changed.set()
            leases.moved.set()

    async def run(self) -> None:
        """Run the rules in force, and the next ones once the last have given up what others wait for."""
        while True:
            rules = self.rules
            await rules.run()
            while self.rules is rules:
                self._changed.clear()
                await self._changed.wait()

    def _made_for(self, mode: Mode) -> Rules:
        match mode:
            case "peer":
                return PeerRules(self._means)
            case "leader":
                return LeaderRules(self._means, wants_index=self._coordination == "leader")
            case "2x":
                return TwoXRules(self._means)

    def _two_leaders(self, layout: Layout) -> str | None:
        """Two locks that both move: workers of two KCL versions, each blind to the other's table, each with a leader.

        As when a KCL 3.0 to 3.4 is started on a table of a 3.5, and makes a coordinator's table of its own.
        """
        now = self._leases.clock.monotonic()
        known = self._known
        if known is not None and known.layout.status != layout.status:
            self._locks, self._layout_since = (SeenLock(), SeenLock()), now
        kept, stray = see_lock(self._locks[0], layout.lock, now), see_lock(self._locks[1], layout.stray_lock, now)
        self._locks = (kept, stray)
        if (
            not all(_is_alive(each, now) for each in self._locks)
            or stray.since < self._layout_since + _SETTLING_SECONDS
        ):
            return None
        owners = " and ".join(repr(each.lock.owner) for each in self._locks if each.lock is not None)
        return (
            f"Lease table {self._leases.store.name} has two leaders, {owners}: one lock lies in the lease table, one "
            "in its legacy coordinator table, and both are being renewed. Each plans for workers that obey the other. "
            "Stop the workers of one of the two KCL versions, then start this one again."
        )

    async def check_movers(self, moved: Sequence[Lease], scan: TableScan) -> None:
        """A worker of ours has a row before its first lease; who moves one lease twice without having any is a KCL.

        Once is not enough: a peer may make a row for a worker that has left, or hand one over to it. A scan may be late
        with a worker's row, or show leases of one that has left: only consistent reads convict. Such a KCL is a 2.x,
        which the next look makes of this table. Only asked among peers: elsewhere the mode is known.
        """
        leases = self._leases
        if leases.table.mode != "peer":
            return
        known = {row.worker_id for row in leases.table.layout.workers} | {leases.me}
        movers = unknown_movers(moved, known)
        repeated = {key: owner for key, owner in movers.items() if self._suspects.get(key) == owner}
        rows = {lease.key for lease in scan.leases}
        before = {key: owner for key, owner in self._suspects.items() if key in rows and owner not in known}
        self._suspects = before | movers
        for key, owner in sorted(repeated.items()):
            if await leases.read_worker(owner) is not None:
                continue
            row = await leases.read(key)
            # A finished row keeps the owner that ended it, who may have left since.
            if row is not None and not row.is_finished and row.actual_owner == owner:
                self._mover = owner
                self._means.look_now()


def _is_alive(seen: SeenLock, now: float) -> bool:
    lock = seen.lock
    return seen.has_moved and lock is not None and not lock.is_released and now < seen.since + lock.duration_seconds
