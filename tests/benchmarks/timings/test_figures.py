"""What the benchmarks reckon: a wrong percentile or a pause of the wrong shard would be believed."""

from __future__ import annotations

import json

import pytest

from tests.benchmarks.timings.figures import Event, Journal, pauses, percentile, repeats, spread, verdict


def event(at: float, kind: str, worker: str, shard_id: str = "s1", number: int = 0) -> Event:
    return Event(at, kind, shard_id, number, worker)


def test_a_pause_lies_between_the_olds_last_and_the_others_first_record():
    found = pauses(
        [
            event(1.0, "record", "ada"),
            event(2.0, "record", "ada"),
            event(2.1, "shutdown_requested", "ada"),
            event(2.3, "initialize", "bob"),
            event(2.5, "record", "bob"),
            event(3.0, "record", "bob"),
        ],
        "ada",
        after=1.5,
    )
    assert found["s1"].seconds == pytest.approx(0.5)
    assert (found["s1"].asked_at, found["s1"].initialized_at) == (2.1, 2.3)


def test_a_shard_that_moved_before_or_not_at_all_shows_no_pause():
    history = [
        event(1.0, "record", "ada", "moved before"),
        event(1.2, "record", "bob", "moved before"),
        event(2.0, "record", "bob", "moved before"),
        event(1.0, "record", "ada", "stayed"),
        event(2.0, "record", "ada", "stayed"),
        event(1.0, "record", "ada", "still unread"),
    ]
    assert pauses(history, "ada", after=1.5) == {}


def test_the_initialize_of_an_earlier_tenure_does_not_count():
    found = pauses(
        [
            event(0.5, "initialize", "bob"),
            event(1.0, "record", "ada"),
            event(4.0, "initialize", "bob"),
            event(4.1, "record", "bob"),
        ],
        "ada",
        after=2.0,
    )
    assert found["s1"].initialized_at == 4.0
    assert found["s1"].asked_at is None


def test_each_delivery_after_the_first_is_a_repeat():
    numbers = [1, 2, 2, 3, 2]
    given = [event(float(index), "record", "ada", number=number) for index, number in enumerate(numbers)]
    assert repeats([*given, event(9.0, "initialize", "ada", number=3)]) == 2


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1.0), (0.5, 50.0), (0.99, 99.0), (0.991, 100.0), (1.0, 100.0)])
def test_percentile_is_a_value_that_so_many_do_not_exceed(share: float, expected: float):
    assert percentile([float(each) for each in range(100, 0, -1)], share) == expected


def test_there_is_no_percentile_of_nothing():
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 0.5)


def test_a_p99_needs_a_hundred_values():
    assert "p99_seconds" not in spread([1.0] * 99)
    assert spread([1.0] * 100)["p99_seconds"] == 1.0
    assert spread([])["worst_seconds"] is None


def test_a_goal_is_missed_by_more_and_by_nothing_at_all():
    judged = verdict({"a": 2.0, "b": 2.1, "c": None}, {"a": 2.0, "b": 2.0, "c": 2.0})["goals"]
    assert {name: each["met"] for name, each in judged.items()} == {"a": True, "b": False, "c": False}


def test_half_a_line_of_a_journal_waits_for_its_other_half(tmp_path):
    path = tmp_path / "ada.journal"
    journal = Journal(path, "ada")
    assert journal.events() == []
    line = json.dumps([1.5, "record", "s1", 7])
    path.write_text(line[:9])
    assert journal.events() == []
    path.write_text(line + "\n")
    assert journal.events() == [event(1.5, "record", "ada", number=7)]
    assert len(journal.events()) == 1
