"""A worker's state at one instant, as values, and the pure functions that judge and render it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from consumer.config import WorkerConfig
from consumer.operate.coordination import Coordination

__all__ = [
    "ShardStage",
    "ShardStatus",
    "WorkerStatus",
    "health",
    "least_retention_left_seconds",
    "longest_failure_seconds",
    "render",
    "worst_lag_seconds",
]

ShardStage = Literal[
    "waiting_for_parents",
    "reading",
    "processing",
    "checkpointing",
    "stopping",
    "stopped_at_gap",
    "parked_at_end",
]
"""What a held shard is busy with; ``stopped_at_gap`` is where ``on_trimmed=stop`` leaves it unread, ``parked_at_end``
where it is read to its end, which its children wait for, and keys still wait for a failed record of theirs."""

# The promise to whoever probes /healthz: a batch that fails for longer than this is worth waking somebody.
FAILING_BATCH_LIMIT_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardStatus:
    """One held shard. Ages are seconds as of the snapshot.

    ``lag_seconds`` is the age of the oldest record that is not done, None where nothing is known of it,
    ``last_record_at`` (epoch seconds) the timestamp of the last record that was processed,
    ``oldest_failing_batch_seconds`` how long user code has been raising on the same batch or on the record that a key
    waits for (None: it is not), ``stuck_seconds`` how long ago the shard last made progress
    at its stage (an answered read is progress). ``is_overdue``: a call takes longer than ``batch_timeout_seconds`` and
    does not end. ``retention_left_seconds``: until the stream may forget the oldest record that is not done, all of its
    retention where none waits (None: nothing is known).
    """

    shard_id: str
    stage: ShardStage
    lag_seconds: float | None = None
    last_record_at: float | None = None
    oldest_failing_batch_seconds: float | None = None
    stuck_seconds: float = 0.0
    parked_keys: int = 0
    is_overdue: bool = False
    retention_left_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatus:
    """One worker: the shards it holds, sorted by id, its place among others, what is wrong, one sentence a problem.

    ``sink_down_seconds``: for how long its shards have paused because what they write to is down; None: it is not.
    """

    worker_id: str
    shards: tuple[ShardStatus, ...] = ()
    records_processed: int = 0
    lease_loop_alive: bool = True
    draining: bool = False
    sink_down_seconds: float | None = None
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
    down = status.sink_down_seconds
    if down is not None and down > FAILING_BATCH_LIMIT_SECONDS:
        problems.append(
            f"What the records are written to has been down for {down:.0f} s: batches of different keys or shards "
            "failed in a row. All shards of this worker pause and keep their leases, one batch at a time is tried, and "
            "nothing is skipped or given up meanwhile."
        )
    for shard in status.shards:
        problem = _problem(shard, config, sink_is_down=down is not None)
        if problem:
            problems.append(problem)
    return tuple(problems)


def _problem(shard: ShardStatus, config: WorkerConfig, *, sink_is_down: bool) -> str | None:
    failing = shard.oldest_failing_batch_seconds
    if shard.stage == "stopped_at_gap":
        return (
            f"Shard {shard.shard_id} is left unread: records were trimmed away before they were read, and on_trimmed "
            "is stop. To go on at the oldest record there is, restart with --on-trimmed skip."
        )
    if shard.is_overdue:
        return (
            f"A call of process_records of shard {shard.shard_id} takes longer than batch_timeout_seconds "
            f"({config.batch_timeout_seconds:g} s) and does not end; the shard waits for it. The log says where it is."
        )
    if sink_is_down:
        return None  # one cause, told once; what waits for the sink is not stuck
    if failing is not None and failing > FAILING_BATCH_LIMIT_SECONDS:
        return _failing_problem(shard, failing)
    if shard.stage != "waiting_for_parents" and shard.stuck_seconds > config.stuck_after_seconds:
        return f"Shard {shard.shard_id} has made no progress for {shard.stuck_seconds:.0f} s while {shard.stage}."
    return None


def _failing_problem(shard: ShardStatus, seconds: float) -> str:
    left = shard.retention_left_seconds
    kept = "" if left is None else f" The stream keeps what waits for {max(0.0, left) / 3600:.1f} h more."
    if not shard.parked_keys:
        return (
            f"User code has been raising on the same batch of shard {shard.shard_id} for {seconds:.0f} s; the batch "
            f"is tried again, nothing is skipped, and the shard does not move until it passes.{kept}"
        )
    waiting = "1 key waits" if shard.parked_keys == 1 else f"{shard.parked_keys} keys wait"
    others = "the shard's end and its children wait, too"
    if shard.stage != "parked_at_end":
        others = "other keys go on as far as the bounds of parking allow"
    return (
        f"Shard {shard.shard_id}: {waiting} for a failed record, the longest for {seconds:.0f} s; it is tried again, "
        f"nothing is skipped, and {others}.{kept}"
    )


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
    if parked := sum(shard.parked_keys for shard in status.shards):
        parts.append(f"{parked} keys parked")
    if status.sink_down_seconds is not None:
        parts.append(f"sink down for {status.sink_down_seconds:.0f} s")
    if status.draining:
        parts.append("draining")
    if status.problems:
        parts.append(f"{len(status.problems)} problems, the first: {status.problems[0]}")
    return ", ".join(parts)


def worst_lag_seconds(status: WorkerStatus) -> float | None:
    """The lag of the shard that lags most; None where nothing is known."""
    return max((shard.lag_seconds for shard in status.shards if shard.lag_seconds is not None), default=None)


def longest_failure_seconds(status: WorkerStatus) -> float | None:
    """For how long a batch, or a record that a key waits for, has failed, where that is longest; None: none does."""
    failing = (shard.oldest_failing_batch_seconds for shard in status.shards)
    return max((seconds for seconds in failing if seconds is not None), default=None)


def least_retention_left_seconds(status: WorkerStatus) -> float | None:
    """Until the stream may forget a record that is not done, where that is soonest; None: nothing is known."""
    left = (shard.retention_left_seconds for shard in status.shards)
    return min((seconds for seconds in left if seconds is not None), default=None)


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
