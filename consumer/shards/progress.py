"""What a shard is at that may hang, since when, and the fact that says so once it lasts too long."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from consumer.clock import Clock
from consumer.hooks import Fact, Stuck
from consumer.shards.signal import Signal

__all__ = ["Progress"]

_log = logging.getLogger("leasehold.shards")


class Progress:
    """Stages under way, each from its first attempt to its success: failing again and again does not restart it.

    ``watch`` reports each occurrence that lasts ``stuck_after_seconds`` once, as a ``Stuck`` fact and a log line.
    """

    def __init__(
        self, shard_id: str, stuck_after_seconds: float, *, clock: Clock, signal: Signal, hooks: Callable[[Fact], None]
    ) -> None:
        self._shard_id = shard_id
        self._stuck_after = stuck_after_seconds
        self._clock = clock
        self._signal = signal
        self._hooks = hooks
        self._since: dict[str, float] = {}
        self._reported: set[str] = set()

    def begin(self, stage: str) -> None:
        """``stage`` is under way; nothing changes where it was already."""
        if stage not in self._since:
            self._since[stage] = self._clock.monotonic()
            self._signal.notify()

    def end(self, stage: str) -> None:
        """``stage`` came to something."""
        self._since.pop(stage, None)
        self._reported.discard(stage)

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
        return self._clock.monotonic() - self._since[stage] if stage in self._since else 0.0

    def oldest_seconds(self) -> float:
        """Age of the oldest stage under way, 0 where there is none."""
        return self._clock.monotonic() - min(self._since.values()) if self._since else 0.0

    async def watch(self) -> None:
        """Report stages that last too long, until cancelled; keeps a timer only while something is under way."""
        while True:
            await self._signal.until(self._unreported)
            now = self._clock.monotonic()
            for stage in self._unreported():
                if now - self._since[stage] >= self._stuck_after:
                    self._report(stage, now - self._since[stage])
            waiting = [self._since[stage] for stage in self._unreported()]
            if waiting:
                await self._clock.sleep(max(min(waiting) + self._stuck_after - now, 0.001))

    def _unreported(self) -> list[str]:
        return [stage for stage in self._since if stage not in self._reported]

    def _report(self, stage: str, seconds: float) -> None:
        self._reported.add(stage)
        _log.warning(
            "Shard %s has made no progress for %.0f s: %s. Nothing is skipped; its lease stays here and its lag grows "
            "until it moves.",
            self._shard_id,
            seconds,
            stage.replace("_", " "),
        )
        self._hooks(Stuck(self._shard_id, stage, seconds))
