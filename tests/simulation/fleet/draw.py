"""What one seed's fleet is like: each feature is there or not by a draw of its own, so that rare pairs meet."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Literal

from consumer.config import InitialPosition
from consumer.testing.faults import Fault, FaultPlan, Mangling
from consumer.testing.stream_rules import Staleness, StreamOptions
from tests.simulation.fleet.policy import PLAIN_POLICY, PolicyDraw
from tests.simulation.fleet.policy_draw import drawn_policy
from tests.simulation.network import Calm, Network

__all__ = ["CALM_CODE", "Code", "Draw", "drawn", "drawn_with_policy"]

Service = Literal["dynamodb", "kinesis"]


@dataclass(frozen=True, slots=True)
class Code:
    """What user code is like. ``raises``: odds of a call that fails after part of its work; ``mid_batch``: of a manual
    checkpoint in the middle of a batch; ``at_end``: of one at its end. ``stubborn``: goes on when it is cancelled.
    """

    plain: bool
    usual_seconds: float
    long: float
    long_seconds: float
    raises: float
    mid_batch: float
    at_end: float
    forgets_await: float
    stubborn: bool = False


CALM_CODE = Code(False, 0.02, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@dataclass(frozen=True, slots=True)
class Draw:
    """One seed's configuration; durations in seconds.

    ``threads`` is how many plain handlers of a worker may block at once, ``same_name`` whether all workers are called
    alike. ``safety_only``: end when the faults would stop.
    """

    service: Service
    position: Literal["TRIM_HORIZON", "LATEST", "AT_TIMESTAMP"]
    refuse_at_timestamp: bool
    manual: bool
    failover: float
    max_leases: int | None
    shards: int
    workers: int
    keys: int
    writes_per_second: float
    days: tuple[float, ...]
    faults: bool
    network: Network
    stream_faults: tuple[Fault, ...]
    staleness: Staleness
    latency: float
    code: Code
    options: StreamOptions
    phase: float
    pause: float
    happenings: tuple[str, ...]
    batch_size: int
    checkpoint_interval: float
    audit_interval: float
    child_wait: float
    idle_wait: float
    drain_timeout: float
    hand_off_timeout: float
    skew: float
    threads: int = 32
    prefetch_bytes: int = 64 * 1024 * 1024
    same_name: bool = False
    scan_read_units: float = 50.0
    safety_only: bool = False
    policy: PolicyDraw = PLAIN_POLICY

    @property
    def fails_by_chance(self) -> bool:
        """Whether a call may fail for nothing that is in its records, and an innocent one be given up for it."""
        policy = self.policy
        is_unguarded = policy.sink_down is not None and policy.setting("breaker_batches", 3) == 0
        return self.code.raises > 0 or is_unguarded or policy.setting("batch_timeout_seconds") is not None

    def start(self, at: float) -> InitialPosition:
        return InitialPosition(self.position, at if self.position == "AT_TIMESTAMP" else None)

    def arm(self, plan: FaultPlan) -> None:
        """Arm what goes wrong with calls of the stream."""
        plan.arm(*self.stream_faults)
        plan.staleness = self.staleness
        self.arm_for_good(plan)

    def arm_for_good(self, plan: FaultPlan) -> None:
        """What is no fault but the service's way: it stays when the faults stop."""
        if self.refuse_at_timestamp:
            plan.arm(Fault.refuse_at_timestamp())


def _network(draw: random.Random, failover: float) -> Network:
    def level(*levels: float) -> float:
        return draw.choice((0.0, *levels))

    return Network(
        least_seconds=0.001,
        usual_seconds=draw.choice((0.005, 0.03)),
        late=level(0.01, 0.1, 0.3),
        late_seconds=draw.choice((0.3, 1.0, 1.5)) * failover,
        lost_request=level(0.01, 0.05, 0.15),
        lost_reply=level(0.01, 0.05, 0.15),
        refused=level(0.01, 0.05, 0.3),
        doubled=level(0.02, 0.1),
        stale_seconds=level(0.5, 1.0, 3.0),
    )


def _stream_faults(draw: random.Random, service: Service) -> tuple[Fault, ...]:
    throttled = "ProvisionedThroughputExceededException" if service == "kinesis" else "ThrottlingException"
    listing = "ListShards" if service == "kinesis" else "DescribeStream"
    always: list[Fault] = [
        Fault.error(throttled, "GetRecords"),
        Fault.error("ExpiredIteratorException", "GetRecords"),
        Fault.error("LimitExceededException", listing),
        Fault.error("InternalServerError" if service == "dynamodb" else "InternalFailureException"),
        Fault.drop(),
        Fault.half_body(),
        Fault.delay(draw.choice((0.3, 3.0, 15.0))),
        Fault.malformed(Mangling.UNKNOWN_FIELDS, "GetRecords"),
        Fault.malformed(Mangling.NOT_RECORDS, "GetRecords"),
        Fault.malformed(Mangling.EMPTY_PAGE, "GetRecords"),
        Fault.malformed(Mangling.NOT_JSON),
        Fault.malformed(Mangling.NULL, "GetRecords", path="Records"),
        Fault.malformed(Mangling.MISSING, "GetShardIterator", path="ShardIterator"),
    ]
    chosen = [fault for fault in always if draw.random() < 0.3]
    return tuple(replace(fault, times=None, probability=draw.choice((0.01, 0.05, 0.2))) for fault in chosen)


def _staleness(draw: random.Random) -> Staleness:
    return Staleness(
        child_late_calls=draw.choice((0, 0, 1, 3)),
        child_late_seconds=draw.choice((0.0, 0.0, 1.0, 10.0)),
        end_late_calls=draw.choice((0, 0, 2)),
        end_late_seconds=draw.choice((0.0, 0.0, 5.0)),
    )


def _code(draw: random.Random, failover: float, *, faults: bool) -> Code:
    rough = faults and draw.random() < 0.6
    return Code(
        plain=draw.random() < 0.3,
        usual_seconds=min(draw.choice((0.0, 0.02, 0.3)), 0.3 * failover),
        long=draw.choice((0.01, 0.05)) if rough else 0.0,
        long_seconds=draw.choice((0.5, 2.0, 4.0)) * failover,
        raises=draw.choice((0.0, 0.02, 0.2)) if rough else 0.0,
        mid_batch=draw.choice((0.0, 0.3)),
        at_end=draw.choice((0.3, 1.0)),
        forgets_await=draw.choice((0.0, 0.5)),
    )


def _happenings(draw: random.Random, service: Service, *, faults: bool) -> tuple[str, ...]:
    """What may happen in this seed, the more often named the likelier."""
    found = ["nothing", "split"]
    for what in ("rotate", "rotate", "split", "merge", "reshard", "crash", "drain", "start", "recreate", "blackout"):
        if draw.random() < 0.5 and (service == "kinesis" or what not in ("merge", "reshard")):
            found += [what]
    if faults and draw.random() < 0.6:
        found += ["freeze", "freeze"]
    return tuple(found)


def drawn(seed: int) -> Draw:
    """The configuration of ``seed``."""
    draw = random.Random(f"{seed}:draw")
    service: Service = draw.choice(("dynamodb", "kinesis"))
    faults = draw.random() < 0.7
    failover = draw.choice((1.0, 2.0, 5.0, 10.0))
    network = _network(draw, failover)
    code = _code(draw, failover, faults=faults)
    days = draw.choice(((0.0,), (0.0,), (0.0, 0.4, 1.1), (1.1, 2.5)))
    rotate_every = draw.choice((None, None, 10.0, 25.0))
    found = Draw(
        service=service,
        position=draw.choice(("TRIM_HORIZON", "TRIM_HORIZON", "LATEST", "AT_TIMESTAMP")),
        refuse_at_timestamp=service == "dynamodb" and draw.random() < 0.3,
        manual=draw.random() < 0.25,
        failover=failover,
        max_leases=draw.choice((None, None, None, 3, 8)),
        shards=draw.choice((1, 1, 2, 4, 6)),
        workers=draw.choice((1, 2, 3, 4)),
        keys=draw.choice((1, 5, 20)),
        writes_per_second=draw.choice((1.0, 5.0, 15.0)),
        days=days,
        faults=faults,
        network=network if faults and draw.random() < 0.7 else Calm(draw.choice((0.0, 1.0))),
        stream_faults=_stream_faults(draw, service) if faults and draw.random() < 0.7 else (),
        staleness=_staleness(draw) if draw.random() < 0.5 else Staleness(),
        latency=draw.choice((0.002, 0.02, 0.1)),
        code=code,
        options=StreamOptions(
            rotate_every_seconds=None if service == "kinesis" else rotate_every if days == (0.0,) else 4 * 3600.0,
            gone_listed_seconds=draw.choice((0.0, 20.0, 3600.0)),
            empty_last_page=draw.random() < 0.5,
            transition_seconds=draw.choice((0.0, 3.0)),
            reads_per_second=5 if service == "kinesis" else None,
        ),
        phase=draw.uniform(20.0, 70.0),
        pause=draw.choice((1.5, 4.0, 10.0)),
        happenings=_happenings(draw, service, faults=faults),
        batch_size=draw.choice((1, 7, 1000)),
        checkpoint_interval=draw.choice((0.0, 0.2, 1.0)),
        audit_interval=draw.choice((5.0, 15.0)),
        child_wait=draw.choice((0.0, 2.0, 15.0)),
        idle_wait=draw.choice((0.25, 1.0)),
        drain_timeout=draw.choice((5.0, 25.0)),
        hand_off_timeout=draw.choice((2.0, 30.0)),
        skew=draw.choice((0.0, 2.0)),
        threads=draw.choice((1, 3, 32)),
        prefetch_bytes=draw.choice((0, 2_000, 64 * 1024 * 1024)),
        same_name=draw.random() < 0.3,
    )
    # Below, in the order in which they were thought of: what a seed draws above stays as it was.
    left_out = draw.choice((0.0, 0.0, 0.0, 0.1, 0.5))
    if service == "kinesis" and found.position == "LATEST":
        left_out = 0.0  # which closed shards were open at the start only a complete first listing can tell
    writes = found.writes_per_second
    if found.manual and found.batch_size == 1:
        writes = min(writes, 5.0)  # a record a checkpoint: more are not worked off in time
    child_wait = found.child_wait
    if "recreate" in found.happenings:
        # A re-enabled stream waits for what the one before may list late, for as long as it is told to.
        left_out, child_wait = min(left_out, 0.1), 15.0
    return replace(
        found,
        child_wait=child_wait,
        writes_per_second=writes,
        staleness=replace(found.staleness, left_out=left_out),
        code=replace(code, stubborn=faults and draw.random() < 0.3),
    )


def drawn_with_policy(seed: int) -> Draw:
    """The configuration of ``seed`` in the world of policies: as of the fleet, but for what is done with failures."""
    found = drawn(seed)
    policy = drawn_policy(seed, writes_per_second=found.writes_per_second, code_raises=found.code.raises)
    raises = found.code.raises if policy.raises is None else policy.raises
    code = replace(found.code, raises=raises)
    if policy.hangs:
        code = replace(code, plain=False, stubborn=True, long=0.03, long_seconds=60.0)
    happenings = found.happenings
    if policy.operator is not None:
        happenings = (*happenings, "operate", "operate", "operate")
    if policy.stays_from is not None:  # what is never done must not be lost, and keeps what comes after its stream
        happenings = tuple(each for each in happenings if each not in ("recreate", "blackout"))
    return replace(found, policy=policy, code=code, happenings=happenings)
