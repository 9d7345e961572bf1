"""What may stand at a path of a pattern; a path that no record has is a mistake, explained."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Final

from consumer.filters.forms import TEXT, TRUTH, Document, Form, Path
from consumer.filters.leaf import ANYTHING, Takes
from consumer.filters.mistakes import Mistakes
from consumer.record import ViewType

__all__ = ["document_at", "takes_at"]

_OBJECT: Final = Takes(why="the place holds an object, and operators look at plain values; name a field below it.")
_WHOLE: Final = Takes(why=_OBJECT.why, may_exist=True)
_ATTRIBUTE: Final = Takes(
    why='an attribute is an object with its type in it, as in {"S": ["paid"]} or {"N": [{"numeric": [">", 10]}]}; name '
    "the type, or write the short form (new_image.status), which needs none."
)
_ELEMENTS: Final = Takes(why='the elements of a list have types, too: {"L": {"S": ["a"]}}.')
_N: Final = Takes(
    TEXT.kinds,
    'numbers are text in DynamoDB JSON; write "100" with quotes, or {"numeric": ["=", 100]}, which works under N here.',
    numbers_as_text=True,
)
_TYPES: Final = {"S": TEXT, "N": _N, "B": TEXT, "BOOL": TRUTH, "NULL": TRUTH, "SS": TEXT, "NS": _N, "BS": TEXT}
_CARRIED: Final = {
    "new_image": (ViewType.NEW_IMAGE, ViewType.NEW_AND_OLD_IMAGES),
    "old_image": (ViewType.OLD_IMAGE, ViewType.NEW_AND_OLD_IMAGES),
}


def takes_at(path: Path, where: str, form: Form, view_type: ViewType | None, mistakes: Mistakes) -> Takes | None:
    """What a leaf at this path can be asked for; None where a mistake was noted."""
    if path in form.fields:
        return form.fields[path].takes
    found = document_at(path, form)
    if found is not None:
        document, rest = found
        carried = _CARRIED.get(document.image or "")
        if view_type is not None and carried is not None and view_type not in carried:
            mistakes.note(
                where,
                f"the stream's view type {view_type} carries no {document.image}; enable the table's stream anew with "
                f"{carried[0]} or {carried[1]}, or filter by what it carries.",
            )
            return None
        if document.typed:
            return _typed(rest, where, mistakes)
        return ANYTHING if rest else _WHOLE if form.whole else _OBJECT
    for length in range(1, len(path)):
        if path[:length] in form.fields:
            mistakes.note(where, f"{'.'.join(path[:length])} is a plain value and has no fields.")
            return None
    known = {each[len(path) - 1] for each in (*form.fields, *form.documents) if each[: len(path)] == path}
    if known:
        return _OBJECT
    _note_unknown(path, where, form, mistakes)
    return None


def document_at(path: Path, form: Form) -> tuple[Document, Path] | None:
    """The document that a path leads into, and the rest of the path within it."""
    for length in range(1, len(path) + 1):
        document = form.documents.get(path[:length])
        if document is not None:
            return document, path[length:]
    return None


def _note_unknown(path: Path, where: str, form: Form, mistakes: Mistakes) -> None:
    """Names the first part of the path that no record has."""
    known = (*form.fields, *form.documents)
    names: frozenset[str] = frozenset()
    depth = 0
    for depth in range(len(path)):
        names = frozenset(each[depth] for each in known if len(each) > depth and each[:depth] == path[:depth])
        if path[depth] not in names:
            break
    name = path[depth]
    if depth == 0 and name in form.elsewhere:
        mistakes.note(where, form.elsewhere[name])
        return
    folded = {each.lower().replace("_", ""): each for each in names}
    near = get_close_matches(name.lower().replace("_", ""), folded, n=1)
    hint = f"did you mean {folded[near[0]]!r}? " if near else ""
    mistakes.note(where, f"no record has {name!r}; {hint}{form.title} knows {', '.join(sorted(names))}.")


def _typed(path: Path, where: str, mistakes: Mistakes) -> Takes | None:
    """Within an image names and types alternate: ``address``, ``M``, ``city``, ``S``."""
    if not path:
        return _OBJECT
    kind = None
    index = 1
    while index < len(path):
        kind = path[index]
        if kind == "M":
            index += 2
        elif kind == "L":
            index += 1
        elif kind not in _TYPES:
            known = ", ".join(sorted([*_TYPES, "L", "M"]))
            mistakes.note(where, f"{kind!r} stands where an attribute's type belongs; types are {known}.")
            return None
        elif index == len(path) - 1:
            return _TYPES[kind]
        else:
            mistakes.note(where, f"what stands under {kind} is a plain value and has no fields.")
            return None
    return _ELEMENTS if kind == "L" else _ATTRIBUTE
