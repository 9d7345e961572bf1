"""The KCL's election: one row that is heartbeaten, and contenders that look at it every thirty seconds."""

from __future__ import annotations

import asyncio
import random
from typing import Final

from lease_store.attributes import Place
from tests.simulation.kcl import requests
from tests.simulation.kcl.requests import Request
from tests.simulation.kcl.rows import Item
from tests.simulation.kcl.settings import KclSettings
from tests.simulation.kcl.wire import Reply, Wire, WireError
from tests.simulation.loop import SimClock

__all__ = ["JavaLock"]

_KEY: Final = "Leader"


class JavaLock:
    """One worker's part in it. Its trust in the lock, too, runs from the reply."""

    def __init__(self, wire: Wire, settings: KclSettings, clock: SimClock, draw: random.Random) -> None:
        self._wire = wire
        self._settings = settings
        self._clock = clock
        self._draw = draw
        self._one_at_a_time = asyncio.Lock()
        self._version: str | None = None
        self._beaten_at = 0.0
        self._looked_at: float | None = None
        self._seen: tuple[str, float] | None = None
        self._is_over = False
        self._place: Place = "coordinator" if settings.legacy else "leases"

    async def _send(self, request: Request) -> Reply:
        return await self._wire.send(request if self._place == "leases" else request.beside(self._place))

    @property
    def is_mine(self) -> bool:
        """Whether I hold it by my own clock."""
        now = self._clock.monotonic()
        return self._version is not None and now <= self._beaten_at + self._settings.lock_seconds

    async def is_leader(self) -> bool:
        """Decide, with a look at the row where the last one is half a minute old. Raises WireError."""
        async with self._one_at_a_time:
            if self._is_over or self.is_mine:
                return not self._is_over
            now = self._clock.monotonic()
            if self._looked_at is not None and now < self._looked_at + self._settings.heartbeat_seconds:
                return False
            self._looked_at = now
            item = await self._wire.get_beside(_KEY, self._place)
            return await self._may_acquire(item) and await self._acquire(item)

    async def _may_acquire(self, item: Item | None) -> bool:
        if item is None or "isReleased" in item:
            return True
        version, now = item["recordVersionNumber"]["S"], self._clock.monotonic()
        if self._seen is None or self._seen[0] != version:
            self._seen = (version, now)
            return False
        return now > self._seen[1] + int(item["leaseDuration"]["S"]) / 1000

    async def _acquire(self, item: Item | None) -> bool:
        seen = None if item is None else item["recordVersionNumber"]["S"]
        version, seconds = self._new_version(), self._settings.lock_seconds
        lock = requests.lock_of(self._settings.worker_id, version, seconds)
        reply = await self._send(requests.acquire_lock(seen, lock))
        if not reply.done:
            await self._clock.sleep(self._settings.heartbeat_seconds)  # inside the call, whoever waits for it
            return False
        self._version, self._beaten_at = version, self._clock.monotonic()
        return True

    def _new_version(self) -> str:
        return f"{self._draw.getrandbits(64):016x}"

    async def heartbeat(self) -> None:
        """One heartbeat of a lock that I hold."""
        if self._version is None:
            return
        version, me = self._new_version(), self._settings.worker_id
        reply = await self._send(requests.heartbeat_lock(me, self._version, version, self._settings.lock_seconds))
        if reply.done:
            self._version, self._beaten_at = version, self._clock.monotonic()
        else:
            self._version = None

    async def release(self) -> None:
        """Give it up for good."""
        self._is_over = True
        if self._version is not None:
            version, self._version = self._version, None
            try:
                await self._send(requests.release_lock(self._settings.worker_id, version))
            except WireError:
                return  # it expires
