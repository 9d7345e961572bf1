"""What the service shows of a stream's incarnations: complete lists of shards, each shared by all who ask."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection
from dataclasses import replace
from typing import Final

from consumer.clock import Clock
from consumer.errors import DataTrimmed, PositionRefused, ShardNotFound, StreamMissing
from consumer.streams.source import Position, RecordSource, Shard, ShardListing, StreamIdentity

__all__ = ["Listings"]

_STILL_TRUE_SECONDS: Final = 60.0
_UNLISTED: Final[tuple[float, ShardListing | None]] = (-math.inf, None)


class Listings:
    """One worker's view of the shards of ``stream``, the present incarnation, and of older ones not done with yet."""

    def __init__(self, source: RecordSource, stream: StreamIdentity, clock: Clock) -> None:
        self.stream = stream
        self._source = source
        self._clock = clock
        self._by_label: dict[str, tuple[float, ShardListing | None]] = {}
        self._lock = asyncio.Lock()

    def identity_of(self, label: str | None) -> StreamIdentity:
        """The incarnation that a row belongs to: the present one, or an older one that is still being drained."""
        if label is None or label == self.stream.label:
            return self.stream
        arn, at, _ = label.rpartition("@")
        return replace(self.stream, arn=arn if at else label, label=label, enabled=False)

    async def get(self, label: str | None, *, since: float) -> ShardListing | None:
        """A complete listing of one incarnation that began at ``since`` (monotonic) or later.

        None where an older incarnation is gone. Raises StreamError.
        """
        stream = self.identity_of(label)
        async with self._lock:
            listed_at, known = self._by_label.get(stream.label, _UNLISTED)
            if listed_at >= since:
                return known
            began = self._clock.monotonic()
            listing: ShardListing | None
            try:
                listing = _kept(await self._source.list_shards(stream), known)
            except StreamMissing:
                if stream is self.stream:
                    raise
                listing = None
            self._by_label[stream.label] = (began, listing)
            return listing

    def last(self, label: str | None) -> ShardListing | None:
        """The last listing of an incarnation; None where there was none, or where it is gone."""
        return self._by_label.get(self.identity_of(label).label, _UNLISTED)[1]

    def keep_only(self, labels: Collection[str]) -> None:
        """Forget the listings of all other incarnations but the present one's."""
        self._by_label = {
            label: seen for label, seen in self._by_label.items() if label in labels or label == self.stream.label
        }

    def shown_lately(self, label: str | None, shard_ids: set[str]) -> ShardListing | None:
        """The listing of the last minute where it shows all of these: what closed stays closed."""
        listed_at, listing = self._by_label.get(self.identity_of(label).label, _UNLISTED)
        if listing is None or listed_at < self._clock.monotonic() - _STILL_TRUE_SECONDS:
            return None
        return listing if shard_ids <= {shard.id for shard in listing.shards} else None

    async def is_known(self, label: str | None, shard_id: str) -> bool:
        """Whether the service knows the shard, asked itself: a listing may be late with it, or leave it out.

        Raises StreamError.
        """
        try:
            await self._source.iterator(self.identity_of(label), shard_id, Position("TRIM_HORIZON"))
        except (DataTrimmed, ShardNotFound, StreamMissing, PositionRefused):
            return False  # trimmed: nothing of it is left; refused: what a row names as a parent is no shard's id
        return True


def _kept(listing: ShardListing, known: ShardListing | None) -> ShardListing:
    """What is kept of a listing, which is as long as the table.

    A shard that is as it was is the same object, whose texts its row has, too; where it begins is asked of a fresh
    listing alone.
    """
    before = {} if known is None else {shard.id: shard for shard in known.shards}
    return replace(listing, shards=tuple(_shard_kept(shard, before.get(shard.id)) for shard in listing.shards))


def _shard_kept(shard: Shard, known: Shard | None) -> Shard:
    if known == shard:
        return known
    return shard if shard.first_sequence_number is None else replace(shard, first_sequence_number=None)
