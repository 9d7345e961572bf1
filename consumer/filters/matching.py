"""From conjunctions to one function of a record, which reads of it no more than the patterns name.

An answer is True, False, or None where it hangs on something that can't be decoded: ``or`` and ``and`` are Kleene's, so
that a record whose partition key settles the matter needs no JSON in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from msgspec import UNSET

from consumer.failures import Failure
from consumer.filters.choice import Choice, choice_of, values_of
from consumer.filters.forms import Document, Form, Path
from consumer.filters.leaf import Leaf
from consumer.filters.operators import Test
from consumer.filters.patterns import Conjunction
from consumer.filters.places import document_at
from consumer.filters.tree import matcher_of, node_of
from consumer.streams.images import value_of

__all__ = ["Judge", "judge_of"]

Judge = Callable[[Any], bool | Failure | None]
"""From a record to True, False, None (can't be decoded) or why there is no answer."""

_Seen = dict[Document, Any]
_DocumentTest = Callable[[Any, _Seen], bool | None]
_UNSEEN: Final = object()
_UNREADABLE: Final = object()


def judge_of(conjunctions: Sequence[Conjunction]) -> Judge:
    """Whether any of them holds for a record."""
    looks = _looks(conjunctions)
    ways = [_way(conjunction, looks) for conjunction in conjunctions]
    if all(not way.documents for way in ways):
        return _any_of_fields([way.fields for way in ways])

    def judge(record: Any) -> bool | None:
        seen: _Seen = {}
        unknown = False
        for way in ways:
            answer = way.holds(record, seen)
            if answer:
                return True
            unknown = unknown or answer is None
        return None if unknown else False

    return judge


def _any_of_fields(ways: Sequence[Sequence[Test]]) -> Judge:
    if len(ways) == 1 and len(ways[0]) == 1:
        return ways[0][0]
    fixed = tuple(map(tuple, ways))
    return lambda record: any(all(test(record) for test in tests) for tests in fixed)


@dataclass(frozen=True, slots=True)
class _Way:
    """One conjunction, what is cheap to look at first."""

    fields: list[Test] = field(default_factory=list)
    documents: list[_DocumentTest] = field(default_factory=list)

    def holds(self, record: Any, seen: _Seen) -> bool | None:
        for test in self.fields:
            if not test(record):
                return False
        unknown = False
        for look in self.documents:
            answer = look(record, seen)
            if answer is False:
                return False
            unknown = unknown or answer is None
        return None if unknown else True


@dataclass(frozen=True, slots=True)
class _Look:
    """A document as all patterns of a filter share it: ``value`` decodes every name that one of them asks for."""

    choice: Choice | None
    value: Callable[[Any, _Seen], Any]


def _looks(conjunctions: Iterable[Conjunction]) -> dict[Document, _Look]:
    names: dict[Document, set[str]] = {}
    for conjunction in conjunctions:
        for path, _ in conjunction.leaves:
            found = document_at(path, conjunction.form)
            if found is not None:
                document, rest = found
                names.setdefault(document, set()).update(rest[:1])
    return {document: _look(document, asked) for document, asked in names.items()}


def _look(document: Document, names: Iterable[str]) -> _Look:
    choice = None if document.item else choice_of(names)
    decode = values_of(names, value_of) if choice is None else choice.decode

    def value(record: Any, seen: _Seen) -> Any:
        known = seen.get(document, _UNSEEN)
        if known is _UNSEEN:
            wire = document.read(record)
            try:
                known = UNSET if wire is None else decode(wire)
            except ValueError:
                known = _UNREADABLE
            if known is None and document.item:
                known = UNSET
            seen[document] = known
        return known

    return _Look(choice, value)


def _way(conjunction: Conjunction, looks: dict[Document, _Look]) -> _Way:
    way = _Way()
    inside: dict[Document, list[tuple[Path, Leaf]]] = {}
    for path, leaf in conjunction.leaves:
        read = conjunction.form.fields.get(path)
        found = document_at(path, conjunction.form)
        if read is not None:
            way.fields.append(_field_test(read.read, leaf))
        elif found is not None:
            inside.setdefault(found[0], []).append((found[1], leaf))
        # What is left is {"exists": false} of an object that events have: no leaf, so it holds for every record.
    for document, leaves in inside.items():
        way.documents.append(_document_test(looks[document], leaves, conjunction.form))
    return way


def _field_test(read: Callable[[Any], Any], leaf: Leaf) -> Test:
    test, absent = leaf.test, leaf.absent

    def holds(record: Any) -> bool:
        value = read(record)
        return absent if value is None else test(value)

    return holds


def _document_test(look: _Look, leaves: list[tuple[Path, Leaf]], form: Form) -> _DocumentTest:
    choice, value_in = look.choice, look.value
    chosen = None if choice is None or choice.struct is None else (choice.struct, choice.attribute_of)
    test = matcher_of(node_of(leaves), whole=form.whole, chosen=chosen)

    def holds(record: Any, seen: _Seen) -> bool | None:
        value = value_in(record, seen)
        return None if value is _UNREADABLE else test(value)

    return holds
