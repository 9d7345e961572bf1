"""What goes wrong with records in the fleet's world: poison, and a sink that is down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from consumer.outcomes import BatchFailures, RetryAfter
from tests.simulation.fleet.policy import PolicyDraw, serial_of

__all__ = ["Trouble", "Verdict"]

_BUSY_SECONDS: Final = 0.7
_BUSY_FOR_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one call: ``error`` is raised at the record ``at``; else ``failed`` positions, told ``how``."""

    at: int = -1
    error: BaseException | None = None
    value: Any = None
    failed: frozenset[int] = frozenset()


class Trouble:
    """One world's. ``now`` is virtual time; nothing new goes wrong once it ``ends``.

    ``is_mended``: whatever was poison is good from now on, that which stays so apart.
    """

    def __init__(self, policy: PolicyDraw, now: Callable[[], float]) -> None:
        self.policy = policy
        self._now = now
        self._first_seen: dict[int, float] = {}
        self._last_poison: float = float("inf")
        self._sink_is_mended = False
        self.is_mended = False

    def end(self, serial: int) -> None:
        """Records from ``serial`` on are good, and the sink is up; what may not be given up is good from now on."""
        self._last_poison = serial
        self._sink_is_mended = True
        self.is_mended = not self.policy.gives_up

    def is_poison(self, serial: int) -> bool:
        """Whether the record is ever poison."""
        return (serial < self._last_poison or self.policy.stays(serial)) and self.policy.kind_of(serial) is not None

    def is_down(self) -> bool:
        """Whether every call fails now."""
        if self.policy.sink_down is None or self._sink_is_mended:
            return False
        begin, seconds = self.policy.sink_down
        return begin <= self._now() < begin + seconds

    def verdict(self, records: Sequence[Any]) -> Verdict:
        """What becomes of a call over ``records`` that begins now."""
        bad = [(at, kind) for at, record in enumerate(records) if (kind := self._kind_now(serial_of(record)))]
        for at, kind in bad:
            if kind == "raise":
                return Verdict(at, ValueError(f"poison {serial_of(records[at])}"))
            if kind == "busy":
                return Verdict(at, RetryAfter(_BUSY_SECONDS))
            if kind == "wrong":
                return Verdict(value=True, failed=frozenset(range(len(records))))
        failed = frozenset(at for at, _ in bad)
        if not failed:
            return Verdict()
        named = [records[at] for at, kind in bad if kind != "fail"]
        for at, kind in bad:
            if kind == "fail":
                records[at].fail(ValueError("poison, as noted"))
        if not named:
            return Verdict(failed=failed)
        failures = BatchFailures(named if len(bad) % 2 else [each.sequence_number for each in named])
        if any(kind == "named" for _, kind in bad):
            return Verdict(len(records), failures, failed=failed)
        return Verdict(value=failures, failed=failed)

    def _kind_now(self, serial: int) -> str | None:
        kind = self.policy.kind_of(serial)
        if self.policy.stays(serial):
            return kind
        if not self.is_poison(serial) or self.is_mended:
            return None
        seen_for = self._now() - self._first_seen.setdefault(serial, self._now())
        heals_after = _BUSY_FOR_SECONDS if kind == "busy" else self.policy.heals_after
        return None if heals_after is not None and seen_for >= heals_after else kind
