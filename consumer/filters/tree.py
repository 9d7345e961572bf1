"""Leaves that must all hold, as one test of a decoded value: objects in dictionaries, arrays in lists.

An array matches where one of its elements does, and several names below the same array must match in the same
element. ``exists: false`` below an array means that no element has the name; once an earlier name (in alphabetical
order) has chosen an element, that this one has not. All of it as event-ruler's array-consistent matching has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count
from operator import attrgetter
from typing import Any, Final

from msgspec import UNSET

from consumer.filters.leaf import Leaf
from consumer.filters.operators import Test

__all__ = ["Node", "matcher_of", "node_of"]

_LISTS: Final = (list, set)


@dataclass(slots=True)
class Node:
    """A place in a pattern: the leaves that its value must satisfy, and the places below it by name."""

    leaves: list[Leaf] = field(default_factory=list)
    children: dict[str, Node] = field(default_factory=dict)

    def below(self, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Leaf]]:
        """Every leaf under a child, with its path from here."""
        for name, child in self.children.items():
            for leaf in child.leaves:
                yield (*path, name), leaf
            yield from child.below((*path, name))


def node_of(leaves: Iterable[tuple[tuple[str, ...], Leaf]]) -> Node:
    """The tree of these leaves, each given with its path."""
    root = Node()
    for path, leaf in leaves:
        node = root
        for name in path:
            node = node.children.setdefault(name, Node())
        node.leaves.append(leaf)
    return root


def matcher_of(node: Node, *, whole: bool, chosen: tuple[type, Mapping[str, str]] | None = None) -> Test:
    """Whether a value (``UNSET`` for none) satisfies every leaf of the tree.

    ``whole``: being there counts for objects and lists, too; Lambda's own ``exists`` looks at plain values only.
    ``chosen``: a struct that may stand for the outermost object, and its attribute for each name.
    """
    tests = [_leaf_test(leaf, whole=whole) for leaf in node.leaves]
    if chosen is not None:
        tests = [_of_an_object_for(chosen[0], test) for test in tests]
    if node.children:
        tests.append(_object_test(node, whole, chosen))
    if len(tests) == 1:
        return tests[0]
    fixed = tuple(tests)
    return lambda value: all(test(value) for test in fixed)


def _leaf_test(leaf: Leaf, *, whole: bool) -> Test:
    test, absent, present = leaf.test, leaf.absent, leaf.present

    def holds(value: Any) -> bool:
        kind = type(value)
        if kind is str:
            return test(value)
        if value is UNSET:
            return absent
        if kind is dict:
            return present if whole else absent
        if kind in _LISTS:
            plain = list(_plain(value))
            return any(map(test, plain)) if plain else (present if whole else absent)
        return present if kind is Decimal and not value.is_finite() else test(value)

    return holds


def _of_an_object_for(struct: type, test: Test) -> Test:
    """A leaf's test for a value that may be a struct, which stands for an object."""
    return lambda value: test({} if type(value) is struct else value)


def _plain(values: Iterable[Any]) -> Iterator[Any]:
    """The plain values of a list and of lists within it; objects are no values, and neither is NaN."""
    for value in values:
        kind = type(value)
        if kind in _LISTS:
            yield from _plain(value)
        elif kind is not dict and (kind is not Decimal or value.is_finite()):
            yield value


def _object_test(node: Node, whole: bool, chosen: tuple[type, Mapping[str, str]] | None) -> Test:
    fields = tuple((name, matcher_of(child, whole=whole)) for name, child in sorted(node.children.items()))
    absent = all(test(UNSET) for _, test in fields)
    asks_absence = any(leaf.absent for _, leaf in node.below())
    search = _search(node, whole)

    def holds(value: Any) -> bool:
        kind = type(value)
        if kind is dict:
            get = value.get
            for name, test in fields:  # noqa: SIM110  a generator costs more than what it runs
                if not test(get(name, UNSET)):
                    return False
            return True
        if kind is list:
            return search(value) if asks_absence else any(map(holds, value))
        return absent

    if chosen is not None:
        struct, attribute_of = chosen
        return _struct_test(struct, [(attribute_of[name], test) for name, test in fields], holds)
    if len(fields) > 1:
        return holds
    ((only, its_test),) = fields
    return lambda value: its_test(value.get(only, UNSET)) if type(value) is dict else holds(value)


def _struct_test(struct: type, fields: Sequence[tuple[str, Test]], otherwise: Test) -> Test:
    """The test of an object whose chosen names were decoded to a struct; of anything else, ``otherwise``."""
    attributes = tuple((attrgetter(name), test) for name, test in fields)
    first, first_test = attributes[0]
    rest = attributes[1:]

    def holds(value: Any) -> bool:
        if type(value) is not struct:
            return otherwise(value)
        if not first_test(first(value)):
            return False
        for get, test in rest:  # noqa: SIM110
            if not test(get(value)):
                return False
        return True

    return holds


def _search(node: Node, whole: bool) -> Callable[[list[Any]], bool]:
    """The test of an array by a pattern that asks for absence: which element was chosen matters to what is absent."""
    leaves = sorted(node.below(), key=lambda each: ".".join(each[0]))
    holds = [(path, leaf.absent, _leaf_test(leaf, whole=whole)) for path, leaf in leaves]

    def search(array: list[Any]) -> bool:
        values = _Values(whole, {path: [] for path, _, _ in holds})
        values.gather(node, array, (), {})
        return _Choosing(holds, values.found).satisfied(0, {})

    return search


_Choice = dict[int, int]
"""Which element of which array, both by number."""


@dataclass(slots=True)
class _Values:
    """The values at a pattern's leaves, each with the elements that it lies in."""

    whole: bool
    found: dict[tuple[str, ...], list[tuple[Any, _Choice]]]
    arrays: Iterator[int] = field(default_factory=count)

    def gather(self, node: Node, value: Any, path: tuple[str, ...], choice: _Choice) -> None:
        """Adds what lies under ``value``, which is at ``path``."""
        if type(value) is list:
            array = next(self.arrays)
            for index, element in enumerate(value):
                self.gather(node, element, path, choice | {array: index})
        elif type(value) is dict:
            for name, child in node.children.items():
                inner = value.get(name, UNSET)
                if inner is not UNSET:
                    if child.leaves:
                        self.found[*path, name] += [(each, choice) for each in self._at_leaf(inner)]
                    if child.children:
                        self.gather(child, inner, (*path, name), choice)

    def _at_leaf(self, value: Any) -> Iterable[Any]:
        return [value] if self.whole else _plain([value])


class _Choosing:
    """Looks for elements with which every leaf is satisfied, in alphabetical order of their names."""

    def __init__(
        self,
        leaves: list[tuple[tuple[str, ...], bool, Test]],
        values: dict[tuple[str, ...], list[tuple[Any, _Choice]]],
    ) -> None:
        self._leaves = leaves
        self._values = values
        self._failed: set[tuple[int, frozenset[tuple[int, int]]]] = set()
        # The arrays that the leaves from each on speak of: what was chosen in any other makes no difference to them,
        # and forgetting it keeps the number of states at leaves times elements.
        self._matter: list[set[int]] = [set() for _ in range(len(leaves) + 1)]
        for index in reversed(range(len(leaves))):
            here = {array for _, choice in values[leaves[index][0]] for array in choice}
            self._matter[index] = self._matter[index + 1] | here

    def satisfied(self, index: int, choice: _Choice) -> bool:
        """Whether the leaves from ``index`` on can be satisfied without leaving the elements chosen so far."""
        if index == len(self._leaves):
            return True
        state = (index, frozenset(choice.items()))
        if state in self._failed:
            return False
        path, absent, test = self._leaves[index]
        here = [
            (value, its)
            for value, its in self._values[path]
            if all(choice.get(array, element) == element for array, element in its.items())
        ]
        if absent and not here and self.satisfied(index + 1, choice):
            return True
        for value, its in here:
            if test(value) and self.satisfied(index + 1, self._kept(index + 1, choice | its)):
                return True
        self._failed.add(state)
        return False

    def _kept(self, index: int, choice: _Choice) -> _Choice:
        return {array: element for array, element in choice.items() if array in self._matter[index]}
