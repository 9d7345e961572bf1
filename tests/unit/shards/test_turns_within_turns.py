"""What a turn or a grant sets off at once: it must neither go beyond a limit nor pile up calls upon calls."""

from __future__ import annotations

import asyncio

from consumer.shards.budget import ByteBudget, Grant
from consumer.shards.wheel import PollWheel
from consumer.testing.virtual_time import VirtualClock
from tests.unit.shards.shard_fakes import at, virtual


class Bringing:
    """A poll that brings the next one of ``others`` before it begins itself, as one whose bytes go to another does."""

    def __init__(self, wheel, others, widths, *, declines=False):
        self.wheel = wheel
        self.others = others
        self.widths = widths
        self.declines = declines

    def __lt__(self, other):
        return id(self) < id(other)

    def begin(self):
        if self.others:
            self.wheel.put(self.others.pop(), VirtualClock().monotonic())
        return None if self.declines else asyncio.ensure_future(self.work())

    async def work(self):
        self.widths.append(self.wheel.under_way)
        await asyncio.sleep(1)

    def give_up(self):
        raise AssertionError("nothing takes long here")


def test_who_is_brought_by_a_turn_waits_for_a_place_as_all_do():
    async def main():
        wheel = PollWheel(VirtualClock(), 2)
        widths, others = [], []
        others += [Bringing(wheel, others, widths) for _ in range(20)]
        for _ in range(3):
            wheel.put(Bringing(wheel, others, widths), VirtualClock().monotonic())
        await at(30)
        assert (len(widths), max(widths), wheel.under_way) == (23, 2, 0)

    virtual(main)


def test_turns_that_are_declined_may_be_as_many_as_they_like():
    async def main():
        wheel = PollWheel(VirtualClock(), 2)
        others = []
        others += [Bringing(wheel, others, [], declines=True) for _ in range(2000)]
        wheel.put(others.pop(), VirtualClock().monotonic())
        await at(1)
        assert (others, wheel.under_way) == ([], 0)

    virtual(main)


def test_grants_that_nobody_wants_any_more_may_be_as_many_as_they_like():
    """A worker that gives all its shards up at once: each grant wakes a reader that only gives it back."""
    budget = ByteBudget(10)
    first = budget.ask(10, lambda: None)
    grants: list[Grant] = []
    for index in range(2000):
        grants.append(budget.ask(10, lambda index=index: grants[index].give_back()))
    first.give_back()
    assert budget.used_bytes == 0
    assert not any(grant.granted for grant in grants)
    assert budget.ask(10, lambda: None).granted
