"""A leaf of a pattern: a list of alternatives, of which one must hold for the value at its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

from consumer.filters.mistakes import Mistakes, shown
from consumer.filters.operators import Test, any_of, equal_to, is_number, number_in_text, operator_test

__all__ = ["ANYTHING", "Leaf", "Takes", "read_leaf"]


@dataclass(frozen=True, slots=True)
class Takes:
    """What a place of a record can hold; ``why`` says so to whoever asks it for something else.

    ``kinds``: of plain values; empty for a place that holds an object, of which ``exists`` may say whether it is there
    (``may_exist``). ``numbers_as_text``: DynamoDB JSON writes its
    numbers as text, and ``numeric`` looks into it. ``words``: the only texts that occur there, where they are few.
    """

    kinds: frozenset[str] = frozenset()
    why: str = ""
    numbers_as_text: bool = False
    words: frozenset[str] = frozenset()
    may_exist: bool = False


ANYTHING: Final = Takes(frozenset({"text", "number", "boolean", "null"}))


@dataclass(frozen=True, slots=True)
class Leaf:
    """``test`` is for plain values; ``absent`` and ``present``: whether missing, or being there at all, is enough."""

    test: Test
    absent: bool
    present: bool


def read_leaf(alternatives: Sequence[Any], where: str, takes: Takes, mistakes: Mistakes) -> Leaf | None:
    """The leaf of a list of alternatives; None where a mistake was noted.

    An alternative that the place can't hold does no harm beside others (``["100", 100]`` under ``N``); a leaf of
    nothing else is a mistake, since the pattern could never match.
    """
    if not alternatives:
        mistakes.note(where, 'is an empty list, which nothing matches; for any value write [{"exists": true}].')
        return None
    before = len(mistakes.found)
    values: list[Any] = []
    tests: list[Test] = []
    exists: set[bool] = set()
    misfits: list[tuple[str, str]] = []
    for index, alternative in enumerate(alternatives):
        place = f"{where}[{index}]"
        if (kind := _kind_of(alternative)) is not None:
            values.append(alternative)
            what = shown(alternative)
            _check_word(alternative, place, takes, mistakes)
        elif isinstance(alternative, Mapping):
            what, test = operator_test(alternative, place, mistakes)
            as_text = what == "numeric" and takes.numbers_as_text
            kind = "text" if as_text else _OPERATOR_KINDS.get(what)
            if test is None:
                continue
            if what == "exists":
                exists.add(alternative["exists"])
            else:
                tests.append(number_in_text(test) if as_text else test)
        else:
            mistakes.note(place, f"is {shown(alternative)}; a value, or an operator such as {_EXAMPLE}, stands here.")
            continue
        if not _fits(alternative, kind, takes):
            misfits.append((place, what))
    if len(mistakes.found) > before:
        return None
    if len(misfits) == len(alternatives):
        mistakes.note(misfits[0][0], f"{misfits[0][1]} can never match here: {takes.why}")
        return None
    if values:
        tests.insert(0, equal_to(values))
    if True in exists:
        tests = [lambda _: True]
    return Leaf(any_of(tests) if tests else _never, absent=False in exists, present=True in exists)


def _check_word(value: Any, where: str, takes: Takes, mistakes: Mistakes) -> None:
    """A word that no record has is a slip, even beside others: what it was to let through would be lost."""
    if isinstance(value, str) and takes.words and value not in takes.words:
        near = get_close_matches(value.upper(), takes.words, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        mistakes.note(where, f"no record has {shown(value)} here; {hint}there are {', '.join(sorted(takes.words))}.")


def _fits(alternative: Any, kind: str | None, takes: Takes) -> bool:
    """Whether the place can hold what is asked for. Everywhere something may be missing, or be anything but a value."""
    if kind is not None:
        return kind in takes.kinds
    if "exists" in alternative:
        return bool(takes.kinds) or takes.may_exist or not alternative["exists"]
    return bool(takes.kinds)


def _never(_: Any) -> bool:
    return False


def _kind_of(alternative: Any) -> str | None:
    if isinstance(alternative, str):
        return "text"
    if alternative is None:
        return "null"
    if isinstance(alternative, bool):
        return "boolean"
    return "number" if is_number(alternative) else None


_EXAMPLE: Final = '{"prefix": "a"}'
_OPERATOR_KINDS: Final = {
    "equals-ignore-case": "text",
    "numeric": "number",
    "prefix": "text",
    "suffix": "text",
    "wildcard": "text",
}
