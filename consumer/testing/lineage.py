"""The shards of one stream and how they follow each other: rotation, splits, merges, and what time does to them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from consumer.testing.hash_space import HashRange, even_ranges
from consumer.testing.log_shard import LogShard
from consumer.testing.service_error import ServiceError
from consumer.testing.stream_rules import StreamOptions, StreamRules

__all__ = ["Lineage"]


class Lineage:
    """Every shard of one incarnation, open, closed or gone.

    What time does (rotation, trimming) is caught up with by ``settle``, which every public method calls first, at the
    instants when it would have happened, so that a clock may jump by a day. Sequence numbers come from one counter for
    the whole stream, so that they grow along every lineage.
    """

    def __init__(
        self,
        rules: StreamRules,
        options: StreamOptions,
        *,
        now: Callable[[], float],
        rng: random.Random,
        shard_count: int,
    ) -> None:
        self.rules = rules
        self.options = options
        self.rotations = 0
        self.splits = 0
        self.merges = 0
        self.shards: dict[str, LogShard] = {}
        self.gone: dict[str, LogShard] = {}
        self.sequence = rules.first_sequence
        self._open: list[LogShard] = []
        self._now = now
        self._rng = rng
        self._serial = 0
        self._due_at = -math.inf
        # One reading of the clock: the first shards are exactly as old as the stream.
        self.created_at = now()
        for hash_range in even_ranges(shard_count):
            self._begin((), hash_range, self.created_at)

    # -- looking

    def shard(self, shard_id: str) -> LogShard:
        """The shard, open or closed; raises ResourceNotFoundException when it is not, or no longer, there."""
        self.settle()
        shard = self.shards.get(shard_id)
        if shard is None:
            raise ServiceError(
                "ResourceNotFoundException", f"Requested resource not found: shard {shard_id} does not exist."
            )
        return shard

    def open_shards(self) -> list[LogShard]:
        """The shards that take records, by hash range."""
        self.settle()
        return sorted(self._open, key=lambda shard: shard.hash_range)

    def owner_of(self, hash_key: int) -> LogShard:
        """The open shard that takes records of ``hash_key``."""
        self.settle()
        return next(shard for shard in self._open if shard.owns(hash_key))

    # -- changing

    def next_sequence(self) -> int:
        """A sequence number above all that were given out before."""
        self.sequence += self._rng.randint(1, self.rules.largest_step)
        return self.sequence

    def note_append(self, at: float) -> None:
        """A record arrived at ``at``: it will have to be trimmed one day."""
        self._due_at = min(self._due_at, at + self.options.retention_seconds)

    def rotate(self, shard_id: str | None = None) -> tuple[str, ...]:
        """Close ``shard_id`` (None: every open one), each followed by one child over the same keys; their ids."""
        now = self.settle()
        return tuple(self._rotate(shard, now) for shard in self._chosen(shard_id))

    def split(self, shard_id: str | None = None, at: int | None = None) -> tuple[str, str]:
        """Close ``shard_id`` (None: the widest open) with two children, the second from ``at`` (None: the middle)."""
        now = self.settle()
        shards = self._chosen(shard_id)
        if not shards:
            raise ServiceError("ResourceInUseException", "The stream is switched off and has no open shard to split.")
        return self._split(max(shards, key=lambda shard: shard.hash_range[1] - shard.hash_range[0]), at, now)

    def merge(self, shard_id: str, adjacent_shard_id: str) -> str:
        """Close two open shards with touching hash ranges and follow them with one child; its id."""
        if not self.rules.merges:
            raise self._invalid("DynamoDB Streams never merges shards: a shard there has one parent.")
        now = self.settle()
        return self._merge(self._open_shard(shard_id), self._open_shard(adjacent_shard_id), now)

    def reshard(self, count: int) -> None:
        """End up with ``count`` even open shards, as UpdateShardCount does: splits at the new borders, then merges."""
        if count < 1:
            raise self._invalid(f"TargetShardCount {count} is below 1.")
        now = self.settle()
        targets = even_ranges(count)
        for low, _ in targets[1:]:
            shard = next(shard for shard in self._open if shard.owns(low))
            if shard.hash_range[0] != low:
                self._split(shard, low, now)
        for low, high in targets:
            while (first := self._starting_at(low)).hash_range[1] != high:
                self._merge(first, self._starting_at(first.hash_range[1] + 1), now)

    def close_all(self) -> None:
        """Close every open shard without children."""
        now = self.settle()
        for shard in list(self._open):
            self._close(shard, now)

    def settle(self) -> float:
        """Let happen what should have happened by now; returns now (epoch seconds)."""
        now = self._now()
        if now < self._due_at:
            return now
        period = self.options.rotate_every_seconds
        if period is not None:
            while due := [shard for shard in self._open if shard.created_at + period <= now]:
                first = min(due, key=lambda shard: (shard.created_at, shard.hash_range))
                self._rotate(first, first.created_at + period)
        self._expire(now)
        self._due_at = self._next_due()
        return now

    # -- inside

    def _expire(self, now: float) -> None:
        horizon = now - self.options.retention_seconds
        for shard in list(self.shards.values()):
            shard.trim(horizon)
            if shard.closed_at is not None and shard.closed_at <= horizon:
                self.gone[shard.id] = self.shards.pop(shard.id)
        for shard in list(self.gone.values()):
            if shard.closed_at is not None and shard.closed_at + self.options.gone_listed_seconds <= horizon:
                del self.gone[shard.id]

    def _next_due(self) -> float:
        keep, listed = self.options.retention_seconds, self.options.gone_listed_seconds
        instants = [math.inf]
        for shard in self.shards.values():
            instants += [at + keep for at in (shard.oldest_arrival, shard.closed_at) if at is not None]
        instants += [shard.closed_at + keep + listed for shard in self.gone.values() if shard.closed_at is not None]
        if self.options.rotate_every_seconds is not None:
            instants += [shard.created_at + self.options.rotate_every_seconds for shard in self._open]
        return min(instants)

    def _begin(self, parents: tuple[str, ...], hash_range: HashRange, at: float) -> str:
        shard_id = self.rules.shard_id(self._serial, at, self._rng)
        while shard_id in self.shards:
            shard_id = self.rules.shard_id(self._serial, at, self._rng)
        self._serial += 1
        shard = LogShard(shard_id, parents, hash_range, self.next_sequence(), at)
        self.shards[shard_id] = shard
        self._open.append(shard)
        self._due_at = -math.inf
        return shard_id

    def _close(self, shard: LogShard, at: float) -> None:
        shard.close(self.next_sequence(), at)
        self._open.remove(shard)
        self._due_at = -math.inf

    def _rotate(self, shard: LogShard, at: float) -> str:
        self._close(shard, at)
        self.rotations += 1
        return self._begin((shard.id,), shard.hash_range, at)

    def _split(self, shard: LogShard, at: int | None, now: float) -> tuple[str, str]:
        low, high = shard.hash_range
        middle = (low + high) // 2 + 1 if at is None else at
        if not low < middle <= high:
            raise self._invalid(
                f"NewStartingHashKey {middle} must be above {low} and at most {high} in shard {shard.id}."
            )
        self._close(shard, now)
        self.splits += 1
        return self._begin((shard.id,), (low, middle - 1), now), self._begin((shard.id,), (middle, high), now)

    def _merge(self, first: LogShard, second: LogShard, now: float) -> str:
        low, high = sorted((first, second), key=lambda shard: shard.hash_range)
        if low.hash_range[1] + 1 != high.hash_range[0]:
            raise self._invalid(f"Shards {first.id} and {second.id} are not adjacent.")
        self._close(first, now)
        self._close(second, now)
        self.merges += 1
        return self._begin((first.id, second.id), (low.hash_range[0], high.hash_range[1]), now)

    def _chosen(self, shard_id: str | None) -> list[LogShard]:
        return self.open_shards() if shard_id is None else [self._open_shard(shard_id)]

    def _open_shard(self, shard_id: str) -> LogShard:
        shard = self.shard(shard_id)
        if not shard.is_open:
            raise ServiceError("ResourceInUseException", f"Shard {shard_id} is closed already.")
        return shard

    def _starting_at(self, low: int) -> LogShard:
        return next(shard for shard in self._open if shard.hash_range[0] == low)

    def _invalid(self, message: str) -> ServiceError:
        return ServiceError(self.rules.invalid_argument, message)
