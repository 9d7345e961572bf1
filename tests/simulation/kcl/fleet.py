"""What the KCL's leader makes of a table: the load of each worker, and which lease is to go where. Pure.

Two strategies: by variance of the workers' metrics (the default), and by the number of leases.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tests.simulation.kcl.rows import Item, JavaLease, entity_of, metrics_in
from tests.simulation.kcl.settings import KclSettings

__all__ = ["Decision", "Load", "active_loads", "assigned", "levelled"]

_STALE_SECONDS: Final = 60.0
_THRESHOLD: Final = 0.10
_DAMPENING: Final = 0.60
_ALPHA: Final = 0.5


class Decision(NamedTuple):
    """A lease is to be this worker's."""

    lease: JavaLease
    to: str


@dataclass(slots=True)
class Load:
    """One worker: its metrics and the most each may reach, by name, and the leases whose actual owner it is."""

    worker: str
    metrics: dict[str, float]
    most: dict[str, float]
    leases: list[JavaLease] = field(default_factory=list)
    given: int = 0

    def throughput(self, average: float) -> float:
        return sum(average if each.throughput is None else each.throughput for each in self.leases)


def active_loads(rows: Sequence[Item], leases: Sequence[JavaLease], now: float) -> dict[str, Load]:
    """Workers that may be given leases; ``now`` is the leader's wall clock.

    Left out: those whose report is stale or can't be used, and those whose last sample of a metric failed (-1).
    """
    loads: dict[str, Load] = {}
    for row in rows:
        if entity_of(row) != "WORKER_METRIC_STATS" or (read := metrics_in(row)) is None:
            continue
        reported_at, metrics = read
        if now - reported_at >= _STALE_SECONDS or any(shares[-1] == -1 for shares, _ in metrics.values()):
            continue
        values = {name: _smoothed(shares) for name, (shares, _) in metrics.items()}
        loads[row["leaseKey"]["S"]] = Load(
            row["leaseKey"]["S"], values, {name: most for name, (_, most) in metrics.items()}
        )
    for lease in leases:
        if (load := loads.get(lease.actual_owner or "")) is not None:
            load.leases.append(lease)
    _add_throughput(loads, leases)
    return loads


def _smoothed(shares: Sequence[float]) -> float:
    value: float | None = None
    for share in shares:
        if share != -1:
            value = share if value is None else _ALPHA * share + (1 - _ALPHA) * value
    return value or 0.0


def average_throughput(leases: Sequence[JavaLease]) -> float:
    """Of the leases that have one; for those without."""
    known = [lease.throughput for lease in leases if lease.throughput is not None]
    return sum(known) / len(known) if known else 0.0


def _add_throughput(loads: Mapping[str, Load], leases: Sequence[JavaLease]) -> None:
    """Workers that report no metric are measured by what they read."""
    average = average_throughput(leases)
    target = _target(loads, leases)
    for load in loads.values():
        if not load.metrics:
            load.metrics["T"] = 100.0 * load.throughput(average) / target if target else 0.0
            load.most["T"] = 100.0


def _target(loads: Mapping[str, Load], leases: Sequence[JavaLease]) -> float:
    return average_throughput(leases) * len(leases) / max(1, len(loads))


def _mean(loads: Mapping[str, Load], metric: str) -> float:
    values = [load.metrics[metric] for load in loads.values() if metric in load.metrics]
    return sum(values) / len(values) if values else 0.0


def _capacity(load: Load, loads: Mapping[str, Load], draw: random.Random) -> tuple[float, int, float]:
    """The larger, the more it may be given; of equals, whoever was given least in this run, else by chance."""
    shares = [1.0 if value == 0 else (_mean(loads, name) - value) / value for name, value in load.metrics.items()]
    return min(shares), -load.given, draw.random()


def _give(load: Load, lease: JavaLease, loads: Mapping[str, Load], leases: Sequence[JavaLease]) -> None:
    target, average = _target(loads, leases), average_throughput(leases)
    own = average if lease.throughput is None else lease.throughput
    for name in load.metrics:
        mean = _mean(loads, name)
        load.metrics[name] += own * mean / target if target else mean / max(1, len(leases) // max(1, len(loads)))
    load.leases.append(lease)
    load.given += 1


def _open(loads: Mapping[str, Load], settings: KclSettings) -> list[Load]:
    most = settings.max_leases or math.inf
    return [load for load in loads.values() if len(load.leases) < most]


def assigned(
    free: Sequence[JavaLease],
    leases: Sequence[JavaLease],
    loads: dict[str, Load],
    settings: KclSettings,
    draw: random.Random,
) -> list[Decision]:
    """Where expired and unowned leases go, in the order given; what nobody has room for is left."""
    decisions = []
    target = max(1, math.ceil(len(leases) / max(1, len(loads))))
    for lease in free:
        candidates = _open(loads, settings)
        if settings.by_count:
            candidates = [load for load in candidates if len(load.leases) < target]
            best = min(candidates, key=lambda load: (len(load.leases), load.worker), default=None)
        else:
            best = max(candidates, key=lambda load: _capacity(load, loads, draw), default=None)
        if best is None:
            break
        if best.worker == lease.actual_owner and lease.checkpoint_owner is None:
            continue  # taken for handled: a dead worker whose report is fresh may stand in its own leases' way
        _give(best, lease, loads, leases)
        decisions.append(Decision(lease, best.worker))
    return decisions


def levelled(
    movable: Mapping[str, Sequence[JavaLease]],
    leases: Sequence[JavaLease],
    loads: dict[str, Load],
    settings: KclSettings,
    draw: random.Random,
) -> list[Decision]:
    """Which of the ``movable`` leases (by actual owner) move to even the load out."""
    if len(loads) < 2:
        return []
    if settings.by_count:
        return _levelled_by_count(movable, leases, loads)
    needs: dict[str, list[tuple[float, Load]]] = {}
    for metric in sorted({name for load in loads.values() for name in load.metrics}):
        needs[metric] = _donors(metric, leases, loads)
    worst = max(needs, key=lambda name: sum(amount for amount, _ in needs[name]), default=None)
    decisions: list[Decision] = []
    dropped: set[str] = set()
    for amount, donor in sorted(needs[worst], key=lambda each: -each[0]) if worst else []:
        for lease in _picked(movable.get(donor.worker, ()), amount, donor, leases, draw):
            candidates = [load for load in _open(loads, settings) if load is not donor and load.worker not in dropped]
            best = max(candidates, key=lambda load: _capacity(load, loads, draw), default=None)
            if best is None:
                break
            before = dict(best.metrics)
            _give(best, lease, loads, leases)
            if any(best.metrics[name] > max(_mean(loads, name), before[name]) for name in before):
                best.leases.remove(lease)
                best.metrics = before
                dropped.add(best.worker)
                break
            decisions.append(Decision(lease, best.worker))
    return decisions


def _donors(metric: str, leases: Sequence[JavaLease], loads: Mapping[str, Load]) -> list[tuple[float, Load]]:
    """How much throughput each overloaded worker is to lose; nothing where all lie within a tenth of the average."""
    having = [load for load in loads.values() if metric in load.metrics]
    mean = _mean(loads, metric)
    high, low = mean * (1 + _THRESHOLD), mean * (1 - _THRESHOLD)
    if not any(load.metrics[metric] > min(high, load.most[metric]) or load.metrics[metric] < low for load in having):
        return []
    over = [load for load in having if load.metrics[metric] >= high or load.metrics[metric] > load.most[metric]]
    over = over or [max(having, key=lambda load: load.metrics[metric])]
    average = average_throughput(leases)
    return [
        ((value - mean) / value * _DAMPENING * load.throughput(average), load)
        for load in over
        if (value := load.metrics[metric]) > 0
    ]


def _picked(
    movable: Sequence[JavaLease], amount: float, donor: Load, leases: Sequence[JavaLease], draw: random.Random
) -> list[JavaLease]:
    """Of a donor's leases at random as many as fit in the amount; if none does, its smallest."""
    average = average_throughput(leases)
    own = {lease.key: average if lease.throughput is None else lease.throughput for lease in movable}
    if not movable or donor.throughput(average) == 0:
        return list(movable[:1])
    order = sorted(movable, key=lambda lease: lease.key)
    draw.shuffle(order)
    picked, left = [], amount
    for lease in order:
        if left - own[lease.key] > 0:
            left -= own[lease.key]
            picked.append(lease)
    return picked or [min(order, key=lambda lease: (own[lease.key], lease.key))]


def _levelled_by_count(
    movable: Mapping[str, Sequence[JavaLease]], leases: Sequence[JavaLease], loads: dict[str, Load]
) -> list[Decision]:
    """From those above the target to those below it."""
    target = math.ceil(len(leases) / len(loads))
    decisions = []
    for donor in sorted(loads.values(), key=lambda load: (-len(load.leases), load.worker)):
        for lease in movable.get(donor.worker, ()):
            poorest = min(loads.values(), key=lambda load: (len(load.leases), load.worker))
            if len(donor.leases) <= target or len(poorest.leases) >= target:
                break
            donor.leases.remove(lease)
            poorest.leases.append(lease)
            decisions.append(Decision(lease, poorest.worker))
    return decisions
