"""The breaker: when it opens, whose turn it is to probe, what closes it, and which failures are a record's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from consumer.delivery.attempts import Attempts, RetryRules
from consumer.delivery.breaker import Breaker, Unit
from consumer.failures import Failure
from consumer.testing.virtual_time import VirtualClock, run_virtual

RULES = RetryRules(gives_up=True, max_attempts=5, limit_seconds=60.0)


class Case:
    """A breaker of three units and its clock."""

    def __init__(self, units: int = 3) -> None:
        self.clock = VirtualClock()
        self.facts: list[Any] = []
        self.breaker = Breaker(units, self.clock, Random(1), self.facts.append)
        self.attempts: dict[Unit, Attempts] = {}

    def fail(self, name: str, kind: str = "OSError") -> Attempts:
        """One more failure of the record of this name."""
        unit = unit_of(name)
        attempts = self.attempts.setdefault(unit, Attempts())
        attempts.failed(Failure(kind), RULES, Random(1), self.clock.monotonic())
        self.breaker.failed((unit,), (attempts,), kind)
        return attempts

    def is_own(self, name: str) -> bool:
        return self.breaker.is_own(unit_of(name), self.attempts[unit_of(name)])

    def may_probe(self, name: str, is_parked: bool = False) -> bool:
        return self.breaker.take_turn(unit_of(name), lambda: None, is_parked) == 0

    def succeed(self) -> None:
        """A call that begins and succeeds now."""
        self.breaker.succeeded(self.clock.monotonic())


def unit_of(name: str) -> Unit:
    return ("shard-1", name, 0)


def case(test: Callable[[Case], Any]) -> Callable[[], None]:
    def run() -> None:
        async def main() -> None:
            await test(Case())

        run_virtual(main())

    return run


@case
async def test_it_opens_after_three_different_units_and_gives_their_attempts_back(it: Case):
    for _ in range(5):
        it.fail("a")
        it.fail("b")
    assert not it.breaker.is_open, "the same two, however often"
    it.fail("c")
    assert it.breaker.is_open
    assert [attempts.own for attempts in it.attempts.values()] == [0, 0, 0]


@case
async def test_a_success_between_them_keeps_it_closed(it: Case):
    for name in "abcdef":
        it.fail(name)
        await asyncio.sleep(1)
        it.succeed()
    assert not it.breaker.is_open


@case
async def test_one_probe_at_a_time_and_each_unit_has_its_turn(it: Case):
    for name in "abc":
        it.fail(name)
    probed = []
    for _ in range(6):
        [it.may_probe(name) for name in "abc"]
        await asyncio.sleep(31)
        turns = [name for name in "abc" if it.may_probe(name)]
        assert len(turns) == 1
        probed += turns
        it.fail(turns[0])
    assert probed == ["a", "b", "c", "a", "b", "c"]


@case
async def test_bad_records_do_not_keep_a_good_one_from_probing(it: Case):
    for name in "abc":
        it.fail(name)
    waiting = dict.fromkeys("abcdefgh", True) | {"good": False}
    probed = []
    for _ in range(4):
        turns = []
        for _ in range(2):  # everybody asks, and once more when the pause is over
            turns = [name for name, parked in waiting.items() if it.may_probe(name, parked)]
            await asyncio.sleep(31)
        assert len(turns) == 1
        probed += turns
        it.fail(turns[0])
    assert probed == ["good", "a", "good", "b"]


@case
async def test_a_probe_closes_it_although_an_older_call_has_failed_meanwhile(it: Case):
    for name in "abc":
        it.fail(name)
    it.may_probe("a")
    await asyncio.sleep(31)
    assert it.may_probe("a")
    began_at = it.clock.monotonic()
    await asyncio.sleep(1)
    it.fail("slow")  # it began before the breaker opened
    it.breaker.succeeded(began_at)
    assert not it.breaker.is_open
    assert it.may_probe("b")


@case
async def test_a_call_from_before_says_nothing_of_now(it: Case):
    began_at = it.clock.monotonic()
    await asyncio.sleep(1)
    for name in "abc":
        it.fail(name)
    it.breaker.succeeded(began_at)
    assert it.breaker.is_open


@case
async def test_a_success_after_an_outage_proves_nothing_of_the_failures_in_it(it: Case):
    for _ in range(10):
        it.fail("a")
        it.fail("b")
        await asyncio.sleep(30)
    it.succeed()
    assert it.attempts[unit_of("a")].own == 1
    assert not it.is_own("a")


@case
async def test_who_fails_again_after_others_have_succeeded_is_bad_itself(it: Case):
    for _ in range(4):
        it.fail("a")
        await asyncio.sleep(1)
        it.succeed()
        await asyncio.sleep(1)
    assert it.attempts[unit_of("a")].own == 4
    assert it.is_own("a")


@case
async def test_what_fails_before_others_fail_too_was_not_its_own(it: Case):
    for _ in range(4):
        it.fail("a")  # the first to be tried each time that the sink goes down
        await asyncio.sleep(1)
        it.fail("b")
        await asyncio.sleep(1)
        it.succeed()
        await asyncio.sleep(1)
    assert it.attempts[unit_of("a")].own == 1
    it.fail("a")
    assert it.attempts[unit_of("a")].own == 2


@case
async def test_who_fails_with_others_beside_it_is_not_bad_for_that(it: Case):
    it.fail("a")
    await asyncio.sleep(1)
    it.succeed()
    await asyncio.sleep(1)
    it.fail("b")
    it.fail("a")
    assert it.attempts[unit_of("a")].own == 1
    assert not it.is_own("a")


@pytest.mark.parametrize("failures", [1, 4])
def test_switched_off_every_failure_is_the_units_own(failures: int):
    async def main() -> None:
        it = Case(units=0)
        for _ in range(failures):
            it.fail("a")
            it.fail("b")
        assert not it.breaker.is_open
        assert it.attempts[unit_of("a")].own == failures
        assert it.is_own("a")

    run_virtual(main())


@case
async def test_units_that_are_tried_nowhere_any_more_do_not_help_to_open_it(it: Case):
    for name in "ab":
        it.fail(name)
        it.breaker.forget(unit_of(name))
    it.fail("c")
    assert not it.breaker.is_open
    await asyncio.sleep(1)
    it.succeed()
    await asyncio.sleep(1)
    it.fail("c")
    assert it.attempts[unit_of("c")].own == 2


@case
async def test_after_it_has_closed_the_next_outage_is_probed_as_soon_as_the_first(it: Case):
    for name in "abc":
        it.fail(name)
    for _ in range(8):
        it.may_probe("a")
        await asyncio.sleep(31)
        assert it.may_probe("a")
        it.fail("a")
    it.may_probe("a")
    await asyncio.sleep(31)
    assert it.may_probe("a")
    it.succeed()
    for name in "abc":
        it.fail(name)
    it.may_probe("a")
    await asyncio.sleep(0.5)
    assert it.may_probe("a")


@case
async def test_what_was_proven_before_an_outage_stays_so(it: Case):
    for _ in range(3):
        it.fail("a")
        await asyncio.sleep(1)
        it.succeed()
        await asyncio.sleep(1)
    for name in "abc":
        it.fail(name)
    assert it.breaker.is_open
    assert it.attempts[unit_of("a")].own == 3


@case
async def test_a_failure_of_another_kind_than_the_proven_one_is_not_counted_while_nobody_succeeds(it: Case):
    it.fail("a", "Throttled")
    await asyncio.sleep(1)
    it.succeed()
    for _ in range(9):
        await asyncio.sleep(1)
        it.fail("a", "ConnectionError")
    assert it.attempts[unit_of("a")].own == 1
    it.succeed()
    await asyncio.sleep(1)
    it.fail("a", "ConnectionError")
    assert it.attempts[unit_of("a")].own == 2
