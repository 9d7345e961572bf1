"""What a shard's records weigh, in KB a second, smoothed as the Java KCL 3.5 does for the leader that plans by it."""

from __future__ import annotations

from typing import Final

__all__ = ["Throughput", "smoothed_kbps"]

_KB: Final = 1024.0


def smoothed_kbps(before: float | None, size_bytes: int, seconds: float, interval_seconds: float) -> float:
    """The average after ``size_bytes`` more in ``seconds``: half of it is as old as ``interval_seconds``.

    The KCL folds one interval's rate in at each of its renewals, with weight 0.5. Here checkpoints renew as well, and
    at any distance: the weight follows from the time that passed, so that the average is the same however often it is
    asked for.
    """
    if before is None:
        return size_bytes / _KB / max(seconds, interval_seconds)
    if seconds <= 0.0:
        return before
    weight: float = 1.0 - 0.5 ** (seconds / interval_seconds)
    return before + weight * (size_bytes / _KB / seconds - before)


class Throughput:
    """One tenure's average; None until something was delivered, unless the row brought a value along.

    ``delivered_bytes`` only grows, and is the one thing that the worker's loop writes and the lease loop reads.
    """

    __slots__ = ("_counted_at", "_counted_bytes", "_kbps", "delivered_bytes")

    def __init__(self, stored_kbps: float | None, now: float) -> None:
        self.delivered_bytes = 0
        self._kbps = stored_kbps
        self._counted_bytes = 0
        self._counted_at = now

    def kbps_at(self, now: float, interval_seconds: float) -> float | None:
        """The average by ``now``; see ``smoothed_kbps`` for the interval."""
        delivered = self.delivered_bytes
        if self._kbps is None and delivered == 0:
            self._counted_at = now
            return None
        if now > self._counted_at:
            new = delivered - self._counted_bytes
            self._kbps = smoothed_kbps(self._kbps, new, now - self._counted_at, interval_seconds)
            self._counted_bytes, self._counted_at = delivered, now
        return self._kbps
