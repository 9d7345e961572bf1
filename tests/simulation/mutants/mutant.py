"""A safeguard of the product switched off: which function is replaced, where, and what should break without it."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

__all__ = ["MOST_SEEDS", "Calls", "Function", "Mutant", "NoSuchFunction", "switched_off"]

MOST_SEEDS: Final = 30
"""Within as many seeds each mutant must be caught."""

Function = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Mutant:
    """One safeguard, and how to do without it.

    ``target`` is ``module:function`` or ``module:Class.method`` (a property counts as one); ``without`` makes the
    replacement from the original, with the same parameters. ``mix`` overrides what ``world`` draws, so that the fault
    that the safeguard is for is likely. ``caught_by`` are the invariants (short forms) of which one must catch it: a
    mutant that breaks anything else is broken by itself, and proves nothing.
    """

    name: str
    rule: str
    target: str
    without: Callable[[Function], Function]
    world: Literal["leases", "fleet", "mixed"]
    caught_by: tuple[str, ...]
    mix: Mapping[str, Any]


class NoSuchFunction(LookupError):
    """The product has no such function any more: a mutant must never become void in silence."""


@dataclass(slots=True)
class Calls:
    """How often the replacement ran."""

    count: int = 0


@contextmanager
def switched_off(mutant: Mutant) -> Iterator[Calls]:
    """Put the replacement in the original's place, and the original back whatever happens.

    Raises NoSuchFunction where the target is gone, is no function, or takes other parameters than its replacement.
    """
    owner, name = _owner_of(mutant.target)
    original = vars(owner).get(name)
    is_property = isinstance(original, property)
    function = original.fget if isinstance(original, property) else original
    if not inspect.isfunction(function):
        raise NoSuchFunction(f"{mutant.name}: {mutant.target} is no function of the product.")
    replacement = mutant.without(function)
    if _parameters(function) != _parameters(replacement):
        raise NoSuchFunction(
            f"{mutant.name}: {mutant.target} takes {_parameters(function)}, its replacement {_parameters(replacement)}."
        )
    calls = Calls()

    @functools.wraps(function)
    def counted(*args: Any, **named: Any) -> Any:
        calls.count += 1
        return replacement(*args, **named)

    setattr(owner, name, property(counted) if is_property else counted)
    try:
        yield calls
    finally:
        setattr(owner, name, original)


def _owner_of(target: str) -> tuple[Any, str]:
    module, _, path = target.partition(":")
    *outer, name = path.split(".")
    try:
        owner = functools.reduce(getattr, outer, importlib.import_module(module))
    except (ImportError, AttributeError) as error:
        raise NoSuchFunction(f"{target} is gone from the product: {error}") from error
    return owner, name


def _parameters(function: Function) -> list[tuple[str, str]]:
    return [(each.name, each.kind.name) for each in inspect.signature(function).parameters.values()]
