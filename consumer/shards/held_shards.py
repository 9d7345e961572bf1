"""The shards that a worker holds: a consumer for each tenure, begun, told of stops, and seen to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterator
from functools import partial
from typing import Any

from consumer.leasing.held_lease import HeldLease
from consumer.leasing.held_tenure import HeldTenure, LeasingDoor
from consumer.leasing.tenure import StopReason, Tenure
from consumer.operate.status import ShardStatus
from consumer.shards.lifecycle import Event
from consumer.shards.scope import Shared
from consumer.shards.shard_consumer import ShardConsumer
from consumer.shards.signal import Signal
from consumer.streams.source import StreamIdentity

__all__ = ["HeldShards"]


class HeldShards:
    """One worker's consumers, on the worker's loop.

    ``stopped`` is run once no user code of a tenure runs any more; ``failed`` is called with the shard's id and
    what broke its consumer: its lease would be renewed and its shard read by nobody.
    """

    def __init__(
        self,
        shared: Shared,
        door: LeasingDoor,
        identity_of: Callable[[str | None], StreamIdentity],
        *,
        stopped: Callable[[HeldLease], Coroutine[Any, Any, None]],
        failed: Callable[[str, BaseException], None],
    ) -> None:
        self._shared = shared
        self._door = door
        self._identity_of = identity_of
        self._stopped = stopped
        self._failed = failed
        self._consumers: dict[HeldLease, ShardConsumer] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._signal = Signal(shared.clock)
        self._processed = 0
        self._is_closed = False
        self._on_end = self._ended  # one for all of them

    def __len__(self) -> int:
        return len(self._consumers)

    def __iter__(self) -> Iterator[ShardConsumer]:
        return iter(self._consumers.values())

    @property
    def keys(self) -> list[str]:
        """The shards' ids, sorted."""
        return sorted(consumer.shard_id for consumer in self)

    @property
    def records_processed(self) -> int:
        """By all tenures so far."""
        return self._processed + sum(consumer.records_processed for consumer in self)

    @property
    def sink_down_seconds(self) -> float | None:
        """For how long what the records are written to has been down; None: it is not."""
        opened_at = self._shared.policy.breaker.opened_at
        return None if opened_at is None else self._shared.clock.monotonic() - opened_at

    def status(self) -> tuple[ShardStatus, ...]:
        """Of each shard, sorted by id."""
        return tuple(sorted((consumer.status() for consumer in self), key=lambda shard: shard.shard_id))

    def begin(self, held: HeldLease) -> None:
        """A tenure began; once all were abandoned, nobody would end it, and its lease is left to expire."""
        if self._is_closed:
            return
        try:
            stream = self._identity_of(held.first_lease.stream)
            consumer = ShardConsumer(HeldTenure(held, self._door), stream, self._shared, on_end=self._on_end)
        except Exception as error:  # a callback of the loop has no caller who would hear of it
            self._failed(held.key, error)
            return
        self._consumers[held] = consumer
        consumer.begin()

    def request_stop(self, held: HeldLease, reason: StopReason | None) -> None:
        """What the lease loop asks of a tenure now; nothing where that is over here."""
        if held in self._consumers:
            self._consumers[held].request_stop(reason)

    async def until_none(self) -> None:
        """Return when no tenure is left, and leasing knows that."""
        await self._signal.until(self.is_over)

    async def until_only(self, shard_ids: Callable[[], Collection[str]]) -> None:
        """Return when only tenures of these shards are left, and some are; whoever changes them has to ``notify``."""
        await self._signal.until(
            lambda: self._consumers and not self._leaving and {each.shard_id for each in self} <= {*shard_ids()}
        )

    def notify(self) -> None:
        """Something changed that is waited for here."""
        self._signal.notify()

    def is_over(self) -> bool:
        """Whether that is so now."""
        return not self._consumers and not self._leaving

    async def abandon(self, within_seconds: float) -> None:
        """End all consumers; a thread that user code blocks is left to its fate, it is a daemon."""
        self._is_closed = True
        self._shared.wheel.close()
        self._shared.openings.close()
        for consumer in tuple(self):
            consumer.abandon()
        for task in self._leaving:
            task.cancel()
        await self._signal.until(self.is_over, within_seconds)
        self._shared.watch.close()
        self._shared.rounds.close()

    def _ended(self, tenure: Tenure, event: Event | None, error: BaseException | None) -> None:
        assert isinstance(tenure, HeldTenure)
        held = tenure.held
        self._processed += self._consumers.pop(held).records_processed
        if error is not None:
            self._failed(held.key, error)
        if event is not None or error is not None:
            task = asyncio.get_running_loop().create_task(self._stopped(held), context=self._shared.context)
            self._leaving.add(task)
            task.add_done_callback(partial(self._left, held))
        self._signal.notify()

    def _left(self, held: HeldLease, task: asyncio.Task[None]) -> None:
        self._leaving.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(held.key, error)
        self._signal.notify()
