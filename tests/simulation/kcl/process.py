"""What the workers of every KCL share: leases and their renewals, a dispatcher once a second, one consumer a shard.

A model from the protocol's description, in our words: its clock runs from the reply of a write, it never releases a
lease, and only its dispatcher notices that one is lost.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import replace
from typing import Any, Final

from tests.simulation.kcl import requests
from tests.simulation.kcl.consumer import JavaConsumer
from tests.simulation.kcl.held import JavaHeld
from tests.simulation.kcl.rows import JavaLease, is_lease, lease_in
from tests.simulation.kcl.settings import KclSettings
from tests.simulation.kcl.surroundings import Surroundings
from tests.simulation.kcl.wire import Wire, WireError
from tests.simulation.loop import SimClock, spawn_as

__all__ = ["KclProcess"]

_HOLES: Final = 3


class KclProcess:
    """One Java process. ``name`` is its worker id; nothing of it runs once the loop has frozen that name for good."""

    knows_hand_offs = True

    def __init__(
        self, host: str, settings: KclSettings, around: Surroundings, *, clock: SimClock, draw: random.Random
    ) -> None:
        self.host = host
        self.name = settings.worker_id
        self.code = f"{self.name}.code"
        self.settings = settings
        self.around = around
        self.clock = clock
        self.draw = draw
        self.wire = Wire(around.table, self.name, clock, lambda: around.network_of(self), random.Random(draw.random()))
        self.wire.request_seconds = settings.request_seconds
        self.state = "starting"
        self.ended_at: float | None = None
        self.frozen = self.blocked = self.cut_off = False
        self.held: dict[str, JavaHeld] = {}
        self.consumers: dict[JavaHeld, asyncio.Task[None]] = {}
        self.ended: set[str] = set()
        self._cleaned_at = 0.0
        self._holes_seen = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._leaving = False

    # -- what a judge asks

    @property
    def is_up(self) -> bool:
        return self.state in ("starting", "running", "draining")

    @property
    def is_troubled(self) -> bool:
        """Whether it lives and something keeps it from working now."""
        return self.is_up and (self.frozen or self.cut_off)

    @property
    def held_keys(self) -> set[str]:
        """Leases that it holds and takes for its own."""
        return {key for key, held in self.held.items() if not self.is_expired(held)}

    @property
    def starts_at_stored(self) -> bool:
        """Whether it surely begins at the stored checkpoint, which it reads late; and a zombie goes on for a second."""
        return self.around.is_faultless

    def trusts(self, held: JavaHeld) -> bool:
        """Never: what a KCL believes of a lease outlasts what it wrote, and no promise can lean on it."""
        return False

    @property
    def sure_slice_seconds(self) -> float:
        """How long a slice begun under trust may be to overlap with no other owner's: it warrants nothing."""
        return -1.0

    def is_expired(self, held: JavaHeld) -> bool:
        """Whether it has seen no write of its own succeed for a failover time."""
        return self.clock.monotonic() - held.moved_at > self.settings.failover_seconds

    # -- life

    def start(self) -> None:
        self._cleaned_at = self.clock.monotonic()
        self.go_on(self._run())

    def go_on(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task of this process."""
        task = spawn_as(self.name, work)
        self._tasks.append(task)
        self._tasks = [each for each in self._tasks if not each.done()]
        return task

    def drain(self, timeout_seconds: float | None = None) -> None:
        """SIGTERM: shut down gracefully; the leases stay where they are until they expire."""
        if self.is_up and self.state != "draining":
            self.state = "draining"
            self.go_on(self._leave())

    async def _run(self) -> None:
        """Come up, then do everything at its own pace."""
        raise NotImplementedError

    async def _leave(self) -> None:
        self._leaving = True
        for held in list(self.held.values()):
            held.stop = held.stop or "shutdown"
        while self.consumers:
            await self.clock.sleep(0.1)
        await self._stop_leading()
        self.state = "gone"
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        self.around.witness.left(self)

    async def _stop_leading(self) -> None:
        """Give up the leader's lock, where there is one."""

    async def every(self, seconds: float, step: Callable[[], Awaitable[None]], *, first: float = 0.0) -> None:
        """Do ``step`` at a fixed rate; a call that fails leaves the rest to the next round, as the KCL's threads do."""
        due = self.clock.monotonic() + first
        while True:
            await self.clock.sleep(max(0.0, due - self.clock.monotonic()))
            try:
                await step()
            except WireError as error:
                self.around.witness.note(f"{self.name}: {error}")
            due = max(due + seconds, self.clock.monotonic())

    # -- holding

    def hold(self, lease: JavaLease) -> JavaHeld:
        """A lease enters the held set, under a token of its own: what held it before holds another."""
        if (before := self.held.get(lease.key)) is not None:
            self.drop(before, "held anew")
        held = self.held[lease.key] = JavaHeld(lease, self.clock.monotonic())
        self.around.witness.began(self, held)
        return held

    def drop(self, held: JavaHeld, why: str) -> None:
        """A lease is held no more."""
        if held.over is None:
            held.over = why
            self.around.witness.note(f"{self.name} DROPS {held.key}: {why}")
        if self.held.get(held.key) is held:
            del self.held[held.key]

    async def renew_all(self) -> None:
        """One round of the renewer: every held lease at once."""
        rounds = [self.renew(held) for held in list(self.held.values())]
        await asyncio.gather(*(self.go_on(each) for each in rounds))

    async def renew(self, held: JavaHeld, *, though_expired: bool = False) -> None:
        """One renewal. Lost: dropped; an error: kept, to age."""
        lease = held.lease
        if held.is_pending and (lease.checkpoint_owner != self.name or lease.owner == self.name):
            self.drop(held, "a hand-off that is not mine")
            return
        async with held.busy:
            if held.over is None and (though_expired or not self.is_expired(held)):
                try:
                    await self._renew(held)
                except WireError as error:
                    self.around.witness.note(f"{self.name}: {error}")

    async def _renew(self, held: JavaHeld) -> None:
        looks = self.knows_hand_offs and not held.is_pending
        kbps = self.around.throughput_of(held.key) if self.knows_hand_offs else None
        reply = await self.wire.send(requests.renew(held.lease, looks_for_hand_off=looks, throughput=kbps))
        if reply.done:
            self._moved(held)
            return
        row = None if reply.item is None else lease_in(reply.item)
        if looks and row is not None and row.checkpoint_owner is not None:
            if row.checkpoint_owner != held.lease.actual_owner or row.checkpoint_owner == row.owner:
                self.drop(held, "handed on by force")
                return
            held.lease = replace(held.lease, owner=row.owner, checkpoint_owner=row.checkpoint_owner)
            await self._renew(held)
            return
        await self._rescue(held)

    async def _rescue(self, held: JavaHeld) -> None:
        """A refusal may be the echo of a write of mine whose reply was lost."""
        item = await self.wire.get(held.key)
        row = None if item is None else lease_in(item)
        mine = held.lease
        if row is None or row.owner != mine.actual_owner or row.counter != mine.counter + 1:
            self.drop(held, "lost")
            return
        self._moved(held)

    def _moved(self, held: JavaHeld) -> None:
        held.lease = replace(held.lease, counter=held.lease.counter + 1)
        held.moved_at = self.clock.monotonic()
        if held.is_pending and held.hand_off_since is None:
            held.hand_off_since = held.moved_at

    async def renew_mine_at_start(self) -> None:
        """At start-up: every row that names me and is not being handed over is renewed, and held again."""
        for item in await self.wire.all_rows():
            if item.get("leaseOwner", {}).get("S") == self.name and "checkpointOwner" not in item:
                await self.renew(self.hold(lease_in(item)), though_expired=True)

    async def checkpoint(self, held: JavaHeld, position: str) -> bool:
        """Store progress; False where the lease is lost. Raises WireError."""
        async with held.busy:
            if self.held.get(held.key) is not held or self.is_expired(held):
                return False
            reply = await self.wire.send(requests.checkpoint(held.lease, position))
            if not reply.done:
                self.drop(held, "its checkpoint was refused")
                return False
            held.lease = replace(held.lease, counter=held.lease.counter + 1, checkpoint=position)
            held.moved_at = self.clock.monotonic()
            return True

    # -- consumers

    async def dispatch(self) -> None:
        """Once a second: consumers for what is new, word to those whose lease is lost or asked for."""
        for held in list(self.held.values()):
            if self.is_expired(held):
                self.drop(held, "expired")
            elif held not in self.consumers and held.stop is None and not self._leaving:
                consumer = self.consumers[held] = self.go_on(JavaConsumer(self, held).run())
                consumer.add_done_callback(lambda _, held=held: self.consumers.pop(held, None))
                held.stop = None
        for held in self.consumers:
            if held.over is not None:
                held.stop = "lost"
            elif held.hand_off_since is not None and held.stop is None:
                held.stop = "hand_off"

    async def transfer(self, held: JavaHeld) -> None:
        """The old owner gives a lease to the next one, and lets go of it whatever comes of that."""
        lease = held.lease
        try:
            if lease.owner is not None and lease.checkpoint_owner == self.name:
                await self.wire.send(requests.assign(lease, lease.owner))
        finally:
            self.drop(held, "handed over")

    async def watch_deadlines(self) -> None:
        """A hand-off whose processor takes too long is finished without it."""
        now = self.clock.monotonic()
        for held in list(self.held.values()):
            since = held.hand_off_since
            if since is not None and held.over is None and now >= since + self.settings.hand_off_seconds:
                await self.transfer(held)

    # -- rows that are missing, and rows of shards that have ended

    async def sync(self, keys: Iterable[str]) -> None:
        """Make rows for shards that have none."""
        for key in keys:
            await self.create(JavaLease(key, 0, 0, "TRIM_HORIZON"))

    async def create(self, lease: JavaLease) -> None:
        """Make a row, unless there is one. Raises WireError."""
        await self.wire.send(requests.create(lease, says_type=self.knows_hand_offs and not self.settings.legacy))

    async def audit(self) -> None:
        """The leader's: an empty table is filled at once, a hole once it was seen three times."""
        rows = [item["leaseKey"]["S"] for item in await self.wire.all_rows() if is_lease(item)]
        missing = [key for key in self.around.shards() if not any(row.startswith(key) for row in rows)]
        self._holes_seen = self._holes_seen + 1 if missing else 0
        if not rows or self._holes_seen >= _HOLES:
            await self.sync(missing)

    async def clean_up(self) -> None:
        """Delete rows of ended shards whose children have begun and whose parents' rows are gone."""
        now = self.clock.monotonic()
        if now < self._cleaned_at + self.settings.cleanup_after_seconds:
            return
        for key in sorted(self.ended):
            item = await self.wire.get(key)
            if item is None or await self._may_go(lease_in(item)):
                self.ended.discard(key)
                if item is not None:
                    await self.wire.send(requests.delete(key))
        self._cleaned_at = now

    async def _may_go(self, lease: JavaLease) -> bool:
        for child in lease.children:
            row = await self.wire.get(child)
            if row is None or lease_in(row).checkpoint in ("TRIM_HORIZON", "AT_TIMESTAMP"):
                return False
        parents = [await self.wire.get(parent) for parent in lease.parents]
        return bool(lease.children) and not any(parents)
