"""A fleet whose leader plans by noisy loads for hours: leases, throughput and CPU as figures, nothing else."""

from __future__ import annotations

import random
from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from decimal import Decimal

from consumer.leasing.assignment import LeaseView, PlanView, WorkerView, plan
from consumer.leasing.load import LoadWatch, cpu_of
from lease_store.lease import Lease

__all__ = ["LedFleet"]

_LOOK_SECONDS = 10.0
_SAMPLE_SECONDS = 30.0


class LedFleet:
    """``leases``: KB/s by key; ``workers``: CPU percent that one KB/s costs there, by id (None: publishes no CPU).

    Each look draws what is measured around the true figures (``noise``: the standard deviation, as a share), smoothed
    as rows carry it; a hand-off takes two looks.
    """

    def __init__(
        self,
        leases: Mapping[str, float],
        workers: Mapping[str, float | None],
        *,
        owners: Mapping[str, str],
        noise: float = 0.3,
        seed: int = 1,
    ) -> None:
        self.true = dict(leases)
        self.workers = dict(workers)
        self.owners = dict(owners)
        self.elsewhere: dict[str, float] = defaultdict(float)
        self.moves: list[tuple[float, str, str, str]] = []
        self.now = 0.0
        self._noise = noise
        self._draw = random.Random(seed)
        self._watch = LoadWatch()
        self._stored = dict(leases)
        self._samples: dict[str, deque[float]] = {name: deque(maxlen=10) for name in workers}
        self._pending: dict[str, tuple[str, float]] = {}

    def join(self, name: str, cost: float | None = None) -> None:
        self.workers[name] = cost
        self._samples[name] = deque(maxlen=10)

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            self._measure()
            self._finish()
            self._plan()
            self.now += _LOOK_SECONDS

    def load(self) -> Counter[str]:
        """True KB/s by worker."""
        load = Counter(dict.fromkeys(self.workers, 0.0))
        for key, owner in self.owners.items():
            load[owner] += self.true[key]
        return load

    def counts(self) -> Counter[str]:
        return Counter(dict.fromkeys(self.workers, 0)) + Counter(self.owners.values())

    def cpu(self) -> dict[str, float]:
        """True CPU percent by worker."""
        load = self.load()
        return {
            name: min(100.0, self.elsewhere[name] + load[name] * (cost or 0.0)) for name, cost in self.workers.items()
        }

    def _noisy(self, value: float) -> float:
        return max(0.0, value * self._draw.gauss(1.0, self._noise))

    def _measure(self) -> None:
        for key, kbps in self.true.items():
            self._stored[key] += 0.6 * (self._noisy(kbps) - self._stored[key])
        if self.now % _SAMPLE_SECONDS == 0.0:
            for name, percent in self.cpu().items():
                self._samples[name].append(min(100.0, percent * self._draw.gauss(1.0, self._noise / 3)))

    def _finish(self) -> None:
        for key, (to, at) in list(self._pending.items()):
            if self.now >= at or to not in self.workers:
                self.moves.append((self.now, key, self.owners[key], to))
                self.owners[key] = to
                del self._pending[key]

    def _plan(self) -> None:
        rows = []
        for number, key in enumerate(sorted(self.owners)):
            to, _ = self._pending.get(key, (self.owners[key], 0.0))
            rows.append(
                Lease(
                    key=key,
                    counter=number,
                    owner=to,
                    checkpoint_owner=self.owners[key] if key in self._pending else None,
                    throughput_kbps=Decimal(f"{self._stored[key]:.6f}"),
                )
            )
        cpu = {name: None if cost is None else cpu_of(self._samples[name]) for name, cost in self.workers.items()}
        views = [
            LeaseView(
                row.key,
                row.owner,
                is_pending=row.is_pending,
                may_move=not row.is_pending,
                actual_owner=row.actual_owner,
            )
            for row in rows
        ]
        made = plan(PlanView(views, [WorkerView(name) for name in self.workers], self._watch.see(rows, cpu, self.now)))
        for move in made.hand_offs:
            self._pending[move.key] = (move.worker_id, self.now + 2 * _LOOK_SECONDS)
