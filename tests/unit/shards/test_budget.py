"""The byte budget: never over its limit by reservation, first come first served, nothing leaks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consumer.shards.budget import ByteBudget


def nothing():
    pass


def test_bytes_are_granted_in_the_order_they_were_asked_for():
    budget = ByteBudget(100)
    woken = []
    first = budget.ask(80, nothing)
    big = budget.ask(90, lambda: woken.append("big"))
    small = budget.ask(10, lambda: woken.append("small"))
    assert (first.granted, big.granted, small.granted) == (True, False, False), "small must not starve big"
    first.give_back()
    assert woken == ["big", "small"]


def test_a_request_that_is_withdrawn_lets_the_next_one_pass():
    budget = ByteBudget(100)
    budget.ask(80, nothing)
    big = budget.ask(90, nothing)
    small = budget.ask(10, nothing)
    big.give_back()
    assert small.granted


def test_more_than_the_whole_limit_is_never_granted_and_blocks_nobody():
    budget = ByteBudget(100)
    assert not budget.ask(101, nothing).granted
    assert budget.ask(100, nothing).granted


def test_settling_frees_what_was_not_needed():
    budget = ByteBudget(100)
    first = budget.ask(100, nothing)
    second = budget.ask(50, nothing)
    first.settle(40)
    assert second.granted
    assert budget.used_bytes == 90


@given(
    st.lists(st.tuples(st.sampled_from(["ask", "back", "twice"]), st.integers(0, 120)), max_size=60),
    st.integers(0, 100),
)
def test_reservations_stay_within_the_limit_and_all_come_back(steps, limit):
    budget = ByteBudget(limit)
    grants = []
    for step, size in steps:
        if step == "ask":
            grants.append(budget.ask(size, nothing))
        elif grants:
            grant = grants[size % len(grants)]
            grant.give_back()
            if step == "twice":
                grant.give_back()
        assert 0 <= budget.used_bytes <= limit
        assert budget.used_bytes == sum(grant.size_bytes for grant in grants if grant.granted)
    for grant in grants:
        grant.give_back()
    assert budget.used_bytes == 0
