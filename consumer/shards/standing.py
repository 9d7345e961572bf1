"""What a tenure still allows: whether it is lost, must stop, is trusted; and how it is let go."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from consumer.errors import LeaseLost, LeaseStoreError
from consumer.leasing.tenure import StopReason, Tenure
from consumer.retry import Backoff
from consumer.shards.scope import Owner, Scope, Shared
from consumer.streams.source import StreamIdentity

__all__ = ["Part", "Standing"]

_log = logging.getLogger("leasehold.shards")
_TRUST_POLL_SECONDS = 0.2
_LET_GO_POLL_SECONDS = 0.2


class Standing(Scope):
    """A shard and its tenure, as the steps of a shard consumer ask about it, and what is asked of it."""

    __slots__ = ("_stop", "tenure")

    def __init__(self, tenure: Tenure, stream: StreamIdentity, shared: Shared, owner: Owner) -> None:
        super().__init__(tenure.lease.key, stream, shared, owner)
        self.tenure = tenure
        self._stop: StopReason | None = None

    def request_stop(self, reason: StopReason | None) -> None:
        """What the lease loop asks for now, or a write's refusal tells before that does; once lost, always lost."""
        if self._stop not in ("lost", reason):
            self._stop = reason
            self.notify()

    def is_lost(self) -> bool:
        """The tenure is over: no checkpoint, no user code but ``lease_lost``."""
        return self._stop == "lost"

    def must_stop(self) -> bool:
        """Nothing new may begin: lost, or a hand-off or drain is asked for (which may be taken back)."""
        return self._stop is not None

    async def trusted(self, give_up: Callable[[], bool]) -> bool:
        """Whether user code may begin: waits while the lease is not trusted, until it is again or ``give_up`` holds."""
        while not self.tenure.is_trusted and not give_up():
            await self.until(give_up, within_seconds=_TRUST_POLL_SECONDS)
        return not give_up()

    async def let_go(self, *, shutdown_called: bool) -> bool:
        """Finish the hand-off or release, however often it takes; False where it was taken back, or lost first."""
        backoff = Backoff(self.shared.random, 0.1, 2.0)
        while not self.is_lost():
            try:
                return await self.tenure.let_go(shutdown_called=shutdown_called) or shutdown_called
            except LeaseLost:
                self.request_stop("lost")
            except LeaseStoreError as error:
                pause = backoff.next_seconds()
                _log.warning(
                    "Shard %s: its lease could not be let go (%s); tried again in %.1f s.",
                    self.shard_id,
                    error,
                    pause,
                )
                await self.until(self.is_lost, within_seconds=pause)
        return False

    async def let_go_early(self) -> bool:
        """A stop before there is a processor to tell: let go at once; False where it was taken back."""
        if await self.let_go(shutdown_called=False):
            return True
        # That it was taken back is heard in the same moment or a little later.
        await self.until(lambda: not self.must_stop(), within_seconds=_LET_GO_POLL_SECONDS)
        return False

    async def unless_stopped(self, work: Coroutine[Any, Any, None]) -> bool:
        """Wait for ``work``, or drop it when a stop comes first; whether it came to its end. Raises what it raises."""
        task = asyncio.get_running_loop().create_task(work, name=f"{self.shard_id} until stopped")
        task.add_done_callback(lambda _: self.notify())
        try:
            await self.until(lambda: task.done() or self.must_stop())
            if task.done():
                task.result()
                return True
            return False
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def parents_done(self) -> bool:
        """Wait for the parents, asking again where the table can't be read; False when a stop comes first."""
        backoff = Backoff(self.shared.random, 0.2, 5.0)
        while not self.must_stop():
            try:
                return await self.unless_stopped(self._parents())
            except LeaseLost:
                self.request_stop("lost")
            except LeaseStoreError as error:
                pause = backoff.next_seconds()
                _log.warning(
                    "Shard %s: can't see whether its parents are done (%s); asked again in %.1f s.",
                    self.shard_id,
                    error,
                    pause,
                )
                await self.until(self.must_stop, within_seconds=pause)
        return False

    async def _parents(self) -> None:
        await self.tenure.parents_done()


class Part:
    """What a shard consumer is made of besides its standing, by which it reaches all that the shard has once."""

    __slots__ = ("_standing",)

    def __init__(self, standing: Standing) -> None:
        self._standing = standing

    @property
    def _tenure(self) -> Tenure:
        return self._standing.tenure
