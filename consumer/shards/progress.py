"""What shards are at that may hang, since when, and the fact that says so once it lasts too long."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Final

from consumer.clock import Clock
from consumer.hooks import Fact, Stuck

__all__ = ["Progress", "StuckWatch"]

_log = logging.getLogger("leasehold.shards")
_NOTHING: Final[Mapping[str, float]] = MappingProxyType({})
_NONE: Final[frozenset[str]] = frozenset()
_LOOKS: Final = 20


class StuckWatch:
    """Looks at what all shards of a worker are at, and reports each occurrence that lasts too long once.

    It is told of at ``stuck_after_seconds``, or up to a twentieth later. There is one timer, and only while something
    is under way; lives on one loop.
    """

    __slots__ = ("_period", "_stuck_after", "_timer", "_under_way", "clock", "hooks")

    def __init__(self, clock: Clock, hooks: Callable[[Fact], None], stuck_after_seconds: float) -> None:
        self.clock = clock
        self.hooks = hooks
        self._stuck_after = stuck_after_seconds
        self._period = stuck_after_seconds / _LOOKS
        self._under_way: dict[Progress, None] = {}  # in the order in which they began
        self._timer: asyncio.TimerHandle | None = None

    def add(self, progress: Progress) -> None:
        """Something of it is under way."""
        self._under_way[progress] = None
        if self._timer is None:
            self._timer = self.clock.call_later(self._period, self._look)

    def discard(self, progress: Progress) -> None:
        """Nothing of it is."""
        self._under_way.pop(progress, None)

    def close(self) -> None:
        """Nobody is watched any more."""
        self._under_way.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        for progress in tuple(self._under_way):
            progress.report(self._stuck_after)
        if self._under_way and self._timer is None:
            self._timer = self.clock.call_later(self._period, self._look)


class Progress:
    """Stages of one shard under way, each from its first attempt to its success: failing again does not restart it."""

    __slots__ = ("_reported", "_shard_id", "_since", "_watch")

    def __init__(self, shard_id: str, watch: StuckWatch) -> None:
        self._shard_id = shard_id
        self._watch = watch
        self._since = _NOTHING
        self._reported = _NONE

    def begin(self, stage: str) -> None:
        """``stage`` is under way; nothing changes where it was already."""
        if stage not in self._since:
            self._since = {**self._since, stage: self._watch.clock.monotonic()}
            self._watch.add(self)

    def end(self, stage: str) -> None:
        """``stage`` came to something."""
        if stage in self._since:
            self._since = {other: since for other, since in self._since.items() if other != stage} or _NOTHING
            self._reported = (self._reported - {stage}) or _NONE
            if not self._since:
                self._watch.discard(self)

    def end_all(self) -> None:
        """Whatever was under way is not any more."""
        self._since, self._reported = _NOTHING, _NONE
        self._watch.discard(self)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """``name`` is under way inside the block, however the block ends."""
        self.begin(name)
        try:
            yield
        finally:
            self.end(name)

    def seconds(self, stage: str) -> float:
        """Age of ``stage``, 0 where it is not under way."""
        return self._watch.clock.monotonic() - self._since[stage] if stage in self._since else 0.0

    def oldest_seconds(self) -> float:
        """Age of the oldest stage under way, 0 where there is none."""
        return self._watch.clock.monotonic() - min(self._since.values()) if self._since else 0.0

    def report(self, stuck_after_seconds: float) -> None:
        """Say of each stage that lasts so long that it does; once."""
        now = self._watch.clock.monotonic()
        for stage, since in self._since.items():
            if stage not in self._reported and now - since >= stuck_after_seconds:
                self._report(stage, now - since)

    def _report(self, stage: str, seconds: float) -> None:
        self._reported |= {stage}
        _log.warning(
            "Shard %s has made no progress for %.0f s: %s. Nothing is skipped; its lease stays here and its lag grows "
            "until it moves.",
            self._shard_id,
            seconds,
            stage.replace("_", " "),
        )
        self._watch.hooks(Stuck(self._shard_id, stage, seconds))
