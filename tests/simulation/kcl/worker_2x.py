"""A KCL 2.x worker: everybody scans and takes by counter, and nothing but leases may lie in the table."""

from __future__ import annotations

import math
from typing import Any, Final

from tests.simulation.kcl import requests
from tests.simulation.kcl.process import KclProcess
from tests.simulation.kcl.rows import Item, JavaLease, is_lease, lease_in
from tests.simulation.kcl.shuffle import leader_of
from tests.simulation.kcl.wire import WireError

__all__ = ["Worker2x"]

_UNKNOWN_LONG_AGO: Final = float("-inf")
_LOOK_SECONDS: Final = 3.0


class RowThatIsNoLease(Exception):
    """What KCL 2.7.2 throws: it reads every row as a lease."""


class Worker2x(KclProcess):
    """KCL 2.7.2. It knows of no hand-off: it leaves ``checkpointOwner`` behind, and renews whatever stands there."""

    knows_hand_offs = False

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._seen: dict[str, tuple[int, float]] = {}
        self.thrown = 0

    async def _run(self) -> None:
        await self._sync_if_empty()
        settings = self.settings
        self.go_on(self.every(settings.renew_seconds, self.renew_all, first=settings.renew_seconds))
        self.go_on(self._take_forever())
        self.go_on(self.every(1.0, self.dispatch))
        self.go_on(self.every(60.0, self.clean_up))
        self.go_on(self.every(settings.audit_seconds, self._audit, first=settings.audit_seconds / 2))
        if self.state == "starting":
            self.state = "running"

    async def _leases(self) -> list[JavaLease]:
        """Every row, read as a lease. Raises RowThatIsNoLease."""
        rows = await self.wire.all_rows()
        for row in rows:
            if not is_lease(row):
                raise RowThatIsNoLease(_key(row))
        return [lease_in(row) for row in rows]

    async def _sync_if_empty(self) -> None:
        """Of those that own a lease the seeded shuffle's first syncs; where nobody does, everybody."""
        until = self.clock.monotonic() + self.draw.uniform(1.0, self.settings.sync_wait_seconds)
        while True:
            try:
                leases = await self._leases()
                if leases:
                    return
                if self.clock.monotonic() >= until:
                    if self._leads(leases):
                        await self.sync(self.around.shards())
                    return
            except (WireError, RowThatIsNoLease) as error:
                self._threw(error)
            await self.clock.sleep(_LOOK_SECONDS)

    def _leads(self, leases: list[JavaLease]) -> bool:
        return leader_of({lease.owner for lease in leases if lease.owner}) in (None, self.name)

    async def _audit(self) -> None:
        try:
            if self._leads(await self._leases()):
                await self.audit()
        except RowThatIsNoLease as error:
            self._threw(error)

    def _threw(self, error: Exception) -> None:
        self.thrown += isinstance(error, RowThatIsNoLease)
        self.around.witness.note(f"{self.name}: {type(error).__name__} {error}")

    async def _take_forever(self) -> None:
        while True:
            try:
                if not self._leaving:
                    await self._take_what_i_need()
            except (WireError, RowThatIsNoLease) as error:
                self._threw(error)
            await self.clock.sleep(self.settings.taker_seconds)

    async def _take_what_i_need(self) -> None:
        began = self.clock.monotonic()
        leases = await self._leases()
        now = self.clock.monotonic()
        self._observe(leases, now)
        chosen, is_robbery = self._chosen(leases, now)
        if is_robbery and now - began > self.settings.renew_seconds / 2:
            read = [await self.wire.get(lease.key) for lease in chosen]
            chosen = [lease_in(item) for item in read if item is not None]
        for lease in chosen:
            reply = await self.wire.send(requests.take(lease, self.name, clears_checkpoint_owner=False))
            if reply.done and reply.item is not None:
                self._seen[lease.key] = (lease.counter + 1, self.clock.monotonic())
                self.hold(lease_in(reply.item))

    def _observe(self, leases: list[JavaLease], now: float) -> None:
        before, self._seen = self._seen, {}
        for lease in leases:
            known = before.get(lease.key)
            if known is None:
                self._seen[lease.key] = (lease.counter, now if lease.owner else _UNKNOWN_LONG_AGO)
            else:
                self._seen[lease.key] = (lease.counter, known[1] if lease.counter == known[0] else now)

    def _chosen(self, leases: list[JavaLease], now: float) -> tuple[list[JavaLease], bool]:
        """What to take: what is very old, else what is free, else one of whoever has most; whether it is robbed."""
        failover, most = self.settings.failover_seconds, self.settings.max_leases or math.inf
        free = [each for each in leases if each.owner is None or now - self._seen[each.key][1] > failover]
        free_keys = {each.key for each in free}
        by_owner: dict[str, list[JavaLease]] = {self.name: []}
        for lease in leases:
            if lease.key not in free_keys:
                by_owner.setdefault(lease.owner or "", []).append(lease)
        mine = len(by_owner[self.name])
        old = [each for each in leases if now - self._seen[each.key][1] > 3 * failover]
        if old:
            return self._some(old, min(most - mine, len(old))), False
        workers = len(by_owner)
        target = min(most, 1 if workers >= len(leases) else math.ceil(len(leases) / workers))
        need = target - mine
        if need <= 0:
            return [], False
        if free:
            return self._some(free, need), False
        richest = max(by_owner, key=lambda name: (len(by_owner[name]), name))
        over = len(by_owner[richest]) - target
        robbed = min(need, over) or (1 if need > 1 else 0)
        return (self._some(by_owner[richest], min(1, robbed)), True) if richest != self.name else ([], False)

    def _some(self, leases: list[JavaLease], number: float) -> list[JavaLease]:
        chosen = sorted(leases, key=lambda lease: lease.key)
        self.draw.shuffle(chosen)
        return chosen[: max(0, int(min(number, len(chosen))))]


def _key(row: Item) -> str:
    return str(row["leaseKey"]["S"])
