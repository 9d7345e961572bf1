"""Every fact reaches the metric that is meant for it, and gauges forget what a worker no longer holds."""

from __future__ import annotations

import ast
import inspect
import math

import pytest

from consumer import hooks
from consumer.clock import SystemClock
from consumer.operate.prometheus import PrometheusHook


class SetClock(SystemClock):
    """A monotonic clock that stands until it is set."""

    now = 1_000.0

    def monotonic(self) -> float:
        return self.now


FACTS = [
    (hooks.LeaseTaken("s", "taken", None, 7), "leasehold_leases_taken_total", {"how": "taken"}, 1.0),
    (hooks.LeaseRenewed("s", 6.5), "leasehold_lease_renewals_total", {}, 1.0),
    (hooks.LeaseRenewed("s", 6.5), "leasehold_lease_renewal_margin_seconds_sum", {}, 6.5),
    (hooks.LeaseRefused("s", "take"), "leasehold_lease_refusals_total", {"verb": "take"}, 1.0),
    (hooks.TenureEnded("s", "lost"), "leasehold_tenures_ended_total", {"reason": "lost"}, 1.0),
    (hooks.HandOffFinished("s", "w2", 0.2), "leasehold_hand_offs_total", {"outcome": "finished"}, 1.0),
    (hooks.HandOffFinished("s", "w2", 0.2), "leasehold_hand_off_duration_seconds_sum", {}, 0.2),
    (hooks.HandOffTakenBack("s", "w2", "dead"), "leasehold_hand_offs_total", {"outcome": "taken_back"}, 1.0),
    (hooks.PageRead("s", 3, 300, 0.01, 1.5), "leasehold_records_read_total", {}, 3.0),
    (hooks.PageRead("s", 3, 300, 0.01, 1.5), "leasehold_read_bytes_total", {}, 300.0),
    (hooks.PageRead("s", 3, 300, 0.01, 1.5), "leasehold_read_duration_seconds_count", {}, 1.0),
    (hooks.RecordsSkipped("s", 4), "leasehold_malformed_records_skipped_total", {}, 4.0),
    (hooks.BatchProcessed("s", 5, 500, 0.1, "1", "5"), "leasehold_records_processed_total", {}, 5.0),
    (hooks.BatchProcessed("s", 5, 500, 0.1, "1", "5"), "leasehold_processed_bytes_total", {}, 500.0),
    (hooks.BatchProcessed("s", 5, 500, 0.1, "1", "5"), "leasehold_batch_duration_seconds_sum", {}, 0.1),
    (
        hooks.BatchFailed("s", "process_records", "ValueError", 2, 1.0),
        "leasehold_callback_failures_total",
        {"callback": "process_records"},
        1.0,
    ),
    (hooks.BatchTimedOut("s", 30.0, cancelled=True), "leasehold_batch_timeouts_total", {"outcome": "cancelled"}, 1.0),
    (hooks.BatchTimedOut("s", 30.0, cancelled=False), "leasehold_batch_timeouts_total", {"outcome": "overdue"}, 1.0),
    (hooks.RecordsFiltered("s", 7), "leasehold_records_filtered_total", {}, 7.0),
    (hooks.RecordsUnjudged("s", 6, "Undecodable"), "leasehold_records_unjudged_total", {}, 6.0),
    (hooks.KeysHeld("", 4), "leasehold_held_keys", {}, 4.0),
    (hooks.KeyParked("s", 3), "leasehold_keys_parked_total", {}, 1.0),
    (hooks.KeyParked("s", 3), "leasehold_parked_keys", {}, 3.0),
    (hooks.KeyResumed("s", 2, 4.5), "leasehold_parked_keys", {}, 2.0),
    (hooks.KeyResumed("s", 2, 4.5), "leasehold_key_parked_duration_seconds_sum", {}, 4.5),
    (
        hooks.RecordsGivenUp("s", 2, "dead_letter", "attempts_exhausted"),
        "leasehold_records_given_up_total",
        {"fate": "dead_letter", "reason": "attempts_exhausted"},
        2.0,
    ),
    (
        hooks.DeadLettersRefused("s", 2, "DeadLetterStoreThrottled", 1.0),
        "leasehold_dead_letters_refused_total",
        {},
        2.0,
    ),
    (hooks.SinkDown("", "ConnectionError", 3), "leasehold_sink_outages_total", {}, 1.0),
    (hooks.SinkDown("", "ConnectionError", 3), "leasehold_sink_down", {}, 1.0),
    (hooks.SinkUp("", 61.0), "leasehold_sink_down", {}, 0.0),
    (hooks.SinkUp("", 61.0), "leasehold_sink_outage_duration_seconds_sum", {}, 61.0),
    (hooks.CheckpointStored("s", "5"), "leasehold_checkpoints_total", {}, 1.0),
    (hooks.CheckpointFailed("s", "LeaseTableThrottled"), "leasehold_checkpoint_failures_total", {}, 1.0),
    (hooks.ShardEnded("s", ("t",)), "leasehold_shards_ended_total", {}, 1.0),
    (hooks.GapFound("s", "1", "9", stopped=False), "leasehold_gaps_total", {"outcome": "skipped"}, 1.0),
    (hooks.GapFound("s", "1", "9", stopped=True), "leasehold_gaps_total", {"outcome": "stopped"}, 1.0),
    (hooks.Throttled("s", "GetRecords"), "leasehold_throttles_total", {"operation": "GetRecords"}, 1.0),
    (hooks.Stuck("s", "reading", 61.0), "leasehold_stuck_reports_total", {"stage": "reading"}, 1.0),
    (hooks.ModeChanged("", "leader", "peer", "row"), "leasehold_mode_changes_total", {"mode": "leader"}, 1.0),
    (hooks.LockSeen("", "w1", is_mine=True), "leasehold_is_leader", {}, 1.0),
    (hooks.WorkersSeen("", 2, 3), "leasehold_workers", {}, 2.0),
    (hooks.WorkersSeen("", 2, 3), "leasehold_kcl_workers", {}, 3.0),
    (hooks.CpuMeasured("", 37.5), "leasehold_cpu_ratio", {}, 0.375),
    (hooks.Planned("", 4), "leasehold_plans_total", {}, 1.0),
    (hooks.Planned("", 4), "leasehold_planned_moves_total", {}, 4.0),
]


@pytest.mark.parametrize(
    ("fact", "metric", "labels", "value"), FACTS, ids=lambda value: getattr(value, "__name__", None)
)
def test_a_fact_moves_its_metric(fact: hooks.Fact, metric: str, labels: dict[str, str], value: float):
    hook = PrometheusHook(clock=SetClock())
    hook(fact)
    assert hook.registry.get_sample_value(metric, labels) == pytest.approx(value)


def test_every_kind_of_fact_is_counted():
    kinds = {kind for _, kind in inspect.getmembers(hooks, inspect.isclass) if issubclass(kind, hooks.Fact)}
    assert {type(fact) for fact, *_ in FACTS} == kinds - {hooks.Fact}


def test_what_waits_and_what_is_down_is_forgotten_once_it_is_over():
    hook = PrometheusHook(clock=SetClock())

    def gauge(name: str) -> float | None:
        return hook.registry.get_sample_value(name)

    for fact in (hooks.KeyParked("s", 2), hooks.KeyParked("t", 1), hooks.KeyResumed("s", 1, 3.0)):
        hook(fact)
    assert gauge("leasehold_parked_keys") == 2.0
    hook(hooks.TenureEnded("s", "lost"))
    assert gauge("leasehold_parked_keys") == 1.0
    hook(hooks.KeyResumed("t", 0, 9.0))
    assert gauge("leasehold_parked_keys") == 0.0
    hook(hooks.SinkDown("", "ConnectionError", 3))
    hook(hooks.SinkUp("", 61.0))
    assert gauge("leasehold_sink_down") == 0.0


def test_gauges_follow_what_is_held():
    hook = PrometheusHook(clock=SetClock())

    def gauge(name: str) -> float | None:
        return hook.registry.get_sample_value(f"leasehold_{name}")

    for shard, lag in (("a", 2.0), ("b", 30.0)):
        hook(hooks.LeaseTaken(shard, "created", None, 1))
        hook(hooks.PageRead(shard, 1, 1, 0.01, lag))
    assert gauge("leases_held") == 2
    assert gauge("stream_lag_seconds") == 30.0
    hook(hooks.TenureEnded("b", "handed_off", "w2"))
    assert gauge("leases_held") == 1
    assert gauge("stream_lag_seconds") == 2.0
    hook(hooks.PageRead("b", 1, 1, 0.01, 99.0))  # a reply that was on its way when the lease left
    assert gauge("stream_lag_seconds") == 2.0
    hook(hooks.PageRead("a", 0, 0, 0.01, None))
    assert gauge("stream_lag_seconds") == 0.0


def test_the_way_in_which_pages_are_read_is_asked_for_at_each_scrape():
    hook = PrometheusHook(clock=SetClock())

    def seen() -> list[float | None]:
        return [hook.registry.get_sample_value("leasehold_data_path", {"path": path}) for path in ("direct", "plain")]

    assert seen() == [0, 0], "nothing is read"
    paths = ["plain"]
    hook.follow(lambda: None, data_path=lambda: paths[-1])
    assert seen() == [0, 1]
    paths.append("direct")
    assert seen() == [1, 0]
    hook.follow(lambda: None)
    assert seen() == [1, 0], "who follows only the lag takes nothing away"


def test_the_age_of_the_oldest_read_grows_while_nothing_is_read():
    clock = SetClock()
    hook = PrometheusHook(clock=clock)
    hook(hooks.LeaseTaken("a", "created", None, 1))
    hook(hooks.PageRead("a", 0, 0, 0.01, 0.0))
    clock.now += 42.0
    assert hook.registry.get_sample_value("leasehold_oldest_read_age_seconds") == 42.0


def test_what_is_given_up_fails_no_more_and_who_is_asked_knows_better():
    clock = SetClock()
    hook = PrometheusHook(clock=clock)

    def age() -> float | None:
        return hook.registry.get_sample_value("leasehold_oldest_failing_batch_age_seconds")

    hook(hooks.LeaseTaken("a", "created", None, 1))
    hook(hooks.BatchFailed("a", "process_records", "ValueError", 5, 0.0))
    clock.now += 10.0
    assert age() == 10.0
    hook(hooks.RecordsGivenUp("a", 1, "dead_letter", "attempts_exhausted"))
    assert age() == 0.0
    failing: list[float | None] = [None]
    hook.follow(lambda: None, failing_now=lambda: failing[-1])
    hook(hooks.BatchFailed("a", "process_records", "ValueError", 1, 0.0))
    assert age() == 0.0
    failing.append(77.0)
    hook(hooks.BatchProcessed("a", 1, 1, 0.1, "1", "1"))
    assert age() == 77.0, "another lane's batch says nothing of it"


def test_the_retention_that_is_left_is_asked_for_and_without_end_where_nothing_is_known():
    hook = PrometheusHook(clock=SetClock())
    left: list[float | None] = [None]
    assert hook.registry.get_sample_value("leasehold_retention_left_seconds") == math.inf
    hook.follow(lambda: None, retention_now=lambda: left[-1])
    assert hook.registry.get_sample_value("leasehold_retention_left_seconds") == math.inf
    left.append(43_200.0)
    assert hook.registry.get_sample_value("leasehold_retention_left_seconds") == 43_200.0


def test_the_age_of_the_oldest_failing_batch_grows_until_it_passes_or_the_tenure_ends():
    clock = SetClock()
    hook = PrometheusHook(clock=clock)

    def age() -> float | None:
        return hook.registry.get_sample_value("leasehold_oldest_failing_batch_age_seconds")

    assert age() == 0.0
    for shard in ("a", "b"):
        hook(hooks.LeaseTaken(shard, "created", None, 1))
        for attempt in (1, 2):
            hook(hooks.BatchFailed(shard, "process_records", "ValueError", attempt, 1.0))
            clock.now += 10.0
    assert age() == 40.0
    hook(hooks.BatchProcessed("a", 1, 1, 0.1, "1", "1"))
    assert age() == 20.0
    hook(hooks.TenureEnded("b", "lost"))
    hook(hooks.BatchFailed("b", "process_records", "ValueError", 3, 0.0))  # of the tenure that is over
    hook(hooks.BatchFailed("a", "shutdown_requested", "ValueError", 1, 0.0))  # no batch
    assert age() == 0.0


def test_a_leader_that_stops_planning_is_seen_by_the_age_of_its_last_plan():
    clock = SetClock()
    hook = PrometheusHook(clock=clock)
    hook(hooks.Planned("", 0))
    clock.now += 90.0
    assert hook.registry.get_sample_value("leasehold_last_plan_age_seconds") == 90.0
    hook(hooks.LockSeen("", "w2", is_mine=False))
    assert hook.registry.get_sample_value("leasehold_is_leader") == 0.0


def test_two_workers_in_one_process_keep_their_figures_apart():
    first, second = PrometheusHook(), PrometheusHook()
    first(hooks.CheckpointStored("s", "1"))
    assert first.registry.get_sample_value("leasehold_checkpoints_total") == 1.0
    assert second.registry.get_sample_value("leasehold_checkpoints_total") == 0.0


def test_names_are_ours_in_base_units_and_no_label_is_a_shard():
    hook = PrometheusHook()
    for fact, *_ in FACTS:
        hook(fact)
    for family in hook.registry.collect():
        assert family.name.startswith(("leasehold_", "process_"))
        assert not family.name.endswith(("_ms", "_millis", "_kb", "_mb"))
        for sample in family.samples:
            assert "s" not in sample.labels.values()
            assert not {"shard", "shard_id"} & set(sample.labels)


def test_this_test_knows_every_metric():
    """A metric that no fact in the table moves would be one that never moves."""
    source = ast.parse(inspect.getsource(inspect.getmodule(PrometheusHook)))  # type: ignore[arg-type]
    names = {
        f"leasehold_{call.args[0].value}"
        for call in ast.walk(source)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in ("_counter", "_histogram")
        and isinstance(call.args[0], ast.Constant)
    }
    tested = {metric for _, metric, *_ in FACTS}
    assert {name for name in names if not any(metric.startswith(name) for metric in tested)} == set()
