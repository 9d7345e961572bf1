"""Arrays under a pattern that asks for absence: every choice of elements is considered, none of them twice."""

from __future__ import annotations

from collections import Counter
from typing import Any

from consumer.filters.leaf import Leaf
from consumer.filters.tree import matcher_of, node_of

ELEMENTS = 40


def absent() -> Leaf:
    return Leaf(lambda _: False, absent=True, present=False)


def test_work_grows_with_elements_and_not_with_their_combinations():
    """Whoever writes the data chooses its arrays: three of 40 are 64,000 combinations, and must not be tried."""
    asked: Counter[str] = Counter()

    def counting(name: str) -> Leaf:
        def test(value: Any) -> bool:
            asked[name] += 1
            return True

        return Leaf(test, absent=False, present=False)

    names = ("a", "b", "c")
    node = node_of([*(((name, "x"), counting(name)) for name in names), (("z",), absent())])
    value = [{**{name: [{"x": 1}] * ELEMENTS for name in names}, "z": 1}] * 2
    assert matcher_of(node, whole=False)(value) is False
    assert max(asked.values()) <= 2 * ELEMENTS
    assert set(asked) == set(names)


def test_an_element_given_up_leaves_the_others_open():
    node = node_of([(("a",), Leaf(lambda value: value == 1, absent=True, present=False)), (("b",), absent())])
    matches = matcher_of(node, whole=False)
    assert matches([{"a": 1, "b": 1}, {"a": 1}])
    assert not matches([{"a": 1, "b": 1}, {"a": 2}])
    assert matches([{"c": 1}])
