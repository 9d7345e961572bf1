"""A worker's state at one instant, as values, and the pure functions that judge and render it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from consumer.config import WorkerConfig
from consumer.operate.coordination import Coordination

__all__ = ["ShardStage", "ShardStatus", "WorkerStatus", "health", "render", "worst_lag_seconds"]

ShardStage = Literal["waiting_for_parents", "reading", "processing", "checkpointing", "stopping", "stopped_at_gap"]
"""What a held shard is busy with; ``stopped_at_gap`` is where ``on_trimmed=stop`` leaves it unread."""

# The promise to whoever probes /healthz: a batch that fails for longer than this is worth waking somebody.
FAILING_BATCH_LIMIT_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardStatus:
    """One held shard. Ages are seconds as of the snapshot.

    ``lag_seconds`` is None where nothing is known of it, ``last_record_at`` (epoch seconds) the timestamp of the last
    record that was processed, ``oldest_failing_batch_seconds`` how long user code has been raising on the same batch
    (None: it is not), ``stuck_seconds`` how long ago the shard last made progress at its stage (an answered read is
    progress).
    """

    shard_id: str
    stage: ShardStage
    lag_seconds: float | None = None
    last_record_at: float | None = None
    oldest_failing_batch_seconds: float | None = None
    stuck_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatus:
    """One worker: the shards it holds, sorted by id, its place among others, what is wrong, one sentence a problem."""

    worker_id: str
    shards: tuple[ShardStatus, ...] = ()
    records_processed: int = 0
    lease_loop_alive: bool = True
    draining: bool = False
    coordination: Coordination = field(default_factory=Coordination)
    problems: tuple[str, ...] = ()

    @property
    def healthy(self) -> bool:
        """True where nothing is wrong."""
        return not self.problems


def health(status: WorkerStatus, config: WorkerConfig) -> tuple[str, ...]:
    """What is wrong with a worker, one sentence a problem; empty when it is well.

    Liveness is progress of each shard, not a process that is up. A shard that waits for its parents is not a problem of
    this worker: whoever holds the parent answers for it.
    """
    problems = []
    if not status.lease_loop_alive:
        problems.append(
            "The lease loop has ended: no lease is renewed any more and others take this worker's shards; "
            "restart the process."
        )
    for shard in status.shards:
        problem = _problem(shard, config)
        if problem:
            problems.append(problem)
    return tuple(problems)


def _problem(shard: ShardStatus, config: WorkerConfig) -> str | None:
    failing = shard.oldest_failing_batch_seconds
    if shard.stage == "stopped_at_gap":
        return (
            f"Shard {shard.shard_id} is left unread: records were trimmed away before they were read, and on_trimmed "
            "is stop. To go on at the oldest record there is, restart with --on-trimmed skip."
        )
    if failing is not None and failing > FAILING_BATCH_LIMIT_SECONDS:
        return (
            f"User code has been raising on the same batch of shard {shard.shard_id} for {failing:.0f} s; the batch "
            "is tried again, nothing is skipped, and the shard does not move until it passes."
        )
    if shard.stage != "waiting_for_parents" and shard.stuck_seconds > config.stuck_after_seconds:
        return f"Shard {shard.shard_id} has made no progress for {shard.stuck_seconds:.0f} s while {shard.stage}."
    return None


def render(status: WorkerStatus, *, now: float, records_before: int, period_seconds: float) -> str:
    """The status line: shards held, records, lag and the age of the last record. ``now`` in epoch seconds."""
    waiting = sum(shard.stage == "waiting_for_parents" for shard in status.shards)
    parts = [
        f"{len(status.shards)} shards held" + (f" ({waiting} waiting for parents)" if waiting else ""),
        f"{status.records_processed} records ({status.records_processed - records_before} in {period_seconds:.0f} s)",
        _lag(status),
        _age(status, now),
    ]
    among = _among(status.coordination)
    if among:
        parts.append(among)
    if status.draining:
        parts.append("draining")
    if status.problems:
        parts.append(f"{len(status.problems)} problems, the first: {status.problems[0]}")
    return ", ".join(parts)


def worst_lag_seconds(status: WorkerStatus) -> float | None:
    """The lag of the shard that lags most; None where nothing is known."""
    return max((shard.lag_seconds for shard in status.shards if shard.lag_seconds is not None), default=None)


def _among(place: Coordination) -> str:
    """Nothing among peers: there each worker plans for itself, as the reader expects."""
    if place.mode in (None, "peer"):
        return ""
    if place.mode != "leader":
        return f"mode {place.mode}"
    if place.is_leader:
        return "mode leader, this worker leads"
    return f"mode leader, led by {place.lock_owner}" if place.lock_owner else "mode leader, nobody leads"


def _lag(status: WorkerStatus) -> str:
    known = [(shard.lag_seconds, shard.shard_id) for shard in status.shards if shard.lag_seconds is not None]
    if not known:
        return "lag unknown"
    worst, shard_id = max(known)
    return f"lag {worst:.1f} s" + (f" (worst: {shard_id})" if worst >= 1.0 else "")


def _age(status: WorkerStatus, now: float) -> str:
    stamps = [shard.last_record_at for shard in status.shards if shard.last_record_at is not None]
    # A record's time is the service's, a whole second for DynamoDB: it may lie a little ahead of this machine's.
    return f"last record {max(0.0, now - max(stamps)):.1f} s old" if stamps else "no record yet"
