"""What a tenure still allows: whether it is lost, must stop, is trusted; and how it is let go."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from consumer.errors import LeaseLost, LeaseStoreError
from consumer.leasing.tenure import Tenure
from consumer.retry import Backoff
from consumer.shards.scope import Scope

__all__ = ["Standing"]

_log = logging.getLogger("leasehold.shards")
_TRUST_POLL_SECONDS = 0.2
_LET_GO_POLL_SECONDS = 0.2


class Standing:
    """A tenure, as the steps of a shard consumer ask about it; who changes it notifies the shard's signal."""

    __slots__ = ("_random", "_refused", "_shard_id", "_signal", "_tenure")

    def __init__(self, tenure: Tenure, scope: Scope) -> None:
        self._tenure = tenure
        self._shard_id = scope.shard_id
        self._signal = scope.signal
        self._random = scope.shared.random
        self._refused = False

    def mark_lost(self) -> None:
        """A write was refused as lost, which may be heard before the tenure says so itself."""
        self._refused = True
        self._signal.notify()

    def is_lost(self) -> bool:
        """The tenure is over: no checkpoint, no user code but ``lease_lost``."""
        return self._refused or self._tenure.stop_requested == "lost"

    def must_stop(self) -> bool:
        """Nothing new may begin: lost, or a hand-off or drain is asked for (which may be taken back)."""
        return self._refused or self._tenure.stop_requested is not None

    async def trusted(self, give_up: Callable[[], bool]) -> bool:
        """Whether user code may begin: waits while the lease is not trusted, until it is again or ``give_up`` holds."""
        while not self._tenure.is_trusted and not give_up():
            await self._signal.until(give_up, within_seconds=_TRUST_POLL_SECONDS)
        return not give_up()

    async def let_go(self, *, shutdown_called: bool) -> bool:
        """Finish the hand-off or release, however often it takes; False where it was taken back, or lost first."""
        backoff = Backoff(self._random, 0.1, 2.0)
        while not self.is_lost():
            try:
                return await self._tenure.let_go(shutdown_called=shutdown_called) or shutdown_called
            except LeaseLost:
                self.mark_lost()
            except LeaseStoreError as error:
                pause = backoff.next_seconds()
                _log.warning(
                    "Shard %s: its lease could not be let go (%s); tried again in %.1f s.", self._shard_id, error, pause
                )
                await self._signal.until(self.is_lost, within_seconds=pause)
        return False

    async def let_go_early(self) -> bool:
        """A stop before there is a processor to tell: let go at once; False where it was taken back."""
        if await self.let_go(shutdown_called=False):
            return True
        # stop_requested says that it was taken back in the same moment or a little later.
        await self._signal.until(lambda: not self.must_stop(), within_seconds=_LET_GO_POLL_SECONDS)
        return False

    async def unless_stopped(self, work: Coroutine[Any, Any, None]) -> bool:
        """Wait for ``work``, or drop it when a stop comes first; whether it came to its end. Raises what it raises."""
        task = asyncio.get_running_loop().create_task(work, name=f"{self._shard_id} parents")
        task.add_done_callback(lambda _: self._signal.notify())
        try:
            await self._signal.until(lambda: task.done() or self.must_stop())
            if task.done():
                task.result()
                return True
            return False
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def parents_done(self) -> bool:
        """Wait for the parents, asking again where the table can't be read; False when a stop comes first."""
        backoff = Backoff(self._random, 0.2, 5.0)
        while not self.must_stop():
            try:
                return await self.unless_stopped(self._parents())
            except LeaseLost:
                self.mark_lost()
            except LeaseStoreError as error:
                pause = backoff.next_seconds()
                _log.warning(
                    "Shard %s: can't see whether its parents are done (%s); asked again in %.1f s.",
                    self._shard_id,
                    error,
                    pause,
                )
                await self._signal.until(self.must_stop, within_seconds=pause)
        return False

    async def _parents(self) -> None:
        await self._tenure.parents_done()
