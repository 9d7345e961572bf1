"""What a worker publishes of its own load, for leaders that plan by it: CPU averages, in the form of the KCL 3.5."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from consumer.clock import Clock
from consumer.hooks import CpuMeasured, Hooks
from consumer.leasing.observation import Peer
from consumer.operate.cpu import CpuReader
from lease_store.lease import WorkerRow

__all__ = ["CPU", "CpuAverages", "WorkerMetrics"]

_log = logging.getLogger("leasehold.leasing")

CPU: Final = "C"
"""The KCL's short name of CPU in ``sts`` and ``opr``."""
_RANGE: Final = (100.0,)
_KEPT: Final = 10
_PERIOD_SECONDS: Final = 30.0
_PAUSE_SECONDS: Final = 5.0
_READ_SECONDS: Final = 5.0


class CpuAverages:
    """The last ten averages of half a minute each, oldest first, as the KCL keeps them.

    The first is closed with the first sample: a worker that starts is not without any. A period without a
    sample is left out: a KCL would write -1, for which its leader gives a worker nothing for half a minute. Once ten
    such have passed none is left, and the leader plans by throughput.
    """

    def __init__(self) -> None:
        self._periods: deque[float | None] = deque(maxlen=_KEPT)
        self._sum = 0.0
        self._count = 0
        self._ends_at = float("inf")

    def add(self, percent: float | None, now: float) -> bool:
        """One sample (0 to 100), or None for one that failed. True where a period ended with it."""
        if percent is not None and 0.0 <= percent <= 100.0:
            self._sum += percent
            self._count += 1
        is_first = self._count > 0 and not self.values()
        is_over = is_first or now >= self._ends_at
        if is_over:
            self._periods.append(round(self._sum / self._count, 6) if self._count else None)
            self._sum, self._count, self._ends_at = 0.0, 0, now + _PERIOD_SECONDS
        return is_over

    @property
    def newest(self) -> float | None:
        """The average of the last period; None where it had no sample."""
        return self._periods[-1] if self._periods else None

    def values(self) -> tuple[float, ...]:
        return tuple(average for average in self._periods if average is not None)


class WorkerMetrics:
    """Samples ``cpu`` on the lease loop, and puts its averages into this worker's row."""

    def __init__(self, cpu: CpuReader, clock: Clock, hooks: Hooks) -> None:
        self._cpu = cpu
        self._clock = clock
        self._hooks = hooks
        self._averages = CpuAverages()
        self._is_told = False

    async def run(self) -> None:
        """Sample until cancelled, every few seconds: the counters behind a sample lose nothing between two.

        What a start costs is mostly over by the first one, which stands alone for half a minute.
        """
        while True:
            if self._averages.add(await self._sample(), self._clock.monotonic()):
                self._hooks(CpuMeasured("", self._averages.newest))
            await self._clock.sleep(_PAUSE_SECONDS)

    async def _sample(self) -> float | None:
        try:
            async with self._clock.timeout(_READ_SECONDS):
                return await self._cpu.read()
        except Exception as error:  # somebody else's code, and no lease depends on it
            if not self._is_told:
                self._is_told = True
                _log.warning(
                    "The CPU reader failed (%s: %s); a sample that fails is left out of what this worker publishes.",
                    type(error).__name__,
                    error,
                )
            return None

    def filled(self, row: WorkerRow, alive: Iterable[Peer]) -> WorkerRow:
        """``row`` with the averages in it; without any where there are none, or where live KCL workers have none.

        A KCL's leader compares workers by each metric among those that publish it, and goes by throughput for who
        publishes none. Where its own workers have no CPU to show (they find it on ECS, EKS and EC2 alone), a worker
        with CPU would be compared with itself, and never be given a lease to even out the fleet.
        """
        values = self._averages.values()
        kcl = [peer for peer in alive if peer.is_kcl]
        is_understood = not kcl or any(CPU in peer.row.samples for peer in kcl)
        return replace(row, samples={CPU: values}, ranges={CPU: _RANGE}) if values and is_understood else row
