"""Reads of one shard that fail: when the next one is made, and what is said of them."""

from __future__ import annotations

import logging
from typing import Final, Self

from consumer.errors import StreamThrottled
from consumer.hooks import Throttled
from consumer.retry import Trouble, is_transient
from consumer.shards.scope import Scope

__all__ = ["ReadTrouble"]

_log = logging.getLogger("leasehold.shards")

# What passes by itself is tried again within seconds, and told only once it does not seem to pass.
_PASSING_SECONDS: Final = (0.25, 5.0)
_PASSING_UNTOLD: Final = 2
# Where somebody has to do something first, nothing is gained by asking often.
_REFUSED_SECONDS: Final = (2.0, 60.0)


class ReadTrouble:
    """Made at the first failure, thrown away after a success; a shard that never failed has none.

    A shard is never given up: reads are tried for ever, for nothing else would read it while this worker has its lease.
    """

    __slots__ = ("_in_a_row", "_passing", "_refused", "_scope")

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._in_a_row = 0
        self._passing = Trouble(scope.shared.random, *_PASSING_SECONDS)
        self._refused = Trouble(scope.shared.random, *_REFUSED_SECONDS)

    def iterator_lost(self) -> float:
        """It stands nowhere any more; the pause before another one is asked for: none the first time."""
        self._in_a_row += 1
        return self._passing.put_off(self._scope.shared.clock.monotonic()) if self._in_a_row > 1 else 0.0

    def failed(self, error: Exception, operation: str, place: str) -> float:
        """The pause after ``error``, in seconds; ``place`` is where ``operation`` was to go on, for people."""
        self._in_a_row += 1
        if isinstance(error, StreamThrottled):
            self._scope.shared.hooks(Throttled(self._scope.shard_id, operation))
        passes = is_transient(error) or isinstance(error, TimeoutError)
        trouble = self._passing if passes else self._refused
        now = self._scope.shared.clock.monotonic()
        pause = trouble.put_off(now)
        if not (passes and self._in_a_row <= _PASSING_UNTOLD) and trouble.is_to_be_told(now):
            _log.log(
                logging.WARNING if passes else logging.ERROR,
                "Shard %s can't be read: %s failed %d times in a row, now with %s (%s). It is tried for ever from %s; "
                "nothing is skipped, but what is not read within the stream's retention is lost.",
                self._scope.shard_id,
                operation,
                self._in_a_row,
                type(error).__name__,
                error,
                place,
            )
        return pause

    def after_success(self, now: float) -> Self | None:
        """What is left of it: nothing, but for a minute after it was told."""
        self._in_a_row = 0
        left = [trouble.after_success(now) for trouble in (self._passing, self._refused)]
        return self if any(left) else None
