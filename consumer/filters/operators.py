"""The operators of event patterns: each becomes a test of one plain value.

What Lambda knows is taken as AWS documents it ("Filter rule syntax" of Lambda's event filtering, "Comparison operators"
of EventBridge), and in doubt as the open implementation behind them does it (aws/event-ruler). Beyond Lambda's own are
``wildcard``, which EventBridge's buses have, numbers of any size, and mixed lists under ``anything-but``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from typing import Any, Final

from consumer.filters.mistakes import Mistakes, shown

__all__ = ["OPERATORS", "Test", "any_of", "equal_to", "is_number", "number_in_text", "operator_test"]

Test = Callable[[Any], bool]

_COMPARISONS: Final = ("=", ">", ">=", "<", "<=")


def is_number(value: Any) -> bool:
    """Whether it is a number as JSON has them: finite, and no truth value."""
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool) and Decimal(value).is_finite()


def equal_to(values: Sequence[Any]) -> Test:
    """Whether a value is one of these, type and all: ``1``, ``"1"`` and ``true`` are three. Numbers go by their value.

    AWS's pages say that 300, 300.0 and 3.0e2 differ; event-ruler, which does the matching, takes them for equal.
    """
    texts = frozenset(value for value in values if isinstance(value, str))
    numbers = frozenset(exactly(value) for value in values if is_number(value))
    constants = frozenset(value for value in values if value is None or isinstance(value, bool))
    if not numbers and not constants:
        return texts.__contains__

    def is_one(value: Any) -> bool:
        kind = type(value)
        if kind is str:
            return value in texts
        return value in (constants if kind is bool or value is None else numbers)

    return is_one


def exactly(number: Any) -> Any:
    """The number that was written: the double nearest to 0.1 is not 0.1, which a record may hold."""
    return Decimal(repr(number)) if isinstance(number, float) else number


def any_of(tests: Sequence[Test]) -> Test:
    """Whether at least one test holds."""
    if len(tests) == 1:
        return tests[0]
    fixed = tuple(tests)
    return lambda value: any(test(value) for test in fixed)


def number_in_text(test: Test) -> Test:
    """The test of a number, for the text that DynamoDB JSON writes under ``N``."""

    def holds(value: Any) -> bool:
        if type(value) is not str:
            return False
        try:
            return test(Decimal(value))
        except InvalidOperation:
            return False

    return holds


def operator_test(expression: Mapping[str, Any], where: str, mistakes: Mistakes) -> tuple[str, Test | None]:
    """The operator of an expression such as ``{"prefix": "a"}``, and its test; None where a mistake was noted."""
    if len(expression) != 1:
        mistakes.note(
            where,
            f"holds {len(expression)} operators, and takes one; write those of which any may hold as elements of the "
            "list.",
        )
        return "", None
    ((name, operand),) = expression.items()
    make = OPERATORS.get(name)
    if make is None:
        near = get_close_matches(str(name).lower().replace("_", "-"), OPERATORS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        instead = _INSTEAD.get(name, "")
        mistakes.note(where, f"{shown(name)} is no operator; {hint}{instead}known are {', '.join(sorted(OPERATORS))}.")
        return name, None
    return name, make(operand, f"{where}.{name}", mistakes)


_INSTEAD: Final = {
    "cidr": "Lambda has no cidr either; a Python predicate can tell addresses apart. ",
    "not": "'anything-but' negates. ",
    "regex": "a Python predicate can use one. ",
}


def _prefix(operand: Any, where: str, mistakes: Mistakes) -> Test | None:
    if _is_caseless(operand):
        pattern = _pattern("{}", operand[_CASELESS], f"{where}.{_CASELESS}", mistakes)
        return None if pattern is None else lambda value: type(value) is str and pattern.match(value) is not None
    text = _text(operand, where, mistakes)
    return None if text is None else lambda value: type(value) is str and value.startswith(text)


def _suffix(operand: Any, where: str, mistakes: Mistakes) -> Test | None:
    if _is_caseless(operand):
        pattern = _pattern(r"(?:{})\Z", operand[_CASELESS], f"{where}.{_CASELESS}", mistakes)
        return None if pattern is None else lambda value: type(value) is str and pattern.search(value) is not None
    text = _text(operand, where, mistakes)
    return None if text is None else lambda value: type(value) is str and value.endswith(text)


def _equals_ignore_case(operand: Any, where: str, mistakes: Mistakes) -> Test | None:
    pattern = _pattern("{}", operand, where, mistakes)
    return None if pattern is None else lambda value: type(value) is str and pattern.fullmatch(value) is not None


_CASELESS: Final = "equals-ignore-case"


def _is_caseless(operand: Any) -> bool:
    """Whether it is what prefix and suffix may hold instead of a text."""
    return isinstance(operand, Mapping) and list(operand) == [_CASELESS]


def _pattern(frame: str, operand: Any, where: str, mistakes: Mistakes) -> re.Pattern[str] | None:
    text = _text(operand, where, mistakes)
    return None if text is None else re.compile(frame.format(_caseless(text)))


def _caseless(text: str) -> str:
    """Letter by letter, as event-ruler compares: ``ß`` is no ``ss``, which Python's casefold would say."""
    return "".join(f"(?:{'|'.join(map(re.escape, sorted({each, each.lower(), each.upper()})))})" for each in text)


def _wildcard(operand: Any, where: str, mistakes: Mistakes) -> Test | None:
    text = _text(operand, where, mistakes)
    if text is None:
        return None
    pieces = [""]
    escaped = False
    for each in text:
        if escaped and each not in "*\\":
            mistakes.note(where, r"a backslash stands before * or \ only; write \\ for a backslash itself.")
            return None
        if each == "*" and not escaped:
            pieces.append("")
        elif escaped or each != "\\":
            pieces[-1] += each
        escaped = each == "\\" and not escaped
    if escaped or "" in pieces[1:-1]:
        mistakes.note(where, r"ends in a lone backslash (write \\) or has two * side by side (one is enough).")
        return None
    if len(pieces) == 1:
        return equal_to(pieces)
    first, *middle, last = pieces
    return lambda value: type(value) is str and _in_order(value, first, middle, last)


def _in_order(value: str, first: str, middle: Sequence[str], last: str) -> bool:
    """Whether the pieces between stars stand in a text one after another; each at its first place, so no way back."""
    end = len(value) - len(last)
    place = len(first)
    if end < place or not value.startswith(first) or not value.endswith(last):
        return False
    for piece in middle:
        found = value.find(piece, place, end)
        if found < 0:
            return False
        place = found + len(piece)
    return True


def _text(operand: Any, where: str, mistakes: Mistakes) -> str | None:
    if isinstance(operand, str):
        return operand
    mistakes.note(where, f"takes a text, and this is {shown(operand)}.")
    return None


def _exists(operand: Any, where: str, mistakes: Mistakes) -> Test | None:
    if isinstance(operand, bool):
        return lambda _: operand
    mistakes.note(where, f"takes true or false, without quotes, and this is {shown(operand)}.")
    return None


def _numeric(operand: Any, where: str, mistakes: Mistakes) -> Test | None:
    if not isinstance(operand, list | tuple) or not operand or len(operand) % 2:
        mistakes.note(where, 'takes a list of comparisons and numbers in turn, such as [">", 0, "<=", 100].')
        return None
    low: tuple[Any, bool] | None = None
    high: tuple[Any, bool] | None = None
    for index in range(0, len(operand), 2):
        sign, bound = operand[index], exactly(operand[index + 1])
        if sign not in _COMPARISONS:
            mistakes.note(f"{where}[{index}]", f"{shown(sign)} is no comparison; known are {', '.join(_COMPARISONS)}.")
            return None
        if not is_number(bound):
            mistakes.note(f"{where}[{index + 1}]", f"must be a number, without quotes, and this is {shown(bound)}.")
            return None
        if sign in ("=", ">", ">="):
            low = _tighter(low, (bound, sign != ">"), above=True)
        if sign in ("=", "<", "<="):
            high = _tighter(high, (bound, sign != "<"), above=False)
    if low is not None and high is not None and (low[0] > high[0] or (low[0] == high[0] and not (low[1] and high[1]))):
        mistakes.note(where, "no number is in this range, so it can never match; has a comparison the wrong way round?")
        return None
    return _between(low, high)


def _tighter(old: tuple[Any, bool] | None, new: tuple[Any, bool], *, above: bool) -> tuple[Any, bool]:
    if old is None:
        return new
    if old[0] == new[0]:
        return (new[0], old[1] and new[1])
    return max(old, new) if above else min(old, new)


def _between(low: tuple[Any, bool] | None, high: tuple[Any, bool] | None) -> Test:
    bottom, closed_bottom = low if low is not None else (None, False)
    top, closed_top = high if high is not None else (None, False)

    def in_range(value: Any) -> bool:
        kind = type(value)
        if kind is Decimal:
            if not value.is_finite():
                return False
        elif kind is not int:
            return False
        if bottom is not None and not (value >= bottom if closed_bottom else value > bottom):
            return False
        return top is None or bool(value <= top if closed_top else value < top)

    return in_range


def _anything_but(operand: Any, where: str, mistakes: Mistakes) -> Test | None:
    unwanted = _unwanted(operand, where, mistakes)
    return None if unwanted is None else lambda value: not unwanted(value)


def _unwanted(operand: Any, where: str, mistakes: Mistakes) -> Test | None:
    if isinstance(operand, Mapping):
        return _unwanted_by_operator(operand, where, mistakes)
    values = list(operand) if isinstance(operand, list | tuple) else [operand]
    if not values:
        mistakes.note(where, 'is an empty list; name at least one value, or write {"exists": true} for any value.')
        return None
    for index, value in enumerate(values):
        if not (value is None or isinstance(value, str | bool) or is_number(value)):
            place = f"{where}[{index}]" if isinstance(operand, list | tuple) else where
            mistakes.note(place, f"takes texts and numbers, and this is {shown(value)}.")
            return None
    return equal_to(values)


def _unwanted_by_operator(operand: Mapping[str, Any], where: str, mistakes: Mistakes) -> Test | None:
    if len(operand) != 1 or next(iter(operand)) not in _NEGATABLE:
        mistakes.note(where, f"takes a value, a list of values, or one of {', '.join(_NEGATABLE)}.")
        return None
    ((name, inner),) = operand.items()
    texts = inner if isinstance(inner, list | tuple) else [inner]
    if not texts or "" in texts:
        mistakes.note(f"{where}.{name}", "must name a text that is not empty, or it could never match.")
        return None
    tests = [OPERATORS[name](text, f"{where}.{name}", mistakes) for text in texts]
    return None if None in tests else any_of([test for test in tests if test is not None])


_NEGATABLE: Final = ("prefix", "suffix", "equals-ignore-case", "wildcard")

OPERATORS: Final[dict[str, Callable[[Any, str, Mistakes], Test | None]]] = {
    "anything-but": _anything_but,
    "equals-ignore-case": _equals_ignore_case,
    "exists": _exists,
    "numeric": _numeric,
    "prefix": _prefix,
    "suffix": _suffix,
    "wildcard": _wildcard,
}
