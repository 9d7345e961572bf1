"""A KCL 3.x worker: the leader assigns, everybody else discovers what was assigned to it."""

from __future__ import annotations

from typing import Any, Final

from lease_store.attributes import Place
from tests.simulation.kcl import requests
from tests.simulation.kcl.leader import AssignmentRun
from tests.simulation.kcl.lock import JavaLock
from tests.simulation.kcl.process import KclProcess
from tests.simulation.kcl.rows import is_lease, lease_in
from tests.simulation.kcl.wire import WireError

__all__ = ["Worker3x"]

_FIRST_REPORT_SECONDS: Final = 2.0
_LOOK_SECONDS: Final = 3.0
_SAMPLES: Final = 10


class Worker3x(KclProcess):
    """KCL 3.x in leader mode: 3.5 with one lease table, or an older one with three."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.lock = JavaLock(self.wire, self.settings, self.clock, self.draw)
        self.assignment = AssignmentRun(self.wire, self.settings, self.clock, self.draw)

    async def _run(self) -> None:
        await self._initialize()
        self.go_on(self.every(self.settings.heartbeat_seconds, self.lock.heartbeat))
        self.go_on(self.every(self.settings.report_seconds, self._report, first=_FIRST_REPORT_SECONDS))
        self.go_on(self._assign_forever())
        await self._sync_if_empty()
        await self._retried(self.renew_mine_at_start)
        settings = self.settings
        self.go_on(self.every(settings.renew_seconds, self.renew_all, first=settings.renew_seconds))
        self.go_on(self.every(settings.discovery_seconds, self._discover))
        self.go_on(self.every(1.0, self._dispatch))
        self.go_on(self.every(2.0, self.watch_deadlines))
        self.go_on(self.every(60.0, self.clean_up))
        self.go_on(self.every(settings.audit_seconds, self._audit, first=settings.audit_seconds / 2))
        if self.state == "starting":
            self.state = "running"

    async def _initialize(self) -> None:
        """The client version is noted once; whoever comes later finds it there, and the index by owner as well."""
        self.around.table.has_index = True

        place: Place = "coordinator" if self.settings.legacy else "leases"
        if self.settings.legacy:
            self.around.table.beside.add_legacy_tables()

        async def noted() -> None:
            if await self.wire.get_beside("Migration3.0", place) is None:
                now_ms = int(self.clock.wall() * 1000)
                request = requests.put_client_version(self.name, now_ms, "CLIENT_VERSION_3X")
                await self.wire.send(request.beside(place) if self.settings.legacy else request)

        await self._retried(noted)

    async def _retried(self, work: Any) -> None:
        while True:
            try:
                return await work()
            except WireError:
                await self.clock.sleep(1.0)

    async def _sync_if_empty(self) -> None:
        """Into an empty table the leader puts a row for each shard, after a wait; then it sleeps for a minute."""
        until = self.clock.monotonic() + self.draw.uniform(1.0, self.settings.sync_wait_seconds)
        while True:
            try:
                if any(is_lease(row) for row in await self.wire.all_rows()):
                    return
                if self.clock.monotonic() >= until:
                    if not await self.lock.is_leader():
                        return
                    await self.sync(self.around.shards())
                    await self.clock.sleep(self.settings.sync_sleep_seconds)
                    return
            except WireError:
                pass
            await self.clock.sleep(min(_LOOK_SECONDS, max(0.1, until - self.clock.monotonic())))

    async def _audit(self) -> None:
        if await self.lock.is_leader():
            await self.audit()

    async def _report(self) -> None:
        cpu = self.settings.cpu
        metrics = {} if cpu is None else {"C": ([cpu] * _SAMPLES, 100.0)}
        request = requests.report(self.name, int(self.clock.wall()), metrics)
        await self.wire.send(request.beside("metrics") if self.settings.legacy else request)

    async def _assign_forever(self) -> None:
        """At a fixed pause from one run's end to the next; only the leader's does anything."""
        while True:
            try:
                if await self.lock.is_leader():
                    await self.assignment.run()
                else:
                    self.assignment.forget()
            except WireError as error:
                self.around.witness.note(f"{self.name}: {error}")
            await self.clock.sleep(self.settings.assignment_seconds)

    async def _dispatch(self) -> None:
        await (
            self.lock.is_leader()
        )  # in the same thread: who loses the race for the lock stands still for half a minute
        await self.dispatch()

    async def _discover(self) -> None:
        """What the index says is mine and I don't hold, is mine: nothing is written for that."""
        if self._leaving:
            return
        held = self.held_keys
        for key in await self.wire.keys_of(self.name):
            if key in held:
                continue
            item = await self.wire.get(key)
            if item is None or not is_lease(item):
                continue
            lease = lease_in(item)
            if lease.owner == self.name and lease.checkpoint_owner is None:
                self.hold(lease)

    async def _stop_leading(self) -> None:
        await self.lock.release()
