"""The expressions that lease stores send, parsed once and judged often: conditions, updates, and PartiQL's UPDATE.

Only what ``lease_store`` renders is understood; anything else raises ``BadExpression``, so that a form which the real
service may treat otherwise is seen at once. Names and values stay references (``#n0``, ``:v1``, the place of a ``?``)
until a request binds them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from lease_store.attributes import canonical

__all__ = ["BadExpression", "Binding", "Statement", "condition", "statement", "update"]

Item = dict[str, Any]
Tree = tuple[Any, ...]

_TOKEN: Final = re.compile(r'\s*(<>|[=<(),*?]|[#:]?[A-Za-z_][\w.-]*|"[^"]*")')
# Statements of one form share a text, and workers have some dozens of forms.
_FORMS: Final = 4096


class BadExpression(Exception):
    """An expression of a form that no lease store of ours sends."""


@dataclass(frozen=True, slots=True)
class Binding:
    """What a request gives its references: names by ``#n``, values by ``:v`` or by the place of a ``?``."""

    names: Mapping[str, str]
    values: Mapping[str, Any] | Sequence[Any]

    def name(self, reference: str) -> str:
        return self.names[reference] if reference.startswith("#") else reference

    def value(self, reference: str | int) -> Any:
        return self.values[reference]  # type: ignore[index]

    def holds(self, tree: Tree, item: Item | None) -> bool:
        """Whether the row, None where there is none, meets the condition."""
        match tree:
            case ("and", *terms):
                return all(self.holds(term, item) for term in terms)
            case ("or", *terms):
                return any(self.holds(term, item) for term in terms)
            case ("missing", name):
                return item is None or self.name(name) not in item
            case ("exists", name):
                return item is not None and self.name(name) in item
            case (sign, name, value):
                stored = None if item is None else item.get(self.name(name))
                return stored is not None and _compares(sign, stored, self.value(value))
        raise BadExpression(f"No condition: {tree}.")

    def changed(self, item: Item | None, changes: Sequence[Tree]) -> Item:
        """A new row: ``item`` with the SETs and REMOVEs of ``changes``."""
        new = dict(item or {})
        for change in changes:
            if change[0] == "set":
                new[self.name(change[1])] = self.value(change[2])
            else:
                new.pop(self.name(change[1]), None)
        return new


@dataclass(frozen=True, slots=True)
class Statement:
    """``UPDATE table SET .. REMOVE .. WHERE key = ? AND ..``; ``key`` is the reference to the key's value."""

    table: str
    changes: tuple[Tree, ...]
    where: Tree
    key: str | int


def _compares(sign: str, stored: Any, value: Any) -> bool:
    if sign == "=":
        return stored == value or canonical(stored) == canonical(value)
    if sign == "<>":
        return canonical(stored) != canonical(value)
    return "N" in stored and "N" in value and Decimal(stored["N"]) < Decimal(value["N"])


@lru_cache(maxsize=_FORMS)
def condition(text: str) -> Tree:
    """The tree of a ConditionExpression; one without terms always holds. Raises BadExpression."""
    parser = _Parser(text)
    tree = parser.any_of() if parser.peek() else ("and",)
    parser.end()
    return tree


@lru_cache(maxsize=_FORMS)
def update(text: str) -> tuple[Tree, ...]:
    """The changes of an UpdateExpression. Raises BadExpression."""
    parser = _Parser(text)
    changes = parser.changes()
    parser.end()
    return changes


@lru_cache(maxsize=_FORMS)
def statement(text: str, key_attribute: str) -> Statement:
    """A PartiQL UPDATE that returns the whole new row. Raises BadExpression."""
    parser = _Parser(text)
    parser.take("UPDATE")
    table = parser.word()
    changes = parser.changes()
    parser.take("WHERE")
    where = parser.any_of()
    for word in ("RETURNING", "ALL", "NEW", "*"):
        parser.take(word)
    parser.end()
    keys = [term[2] for term in where[1:] if where[0] == "and" and term[:2] == ("=", key_attribute)]
    if len(keys) != 1:
        raise BadExpression(f"An UPDATE names {key_attribute} once, not {len(keys)} times: {text}")
    return Statement(table, changes, where, keys[0])


class _Parser:
    """Descends over the tokens of one text; keywords in any case, names bare or in double quotes."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[str] = []
        place = 0
        while text[place:].strip():
            found = _TOKEN.match(text, place)
            if found is None:
                raise BadExpression(f"No token at {place} of {text!r}.")
            self._tokens.append(found[1])
            place = found.end()
        self._next = 0
        self._parameters = 0

    def peek(self) -> str:
        return self._tokens[self._next].upper() if self._next < len(self._tokens) else ""

    def word(self) -> str:
        """The next token as it stands, without quotes."""
        if self._next == len(self._tokens):
            raise BadExpression(f"{self._text!r} ends too early.")
        self._next += 1
        return self._tokens[self._next - 1].strip('"')

    def take(self, keyword: str) -> None:
        if self.peek() != keyword:
            raise BadExpression(f"{keyword} was expected before {self.peek() or 'the end'} in {self._text!r}.")
        self._next += 1

    def took(self, keyword: str) -> bool:
        if self.peek() != keyword:
            return False
        self._next += 1
        return True

    def end(self) -> None:
        if self.peek():
            raise BadExpression(f"{self.peek()} is one token too many in {self._text!r}.")

    def any_of(self) -> Tree:
        terms = [self._all_of()]
        while self.took("OR"):
            terms.append(self._all_of())
        return terms[0] if len(terms) == 1 else ("or", *terms)

    def _all_of(self) -> Tree:
        terms = [self._term()]
        while self.took("AND"):
            terms.append(self._term())
        return ("and", *terms)

    def _term(self) -> Tree:
        if self.took("("):
            tree = self.any_of()
            self.take(")")
            return tree
        for function, kind in (("ATTRIBUTE_EXISTS", "exists"), ("ATTRIBUTE_NOT_EXISTS", "missing")):
            if self.took(function):
                self.take("(")
                tree = (kind, self.word())
                self.take(")")
                return tree
        name = self.word()
        if self.took("IS"):
            kind = "exists" if self.took("NOT") else "missing"
            self.take("MISSING")
            return (kind, name)
        sign = self.word()
        if sign not in ("=", "<>", "<"):
            raise BadExpression(f"{sign} is no comparison that a lease store sends: {self._text!r}")
        return (sign, name, self._value())

    def changes(self) -> tuple[Tree, ...]:
        changes: list[Tree] = []
        while self.peek() in ("SET", "REMOVE"):
            kind = self.word().lower()
            changes.append(self._change(kind))
            while self.took(","):
                changes.append(self._change(kind))
        if not changes:
            raise BadExpression(f"Nothing is changed by {self._text!r}.")
        return tuple(changes)

    def _change(self, kind: str) -> Tree:
        name = self.word()
        if kind == "remove":
            return (kind, name)
        self.take("=")
        return (kind, name, self._value())

    def _value(self) -> str | int:
        token = self.word()
        if token == "?":
            self._parameters += 1
            return self._parameters - 1
        if not token.startswith(":"):
            raise BadExpression(f"{token} is no parameter, and literals are not sent: {self._text!r}")
        return token
