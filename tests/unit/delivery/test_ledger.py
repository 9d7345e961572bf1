"""The watermark: exactly the place below which everything is done, whatever order it becomes so in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consumer.delivery.ledger import Ledger, Prefix
from lease_store.checkpoint import TRIM_HORIZON, Checkpoint
from tests.unit.delivery.delivery_stage import kinesis

RUNS = st.lists(st.integers(1, 5), min_size=1, max_size=8)


@given(st.lists(st.lists(st.integers(0, 30)), max_size=20))
def test_a_prefix_ends_at_the_first_number_that_is_missing(added):
    prefix, there = Prefix(), set()
    for numbers in added:
        before = prefix.end
        moved = prefix.add(sorted(set(numbers)))
        there |= set(numbers)
        assert prefix.end == next(number for number in range(100) if number not in there)
        assert moved == prefix.end - before
    assert all((number in prefix) == (number in there) for number in range(40))


@given(RUNS, st.randoms(use_true_random=False))
def test_runs_that_overlap_move_the_place_to_the_last_record_with_nothing_open_below(sizes, draw):
    ledger, numbers, done = Ledger(TRIM_HORIZON, overlapping=True), [], set()
    waiting = []
    for size in sizes:
        run = [kinesis(10 * (len(numbers) + offset)) for offset in range(1, size + 1)]
        numbers += [int(record.sequence_number) for record in run]
        waiting += ledger.admit(run)
        for _ in range(draw.randint(0, len(waiting))):
            index = waiting.pop(draw.randrange(len(waiting)))
            was = ledger.place
            moved = ledger.done([index])
            done.add(index)
            low = next(index for index in range(len(numbers) + 1) if index not in done)
            expected = TRIM_HORIZON if low == 0 else Checkpoint(str(numbers[low - 1]))
            assert ledger.place == expected
            assert moved == (expected != was)
            assert ledger.ahead == len(numbers) - low


@given(RUNS, st.data())
def test_one_lane_keeps_places_only_while_something_stays_behind(sizes, data):
    ledger, number, parked = Ledger(TRIM_HORIZON, overlapping=False), 0, []
    for size in sizes:
        run = [kinesis(number + offset) for offset in range(1, size + 1)]
        number += size
        indexes = ledger.admit(run)
        bad = data.draw(st.sets(st.sampled_from(list(indexes)), max_size=2))
        if bad:
            ledger.remember(run)
        parked += sorted(bad)
        ledger.done([index for index in indexes if index not in bad] if bad else indexes)
        assert ledger.place == (Checkpoint(str(min(parked))) if parked and min(parked) else ledger.place)
        if not parked:
            assert ledger.place == Checkpoint(str(number))
    for index in list(parked):
        ledger.done([index])
    assert ledger.place == Checkpoint(str(number))
    assert ledger.ahead == 0


def test_a_claim_goes_no_further_than_what_is_open_besides_it():
    ledger = Ledger(TRIM_HORIZON, overlapping=True)
    ledger.admit([kinesis(number) for number in (1, 2, 3, 4)])
    assert ledger.limit([0, 1]) == Checkpoint("2")
    assert ledger.limit([0, 1, 2, 3]) is None
    ledger.done([1])
    assert ledger.limit([0]) == Checkpoint("2")
    assert ledger.limit([]) == TRIM_HORIZON
    assert ledger.up_to(Checkpoint("3"), [0, 2, 3]) == [0, 2]
