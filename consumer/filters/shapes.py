"""What people have in hand when they say "my filter", taken apart into patterns.

JSON text or the Python values it stands for: one pattern, a list of them, Lambda's ``FilterCriteria`` as its API, SAM
and CloudFormation write it, what CDK's ``FilterCriteria.filter`` makes, the ``filterPatterns`` of the Serverless
Framework, and Terraform's ``filter_criteria`` as its JSON has it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final, NoReturn

from consumer.filters.mistakes import Mistakes, shown

__all__ = ["patterns_in"]

_CRITERIA: Final = ("FilterCriteria", "filterCriteria", "filter_criteria")
_FILTERS: Final = ("Filters", "filters", "filter", "filterPatterns")
_PATTERN: Final = ("Pattern", "pattern")


def patterns_in(told: Any, mistakes: Mistakes) -> list[tuple[str, Mapping[str, Any]]]:
    """Every pattern that could be read, with what to call it in messages."""
    before = len(mistakes.found)
    found = list(_patterns("filter", told, mistakes))
    if not found and len(mistakes.found) == before:
        mistakes.note("filter", "names no pattern, and would let nothing through; leave the filter out to get all.")
    return found


def _patterns(label: str, told: Any, mistakes: Mistakes) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(told, str | bytes):
        told = _parsed(label, told, mistakes)
        if told is None:
            return
    if isinstance(told, list | tuple):
        for index, each in enumerate(told):
            yield from _patterns(f"{label}[{index}]", each, mistakes)
        return
    if not isinstance(told, Mapping):
        mistakes.note(label, f'is {shown(told)}; a pattern is an object, such as {{"eventName": ["INSERT"]}}.')
        return
    for wrapper in (_CRITERIA, _FILTERS, _PATTERN):
        key = next((key for key in wrapper if key in told), None)
        if key is None:
            continue
        if len(told) > 1:
            others = ", ".join(sorted(str(each) for each in told if each != key))
            mistakes.note(label, f"has {others} beside {key}, which stands alone.")
            return
        inner = told[key]
        if wrapper is _PATTERN and isinstance(inner, str | bytes):
            inner = _parsed(f"{label}.{key}", inner, mistakes)
        if inner is not None:
            names = {_CRITERIA: "filter", _FILTERS: key, _PATTERN: label}
            yield from _patterns(names[wrapper], _alone(inner, _FILTERS), mistakes)
        return
    if not told:
        mistakes.note(label, "is an empty object; a pattern names at least one field. Leave the filter out to get all.")
        return
    yield label, told


def _alone(told: Any, keys: tuple[str, ...]) -> Any:
    """Terraform writes a block that occurs once as a list of one."""
    if isinstance(told, list | tuple) and len(told) == 1 and isinstance(told[0], Mapping):
        (only,) = told
        if len(only) == 1 and next(iter(only)) in keys:
            return only
    return told


class _Unparsed(ValueError):
    """Something that JSON does not have."""


def _parsed(label: str, text: str | bytes, mistakes: Mistakes) -> Any:
    """What a text says; None where a mistake was noted. Text within text (escaped once too often) is read, too."""
    try:
        value = json.loads(text, object_pairs_hook=_merged, parse_float=Decimal, parse_constant=_refuse)
        if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
            return _parsed(label, value, mistakes)
    except json.JSONDecodeError as error:
        mistakes.note(
            label,
            f"is no JSON; line {error.lineno}, column {error.colno}: {error.msg}{_near(error)}.{_not_json(error.doc)}",
        )
        return None
    except (_Unparsed, UnicodeDecodeError) as error:
        mistakes.note(label, f"is no JSON: {error}.")
        return None
    except RecursionError:
        mistakes.note(label, "is nested too deeply to be read.")
        return None
    if value is None:
        mistakes.note(label, "is null; a pattern is an object.")
    return value


def _near(error: json.JSONDecodeError) -> str:
    rest = error.doc[error.pos : error.pos + 20].split("\n")[0]
    return f" at {rest!r}" if rest.strip() else ", where the text ends"


def _not_json(text: str) -> str:
    if "jsonencode" in text or "pattern =" in text.replace("  ", " "):
        return " This looks like Terraform's own language; give the object that stands in jsonencode(...), as JSON."
    if "Pattern:" in text:
        return " This looks like YAML; give what stands behind Pattern:, without the quotes around it."
    if "'" in text and '"' not in text:
        return " JSON takes double quotes."
    return ""


def _refuse(constant: str) -> NoReturn:
    raise _Unparsed(f"it holds {constant}, which JSON does not have")


def _merged(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; a name that occurs twice means both, where both are objects, and otherwise its last value.

    AWS's own example of an "and" over two images writes "dynamodb" twice, and Lambda's parser reads it so.
    """
    found: dict[str, Any] = {}
    for name, value in pairs:
        found[name] = _both(name, found[name], value) if name in found else value
    return found


def _both(name: str, first: Any, second: Any) -> Any:
    if isinstance(first, dict) and isinstance(second, dict):
        return _merged([*first.items(), *second.items()])
    if name == "$or" and isinstance(first, list) and isinstance(second, list):
        # Both must hold: one of each.
        return [_both("", one, other) for one in first for other in second]
    return second
