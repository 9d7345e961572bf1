"""A Python function as a filter: record in, True or False out."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from consumer.errors import ConfigError
from consumer.failures import Failure

__all__ = ["judged", "name_of", "refuse_unusable"]


def name_of(predicate: Callable[[Any], object]) -> str:
    """What it is called in messages."""
    name = getattr(predicate, "__qualname__", None)
    return name if isinstance(name, str) else type(predicate).__qualname__


def refuse_unusable(predicate: Callable[[Any], object], told_as: str = "filter") -> None:
    """Raises ConfigError for what can't be called with one record, or gives no answer when it is.

    ``told_as`` is what a user has said it to be.
    """
    name = name_of(predicate)
    called = getattr(predicate, "__call__", None)  # noqa: B004  an object may have an async __call__
    if any(inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each) for each in (predicate, called)):
        raise ConfigError(
            f"{told_as}: {name} is async; it only looks at the record, so write it with def. What has to wait for "
            "something belongs into process_records."
        )
    if inspect.isclass(predicate):
        raise ConfigError(f"{told_as}: {name} is a class; give an instance with __call__(record), or a function.")
    try:
        inspect.signature(predicate).bind(None)
    except TypeError:
        raise ConfigError(
            f"{told_as}: {name} must take one argument, the record; in a class it is a staticmethod."
        ) from None
    except ValueError:  # something built in that does not say what it takes
        return


def judged(predicate: Callable[[Any], object], record: Any) -> bool | Failure:
    """The predicate's answer, or why there is none. What it raises is the record's own failure, as in user code."""
    try:
        answer = predicate(record)
    except Exception as error:
        return Failure.of(error, leave_out=_OUR_FRAMES)
    if answer is True or answer is False:
        return answer
    return Failure(
        "TypeError",
        f"the filter {name_of(predicate)} returned {type(answer).__name__}; a predicate returns True (deliver) or "
        "False (leave out), so wrap what it computes in bool(...).",
        name_of(predicate),
    )


_OUR_FRAMES = frozenset({__name__})
