"""What a group may have lost of shards that come to light late, told once."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

from consumer.clock import Clock
from consumer.hooks import Fact, GapFound, Hooks
from consumer.shards.position import LEAST_RETENTION_SECONDS, came_late, made_at
from consumer.streams.source import ShardListing
from lease_store.checkpoint import TRIM_HORIZON
from lease_store.lease import Lease

__all__ = ["LateGaps", "tell_late"]

_log = logging.getLogger("leasehold.shards")


def tell_late(gap: GapFound, why: str, hooks: Callable[[Fact], None]) -> None:
    """Say of the shard of ``gap`` why its first records may be gone."""
    _log.error(
        "Shard %s was found late: %s. Records trimmed by now are lost to this group; reading goes on at the oldest "
        "record there is.",
        gap.shard_id,
        why,
    )
    hooks(gap)


class LateGaps:
    """The gaps of one worker's shard sync. ``is_known`` says whether the service knows a shard of an incarnation."""

    def __init__(self, is_known: Callable[[str | None, str], Awaitable[bool]], *, clock: Clock, hooks: Hooks) -> None:
        self._is_known = is_known
        self._clock = clock
        self._hooks = hooks
        self._told: set[GapFound] = set()

    async def report(self, missing: Sequence[Lease], listing: ShardListing, leases: Sequence[Lease]) -> None:
        """Shards that get their rows late in a group that was already running, when records may be trimmed unread.

        Raises StreamError.
        """
        shards, rows = {shard.id: shard for shard in listing.shards}, {lease.key for lease in leases}
        # A KCL's rows don't tell when they were made.
        started_at = min((at for lease in leases if (at := made_at(lease))), default=self._clock.wall())
        since_start = {lease.key for lease in missing if lease.checkpoint != TRIM_HORIZON}
        self._told = {gap for gap in self._told if gap.shard_id not in rows}
        for lease in missing:
            gone = [parent for parent in lease.parents if parent not in shards.keys() | rows]
            born_at = shards[lease.key].created_at if lease.key in shards else None
            is_first = not lease.parents or (lease.key in since_start and since_start.isdisjoint(lease.parents))
            if born_at is None and is_first:
                born_at = started_at  # Kinesis tells no age, but the first of a line was there when the group began
            if came_late(born_at, known_since=started_at, now=self._clock.wall()):
                self.tell(lease, str(lease.checkpoint), "it has been there for more than a day")
            # A shard older than the group names parents that were trimmed before the group's time: none of its loss.
            elif not gone or (born_at or self._clock.wall() - LEAST_RETENTION_SECONDS) <= started_at:
                continue
            # Where the service knows one of them, this listing left it out.
            elif not any([await self._is_known(lease.stream, parent) for parent in gone]):
                self.tell(lease, f"shard {gone[0]}", f"its parents {', '.join(gone)} were trimmed away unread")

    def tell(self, lease: Lease, place: str, why: str) -> None:
        """Said before the row is made, for afterwards nobody would know, were the write's reply lost; and said once."""
        gap = GapFound(lease.key, place, "TRIM_HORIZON", stopped=False)
        if gap in self._told:
            return
        self._told.add(gap)
        tell_late(gap, why, self._hooks)
