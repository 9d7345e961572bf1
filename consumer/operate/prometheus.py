"""Metrics as one hook: facts in, prometheus-client out. Base units, no shard in any label."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import ClassVar, Final

from prometheus_client import CollectorRegistry
from prometheus_client.process_collector import ProcessCollector

from consumer import hooks
from consumer.clock import Clock, SystemClock
from consumer.operate.by_fact import ByFact
from consumer.operate.coordination import CoordinationHook
from consumer.operate.failure_metrics import FailureMetrics
from consumer.operate.meters import Meters, MetricDoc

__all__ = ["PrometheusHook"]

# A shard id as a label would make a new series every four hours for each shard of a DynamoDB stream, for ever.
_CALL_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_BATCH_SECONDS: Final = (0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0)
_MARGIN_SECONDS: Final = (0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 15.0, 30.0, 60.0)
_HAND_OFF_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class PrometheusHook:
    """Feeds one registry from one worker's facts; two workers in a process have a hook, and thereby a registry, each.

    ``registry`` defaults to a new one with the process's own figures in it, at ``.registry``. A registry that has these
    metrics already is refused by prometheus-client with a ValueError. Facts may come from any thread.
    """

    def __init__(self, registry: CollectorRegistry | None = None, *, clock: Clock | None = None) -> None:
        if registry is None:
            registry = CollectorRegistry()
            ProcessCollector(registry=registry)
        self.registry = registry
        self._meters = Meters(registry)
        self._clock = clock or SystemClock()
        self._coordination = CoordinationHook(self._clock)
        self._lock = threading.Lock()
        self._lags: dict[str, float] = {}  # of shards that lag
        self._lag_now: Callable[[], float | None] = lambda: None
        self._failing_now: Callable[[], float | None] | None = None
        self._retention_now: Callable[[], float | None] = lambda: None
        self._path_now: Callable[[], str | None] = lambda: None
        self._read_at: dict[str, float] = {}  # of all that are held; infinity before the first read
        self._failing_since: dict[str, float] = {}
        self._cpu_ratio = math.nan
        self._make_delivery_metrics()
        self._of_failures = FailureMetrics(self._meters)
        self._make_path_metric()
        self._make_lease_metrics()
        self._make_coordination_metrics()

    def __call__(self, fact: hooks.Fact) -> None:
        self._coordination(fact)
        self._of_failures(fact)
        handle = self._on.handler(fact)
        if handle is not None:
            handle(self, fact)

    @property
    def described(self) -> list[MetricDoc]:
        """Every metric of ours, in the order they were made: the documentation's table."""
        return self._meters.described

    def _make_delivery_metrics(self) -> None:
        self._records = self._meters.counter("records_processed", "Records whose process_records returned.")
        self._bytes = self._meters.counter("processed_bytes", "Bytes of those records, as the service counts them.")
        self._batches = self._meters.histogram(
            "batch_duration", "Time in process_records, of calls that returned.", _BATCH_SECONDS
        )
        self._failures = self._meters.counter(
            "callback_failures", "Exceptions that user code raised, by callback.", "callback"
        )
        self._reads = self._meters.histogram(
            "read_duration", "Time a GetRecords call took, its reply decoded.", _CALL_SECONDS
        )
        self._records_read = self._meters.counter("records_read", "Records that GetRecords returned.")
        self._bytes_read = self._meters.counter("read_bytes", "Bytes of those records.")
        self._skipped = self._meters.counter(
            "malformed_records_skipped", "Entries of replies too malformed to be records."
        )
        self._throttles = self._meters.counter(
            "throttles", "Calls refused for their rate, by operation or lease verb.", "operation"
        )
        self._gaps = self._meters.counter(
            "gaps", "Records gone before they were read: reading went on, or stopped.", "outcome"
        )
        self._stuck = self._meters.counter("stuck_reports", "Reports of a shard without progress, by stage.", "stage")
        self._meters.gauge(
            "stream_lag_seconds", "Age of what is still unread in the shard that lags most.", self._worst_lag
        )
        self._meters.gauge(
            "oldest_failing_batch_age_seconds",
            "How long user code has been raising on one batch, or a key has waited for a failed record, where that is "
            "longest; 0 where none does.",
            self._oldest_failure,
        )
        self._meters.gauge(
            "retention_left_seconds",
            "Until the stream may forget a record that is not done, where that is soonest; +Inf where that is unknown.",
            self._retention_left,
            together="min",
        )
        self._meters.gauge(
            "oldest_read_age_seconds",
            "Time since the last answered read, of the shard where that is longest ago.",
            self._oldest_read,
        )

    def _make_path_metric(self) -> None:
        doc = (
            "1 for the way in which pages are read, 0 for the other: over direct connections, or through botocore, as "
            "the first page always is. Of several processes together: how many of them."
        )
        gauge = self._meters.gauge_by("data_path", doc, "path", together="sum")
        gauge.labels("direct").set_function(lambda: self._path_now() == "direct")
        gauge.labels("plain").set_function(lambda: self._path_now() == "plain")

    def _make_lease_metrics(self) -> None:
        self._meters.gauge("leases_held", "Shards whose lease this worker holds.", self._leases_held, together="sum")
        self._takes = self._meters.counter("leases_taken", "Tenures begun: created, taken or accepted.", "how")
        self._ends = self._meters.counter("tenures_ended", "Tenures over, by reason.", "reason")
        self._hand_offs = self._meters.counter("hand_offs", "Hand-offs to a peer: finished or taken back.", "outcome")
        self._hand_off_seconds = self._meters.histogram(
            "hand_off_duration", "From learning of a hand-off to its finish.", _HAND_OFF_SECONDS
        )
        self._renewals = self._meters.histogram(
            "lease_renewal_margin", "Trust left when a lease write came through.", _MARGIN_SECONDS
        )
        self._renewed = self._meters.counter("lease_renewals", "Renewals and checkpoints that came through.")
        self._refusals = self._meters.counter(
            "lease_refusals", "Conditional lease writes that were refused, by verb.", "verb"
        )
        self._checkpoints = self._meters.counter("checkpoints", "Checkpoints stored.")
        self._checkpoint_failures = self._meters.counter("checkpoint_failures", "Checkpoints to be tried again.")
        self._shards_ended = self._meters.counter("shards_ended", "Shards read to their end, with SHARD_END stored.")

    def _make_coordination_metrics(self) -> None:
        now = self._coordination.now
        self._modes = self._meters.counter(
            "mode_changes",
            "Times that the lease table was found to be worked by these rules, the first included.",
            "mode",
        )
        self._meters.gauge("is_leader", "1 while this worker holds the leader lock, else 0.", lambda: now().is_leader)
        self._meters.gauge(
            "workers", "Live workers of this library, this one included, as it sees them.", lambda: now().workers
        )
        self._meters.gauge(
            "kcl_workers",
            "Live workers of the Java KCL, as this worker sees them by their rows (a KCL 2.x has none).",
            lambda: now().kcl_workers,
        )
        self._meters.gauge(
            "cpu_ratio",
            "CPU in use, of what this worker may use, as measured for leaders that plan by it; NaN where unknown.",
            lambda: self._cpu_ratio,
        )
        self._plans = self._meters.counter(
            "plans", "Times that this worker planned: for all as the leader, else for itself."
        )
        self._planned_moves = self._meters.counter("planned_moves", "Moves of leases that these plans asked for.")
        self._meters.gauge(
            "last_plan_age_seconds",
            "Time since this worker last planned; 0 where it has not.",
            lambda: now().planned_seconds_ago or 0.0,
            # Of several, the one that plans counts: one that has led before and does not lead now grows old in peace.
            together="min_above_zero",
        )

    def follow(
        self,
        lag_now: Callable[[], float | None],
        *,
        failing_now: Callable[[], float | None] | None = None,
        retention_now: Callable[[], float | None] | None = None,
        data_path: Callable[[], str] | None = None,
    ) -> None:
        """Ask ``lag_now`` at each scrape, too: a batch that fails or takes long falls behind without a fact.

        ``failing_now`` is asked for how long user code has been failing, which facts tell of one batch at a time only;
        ``retention_now``, for how long the stream still keeps what is not done; ``data_path``, how pages are read:
        "direct" or "plain".
        """
        self._lag_now = lag_now
        self._failing_now = failing_now or self._failing_now
        self._retention_now = retention_now or self._retention_now
        self._path_now = data_path or self._path_now

    def _worst_lag(self) -> float:
        with self._lock:
            told = max(self._lags.values(), default=0.0)
        return max(told, self._lag_now() or 0.0)

    def _retention_left(self) -> float:
        left = self._retention_now()
        return math.inf if left is None else left

    def _oldest_read(self) -> float:
        with self._lock:
            oldest = min(self._read_at.values(), default=math.inf)
            return self._clock.monotonic() - oldest if oldest < math.inf else 0.0

    def _oldest_failure(self) -> float:
        if self._failing_now is not None:
            return self._failing_now() or 0.0
        with self._lock:
            return self._clock.monotonic() - min(self._failing_since.values()) if self._failing_since else 0.0

    def _leases_held(self) -> float:
        with self._lock:
            return len(self._read_at)

    _on: ClassVar[ByFact] = ByFact()

    @_on.of(hooks.LeaseTaken)
    def _(self, fact: hooks.LeaseTaken) -> None:
        with self._lock:
            self._read_at[fact.shard_id] = math.inf
        self._takes.labels(fact.how).inc()

    @_on.of(hooks.TenureEnded)
    def _(self, fact: hooks.TenureEnded) -> None:
        with self._lock:
            self._lags.pop(fact.shard_id, None)
            self._read_at.pop(fact.shard_id, None)
            self._failing_since.pop(fact.shard_id, None)
        self._ends.labels(fact.reason).inc()

    @_on.of(hooks.LeaseRenewed)
    def _(self, fact: hooks.LeaseRenewed) -> None:
        self._renewed.inc()
        self._renewals.observe(fact.margin_seconds)

    @_on.of(hooks.LeaseRefused)
    def _(self, fact: hooks.LeaseRefused) -> None:
        self._refusals.labels(fact.verb).inc()

    @_on.of(hooks.HandOffFinished)
    def _(self, fact: hooks.HandOffFinished) -> None:
        self._hand_offs.labels("finished").inc()
        self._hand_off_seconds.observe(fact.seconds)

    @_on.of(hooks.HandOffTakenBack)
    def _(self, fact: hooks.HandOffTakenBack) -> None:
        self._hand_offs.labels("taken_back").inc()

    @_on.of(hooks.PageRead)
    def _(self, fact: hooks.PageRead) -> None:
        with self._lock:
            # A reply may arrive after the tenure has ended: it must not bring back a lag that nobody would take away.
            if fact.shard_id in self._read_at:
                self._read_at[fact.shard_id] = self._clock.monotonic()
                if fact.lag_seconds:
                    self._lags[fact.shard_id] = fact.lag_seconds
                else:
                    self._lags.pop(fact.shard_id, None)
        self._reads.observe(fact.seconds)
        self._bytes_read.inc(fact.size_bytes)
        if fact.records:
            self._records_read.inc(fact.records)

    @_on.of(hooks.RecordsSkipped)
    def _(self, fact: hooks.RecordsSkipped) -> None:
        self._skipped.inc(fact.count)

    @_on.of(hooks.BatchProcessed)
    def _(self, fact: hooks.BatchProcessed) -> None:
        with self._lock:
            self._failing_since.pop(fact.shard_id, None)
        self._records.inc(fact.records)
        self._bytes.inc(fact.size_bytes)
        self._batches.observe(fact.seconds)

    @_on.of(hooks.BatchFailed)
    def _(self, fact: hooks.BatchFailed) -> None:
        with self._lock:
            if fact.callback == "process_records" and fact.shard_id in self._read_at:
                self._failing_since.setdefault(fact.shard_id, self._clock.monotonic())
        self._failures.labels(fact.callback).inc()

    @_on.of(hooks.RecordsGivenUp)
    def _(self, fact: hooks.RecordsGivenUp) -> None:
        with self._lock:
            self._failing_since.pop(fact.shard_id, None)

    @_on.of(hooks.CheckpointStored)
    def _(self, fact: hooks.CheckpointStored) -> None:
        self._checkpoints.inc()

    @_on.of(hooks.CheckpointFailed)
    def _(self, fact: hooks.CheckpointFailed) -> None:
        self._checkpoint_failures.inc()

    @_on.of(hooks.ShardEnded)
    def _(self, fact: hooks.ShardEnded) -> None:
        self._shards_ended.inc()

    @_on.of(hooks.GapFound)
    def _(self, fact: hooks.GapFound) -> None:
        self._gaps.labels("stopped" if fact.stopped else "skipped").inc()

    @_on.of(hooks.Throttled)
    def _(self, fact: hooks.Throttled) -> None:
        self._throttles.labels(fact.operation).inc()

    @_on.of(hooks.Stuck)
    def _(self, fact: hooks.Stuck) -> None:
        self._stuck.labels(fact.stage).inc()

    @_on.of(hooks.ModeChanged)
    def _(self, fact: hooks.ModeChanged) -> None:
        self._modes.labels(fact.mode).inc()

    @_on.of(hooks.Planned)
    def _(self, fact: hooks.Planned) -> None:
        self._plans.inc()
        self._planned_moves.inc(fact.moves)

    @_on.of(hooks.CpuMeasured)
    def _(self, fact: hooks.CpuMeasured) -> None:
        self._cpu_ratio = math.nan if fact.percent is None else fact.percent / 100.0
