"""What one seed's fleet of lease loops is like: each trouble is there or not by a draw of its own, mild or heavy."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from tests.simulation.network import Calm, Network

__all__ = ["CALM_WORK", "LeaseDraw", "Work", "drawn"]

Faults = Literal["none", "mild", "heavy"]

_CALLS = (
    *("create", "take", "renew", "set_checkpoint", "end_shard", "release", "pass_on"),
    *("start_hand_off", "finish_hand_off", "take_back", "read", "scan", "beat", "read_worker", "delete_worker"),
)
_STRIKES = ("lost_request", "lost_reply", "refused", "doubled", "late", "cut", "rowless")


@dataclass(frozen=True, slots=True)
class Work:
    """What user code is like: usual length of a slice, odds and length of a long one; odds of a checkpoint after it, of
    an exception at its end, and of being told to shut down; whether a slice ends early when its lease is lost (else it
    ignores that); how many records a shard has on average (0: it never ends).
    """

    usual_seconds: float
    long: float
    long_seconds: float
    checkpoint: float
    shutdown_called: float
    records: float
    raises: float = 0.0
    obeys: bool = False


CALM_WORK = Work(0.3, 0.0, 0.0, 0.3, 0.3, 0.0)


@dataclass(frozen=True, slots=True)
class LeaseDraw:
    """One seed's configuration; durations in seconds.

    ``drift``: clocks run at most so much faster or slower than time does; beyond 0.5 % (1 % against each other) nothing
    is promised but that nothing is lost, and only that is judged. ``happenings``: what may happen, the more often named
    the likelier. ``ends``: once at rest, all shards end and are followed to the last. ``safety_only``: stop before the
    faults do. ``places``: how many requests a worker may have under way, besides one for renewals; where these are few,
    writes wait and go together.
    """

    faults: Faults
    failover: float
    network: Network
    work: Work
    keys: int
    max_leases: int | None
    hand_off_timeout: float
    drain_timeout: float | None
    workers: int
    stagger: float
    phase: float
    pause: float
    happenings: tuple[str, ...]
    skew: float
    drift: float
    ends: bool
    safety_only: bool = False
    places: int = 20

    @property
    def is_wild(self) -> bool:
        """Whether clocks drift beyond what the protocol promises to bear."""
        return self.drift > 0.005


def _level(draw: random.Random, faults: Faults, *levels: float) -> float:
    return 0.0 if faults == "none" else draw.choice((0.0, *levels))


def _sites(draw: random.Random, faults: Faults) -> dict[str, float]:
    """In some seeds single places are troubled, each visit of theirs with high odds, and all others are not."""
    live = _level(draw, faults, 0.0, 0.05, 0.15)
    return {f"{call}.{what}": 0.25 for call in _CALLS for what in _STRIKES if draw.random() < live}


def _network(draw: random.Random, faults: Faults, failover: float) -> Network:
    heavy = 2.0 if faults == "heavy" else 1.0
    return Network(
        least_seconds=0.001,
        usual_seconds=draw.choice((0.005, 0.03)),
        late=_level(draw, faults, 0.01, 0.1, 0.2 * heavy),
        late_seconds=draw.choice((0.3, 1.0, 1.5)) * failover,
        lost_request=_level(draw, faults, 0.01, 0.05, 0.1 * heavy),
        lost_reply=_level(draw, faults, 0.01, 0.05, 0.1 * heavy),
        refused=_level(draw, faults, 0.01, 0.05, 0.15 * heavy),
        doubled=_level(draw, faults, 0.02, 0.1),
        stale_seconds=_level(draw, faults, 0.5, 1.0, 3.0),
        cut=_level(draw, faults, 0.0, 0.01, 0.1 * heavy),
        rowless=_level(draw, faults, 0.0, 0.1, 1.0),
        sites=_sites(draw, faults),
    )


def _work(draw: random.Random, faults: Faults, failover: float, keys: int) -> Work:
    return Work(
        usual_seconds=min(draw.choice((0.05, 0.3)), 0.3 * failover),
        long=_level(draw, faults, 0.01, 0.05),
        long_seconds=draw.choice((2.0, 10.0, 45.0)),
        checkpoint=draw.choice((0.0, 0.2, 1.0)),
        shutdown_called=draw.choice((0.0, 0.5)),
        # Lineages multiply shards, and many of them would only cost what other seeds are worth more for.
        records=draw.choice((0.0, 20.0, 100.0)) if keys <= 8 else 0.0,
        raises=_level(draw, faults, 0.0, 0.02, 0.2),
        obeys=draw.random() < 0.5,
    )


def _happenings(draw: random.Random, faults: Faults) -> tuple[str, ...]:
    found = ["start", "nothing"]
    rough = ("freeze", "freeze", "suspend", "block", "cut_off", "replace") if faults != "none" else ()
    for what in ("crash", "drain", "restart", *rough):
        if draw.random() < 0.6:
            found += [what]
    return tuple(found)


def drawn(seed: int) -> LeaseDraw:
    """The configuration of ``seed``."""
    draw = random.Random(f"{seed}:draw")
    faults: Faults = draw.choice(("none", "mild", "mild", "heavy"))
    failover = draw.choice((1.0, 2.0, 5.0, 10.0))
    keys = draw.choice((1, 2, 3, 5, 8, 12))
    network = _network(draw, faults, failover)
    return LeaseDraw(
        faults=faults,
        failover=failover,
        network=Calm(usual_seconds=network.usual_seconds) if faults == "none" else network,
        work=_work(draw, faults, failover, keys),
        keys=keys,
        max_leases=draw.choice((None, None, None, 6)),
        hand_off_timeout=draw.choice((2.0, 30.0, 30.0)) if faults != "none" else 30.0,
        drain_timeout=draw.choice((None, None, 10.0)),
        workers=draw.choice((1, 2, 3, 4)),
        stagger=draw.choice((0.0, 0.0, 2.0)),
        phase=draw.uniform(20.0, 60.0),
        pause=draw.choice((3.0, 8.0, 20.0)),
        happenings=_happenings(draw, faults),
        skew=draw.choice((0.0, 500.0)),
        drift=draw.choice((0.0, 0.005, 0.005, 0.005, draw.choice((0.1, 0.3)))),
        ends=keys <= 3 and draw.random() < 0.5,
        places=draw.choice((20, 20, 3, 1)),
    )
