"""Retries by an exception's class: the rule of the nearest class counts, however a record's failure is told."""

from __future__ import annotations

from itertools import pairwise

import pytest

from consumer import Retry
from consumer.dead_letters.envelope import decode
from consumer.failures import Failure
from consumer.testing import MemoryDeadLetters
from tests.unit.delivery.delivery_stage import Sink, pages, play

TEN = [(number, f"k{number}") for number in range(1, 11)]
WAYS = pytest.mark.parametrize(("how", "settings"), [("raise", {"bisect": True}), ("fail", {}), ("batch", {})])


def attempts_of(sink, **settings) -> list[int]:
    """How often each record was tried that became a dead letter."""
    store = MemoryDeadLetters()
    play(sink, pages(TEN), dead_letters=store, **settings)
    return [decode(envelope).attempts for envelope in store.envelopes.values()]


@WAYS
def test_a_class_may_have_attempts_of_its_own(how, settings):
    sink = Sink(5, how=how, retries={ValueError: Retry(max_attempts=2)})
    assert attempts_of(sink, max_attempts=7, **settings) == [2]


@WAYS
def test_the_nearest_class_counts_and_others_do_not(how, settings):
    retries = {Exception: Retry(max_attempts=2), ValueError: Retry(max_attempts=3), KeyError: Retry(max_attempts=4)}
    assert attempts_of(Sink(5, how=how, retries=retries), **settings) == [3]
    assert attempts_of(Sink(5, how=how, retries={KeyError: Retry(max_attempts=2)}), **settings) == [5]


@WAYS
def test_a_class_may_have_pauses_of_its_own(how, settings):
    retries = {ValueError: Retry(first_seconds=3600, limit_seconds=3600)}
    sink = Sink(5, how=how, retries=retries)
    play(sink, pages(TEN), dead_letters=MemoryDeadLetters(), seconds=20_000, max_attempts=9, **settings)
    tried = [at for at, numbers in sink.calls if numbers == [5]]
    assert max(later - earlier for earlier, later in pairwise(tried)) > 600


def test_a_text_has_no_class_and_no_rule():
    assert Failure.of("no stock").raised is None
    assert Failure.of(KeyError("x")).raised is KeyError
