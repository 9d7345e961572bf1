"""What a change of an item changed: names of attributes, and paths into them with what was there and what is there now.

Judged by the images as they came, whatever user code has done to the decoded ones since. Equal bytes are equal values,
so that only what differs on the wire is decoded; then values count and not how they are written: numbers as numbers
(``1`` is ``1.0``), sets as sets, maps without order. Types count, too: no BOOL is a number, and NULL is not absence.
What the service keeps in an item for itself (``replication``) is no part of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Literal, TypeAlias

from msgspec import Raw

from consumer.streams.images import attributes_of, value_of
from consumer.streams.replication import UPDATE_TIME, remove_from

__all__ = ["MISSING", "Change", "changed_names", "changes"]


class _Missing(Enum):
    MISSING = "missing"

    def __repr__(self) -> str:
        return self.name

    __str__ = __repr__


MISSING: Final = _Missing.MISSING
"""In the place of a value where there is no attribute or element: None is the value of a NULL."""

Path: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, repr=False)
class Change:
    """One place of an item that is not what it was.

    ``path``: names of attributes and keys of maps, indexes of lists. ``old`` and ``new`` are values as in images, or
    MISSING. What came or went as a whole is one change, however much is in it.
    """

    path: Path
    old: Any = MISSING
    new: Any = MISSING

    @property
    def kind(self) -> Literal["added", "changed", "removed"]:
        """``added`` where nothing was, ``removed`` where nothing is, else ``changed``."""
        if self.old is MISSING:
            return "added"
        return "removed" if self.new is MISSING else "changed"

    def __repr__(self) -> str:
        # Neither values nor what maps are keyed by: both may be anybody's name, and this ends up in logs.
        return f"<{self.kind} {self.path[0]}{', below' if self.path[1:] else ''}>"


def changed_names(old: Raw, new: Raw) -> frozenset[str]:
    """The attributes that differ between two images; a missing image counts as an empty one. Raises ValueError."""
    return frozenset(name for name, before, after in _differing(old, new) if not _same(before, after))


def changes(old: Raw, new: Raw) -> tuple[Change, ...]:
    """All changes between two images, by name and index; a missing image counts as an empty one. Raises ValueError."""
    found: list[Change] = []
    for name, before, after in _differing(old, new):
        found.extend(_between((name,), before, after))
    return tuple(found)


def _differing(old: Raw, new: Raw) -> Iterator[tuple[str, Any, Any]]:
    """What is not the same bytes, decoded: names in order, so that one change has one description."""
    before, after = _item(old), _item(new)
    differing = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
    for name in sorted(differing):
        was, now = before.get(name), after.get(name)
        yield name, MISSING if was is None else value_of(was), MISSING if now is None else value_of(now)


def _item(image: Raw) -> dict[str, Raw]:
    attributes = attributes_of(image)
    if UPDATE_TIME in attributes:
        remove_from(attributes)
    return attributes


def _between(path: Path, old: Any, new: Any) -> Iterator[Change]:
    if type(old) is dict and type(new) is dict:
        yield from _between_maps(path, old, new)
    elif type(old) is list and type(new) is list:
        yield from _between_maps(path, dict(enumerate(old)), dict(enumerate(new)))
    elif not _same(old, new):
        yield Change(path, old, new)


def _between_maps(path: Path, old: Mapping[Any, Any], new: Mapping[Any, Any]) -> Iterator[Change]:
    for name in sorted(old.keys() | new.keys()):
        yield from _between((*path, name), old.get(name, MISSING), new.get(name, MISSING))


def _same(old: Any, new: Any) -> bool:
    """Equality of values as DynamoDB has them: Python's, except that True is not 1."""
    if type(old) is not type(new):
        return False
    if type(old) is dict:
        return old.keys() == new.keys() and all(_same(value, new[name]) for name, value in old.items())
    if type(old) is list:
        return len(old) == len(new) and all(map(_same, old, new))
    return bool(old == new)
