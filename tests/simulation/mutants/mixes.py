"""The calm worlds that mutants start from, and troubles that several share; each mutant adds the faults it is for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from consumer.testing.stream_rules import Staleness, StreamOptions
from lease_store.verbs import Is, Write
from tests.simulation.fleet.draw import CALM_CODE
from tests.simulation.fleet.policy import PolicyDraw
from tests.simulation.leases.draw import CALM_WORK
from tests.simulation.mixed.draw import QUICK_TIMES
from tests.simulation.mutants.mutant import Function, Mutant
from tests.simulation.network import Calm

__all__ = [
    "DOWN",
    "KINESIS",
    "LOSSY",
    "LOST",
    "NO_RENEWALS",
    "POISON",
    "ROUGH",
    "on_fleet",
    "on_leases",
    "on_mixed",
    "on_policies",
    "whatever_the_counter",
    "with_settings",
]

LOSSY: Final = replace(Calm(), lost_request=0.1, lost_reply=0.15, late=0.1, late_seconds=2.0)
"""A lease table whose calls are lost or late."""

NO_RENEWALS: Final = replace(Calm(), sites={"renew.lost_request": 0.97, "set_checkpoint.lost_request": 0.97})
"""A lease table that takes are answered by, and hardly anything else: tenures run out one after another."""

KINESIS: Final = StreamOptions(reads_per_second=5)
ROUGH: Final = replace(CALM_CODE, usual_seconds=0.2, raises=0.2)

LOST: Final = (
    "no checkpoint beyond an unfinished record",
    "nothing is left out on the way",
    "every record comes",
    "at rest in time",
)
"""By which a record that user code never saw is noticed, whichever comes first."""

_STORE: Final = {
    "dead_letters": "file:in memory",
    "max_attempts": 2,
    "lone_failure_seconds": 60.0,
    "batch_size": 7,
}
POISON: Final = PolicyDraw(_STORE, store=True, poison_every=15, kinds=("raise", "fail", "named"))
"""A store, and a record in fifteen that fails."""
DOWN: Final = PolicyDraw(_STORE, store=True, sink_down=(6.0, 12.0))
"""A store, and a sink that is down for a while."""

# Three workers and five leases, for a minute in which workers come and go.
_LEASES: Final[Mapping[str, Any]] = {
    "faults": "heavy",
    "failover": 5.0,
    "network": Calm(),
    "work": CALM_WORK,
    "keys": 5,
    "max_leases": None,
    "hand_off_timeout": 30.0,
    "drain_timeout": None,
    "workers": 3,
    "stagger": 0.0,
    "phase": 60.0,
    "pause": 4.0,
    "happenings": ("start", "crash", "drain", "freeze", "nothing"),
    "skew": 0.0,
    "drift": 0.0,
    "ends": False,
    "safety_only": True,
}
# Two workers on a small, busy DynamoDB stream whose shards rotate and split, for half a minute.
_FLEET: Final[Mapping[str, Any]] = {
    "service": "dynamodb",
    "position": "TRIM_HORIZON",
    "refuse_at_timestamp": False,
    "manual": False,
    "failover": 2.0,
    "max_leases": None,
    "shards": 2,
    "workers": 2,
    "keys": 5,
    "writes_per_second": 5.0,
    "days": (0.0,),
    "faults": False,
    "network": Calm(),
    "stream_faults": (),
    "staleness": Staleness(),
    "latency": 0.02,
    "code": CALM_CODE,
    "options": StreamOptions(),
    "phase": 25.0,
    "pause": 2.0,
    "happenings": ("rotate", "split", "nothing"),
    "batch_size": 7,
    "checkpoint_interval": 0.2,
    "audit_interval": 5.0,
    "child_wait": 2.0,
    "idle_wait": 0.25,
    "drain_timeout": 25.0,
    "hand_off_timeout": 30.0,
    "skew": 0.0,
    "threads": 32,
    "prefetch_bytes": 64 * 1024 * 1024,
    "same_name": False,
    "safety_only": True,
}
# Three Python workers, whom a KCL 3.x joins under short timers, for a minute in which workers come and go.
_MIXED: Final[Mapping[str, Any]] = {
    "faults": "none",
    "failover": 2.0,
    "network": Calm(),
    "work": CALM_WORK,
    "keys": 5,
    "stagger": 0.0,
    "phase": 60.0,
    "pause": 5.0,
    "happenings": ("join", "kill", "kill_leader", "drain"),
    "skew": 0.0,
    "drift": 0.0,
    "ends": False,
    "safety_only": True,
    "protocol": "3x",
    "first": "python",
    "java": 1,
    "python": 3,
    "head": 15.0,
    "coordination": "auto",
    "times": QUICK_TIMES,
}


def on_leases(
    target: str, *, rule: str, caught_by: tuple[str, ...], **mix: Any
) -> Callable[[Callable[[Function], Function]], Mutant]:
    """Make a mutant of the lease world from a function that makes its replacement; ``mix`` are fields of LeaseDraw."""

    def made(without: Callable[[Function], Function]) -> Mutant:
        return Mutant(_name(without), rule, target, without, "leases", caught_by, {**_LEASES, **mix})

    return made


def on_fleet(
    target: str, *, rule: str, caught_by: tuple[str, ...], **mix: Any
) -> Callable[[Callable[[Function], Function]], Mutant]:
    """Make a mutant of the fleet world; ``mix`` are fields of its Draw."""

    def made(without: Callable[[Function], Function]) -> Mutant:
        return Mutant(_name(without), rule, target, without, "fleet", caught_by, {**_FLEET, **mix})

    return made


def with_settings(policy: PolicyDraw, **settings: Any) -> PolicyDraw:
    """``policy`` under other settings."""
    return replace(policy, settings={**policy.settings, **settings})


def on_policies(
    target: str, *, rule: str, caught_by: tuple[str, ...], policy: PolicyDraw = POISON, **mix: Any
) -> Callable[[Callable[[Function], Function]], Mutant]:
    """Make a mutant of the fleet's world under ``policy``."""
    mix = {"writes_per_second": 15.0, **mix}
    return on_fleet(target, rule=rule, caught_by=caught_by, policy=policy, **mix)


def on_mixed(
    target: str, *, rule: str, caught_by: tuple[str, ...], **mix: Any
) -> Callable[[Callable[[Function], Function]], Mutant]:
    """Make a mutant of the mixed world; ``mix`` are fields of MixedDraw."""

    def made(without: Callable[[Function], Function]) -> Mutant:
        return Mutant(_name(without), rule, target, without, "mixed", caught_by, {**_MIXED, **mix})

    return made


def _name(without: Callable[[Function], Function]) -> str:
    return without.__name__.replace("_", " ")


def whatever_the_counter(write: Write) -> Write:
    """The write without its condition on the counter."""
    kept = tuple(each for each in write.expects if not (isinstance(each, Is) and each.attribute == "leaseCounter"))
    return replace(write, expects=kept)
