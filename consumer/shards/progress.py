"""What shards are at that may hang, since when, and the fact that says so once it lasts too long."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from consumer.clock import Clock
from consumer.hooks import Fact, Stuck

__all__ = ["StuckWatch", "Watched"]

_log = logging.getLogger("leasehold.shards")
_LOOKS = 20


class Watched(Protocol):
    """One tenure of a shard; it is told of by the shard's id."""

    @property
    def shard_id(self) -> str: ...


class StuckWatch:
    """What all shards of a worker are at: stages, each from its first attempt to its success, however often it fails.

    One that lasts is told of once, at ``stuck_after_seconds`` or up to a twentieth later. There is one timer, and only
    while something is under way; nothing is kept of a shard that is at nothing. Lives on one loop.
    """

    __slots__ = ("_clock", "_hooks", "_period", "_stuck_after", "_timer", "_told", "_under_way")

    def __init__(self, clock: Clock, hooks: Callable[[Fact], None], stuck_after_seconds: float) -> None:
        self._clock = clock
        self._hooks = hooks
        self._stuck_after = stuck_after_seconds
        self._period = stuck_after_seconds / _LOOKS
        self._under_way: dict[Watched, dict[str, float]] = {}  # in the order in which they began
        self._told: set[tuple[Watched, str]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, shard: Watched, stage: str) -> None:
        """``stage`` of ``shard`` is under way; nothing changes where it was already."""
        stages = self._under_way.get(shard)
        if stages is None:
            self._under_way[shard] = {stage: self._clock.monotonic()}
            self._set_timer()
        elif stage not in stages:
            stages[stage] = self._clock.monotonic()

    def end(self, shard: Watched, stage: str) -> None:
        """``stage`` of ``shard`` came to something."""
        stages = self._under_way.get(shard)
        if stages is not None and stage in stages:
            self._told.discard((shard, stage))
            del stages[stage]
            if not stages:
                del self._under_way[shard]

    def end_all(self, shard: Watched) -> None:
        """Whatever of ``shard`` was under way is not any more."""
        for stage in self._under_way.pop(shard, ()):
            self._told.discard((shard, stage))

    def seconds(self, shard: Watched, stage: str) -> float:
        """Age of the shard's ``stage``, 0 where it is not under way."""
        since = self._under_way.get(shard, {}).get(stage)
        return 0.0 if since is None else self._clock.monotonic() - since

    def oldest_seconds(self, shard: Watched) -> float:
        """Age of the shard's oldest stage under way, 0 where there is none."""
        stages = self._under_way.get(shard)
        return self._clock.monotonic() - min(stages.values()) if stages else 0.0

    def close(self) -> None:
        """Nobody is watched any more."""
        self._under_way.clear()
        self._told.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self) -> None:
        if self._under_way and self._timer is None:
            self._timer = self._clock.call_later(self._period, self._look)

    def _look(self) -> None:
        self._timer = None
        late_since = self._clock.monotonic() - self._stuck_after
        late = [
            (shard, stage)
            for shard, stages in self._under_way.items()
            for stage, since in stages.items()
            if since <= late_since and (shard, stage) not in self._told
        ]
        for shard, stage in late:
            self._tell(shard, stage)
        self._set_timer()

    def _tell(self, shard: Watched, stage: str) -> None:
        seconds = self.seconds(shard, stage)
        self._told.add((shard, stage))
        _log.warning(
            "Shard %s has made no progress for %.0f s: %s. Nothing is skipped; its lease stays here and its lag grows "
            "until it moves.",
            shard.shard_id,
            seconds,
            stage.replace("_", " "),
        )
        self._hooks(Stuck(shard.shard_id, stage, seconds))
