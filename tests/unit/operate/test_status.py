"""Health and the status line are pure functions of a snapshot."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consumer.config import InitialPosition, WorkerConfig
from consumer.operate.coordination import Coordination
from consumer.operate.status import (
    ShardStatus,
    WorkerStatus,
    health,
    least_retention_left_seconds,
    longest_failure_seconds,
    render,
)

CONFIG = WorkerConfig(
    app="orders",
    initial_position=InitialPosition("LATEST"),
    stuck_after_seconds=60.0,
    batch_timeout_seconds=30.0,
)
WELL = ShardStatus(shard_id="shard-1", stage="reading", lag_seconds=0.4, last_record_at=95.0)


def _status(*shards: ShardStatus, **changes: object) -> WorkerStatus:
    return replace(WorkerStatus(worker_id="w-1", shards=shards, records_processed=120), **changes)


def test_a_worker_that_moves_is_well():
    assert health(_status(WELL), CONFIG) == ()
    assert health(_status(), CONFIG) == ()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"oldest_failing_batch_seconds": 60.5, "stage": "processing"},
            "raising on the same batch of shard shard-1 for 60 s",
        ),
        ({"stuck_seconds": 60.5}, "Shard shard-1 has made no progress for 60 s while reading"),
        ({"stuck_seconds": 61.0, "stage": "checkpointing"}, "no progress for 61 s while checkpointing"),
        ({"stage": "stopped_at_gap"}, "--on-trimmed skip"),
        (
            {"oldest_failing_batch_seconds": 60.5, "parked_keys": 1},
            "1 key waits for a failed record, the longest for 60 s; it is tried again, nothing is skipped, and other k",
        ),
        (
            {"oldest_failing_batch_seconds": 60.5, "stage": "processing", "retention_left_seconds": 44_000.0},
            "does not move until it passes. The stream keeps what waits for 12.2 h more.",
        ),
        (
            {"oldest_failing_batch_seconds": 61.0, "parked_keys": 2, "stage": "parked_at_end"},
            "2 keys wait for a failed record, the longest for 61 s; it is tried again, nothing is skipped, and the sh",
        ),
        ({"is_overdue": True, "stuck_seconds": 100.0}, "shard-1 takes longer than batch_timeout_seconds (30 s)"),
    ],
)
def test_each_kind_of_trouble_is_a_sentence_that_names_the_shard(change: dict[str, object], sentence: str):
    problems = health(_status(WELL, replace(WELL, shard_id="shard-1", **change)), CONFIG)
    assert len(problems) == 1
    assert sentence in problems[0]


@pytest.mark.parametrize(
    "change",
    [
        {"oldest_failing_batch_seconds": 60.0},
        {"stuck_seconds": 60.0},
        {"stage": "waiting_for_parents", "stuck_seconds": 9_000.0},
        {"parked_keys": 3, "oldest_failing_batch_seconds": 60.0},
    ],
)
def test_at_the_limit_and_while_waiting_for_parents_a_worker_is_well(change: dict[str, object]):
    assert health(_status(replace(WELL, **change)), CONFIG) == ()


def test_a_sink_that_is_down_is_one_problem_and_not_one_of_each_shard():
    failing = replace(WELL, stage="processing", oldest_failing_batch_seconds=100.0, stuck_seconds=100.0)
    shards = (failing, replace(failing, shard_id="shard-2"))
    (problem,) = health(_status(*shards, sink_down_seconds=60.5), CONFIG)
    assert problem.startswith("What the records are written to has been down for 60 s")
    assert health(_status(*shards, sink_down_seconds=60.0), CONFIG) == ()
    assert len(health(_status(*shards), CONFIG)) == 2


def test_the_longest_failure_is_that_of_any_shard():
    assert longest_failure_seconds(_status(WELL)) is None
    shards = (WELL, replace(WELL, oldest_failing_batch_seconds=3.0), replace(WELL, oldest_failing_batch_seconds=9.0))
    assert longest_failure_seconds(_status(*shards)) == 9.0


def test_the_least_retention_left_is_that_of_any_shard():
    assert least_retention_left_seconds(_status(WELL)) is None
    shards = (WELL, replace(WELL, retention_left_seconds=80_000.0), replace(WELL, retention_left_seconds=50_000.0))
    assert least_retention_left_seconds(_status(*shards)) == 50_000.0


def test_the_status_line_tells_what_waits_and_what_is_down():
    shards = (replace(WELL, parked_keys=2), replace(WELL, shard_id="shard-2", parked_keys=1))
    line = render(_status(*shards, sink_down_seconds=12.3), now=100.0, records_before=0, period_seconds=60.0)
    assert line.endswith(", 3 keys parked, sink down for 12 s")


def test_a_dead_lease_loop_is_a_problem_before_all_others():
    problems = health(_status(replace(WELL, stuck_seconds=100.0), lease_loop_alive=False), CONFIG)
    assert [problem.partition(" ")[2][:10] for problem in problems] == ["lease loop", "shard-1 ha"]
    assert not _status(problems=problems).healthy
    assert _status().healthy


def test_the_status_line_tells_shards_records_lag_and_the_age_of_the_last_record():
    line = render(
        _status(WELL, replace(WELL, shard_id="shard-2", lag_seconds=12.34, last_record_at=80.0)),
        now=100.0,
        records_before=20,
        period_seconds=60.0,
    )
    assert line == "2 shards held, 120 records (100 in 60 s), lag 12.3 s (worst: shard-2), last record 5.0 s old"


def test_the_status_line_does_not_make_up_what_it_does_not_know():
    waiting = ShardStatus(shard_id="shard-3", stage="waiting_for_parents")
    line = render(_status(waiting, draining=True), now=100.0, records_before=120, period_seconds=60.0)
    assert (
        line == "1 shards held (1 waiting for parents), 120 records (0 in 60 s), lag unknown, no record yet, draining"
    )


def test_the_status_line_names_the_first_problem():
    line = render(_status(WELL, problems=("A.", "B.")), now=100.0, records_before=0, period_seconds=60.0)
    assert line.endswith("2 problems, the first: A.")


def test_a_record_from_a_clock_ahead_of_ours_is_not_younger_than_now():
    line = render(_status(replace(WELL, last_record_at=100.9)), now=100.0, records_before=0, period_seconds=60.0)
    assert "last record 0.0 s old" in line


@pytest.mark.parametrize(
    ("place", "told"),
    [
        (Coordination(), ""),
        (Coordination(mode="peer"), ""),
        (Coordination(mode="2x"), ", mode 2x"),
        (Coordination(mode="leader", lock_owner="java-1"), ", mode leader, led by java-1"),
        (Coordination(mode="leader", lock_owner="w-1", is_leader=True), ", mode leader, this worker leads"),
        (Coordination(mode="leader"), ", mode leader, nobody leads"),
    ],
)
def test_the_status_line_says_who_leads_where_somebody_has_to(place: Coordination, told: str):
    line = render(_status(coordination=place), now=100.0, records_before=0, period_seconds=60.0)
    assert line.partition(", no record yet")[2] == told
