"""The last steps of a shard: find its children, make their rows, store SHARD_END."""

from __future__ import annotations

import logging

from consumer.errors import LeaseholdError, LeaseLost, LeaseStoreError, StreamError, StreamMissing
from consumer.hooks import CheckpointFailed, GapFound, ShardEnded
from consumer.retry import Backoff
from consumer.shards.late_gaps import tell_late
from consumer.shards.position import came_late, made_at
from consumer.shards.standing import Part
from consumer.streams.source import Shard

__all__ = ["ShardEnd"]

_log = logging.getLogger("leasehold.shards")
_FIRST_SECONDS = 0.1
_LIMIT_SECONDS = 5.0
_CALL_LIMIT_SECONDS = 300.0


class ShardEnd(Part):
    """Ends one tenure's shard. Nothing here is begun before user code has returned from ``shard_ended``."""

    __slots__ = ()

    async def find_children(self, named: tuple[Shard, ...] | None) -> tuple[Shard, ...] | None:
        """The children that the last page named, else those the service shows within the wait; None when stopped first.

        A service may show a child late. After the wait the shard ends without: the lineage audit makes the missing
        rows.
        """
        if named:
            return named
        standing, shared = self._standing, self._standing.shared
        backoff = Backoff(shared.random, _FIRST_SECONDS, _LIMIT_SECONDS)
        deadline: float | None = None
        reason = "the service shows none"
        while not standing.must_stop():
            try:
                async with shared.clock.timeout(_CALL_LIMIT_SECONDS):
                    children = await shared.source.children(standing.stream, standing.shard_id)
            except StreamMissing:
                _log.info(
                    "Shard %s has ended and its stream is gone: there are no children to wait for.", standing.shard_id
                )
                return ()
            except (LeaseholdError, TimeoutError) as error:
                children, reason = (), f"asking failed with {type(error).__name__}: {error}"
            if children:
                return children
            # From the first answer on: what was spent waiting for a turn to ask says nothing about the service.
            if deadline is None:
                deadline = shared.clock.monotonic() + shared.config.child_wait_seconds
            left = deadline - shared.clock.monotonic()
            if left <= 0:
                _log.warning(
                    "Shard %s has ended and no child was found within %.0f s (%s); it ends without. Where there are "
                    "children, the lineage audit finds them; where the stream is disabled or deleted, there are none.",
                    standing.shard_id,
                    shared.config.child_wait_seconds,
                    reason,
                )
                return ()
            pause = min(max(backoff.next_seconds(), 0.02), left)
            await standing.until(standing.must_stop, within_seconds=pause)
        return None

    async def store(self, children: tuple[Shard, ...]) -> bool:
        """Create the children's rows, store SHARD_END, however often it takes; False when the lease was lost first."""
        standing, shared = self._standing, self._standing.shared
        backoff = Backoff(shared.random, _FIRST_SECONDS, _LIMIT_SECONDS)
        while not standing.is_lost():
            try:
                await self._tenure.end_shard(children)
            except LeaseLost:
                return False
            except (LeaseStoreError, StreamError) as error:
                pause = backoff.next_seconds()
                shared.hooks(CheckpointFailed(standing.shard_id, type(error).__name__))
                _log.warning(
                    "Shard %s: its end was not stored (%s), its children can't start yet; tried again in %.1f s.",
                    standing.shard_id,
                    error,
                    pause,
                )
                await standing.until(standing.is_lost, within_seconds=pause)
            else:
                shared.hooks(ShardEnded(standing.shard_id, tuple(child.id for child in children)))
                self._tell_late(children)
                return True
        return False

    def _tell_late(self, children: tuple[Shard, ...]) -> None:
        """A parent that was read to its end only a day after its children were born: their first records are gone."""
        shared = self._standing.shared
        known_since, now = made_at(self._tenure.lease), shared.clock.wall()
        for child in children:
            if came_late(child.created_at, known_since=known_since, now=now):
                gap = GapFound(child.id, "TRIM_HORIZON", "TRIM_HORIZON", stopped=False)
                why = f"it was born more than a day before its parent {self._standing.shard_id} was read to its end"
                tell_late(gap, why, shared.hooks)
