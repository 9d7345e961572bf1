"""The check must notice every way in which the two journals can be damaged or a run can fall short."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.demo.check import Goals, Staged, Stop, judge, pauses
from consumer.demo.journal import Delivery, Write
from consumer.demo.writer import changes

KEYS = 96
GOALS = Goals(writes=400, keys=50)
STAGED = Staged(
    killed=Stop("ada", 20.5),
    stopped=Stop("ben", 40.5),
    rotations=4,
    splits=1,
    exits={"ada": -9, "ben": 0, "cleo": 0},
)


def good_run() -> tuple[list[Write], list[Delivery]]:
    """Lists of a test's own to damage."""
    writes, deliveries = _good_run()
    return list(writes), list(deliveries)


@cache
def _good_run() -> tuple[list[Write], list[Delivery]]:
    """Two shards, ten changes a second: ada reads the first until 20.5 s, ben the second until 40.5 s, cleo the rest.

    Cleo takes the first over at 30 s and repeats the 10 changes that ada had not checkpointed; ben hands over in 0.3 s.
    """
    source = changes(Random(1))
    writes = [Write(*next(source), at=number / 10) for number in range(500)]
    files: dict[str, list[Delivery]] = {"ada": [], "ben": [], "cleo": []}
    for number, write in enumerate(writes):
        first, at = int(write.key[-1]) % 2 == 0, write.at + 0.1
        owner = ("ada" if at < 20.5 else "cleo") if first else ("ben" if at < 40.5 else "cleo")
        line = Delivery("shard-a" if first else "shard-b", write.key, str(number), write.version, owner, 1, at)
        if first and 19.5 <= at < 20.5:
            files["cleo"].append(replace(line, worker="cleo", tenure=2, at=30.0))
        if first and at >= 20.5:
            line = replace(line, tenure=2, at=max(at, 30.0))
        if not first and at >= 40.5:
            line = replace(line, tenure=2, at=max(at, 40.8))
        files[owner].append(line)
    files["cleo"].sort(key=lambda each: each.at)
    return writes, [line for lines in files.values() for line in lines]


def problems(writes: list[Write], deliveries: list[Delivery]) -> tuple[str, ...]:
    return judge(writes, deliveries, STAGED, GOALS).problems


def test_a_good_run_passes():
    verdict = judge(*good_run(), STAGED, GOALS)

    assert verdict.problems == ()
    assert (verdict.written, verdict.delivered, verdict.lost, verdict.out_of_order) == (500, 500, 0, 0)
    assert 0 < verdict.duplicates <= 10
    assert verdict.takeover_seconds == pytest.approx(9.5)
    assert verdict.handoff_seconds == pytest.approx(0.3, abs=0.25)
    assert verdict.missed == ()


indexes = st.integers(0, 499)


@given(indexes)
def test_a_dropped_line_of_the_journal_is_noticed(index: int):
    writes, deliveries = good_run()
    del writes[index]
    assert any("not in the writer's journal" in each for each in problems(writes, deliveries))


@given(indexes)
def test_a_doubled_line_of_the_journal_is_noticed(index: int):
    writes, deliveries = good_run()
    writes.insert(index, writes[index])
    assert any("damaged" in each for each in problems(writes, deliveries))


@given(st.lists(indexes, min_size=2, max_size=2, unique=True))
def test_two_swapped_lines_of_the_journal_are_noticed(pair: list[int]):
    writes, deliveries = good_run()
    first, second = pair
    writes[first], writes[second] = writes[second], writes[first]
    assert any("damaged" in each for each in problems(writes, deliveries))


@settings(max_examples=50)
@given(indexes)
def test_a_dropped_delivery_is_a_loss(index: int):
    writes, deliveries = good_run()
    write = writes[index]
    kept = [line for line in deliveries if (line.key, line.version) != (write.key, write.version)]
    verdict = judge(writes, kept, STAGED, GOALS)
    assert verdict.lost == 1
    assert verdict.problems == ("1 writes were never delivered",)


def test_every_single_dropped_line_that_was_not_repeated_is_a_loss():
    writes, deliveries = good_run()
    once = [n for n, line in enumerate(deliveries) if _count(deliveries, line) == 1]
    for number in once[::7]:
        assert judge(writes, deliveries[:number] + deliveries[number + 1 :], STAGED, GOALS).lost == 1


def _count(deliveries: list[Delivery], wanted: Delivery) -> int:
    return sum((line.key, line.version) == (wanted.key, wanted.version) for line in deliveries)


@given(indexes)
def test_a_doubled_delivery_within_a_tenure_is_noticed(index: int):
    writes, deliveries = good_run()
    deliveries.insert(index, deliveries[index])
    assert problems(writes, deliveries) == ("1 records came twice within one tenure",)


@given(st.integers(0, 150))
def test_two_swapped_deliveries_of_one_shard_are_noticed(index: int):
    writes, deliveries = good_run()
    shard = [n for n, line in enumerate(deliveries) if line.shard_id == "shard-b"]
    first, second = shard[index : index + 2]
    deliveries[first], deliveries[second] = deliveries[second], deliveries[first]
    assert any("out of order" in each for each in problems(writes, deliveries))


def test_a_change_first_delivered_after_a_later_one_of_its_key_is_out_of_order_across_workers_too():
    writes = [Write("a", version, "put", float(version)) for version in (1, 2, 3)]
    lines = [
        Delivery("parent", "a", "1", 1, "ada", 1, 1.0),
        Delivery("child", "a", "3", 3, "ben", 1, 2.0),
        Delivery("parent", "a", "2", 2, "ada", 1, 3.0),
    ]
    assert judge(writes, lines, STAGED, GOALS).out_of_order == 1


def test_a_repeat_of_what_a_killed_worker_had_not_checkpointed_is_no_disorder():
    writes = [Write("a", version, "put", float(version)) for version in (1, 2)]
    lines = [
        Delivery("s", "a", "1", 1, "ada", 1, 1.0),
        Delivery("s", "a", "2", 2, "ada", 1, 2.0),
        Delivery("s", "a", "1", 1, "ben", 2, 12.0),
        Delivery("s", "a", "2", 2, "ben", 2, 12.0),
    ]
    verdict = judge(writes, lines, STAGED, GOALS)
    assert (verdict.out_of_order, verdict.duplicates, verdict.lost) == (0, 2, 0)


def test_a_change_that_nobody_wrote_is_noticed():
    writes, deliveries = good_run()
    deliveries.append(replace(deliveries[-1], version=999, sequence_number="9999"))
    assert problems(writes, deliveries) == ("1 delivered changes are not in the writer's journal",)


@pytest.mark.parametrize(
    ("staged", "goals", "problem"),
    [
        (replace(STAGED, killed=None, exits={}), GOALS, "no worker was killed"),
        (replace(STAGED, stopped=None), GOALS, "no worker was stopped with SIGTERM"),
        (replace(STAGED, rotations=2), GOALS, "only 2 rotations happened, 3 are needed"),
        (replace(STAGED, splits=0), GOALS, "only 0 splits happened, 1 are needed"),
        (STAGED, replace(GOALS, writes=501), "only 500 writes were made, 501 are needed"),
        (STAGED, replace(GOALS, keys=97), "only 96 keys were written, 97 are needed"),
        (replace(STAGED, exits={"ada": -9, "ben": 4, "cleo": 0}), GOALS, "unexpected exit codes: ben with 4"),
        (replace(STAGED, exits={"ada": 0, "ben": 0}), GOALS, "unexpected exit codes: ada with 0"),
        (
            replace(STAGED, killed=Stop("dora", 20.5), exits={}),
            GOALS,
            "no shard of dora, killed, was seen to be read elsewhere",
        ),
        (
            replace(STAGED, stopped=Stop("cleo", 49.0)),
            GOALS,
            "no shard of the stopped worker was seen to be read elsewhere",
        ),
    ],
)
def test_what_was_to_be_shown_and_was_not_is_a_problem(staged: Staged, goals: Goals, problem: str):
    assert judge(*good_run(), staged, goals).problems == (problem,)


def test_a_goal_of_time_that_is_missed_is_named_and_no_problem():
    verdict = judge(*good_run(), STAGED, replace(GOALS, takeover_seconds=9.0, handoff_seconds=0.01))
    assert verdict.problems == ()
    assert [sentence.split(" took ")[0] for sentence in verdict.missed] == ["the takeover", "the hand-off"]


def _line(shard: str, worker: str, at: float) -> Delivery:
    return Delivery(shard, "k", "1", 1, worker, 1, at)


def test_the_worst_shard_counts_and_only_shards_that_the_worker_had():
    lines = [
        _line("one", "ada", 1.0),
        _line("two", "ada", 1.5),
        _line("gone", "ada", 0.5),
        _line("gone", "ben", 1.2),
        _line("one", "ben", 9.0),
        _line("two", "cleo", 11.0),
        _line("gone", "cleo", 30.0),
    ]
    assert pauses(lines, Stop("ada", 2.0), {}) == {"one": (1.0, 9.0), "two": (1.5, 11.0)}


def test_a_shard_that_ended_before_it_was_read_elsewhere_shows_its_pause_in_its_children():
    lines = [_line("parent", "ada", 1.0), _line("left", "ben", 5.0), _line("right", "cleo", 6.0)]
    parents = {"parent": (), "left": ("parent",), "right": ("parent",)}
    assert pauses(lines, Stop("ada", 2.0), parents) == {"left": (1.0, 5.0), "right": (1.0, 6.0)}


def test_a_parent_that_was_read_to_its_end_before_the_signal_is_not_waited_for():
    lines = [_line("parent", "ada", 1.0), _line("child", "ben", 1.5), _line("child", "ben", 5.0)]
    assert pauses(lines, Stop("ada", 2.0), {"parent": (), "child": ("parent",)}) == {}


def test_a_shard_without_a_record_between_a_parent_and_its_reader_hides_nothing():
    # UpdateShardCount splits and merges at once: "between" never had a record, and ada had nothing to hand over.
    lines = [_line("parent", "ada", 1.0), _line("grandchild", "ben", 1.5), _line("grandchild", "ben", 15.0)]
    parents = {"parent": (), "between": ("parent",), "grandchild": ("between",)}
    assert pauses(lines, Stop("ada", 2.0), parents) == {}


def test_a_child_that_the_drained_worker_still_read_hands_over_from_there():
    lines = [_line("parent", "ada", 1.0), _line("child", "ada", 2.5), _line("child", "ben", 3.0)]
    assert pauses(lines, Stop("ada", 2.0), {"parent": (), "child": ("parent",)}) == {"child": (2.5, 3.0)}


def test_the_verdict_tells_the_worst_shard():
    lines = [_line("one", "ada", 1.0), _line("two", "ada", 1.5), _line("one", "ben", 9.0), _line("two", "cleo", 11.0)]
    staged = Staged(killed=Stop("ada", 2.0), stopped=Stop("ada", 2.0))
    verdict = judge([], lines, staged, GOALS)
    assert (verdict.takeover_seconds, verdict.handoff_seconds) == (9.0, 9.5)


def test_a_change_that_is_missing_from_both_sides_is_noticed_by_the_gap_in_its_keys_versions():
    writes, deliveries = good_run()
    gone = writes[0]
    kept = [line for line in deliveries if (line.key, line.version) != (gone.key, gone.version)]
    assert any(f"version 2 of {gone.key} stands where 1 is due" in each for each in problems(writes[1:], kept))
