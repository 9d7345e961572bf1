"""Tells a sink that is down from records that are bad: one breaker for all shards of a worker."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from consumer.clock import Clock
from consumer.delivery.attempts import Attempts, Proof
from consumer.hooks import Fact, SinkDown, SinkUp
from consumer.retry import Backoff

__all__ = ["Breaker", "Unit"]

_log = logging.getLogger("leasehold.delivery")
_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 30.0

Unit = tuple[str, str, int]
"""What is tried at once, by its first record: shard id, sequence number, sub-sequence number."""


@dataclass(frozen=True, slots=True)
class _Failed:
    """A unit that failed, and nothing has succeeded since; ``at`` is monotonic."""

    attempts: tuple[Attempts, ...]
    at: float


class Breaker:
    """Opens when ``units`` different units of records fail in a row, with no success of a later call between them.

    Open, it lets one probe through at a time, each by the unit that waits longest, so that one that is bad itself can't
    keep it open; the first success closes it. Failures that opened it, and those of probes, are nobody's own: the
    units' attempts start anew. With ``units`` 0 it never opens, and every failure is the unit's own. What successes
    prove of failures is ``Proof``.
    """

    def __init__(self, units: int, clock: Clock, random: Random, hooks: Callable[[Fact], None]) -> None:
        self._units = units
        self._clock = clock
        self._hooks = hooks
        self._backoff = Backoff(random, _FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)
        self._streak: dict[Unit, _Failed] = {}
        self._unproven: dict[Unit, _Failed] = {}
        self._waiting: dict[Unit, tuple[Callable[[], None], bool]] = {}
        self._last_was_parked = True
        self._probing: Unit | None = None
        self._probe_at = -math.inf
        self._others_asked_at = -math.inf
        self.opened_at: float | None = None
        """When it opened (monotonic), None while it is closed."""

    @property
    def is_open(self) -> bool:
        """Whether the sink counts as down."""
        return self.opened_at is not None

    def has_others(self, within_seconds: float) -> bool:
        """Whether, since it opened or within so long, anybody has asked for a turn who has not failed alone before."""
        return self._clock.monotonic() - self._others_asked_at < within_seconds

    def is_own(self, unit: Unit, attempts: Attempts) -> bool:
        """Whether what failed was the unit itself, and not what all records need.

        It has failed while others succeeded, or once more after that. And either a later call has succeeded since it
        failed last; or one has since it failed first, and nothing else has failed since: who is the only one left to be
        tried can't wait for others.
        """
        if self.is_open or not (attempts.proof is Proof.OWN or self._units == 0):
            return False
        return unit not in self._unproven or self._is_alone(unit)

    def _is_alone(self, unit: Unit) -> bool:
        return self._streak.keys() <= {unit}

    def take_turn(self, unit: Unit, wake: Callable[[], None], is_parked: bool = False) -> float | None:
        """0: it is the turn of ``unit``. Else how long to wait before asking again; None: until ``wake`` is called.

        ``is_parked``: it has failed alone before. Every other probe is one that has not, where there is one: a hundred
        bad records do not keep the sink down for those that are good.
        """
        if not self.is_open:
            return 0.0
        self._waiting.setdefault(unit, (wake, is_parked))
        if not is_parked:
            self._others_asked_at = self._clock.monotonic()
        if self._probing == unit:
            return 0.0
        if self._probing is not None or self._next_to_probe() != unit:
            return None
        wait = self._probe_at - self._clock.monotonic()
        if wait > 0:
            return wait
        self._probing, self._last_was_parked = unit, is_parked
        return 0.0

    def _next_to_probe(self) -> Unit:
        """Who waits longest, or, in every other turn, who waits longest of those that are not parked."""
        oldest = next(iter(self._waiting))
        if not self._last_was_parked:
            return oldest
        return next((unit for unit, (_, is_parked) in self._waiting.items() if not is_parked), oldest)

    def failed(self, units: Sequence[Unit], attempts: Sequence[Attempts], kind: str) -> None:
        """One try failed with a ``kind`` of error.

        ``units``: the first is the one that was tried, others are parts of it that go their own way from now on.
        ``attempts``: theirs, in which the failure is counted so far; none where it is not.
        """
        for unit, each in zip(units, attempts, strict=False):
            each.failed_in_doubt(alone=self._is_alone(unit), presumed=self._units == 0)
        if self._units == 0:
            return
        now = self._clock.monotonic()
        if self.is_open:
            for each in attempts:
                each.start_anew()
            self.pass_turn(units[0])
            return
        for unit, other in self._streak.items():
            if unit != units[0]:
                for each in other.attempts:
                    each.others_failed()
        failed = _Failed(tuple(attempts), now)
        self._streak[units[0]] = failed
        self._unproven.update(dict.fromkeys(units, failed))
        if len(self._streak) >= self._units:
            self._open(now, kind)

    def succeeded(self, began_at: float) -> None:
        """A try that began at ``began_at`` (monotonic) has brought some of its records to their end."""
        if self.opened_at is not None:
            if began_at >= self.opened_at:  # a probe, whatever else has failed meanwhile that began before it
                self._close()
        elif self._unproven:
            for failed in self._unproven.values():
                if failed.at <= began_at:
                    for each in failed.attempts:
                        each.others_succeeded()
            self._streak = {unit: failed for unit, failed in self._streak.items() if failed.at > began_at}
            self._unproven = {unit: failed for unit, failed in self._unproven.items() if failed.at > began_at}

    def pass_turn(self, unit: Unit) -> None:
        """A probe failed, or said nothing about the sink: the next one waits a while, and is another unit's."""
        if self._probing == unit:
            self._probing = None
            self._probe_at = self._clock.monotonic() + self._backoff.next_seconds()
            if unit in self._waiting:
                self._waiting[unit] = self._waiting.pop(unit)
            self._wake()

    def step_aside(self, unit: Unit) -> None:
        """``unit`` isn't tried for now, for its own pause or a stop: the others need not wait for it to probe."""
        waited = self._waiting.pop(unit, None) is not None
        if self._probing == unit:
            self._probing = None
        if waited:
            self._wake()

    def forget(self, unit: Unit) -> None:
        """Nobody tries ``unit`` any more here; where it was its turn, it is the next one's."""
        self._streak.pop(unit, None)
        self._unproven.pop(unit, None)
        self.step_aside(unit)

    def _open(self, now: float, kind: str) -> None:
        count = len(self._streak)
        for failed in self._streak.values():
            for each in failed.attempts:
                each.start_anew()
        self._streak, self._unproven = {}, {}
        self.opened_at = self._others_asked_at = now
        self._probe_at = now + self._backoff.next_seconds()
        _log.error(
            "%d batches of different keys or shards failed in a row, the last with %s: what they write to counts as "
            "down. All shards of this worker pause and keep their leases; one batch at a time is tried until one "
            "succeeds. Nothing is skipped, no attempt is counted, nothing becomes a dead letter meanwhile.",
            count,
            kind,
        )
        self._hooks(SinkDown("", kind, count))

    def _close(self) -> None:
        assert self.opened_at is not None
        seconds = self._clock.monotonic() - self.opened_at
        self.opened_at = self._probing = None
        self._backoff.reset()
        _log.warning("A batch succeeded after %.1f s: all shards of this worker go on.", seconds)
        self._hooks(SinkUp("", seconds))
        self._wake()
        self._waiting.clear()

    def _wake(self) -> None:
        for wake, _ in tuple(self._waiting.values()):
            wake()
