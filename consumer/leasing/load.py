"""How unevenly a fleet is loaded, as its leader sees it: slowly, so that nothing moves for noise.

Leases are balanced by number first (``assignment.plan``). What is said here lets a few of them move besides, away from
a worker whose load has stayed beyond a band for minutes. Loads are CPU where every live worker publishes it, else the
throughput that lease rows carry: the Java KCL 3.5's signals, and its way of judging them (mean of the fleet, a band,
less than the whole excess at a time), with more patience.

Only a leader plans by load. Peers plan each for itself, from views that differ a little, and live from meaning the same
worker for the same lease; thresholds on figures that change every second would have each of them mean another.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from consumer.leasing.relief import WARM, Weights
from lease_store.lease import Lease

__all__ = ["LoadWatch", "cpu_of"]

_HOT: Final = 1.2
_LEAST_KBPS: Final = 256.0
"""A smaller excess of throughput is nobody's trouble, whatever its share."""
_LEAST_CPU: Final = 50.0
_STAYS_SECONDS: Final = 120.0
_COOL: Final = 0.75
_COOLS_SECONDS: Final = 900.0
_RESTS_SECONDS: Final = 300.0
_HALF_LIFE_SECONDS: Final = 60.0
_QUIET_KBPS: Final = 1.0


def cpu_of(samples: Sequence[float]) -> float | None:
    """A worker's CPU in percent: as the KCL's leader, each newer average counts as much as all older ones together.

    Captures that failed (-1) are left out; None where there is no other.
    """
    value = None
    for sample in samples:
        if sample >= 0.0:
            value = sample if value is None else (value + sample) / 2
    return value


@dataclass(slots=True)
class _Seen:
    """A lease: its owner, when it came from another that lives, and its throughput smoothed by my clock."""

    owner: str | None
    moved_at: float
    kbps: float
    at: float


class LoadWatch:
    """Keeps what a judgement over minutes needs: throughput by lease, and since when each worker has been beyond."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}
        self._beyond_since: dict[str, float] = {}
        self._warm_at: dict[str, float] = {}

    def see(self, leases: Iterable[Lease], cpu: Mapping[str, float | None], now: float) -> Weights | None:
        """What to plan by, from all known rows and the CPU (percent, None: not published) of each live worker.

        None where the load of no lease is known, or there is nobody to compare with.
        """
        unfinished = [lease for lease in leases if not lease.is_finished]
        kbps = self._smoothed(unfinished, cpu, now)
        carried: dict[str, float] = defaultdict(float)
        for lease in unfinished:
            if lease.owner is not None and lease.owner in cpu:
                carried[lease.owner] += kbps[lease.key]
        if len(cpu) < 2 or all(lease.throughput_kbps is None for lease in unfinished):
            return None
        load, weights, floor = _in_one_unit(unfinished, kbps, carried, cpu)
        mean = sum(load.values()) / len(load)
        unsettled = {each for lease in unfinished if lease.is_pending for each in (lease.owner, lease.actual_owner)}
        self._judge(load, mean, floor, unsettled, now)
        stays = sorted(name for name, since in self._beyond_since.items() if now >= since + _STAYS_SECONDS)
        self._warm_at |= {name: now for name in self._warm_at if load[name] >= _COOL * mean} | dict.fromkeys(stays, now)
        return Weights(
            workers=load,
            leases=weights,
            mean=mean,
            enough=max(WARM * mean, floor),
            excess={name: load[name] - mean for name in stays},
            closed=frozenset(self._warm_at),
            resting=frozenset(key for key, seen in self._seen.items() if now < seen.moved_at + _RESTS_SECONDS),
        )

    def _smoothed(self, leases: Sequence[Lease], alive: Container[str | None], now: float) -> dict[str, float]:
        """Throughput by key; of a lease that nothing is known of, the average of the others (as the KCL reckons)."""
        known = [float(lease.throughput_kbps) for lease in leases if lease.throughput_kbps is not None]
        usual = sum(known) / len(known) if known else 0.0
        seen: dict[str, _Seen] = {}
        for lease in leases:
            stored = usual if lease.throughput_kbps is None else float(lease.throughput_kbps)
            before = self._seen.get(lease.key)
            if before is None:
                seen[lease.key] = _Seen(lease.owner, -math.inf, stored, now)
                continue
            weight = 1.0 - 0.5 ** (max(0.0, now - before.at) / _HALF_LIFE_SECONDS)
            is_moved = before.owner != lease.owner and before.owner in alive
            moved_at = now if is_moved else before.moved_at
            seen[lease.key] = _Seen(lease.owner, moved_at, before.kbps + weight * (stored - before.kbps), now)
        self._seen = seen
        return {key: each.kbps for key, each in seen.items()}

    def _judge(
        self, load: Mapping[str, float], mean: float, floor: float, unsettled: AbstractSet[str | None], now: float
    ) -> None:
        """Who is beyond the band, and since when; anew where leases come or go, for its load will be another."""
        since = {}
        for name, bears in load.items():
            was_beyond = name in self._beyond_since
            if bears > floor and bears > mean * (WARM if was_beyond else _HOT):
                since[name] = self._beyond_since[name] if was_beyond and name not in unsettled else now
        self._beyond_since = since
        self._warm_at = {name: at for name, at in self._warm_at.items() if name in load and now < at + _COOLS_SECONDS}


def _in_one_unit(
    leases: Sequence[Lease], kbps: Mapping[str, float], carried: Mapping[str, float], cpu: Mapping[str, float | None]
) -> tuple[dict[str, float], dict[str, float], float]:
    """The load of each worker, what each lease adds to it, and the load below which nobody need be relieved.

    In percent where every worker publishes its CPU, a lease having its part by throughput; else in KB/s. A worker that
    carries next to nothing has its CPU from elsewhere, and no lease that leaves would help it.
    """
    percent = {name: value for name, value in cpu.items() if value is not None}
    if len(percent) < len(cpu):
        load = {name: carried.get(name, 0.0) for name in cpu}
        return load, dict(kbps), sum(load.values()) / len(load) + _LEAST_KBPS
    weights = {}
    for lease in leases:
        owner = lease.owner
        busy = owner in percent and carried[owner] >= _QUIET_KBPS
        weights[lease.key] = percent[owner] * kbps[lease.key] / carried[owner] if owner is not None and busy else 0.0
    return percent, weights, _LEAST_CPU
