"""What a failed call leads to: every case of the table."""

from __future__ import annotations

import pytest

from consumer.delivery.attempts import Attempts
from consumer.delivery.batching import Run
from consumer.delivery.next_step import Step, is_searched, next_step, split
from consumer.delivery.parking import ParkedKey
from consumer.delivery.reading import Busy, SomeFailed, UnknownFailed
from consumer.delivery.turns import Turn
from consumer.failures import Failure
from tests.unit.delivery.delivery_stage import kinesis

FAILURE = Failure("ValueError")
NAMED = SomeFailed({0: FAILURE}, None)
RAISED = UnknownFailed(FAILURE, ValueError())
BUSY = Busy(FAILURE, ValueError(), 5.0)


def turn(records, *, parked=False, apart=False):
    run = Run([kinesis(number) for number in range(records)], range(records), None, 0.0)
    key = ParkedKey("k", Attempts(), 0.0) if parked else None
    return Turn(run, Attempts(), ("shard-1", "0", 0), key, is_apart=apart)


@pytest.mark.parametrize("over", [False, True])
@pytest.mark.parametrize("reading", [NAMED, RAISED, BUSY])
def test_a_parked_key_is_tried_again_whatever_it_says_and_given_up_elsewhere(reading, over):
    step = next_step(turn(1, parked=True), reading, is_search=False, parks=True, is_over=over)
    assert step is Step.AGAIN


@pytest.mark.parametrize(
    ("tried", "reading", "rules", "step"),
    [
        (turn(1), NAMED, [], Step.PARK),
        (turn(1), RAISED, [], Step.AGAIN),  # one lane, as it has always been: it holds up its shard
        (turn(1), RAISED, ["parks"], Step.PARK),
        (turn(1, apart=True), RAISED, [], Step.PARK),
        (turn(1), RAISED, ["is_over"], Step.PARK),
        (turn(9), RAISED, ["parks"], Step.AGAIN),
        (turn(9), RAISED, ["is_over"], Step.HALVE),
        (turn(9), RAISED, ["bisects", "parks"], Step.HALVE),
        (turn(9, apart=True), RAISED, [], Step.HALVE),
        (turn(1), BUSY, ["bisects", "parks"], Step.AGAIN),
        (turn(9, apart=True), BUSY, ["bisects", "parks"], Step.AGAIN),
        (turn(1), BUSY, ["is_over"], Step.PARK),
        (turn(9), BUSY, ["is_over"], Step.HALVE),
    ],
)
def test_what_follows_where_nothing_is_done(tried, reading, rules, step):
    is_search = is_searched(tried, reading, bisects="bisects" in rules)
    step_made = next_step(tried, reading, is_search=is_search, parks="parks" in rules, is_over="is_over" in rules)
    assert step_made is step


def test_only_a_batch_of_which_nobody_knows_what_failed_is_searched():
    assert is_searched(turn(9), RAISED, bisects=True)
    assert is_searched(turn(9, apart=True), RAISED, bisects=False)
    assert not is_searched(turn(9), RAISED, bisects=False)
    assert not is_searched(turn(1, apart=True), RAISED, bisects=True)
    assert not is_searched(turn(9), BUSY, bisects=True)
    assert not is_searched(turn(9), NAMED, bisects=True)


def test_what_follows_a_failed_record_under_its_key_waits_with_it_and_nothing_else_does():
    records = [kinesis(number, key) for number, key in enumerate("abcab")]
    parts = split(records, {1: FAILURE, 3: FAILURE}, lambda record: record.key)
    assert parts.done == [0, 2]
    assert parts.held == {"b": [1, 4], "a": [3]}
