"""Which request to stop begins the drain, and which ends the process at once: pure, for a worker and its supervisor."""

from __future__ import annotations

from typing import Final

from consumer.operate.supervisor.lifeline import Asked

__all__ = ["ECHO_SECONDS", "Stops"]

# timeout(1) and some supervisors signal both the process and its group: the same signal twice within an instant is one.
ECHO_SECONDS: Final = 0.2


class Stops:
    """Hears signals (by number) and what a supervisor asks, and says what each means.

    The first request of any kind begins the drain. A further *signal* ends the process, unless it is the echo of the
    first one, or the first that comes after a supervisor's request: whoever stops a whole group of processes
    (``systemctl stop``, Ctrl-C in a terminal) signals worker and supervisor, and means one thing.
    """

    def __init__(self) -> None:
        self._is_draining = False
        self._signal: tuple[int, float] | None = None

    def heard(self, request: int | Asked, at: float) -> Asked | None:
        """What to do about ``request``, which came ``at`` a monotonic second; None: what it asks is done already."""
        if request == "leave":
            return "leave"
        was_draining, self._is_draining = self._is_draining, True
        if request == "drain":
            return None if was_draining else "drain"
        before, self._signal = self._signal, self._signal or (request, at)
        if before is None:
            return None if was_draining else "drain"
        first, first_at = before
        return None if request == first and at - first_at <= ECHO_SECONDS else "leave"
