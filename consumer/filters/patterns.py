"""From patterns to conjunctions: every ``$or`` is multiplied out, and each leaf is read and checked in its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from consumer.filters.forms import Form, Path
from consumer.filters.leaf import Leaf, read_leaf
from consumer.filters.mistakes import Mistakes, shown
from consumer.filters.places import takes_at
from consumer.record import ViewType

__all__ = ["Conjunction", "PatternReader"]

_MOST_CONJUNCTIONS: Final = 1000
_DEEPEST: Final = 50


@dataclass(frozen=True, slots=True)
class Conjunction:
    """Leaves with their paths, all of which must hold."""

    form: Form
    leaves: tuple[tuple[Path, Leaf], ...]


_Leaves = list[tuple[Path, Leaf]]


@dataclass(frozen=True, slots=True)
class PatternReader:
    """Reads patterns for one kind of stream; ``forms``: Lambda's, and the short one."""

    forms: tuple[Form, Form]
    view_type: ViewType | None
    mistakes: Mistakes

    def read(self, label: str, pattern: Mapping[str, Any]) -> list[Conjunction]:
        """The conjunctions of which any must hold; what is wrong is noted."""
        form = self._form_of(label, pattern)
        if form is None:
            return []
        return [Conjunction(form, tuple(leaves)) for leaves in self._expanded(pattern, (), label, form)]

    def _form_of(self, label: str, pattern: Mapping[str, Any]) -> Form | None:
        lambdas, short = self.forms
        names = list(_first_names(pattern))
        shared = lambdas.first_names & short.first_names
        as_event = [name for name in names if _head(name) in lambdas.first_names - shared]
        as_record = [name for name in names if _head(name) in short.first_names - shared]
        if as_event and as_record:
            self.mistakes.note(
                label,
                f"mixes two forms: {as_event[0]!r} is a name in Lambda's events, {as_record[0]!r} one of our records. "
                "Write the whole pattern in one of them.",
            )
            return None
        if as_record or (not as_event and any("." in name and _head(name) in shared for name in names)):
            return short
        return lambdas

    def _expanded(self, told: Mapping[str, Any], path: Path, where: str, form: Form) -> list[_Leaves]:
        if not told:
            self.mistakes.note(where, "is an empty object; it must name at least one field.")
        if len(path) > _DEEPEST:
            self.mistakes.note(where[:200], f"lies more than {_DEEPEST} names deep.")
            return []
        ways: list[_Leaves] = [[]]
        for name, value in told.items():
            if not isinstance(name, str):
                self.mistakes.note(where, f"has {shown(name)} for a name, and names are texts.")
                continue
            options = self._options(name, value, path, f"{where}.{name}", form)
            if len(ways) * len(options) > _MOST_CONJUNCTIONS:
                self.mistakes.note(where, f"comes to more than {_MOST_CONJUNCTIONS} ways to match; use fewer $or.")
                return []
            ways = [[*way, *option] for way in ways for option in options]
        return ways

    def _options(self, name: str, value: Any, path: Path, where: str, form: Form) -> list[_Leaves]:
        if name == "$or":
            return self._branches(value, path, where, form)
        # The first name may lead deeper by dots; a name below is taken as it stands, dots and all.
        below = (*path, name) if path else tuple(name.split("."))
        if isinstance(value, Mapping):
            return self._expanded(value, below, where, form)
        if not isinstance(value, list | tuple):
            example = f"[{shown(value)}]" if isinstance(value, str | bool) or value is None else f"[{value}]"
            self.mistakes.note(where, f"is {shown(value)}; values stand in a list: {example}.")
            return [[]]
        takes = takes_at(below, where, form, self.view_type, self.mistakes)
        leaf = None if takes is None else read_leaf(value, where, takes, self.mistakes)
        return [[]] if leaf is None else [[(below, leaf)]]

    def _branches(self, value: Any, path: Path, where: str, form: Form) -> list[_Leaves]:
        if not isinstance(value, list | tuple) or not value:
            self.mistakes.note(where, "takes a list of objects, of which one must match.")
            return [[]]
        ways: list[_Leaves] = []
        for index, branch in enumerate(value):
            if isinstance(branch, Mapping):
                ways += self._expanded(branch, path, f"{where}[{index}]", form)
            else:
                self.mistakes.note(f"{where}[{index}]", f"is {shown(branch)}; $or takes objects.")
        return ways


def _head(name: str) -> str:
    return name.partition(".")[0]


def _first_names(pattern: Mapping[str, Any]) -> Iterator[str]:
    """What a pattern begins with, in the branches of ``$or``, too."""
    for name, value in pattern.items():
        if name == "$or" and isinstance(value, list | tuple):
            for branch in value:
                if isinstance(branch, Mapping):
                    yield from _first_names(branch)
        elif isinstance(name, str):
            yield name
