"""Pages of real registries of several processes, merged: what adds, what is the maximum, and what never goes back."""

from __future__ import annotations

import math

import pytest
from prometheus_client import CollectorRegistry, Counter, Metric
from prometheus_client.openmetrics.exposition import generate_latest

from consumer import hooks
from consumer.clock import SystemClock
from consumer.operate.prometheus import PrometheusHook
from consumer.operate.supervisor.merging import Tally, merged, parsed, rules

RULES = rules()


class SetClock(SystemClock):
    """A monotonic clock that stands until it is set."""

    now = 1_000.0

    def monotonic(self) -> float:
        return self.now


def told(*facts: hooks.Fact, clock: SetClock | None = None, after_seconds: float = 0.0) -> list[Metric]:
    """The page of a process to which these facts happened, ``after_seconds``."""
    clock = clock or SetClock()
    hook = PrometheusHook(clock=clock)
    for fact in facts:
        hook(fact)
    clock.now += after_seconds
    return parsed(generate_latest(hook.registry).decode())


class Page:
    """What a registry collects."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def value(page: list[Metric], name: str, **labels: str) -> float | None:
    """A sample, as one who scrapes the page gets it."""
    registry = CollectorRegistry()
    registry.register(Page(page))  # type: ignore[arg-type]
    again = Page(parsed(generate_latest(registry).decode()))
    (found,) = [
        sample.value
        for family in again.collect()
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    ] or [None]
    return found


def batch(records: int, seconds: float) -> hooks.BatchProcessed:
    return hooks.BatchProcessed("s", records, 100 * records, seconds, "1", "9")


def test_counters_add():
    page = merged([told(batch(5, 0.1)), told(batch(7, 0.1), batch(1, 0.1)), told()], RULES)
    assert value(page, "leasehold_records_processed_total") == 13.0
    assert value(page, "leasehold_processed_bytes_total") == 1_300.0


def test_buckets_counts_and_sums_of_histograms_add():
    page = merged([told(batch(1, 0.05), batch(1, 20.0)), told(batch(1, 0.05))], RULES)
    name = "leasehold_batch_duration_seconds"
    assert value(page, f"{name}_bucket", le="0.01") == 0.0
    assert value(page, f"{name}_bucket", le="0.1") == 2.0
    assert value(page, f"{name}_bucket", le="10.0") == 2.0
    assert value(page, f"{name}_bucket", le="+Inf") == 3.0
    assert value(page, f"{name}_count") == 3.0
    assert value(page, f"{name}_sum") == pytest.approx(20.1)


def test_labels_that_only_one_process_has_are_there():
    page = merged(
        [
            told(hooks.Throttled("s", "GetRecords"), hooks.Throttled("s", "take")),
            told(hooks.Throttled("s", "GetRecords"), hooks.Throttled("s", "Scan")),
        ],
        RULES,
    )
    name = "leasehold_throttles_total"
    counted = {operation: value(page, name, operation=operation) for operation in ("GetRecords", "take", "Scan")}
    assert counted == {"GetRecords": 2.0, "take": 1.0, "Scan": 1.0}


def test_lag_and_ages_are_those_of_the_worst():
    def behind(seconds: float) -> list[hooks.Fact]:
        return [hooks.LeaseTaken("s", "taken", None, 1), hooks.PageRead("s", 1, 1, 0.1, seconds)]

    page = merged([told(*behind(3.0), after_seconds=1.0), told(*behind(70.0)), told()], RULES)
    assert value(page, "leasehold_stream_lag_seconds") == 70.0
    assert value(page, "leasehold_oldest_read_age_seconds") == pytest.approx(1.0)


def test_leases_add_the_leader_is_one_and_workers_are_not_counted_twice():
    def of(shard: str, leads: bool) -> list[Metric]:
        return told(
            hooks.LeaseTaken(shard, "taken", None, 1), hooks.LockSeen("", "w", leads), hooks.WorkersSeen("", 3, 2)
        )

    page = merged([of("a", False), of("b", True), of("c", False)], RULES)
    assert value(page, "leasehold_leases_held") == 3.0
    assert value(page, "leasehold_is_leader") == 1.0
    assert value(page, "leasehold_workers") == 3.0
    assert value(page, "leasehold_kcl_workers") == 2.0


def test_a_former_leader_does_not_make_the_plan_look_old():
    planned = hooks.Planned("", 0)
    page = merged([told(planned, after_seconds=500.0), told(planned, after_seconds=2.0), told()], RULES)
    assert value(page, "leasehold_last_plan_age_seconds") == pytest.approx(2.0)
    assert value(merged([told(), told()], RULES), "leasehold_last_plan_age_seconds") == 0.0


def test_what_one_process_does_not_know_another_may():
    measured, unknown = told(hooks.CpuMeasured("", 40.0)), told(hooks.CpuMeasured("", None))
    for pages in ([measured, unknown], [unknown, measured]):
        assert value(merged(pages, RULES), "leasehold_cpu_ratio") == pytest.approx(0.4)
    alone = value(merged([unknown, unknown], RULES), "leasehold_cpu_ratio")
    assert alone is not None
    assert math.isnan(alone)


def test_figures_of_the_process_add_where_they_are_used_up():
    pages = [told(), told()]
    together = merged(pages, RULES)
    for name in ("process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"):
        assert value(together, name) == pytest.approx(sum(value(page, name) or 0.0 for page in pages))
    assert value(together, "process_max_fds") == value(pages[0], "process_max_fds")


def test_every_gauge_of_ours_is_merged_by_a_rule_that_stands_beside_it():
    described = {each.name: each.together for each in PrometheusHook().described if each.kind == "gauge"}
    assert described["leasehold_leases_held"] == "sum"
    assert {name: rule for name, rule in described.items() if name.endswith("age_seconds")} == {
        "leasehold_oldest_failing_batch_age_seconds": "max",
        "leasehold_oldest_read_age_seconds": "max",
        "leasehold_last_plan_age_seconds": "min_above_zero",
    }


def test_one_page_merged_is_that_page():
    page = told(batch(5, 0.1), hooks.Throttled("s", "take"))
    assert [family.name for family in merged([page], RULES)] == [family.name for family in page]
    for family, again in zip(page, merged([page], RULES), strict=True):
        assert [(each.name, each.labels) for each in family.samples] == [
            (each.name, each.labels) for each in again.samples
        ]
        assert [each.value for each in family.samples] == pytest.approx(
            [each.value for each in again.samples], nan_ok=True
        )


def test_what_is_no_page_is_refused():
    with pytest.raises(ValueError, match=r"EOF|[Ii]nvalid"):
        parsed("<html>")


def test_a_counter_never_goes_back_when_a_process_is_restarted_or_silent():
    tally = Tally(RULES)
    name = "leasehold_records_processed_total"
    both = {1: (1, told(batch(5, 0.1))), 2: (1, told(batch(7, 0.1)))}
    assert value(tally.merged(both), name) == 12.0
    # Process 2 does not answer: what it had told still counts.
    assert value(tally.merged({1: (1, told(batch(6, 0.1)))}), name) == 13.0
    # It was started anew and counts from 0, and once more.
    assert value(tally.merged({1: (1, told(batch(6, 0.1))), 2: (2, told())}), name) == 13.0
    assert value(tally.merged({2: (2, told(batch(2, 0.1)))}), name) == 15.0
    assert value(tally.merged({1: (1, told(batch(6, 0.1))), 2: (3, told(batch(1, 0.1)))}), name) == 16.0


def test_gauges_are_only_of_those_that_answer():
    tally = Tally(RULES)
    held = told(hooks.LeaseTaken("a", "taken", None, 1))
    assert value(tally.merged({1: (1, held), 2: (1, held)}), "leasehold_leases_held") == 2.0
    assert value(tally.merged({1: (1, held)}), "leasehold_leases_held") == 1.0
    assert value(tally.merged({1: (1, held), 2: (2, told())}), "leasehold_leases_held") == 1.0


def test_the_supervisors_own_stand_beside_them():
    registry = CollectorRegistry()
    Counter("leasehold_process_restarts", "Restarts.", registry=registry).inc(3)
    page = Tally(RULES).merged({1: (1, told(batch(5, 0.1)))}, own=list(registry.collect()))
    assert value(page, "leasehold_process_restarts_total") == 3.0
    assert value(page, "leasehold_records_processed_total") == 5.0
