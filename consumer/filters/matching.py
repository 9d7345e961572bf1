"""From conjunctions to one function of a record, which reads of it no more than the patterns name.

An answer is True, False, or None where it hangs on something that can't be decoded: ``or`` and ``and`` are Kleene's, so
that a record whose partition key settles the matter needs no JSON in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from msgspec import UNSET

from consumer.failures import Failure
from consumer.filters.choice import Choice, choice_of, values_of
from consumer.filters.forms import Document, Path
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
"""What was decoded of one record already, for the next pattern that asks for it."""

_Look = Callable[[Any, _Seen | None], Any]
"""A document's decoded value; ``_UNREADABLE`` where there is none to be had."""

_Way = tuple[tuple[Test, ...], tuple[tuple[_Look, Test], ...]]
"""One conjunction, what is cheap to look at first: tests of the record, then of its documents."""
_UNSEEN: Final = object()
_UNREADABLE: Final = object()


def judge_of(conjunctions: Sequence[Conjunction]) -> Judge:
    """Whether any of them holds for a record."""
    looks = _looks(conjunctions)
    ways = tuple(_way(conjunction, looks) for conjunction in conjunctions)
    if len(ways) == 1 and len(ways[0][1]) <= 1:
        return _judge_of_one(*ways[0])

    def judge(record: Any) -> bool | None:
        seen: _Seen = {}
        unknown = False
        for fields, documents in ways:
            for test in fields:
                if not test(record):
                    break
            else:
                undecided = False
                for look, matches in documents:
                    if (value := look(record, seen)) is _UNREADABLE:
                        undecided = True
                    elif not matches(value):
                        break
                else:
                    if not undecided:
                        return True
                    unknown = True
        return None if unknown else False

    return judge


def _judge_of_one(fields: tuple[Test, ...], documents: tuple[tuple[_Look, Test], ...]) -> Judge:
    """The same with less to do for each record: what most filters are."""
    if len(fields) == 1 and not documents:
        return fields[0]
    look, matches = documents[0] if documents else (lambda *_: None, lambda _: True)

    def judge(record: Any) -> bool | None:
        for test in fields:
            if not test(record):
                return False
        value = look(record, None)
        return None if value is _UNREADABLE else matches(value)

    return judge


def _looks(conjunctions: Iterable[Conjunction]) -> dict[Document, tuple[_Look, Choice | None]]:
    """Documents as all patterns of a filter share them: each is decoded for every name that one of them asks for."""
    names: dict[Document, set[str]] = {}
    for conjunction in conjunctions:
        for path, _ in conjunction.leaves:
            found = document_at(path, conjunction.form)
            if found is not None:
                document, rest = found
                names.setdefault(document, set()).update(rest[:1])
    return {document: _look(document, asked) for document, asked in names.items()}


def _look(document: Document, names: Iterable[str]) -> tuple[_Look, Choice | None]:
    choice = None if document.item else choice_of(names)
    decode = values_of(names, value_of) if choice is None else choice.decode
    read = document.read

    def look(record: Any, seen: _Seen | None) -> Any:
        if seen is not None and document in seen:
            return seen[document]
        wire = read(record)
        try:
            value = UNSET if wire is None else decode(wire)
        except ValueError:
            value = _UNREADABLE
        if seen is not None:
            seen[document] = value
        return value

    return look, choice


def _way(conjunction: Conjunction, looks: dict[Document, tuple[_Look, Choice | None]]) -> _Way:
    fields: list[Test] = []
    inside: dict[Document, list[tuple[Path, Leaf]]] = {}
    for path, leaf in conjunction.leaves:
        at_field = conjunction.form.fields.get(path)
        at_document = document_at(path, conjunction.form)
        if at_field is not None:
            fields.append(_field_test(at_field.read, leaf))
        elif at_document is not None:
            inside.setdefault(at_document[0], []).append((at_document[1], leaf))
        # What is left is {"exists": false} of an object that events have: no leaf, so it holds for every record.
    documents: list[tuple[_Look, Test]] = []
    for document, leaves in inside.items():
        look, choice = looks[document]
        chosen = None if choice is None or choice.struct is None else (choice.struct, choice.attribute_of)
        documents.append((look, matcher_of(node_of(leaves), whole=conjunction.form.whole, chosen=chosen)))
    return tuple(fields), tuple(documents)


def _field_test(read: Callable[[Any], Any], leaf: Leaf) -> Test:
    test, absent = leaf.test, leaf.absent

    def holds(record: Any) -> bool:
        value = read(record)
        return absent if value is None else test(value)

    return holds
