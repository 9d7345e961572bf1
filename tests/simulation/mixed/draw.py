"""What one seed's mixed fleet is like: Python workers and a Java KCL's on one lease table."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Final, Literal

from tests.simulation.kcl.settings import KclSettings
from tests.simulation.leases.draw import LeaseDraw, Work
from tests.simulation.network import Calm, Network

__all__ = ["DEFAULT_TIMES", "QUICK_TIMES", "MixedDraw", "drawn"]

Protocol = Literal["3x", "2x"]

DEFAULT_TIMES = KclSettings("")
QUICK_TIMES = KclSettings(
    "",
    failover_seconds=2.0,
    assignment_seconds=2.0,
    lock_seconds=6.0,
    heartbeat_seconds=2.0,
    sync_wait_seconds=3.0,
    sync_sleep_seconds=2.0,
    parents_seconds=2.0,
    cleanup_after_seconds=60.0,
    audit_seconds=20.0,
    request_seconds=10.0,
)
"""The shortened timers of the real peers that run in CI (``tests/integration/kcl``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedDraw(LeaseDraw):
    """One seed's configuration.

    ``protocol``: which KCL the Java workers are. ``first``: who makes the table; the others join after ``head``
    seconds, when the first have come up. ``java``, ``python``: how many start, and no more of a kind where none does.
    ``coordination``: what the Python workers are told. ``times``: the KCL's settings. ``rubbish``: leases that the
    first workers own name a checkpoint owner, as 2.7.2 leaves them behind.
    """

    protocol: Protocol
    first: Literal["java", "python"]
    java: int
    python: int
    head: float
    coordination: Literal["auto", "leader", "2x"]
    times: KclSettings
    rubbish: bool = False

    @property
    def is_python_alone(self) -> bool:
        """An all-Python fleet in leader mode."""
        return self.java == 0


_CALM: Final = ("kill_leader", "kill", "drain", "join")
_HAPPENINGS: Final = (*_CALM, "freeze", "cut_off")


def _network(draw: random.Random, failover: float) -> Network:
    """Lost replies, late calls, broken connections and stale scans: mild, since a KCL has no wall against the worst."""

    def level(*levels: float) -> float:
        return draw.choice((0.0, *levels))

    return Network(
        least_seconds=0.001,
        usual_seconds=draw.choice((0.005, 0.03)),
        late=level(0.01, 0.1),
        late_seconds=draw.choice((0.1, 0.5)) * failover,
        lost_request=level(0.01, 0.03),
        lost_reply=level(0.01, 0.05),
        refused=level(0.01, 0.05),
        doubled=0.0,
        stale_seconds=level(0.5, 2.0),
        cut=level(0.01, 0.05),
        rowless=level(0.1),
    )


def _work(draw: random.Random, faults: str) -> Work:
    return Work(
        usual_seconds=draw.choice((0.05, 0.3)),
        long=draw.choice((0.0, 0.02)) if faults != "none" else 0.0,
        long_seconds=draw.choice((2.0, 10.0)),
        checkpoint=draw.choice((0.2, 1.0)),
        shutdown_called=draw.choice((0.0, 0.5)),
        records=draw.choice((0.0, 60.0, 200.0)),
    )


def drawn(seed: int) -> MixedDraw:
    """The configuration of ``seed``."""
    draw = random.Random(f"{seed}:mixed")
    faults = draw.choice(("none", "none", "mild"))
    times = QUICK_TIMES if draw.random() < 0.7 else DEFAULT_TIMES
    times = replace(times, by_count=draw.random() < 0.3, cpu=draw.choice((None, None, 30.0)))
    network = _network(draw, times.failover_seconds)
    protocol, first = draw.choice(("3x", "3x", "2x")), draw.choice(("java", "java", "python"))
    java = draw.choice((0, 1, 2, 3)) if protocol == "3x" and first == "python" else draw.choice((1, 2, 3))
    times = replace(times, legacy=protocol == "3x" and java > 0 and random.Random(f"{seed}:legacy").random() < 0.25)
    may_happen = [each for each in _HAPPENINGS if faults != "none" or each in _CALM]
    return MixedDraw(
        faults=faults,
        failover=times.failover_seconds,
        network=Calm(usual_seconds=network.usual_seconds) if faults == "none" else network,
        work=_work(draw, faults),
        keys=draw.choice((1, 2, 3, 5, 8)),
        max_leases=None,
        hand_off_timeout=30.0,
        drain_timeout=None,
        workers=0,
        stagger=draw.choice((0.0, 2.0)),
        phase=draw.uniform(20.0, 60.0) * times.failover_seconds / 2,
        pause=draw.choice((3.0, 10.0)) * times.failover_seconds / 2,
        happenings=tuple(each for each in may_happen if draw.random() < 0.6),
        skew=draw.choice((0.0, 5.0)),
        drift=draw.choice((0.0, 0.005)),
        ends=draw.random() < 0.4,
        protocol=protocol,
        first=first,
        java=java,
        python=draw.choice((1, 2, 3)),
        head=30.0 if times.failover_seconds < 5 else 110.0,
        coordination="leader" if java == 0 else "2x" if (protocol, first) == ("2x", "python") else "auto",
        times=times,
    )
