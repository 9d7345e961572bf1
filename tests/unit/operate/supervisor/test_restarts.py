"""A crash is restarted, a crash loop is told, and what no restart mends is not tried again."""

from __future__ import annotations

import pytest

from consumer.operate.supervisor.restarts import GiveUp, Restart, Restarts, ended_how

HOUR = 3_600.0


def at_work(processes: int) -> Restarts:
    """Restarts of processes that got through their start."""
    restarts = Restarts(processes)
    restarts.began_to_work()
    return restarts


def test_pauses_double_for_one_process_that_dies_again_and_the_fifth_death_is_a_loop():
    restarts = at_work(4)
    judged = [restarts.died(2, -9, at) for at in (0.0, 10.0, 20.0, 30.0)]
    assert judged == [Restart(0.5), Restart(1.0), Restart(2.0), Restart(4.0)]
    last = restarts.died(2, -9, 40.0)
    assert last == GiveUp(1, "process 2 died 5 times within 300 s, a crash loop")


def test_deaths_that_lie_apart_are_accidents_however_many_there_are():
    restarts = at_work(2)
    assert {restarts.died(1, 1, death * HOUR) for death in range(1_000)} == {Restart(0.5)}


def test_no_pause_is_longer_than_half_a_minute():
    restarts = Restarts(100)
    restarts.began_to_work()
    assert (
        max(
            judged.after_seconds
            for number in range(1, 100)
            if isinstance(judged := restarts.died(number, 1, 0.0), Restart)
        )
        <= 30.0
    )


def test_processes_killed_all_at_once_are_no_loop():
    restarts = at_work(8)
    assert [restarts.died(number, -9, 0.0) for number in range(1, 9)] == [Restart(0.5)] * 8


def test_records_that_kill_one_process_after_the_other_are_a_loop_though_none_dies_often():
    restarts = at_work(8)
    judged = [restarts.died(1 + death % 8, -11, death * 15.0) for death in range(12)]
    assert all(isinstance(each, Restart) for each in judged[:11])
    assert judged[11] == GiveUp(1, "the processes died 12 times within 300 s, a crash loop in turns")


def test_a_loop_ends_with_the_code_of_the_process_that_looped():
    restarts = at_work(2)
    for at in range(4):
        restarts.died(1, 7, float(at))
    judged = restarts.died(1, 7, 4.0)
    assert isinstance(judged, GiveUp)
    assert judged.code == 7


def test_a_process_that_ends_for_a_call_that_does_not_is_started_again_at_once_and_never_a_loop():
    restarts = at_work(2)
    assert {restarts.died(1, 5, at * 1.0) for at in range(100)} == {Restart(0.0)}
    assert restarts.died(1, -9, 100.0) == Restart(0.5), "nor does it count among the deaths"


@pytest.mark.parametrize("ran", [True, False])
def test_a_bad_configuration_is_never_tried_again(ran: bool):
    restarts = at_work(3) if ran else Restarts(3)
    assert restarts.died(3, 3, 0.0) == GiveUp(
        3, "process 3 refused its configuration (exit code 3); no restart mends that"
    )


def test_when_no_process_gets_through_its_start_that_is_told_at_once():
    restarts = Restarts(3)
    assert restarts.died(1, 1, 0.0) == Restart(0.5)
    assert restarts.died(2, 1, 0.0) == Restart(0.5)
    assert restarts.died(1, 1, 1.5) == Restart(1.0)
    assert restarts.died(3, 1, 2.0) == GiveUp(1, "not one of the processes got through its start")


def test_one_process_that_works_keeps_the_others_trying():
    restarts = Restarts(2)
    assert restarts.died(1, 1, 0.0) == Restart(0.5)
    restarts.began_to_work()
    assert restarts.died(2, 1, 0.0) == Restart(0.5)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "exit code 0"),
        (4, "exit code 4"),
        (5, "exit code 5, for a call of user code that does not end"),
        (-9, "killed by SIGKILL"),
        (-99, "killed by signal 99"),
    ],
)
def test_an_end_is_told_in_words(code: int, words: str):
    assert ended_how(code) == words
