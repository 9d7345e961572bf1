"""What a setting is: a field declared once, with all that flag, variable, check and README row are made from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field
from typing import Any, Final

from consumer.errors import ConfigError

__all__ = [
    "Odds",
    "Problem",
    "describe",
    "description",
    "judge",
    "number",
    "range_text",
    "seconds",
    "setting",
    "text",
    "truth",
    "whole",
]


def text(text: str) -> str:
    """The text itself."""
    return text


def number(text: str) -> float:
    """From ``2.5``. Raises ConfigError."""
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"{text!r} is not a number.") from None


def whole(text: str) -> int:
    """From ``25``. Raises ConfigError."""
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"{text!r} is not a whole number.") from None


_TRUTHS: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False, "": False}


def truth(text: str) -> bool:
    """From ``true`` or ``false`` in any case, or 1, yes, 0, no, or nothing. Raises ConfigError."""
    if text.lower() not in _TRUTHS:
        raise ConfigError(f"{text!r} is neither true nor false.")
    return _TRUTHS[text.lower()]


def setting(
    default: Any,
    doc: str,
    *,
    unit: str = "",
    cli: bool = True,
    parse: Callable[[str], Any] = text,
    between: tuple[float, float] | None = None,
    choices: tuple[str, ...] = (),
    check: Callable[[Any], str | None] | None = None,
    show: Callable[[Any], str] = repr,
) -> Any:
    """A field of a configuration; MISSING as the default makes it required.

    ``check`` is asked about a value of the right type and range, nor about None where that is
    allowed: the sentence against it, or None.
    ``show`` writes any value, a wrong one too, into the message against it.
    """
    metadata = {
        "doc": doc,
        "unit": unit,
        "cli": cli,
        "parse": parse,
        "between": between,
        "choices": choices,
        "check": check,
        "show": show,
    }
    return field(metadata=metadata) if default is MISSING else field(default=default, metadata=metadata)


def seconds(default: float | None, low: float, high: float, doc: str, *, cli: bool = True) -> Any:
    """A field that holds a duration."""
    return setting(default, doc, unit="s", cli=cli, parse=number, between=(low, high))


@dataclass(frozen=True, slots=True)
class Problem:
    """One value that can't be used: the field, the value as text, a sentence that names the limit and the way out."""

    name: str
    value: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Odds:
    """Settings that contradict one another: ``names``, told of the first of them, where ``found`` holds of all values.

    ``sentence`` may show values by their names, as ``str.format`` does. It is asked about sound values only.
    """

    names: tuple[str, ...]
    found: Callable[..., bool]
    sentence: str


def judge(settings: Iterable[Field[Any]], odds: Sequence[Odds], values: Mapping[str, Any]) -> list[Problem]:
    """Everything wrong with ``values`` (by name; absent ones are not judged), in the order of ``settings``.

    Values that are wrong by themselves are not held against others, too.
    """
    judged = {each.name: each for each in settings if each.name in values}
    told = {name: _own_problem(each, values[name]) for name, each in judged.items()}
    sound = {name: values[name] for name, sentence in told.items() if sentence is None}
    found = []
    for name, sentence in told.items():
        sentences = [sentence] if sentence else _contradictions(name, odds, sound)
        found += [Problem(name, judged[name].metadata["show"](values[name]), each) for each in sentences]
    return found


def _contradictions(name: str, odds: Sequence[Odds], sound: Mapping[str, Any]) -> list[str]:
    return [
        rule.sentence.format(**sound)
        for rule in odds
        if rule.names[0] == name
        and all(each in sound for each in rule.names)
        and rule.found(*(sound[each] for each in rule.names))
    ]


def _own_problem(each: Field[Any], value: Any) -> str | None:
    sentence = _type_problem(value, str(each.type)) or _range_problem(value, each.metadata)
    check = each.metadata["check"]
    may_be_absent = value is None and str(each.type).endswith(_OR_NONE)
    return sentence if sentence or check is None or may_be_absent else check(value)


_OR_NONE: Final = " | None"
# The annotation of a field, without "or None", and what that means at run time. The rest have rules of their own.
_KINDS: Final[Mapping[str, tuple[Any, str]]] = {
    "bool": (bool, "True or False"),
    "float": ((int, float), "a number"),
    "int": (int, "a whole number"),
    "str": (str, "text"),
}


def _type_problem(value: Any, annotation: str) -> str | None:
    name = annotation.removesuffix(_OR_NONE)
    if name not in _KINDS or (value is None and name != annotation):
        return None
    kind, words = _KINDS[name]
    # To Python, True is a number.
    return None if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)) else f"must be {words}."


def _range_problem(value: Any, metadata: Mapping[str, Any]) -> str | None:
    choices, between, unit = metadata["choices"], metadata["between"], metadata["unit"]
    if choices and not (isinstance(value, str) and value in choices):
        return f"is {' or '.join(choices)}."
    if between is None or value is None:
        return None
    if not between[0] <= value <= between[1]:
        return f"must lie between {range_text(between, unit)}."
    return None


def range_text(between: tuple[float, float], unit: str) -> str:
    """``1 and 3,600 s``."""
    low, high = (f"{bound:,.3f}".rstrip("0").rstrip(".") for bound in between)
    return f"{low} and {high} {unit}".rstrip()


def describe(settings: Iterable[Field[Any]]) -> list[Mapping[str, Any]]:
    """One description a setting; flags, variables and the README's table are made from it."""
    return [description(each.name, each.default, each.metadata) for each in settings]


def description(name: str, default: Any, metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """What there is to know of a setting.

    Keys: ``name``, ``default`` (dataclasses.MISSING where it is required), ``unit``, ``doc``, ``cli`` (it has a flag),
    ``parse`` (from text; raises ConfigError), ``between``, ``choices``, ``check``, ``show``, ``flag``, ``variable``,
    and ``negated``: the flag that says no, where ``flag`` takes no value because it says yes, else None.
    """
    words = name.replace("_", "-")
    return {
        "name": name,
        "default": default,
        "flag": f"--{words}",
        "negated": f"--no-{words}" if metadata["parse"] is truth else None,
        "variable": f"LEASEHOLD_{name.upper()}",
        **metadata,
    }
