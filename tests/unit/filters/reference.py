"""Lambda's patterns a second time, as slowly and plainly as their description: to hold the real ones against.

An event is flattened to values with their paths and the array elements that they lie in; a pattern is multiplied out to
leaves, which are satisfied one by one in alphabetical order of their paths, every choice tried.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

__all__ = ["reference_matches"]

Path = tuple[str, ...]
Elements = frozenset[tuple[int, int]]
Value = tuple[Path, Any, Elements]


def reference_matches(pattern: dict[str, Any], event: dict[str, Any]) -> bool:
    values = list(_flattened(event, (), frozenset(), itertools.count()))
    return any(_satisfied(sorted(way, key=lambda leaf: leaf[0]), values, frozenset()) for way in _ways(pattern, ()))


def _flattened(value: Any, path: Path, elements: Elements, arrays: Iterator[int]) -> Iterator[Value]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flattened(inner, (*path, name), elements, arrays)
    elif isinstance(value, list):
        array = next(arrays)
        for index, element in enumerate(value):
            inside = elements | {(array, index)} if isinstance(element, dict | list) else elements
            yield from _flattened(element, path, inside, arrays)
    else:
        yield path, value, elements


def _ways(pattern: dict[str, Any], path: Path) -> list[list[tuple[Path, list[Any]]]]:
    parts: list[list[list[tuple[Path, list[Any]]]]] = []
    for name, inner in pattern.items():
        if name == "$or":
            parts.append([way for branch in inner for way in _ways(branch, path)])
        elif isinstance(inner, dict):
            parts.append(_ways(inner, (*path, name)))
        else:
            parts.append([[((*path, name), inner)]])
    return [list(itertools.chain(*combination)) for combination in itertools.product(*parts)]


def _satisfied(leaves: list[tuple[Path, list[Any]]], values: list[Value], chosen: Elements) -> bool:
    if not leaves:
        return True
    (path, alternatives), *rest = leaves
    here = [(value, its) for where, value, its in values if where == path and _consistent(chosen, its)]
    if not here and {"exists": False} in alternatives and _satisfied(rest, values, chosen):
        return True
    return any(
        any(_holds(alternative, value, path) for alternative in alternatives) and _satisfied(rest, values, chosen | its)
        for value, its in here
    )


def _consistent(one: Elements, other: Elements) -> bool:
    arrays = dict(one)
    return all(arrays.get(array, index) == index for array, index in other)


def _holds(alternative: Any, value: Any, path: Path) -> bool:
    if not isinstance(alternative, dict):
        return _equal(alternative, value)
    ((operator, operand),) = alternative.items()
    if operator == "exists":
        return bool(operand)
    if operator == "anything-but":
        if isinstance(operand, dict):
            return not _holds(operand, value, path)
        return not any(_equal(each, value) for each in (operand if isinstance(operand, list) else [operand]))
    if operator == "numeric":
        return _in_range(operand, _number(value, path))
    if not isinstance(value, str):
        return False
    if isinstance(operand, dict):
        operand, value = operand["equals-ignore-case"].lower(), value.lower()
    return {
        "prefix": value[: len(operand)] == operand,
        "suffix": value[max(0, len(value) - len(operand)) :] == operand,
        "equals-ignore-case": value.lower() == operand.lower(),
    }[operator]


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool) or one is None or other is None:
        return one is other
    if isinstance(one, str) or isinstance(other, str):
        return type(one) is type(other) and one == other
    return Decimal(str(one)) == Decimal(str(other))


def _number(value: Any, path: Path) -> Decimal | None:
    if isinstance(value, str) and path[0] == "dynamodb" and path[-1] in ("N", "NS"):
        try:
            return Decimal(value)
        except InvalidOperation:
            return None
    return Decimal(str(value)) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _in_range(comparisons: list[Any], number: Decimal | None) -> bool:
    if number is None:
        return False
    for sign, bound in zip(comparisons[::2], comparisons[1::2], strict=True):
        limit = Decimal(str(bound))
        holds = {
            "=": number == limit,
            ">": number > limit,
            ">=": number >= limit,
            "<": number < limit,
            "<=": number <= limit,
        }
        if not holds[sign]:
            return False
    return True
