"""What is wrong with a filter, each mistake with its place in the pattern."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consumer.errors import ConfigError

__all__ = ["Mistakes", "shown"]

_LONGEST_SHOWN = 60


class Mistakes:
    """Collects what is wrong, so that all of it is told at once."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def note(self, where: str, what: str) -> None:
        """``where`` is a path in the pattern, such as ``Filters[1].dynamodb.NewImage.price.N[0].numeric``."""
        line = f"{where}: {what}"
        if line not in self.found:
            self.found.append(line)

    def raise_if_any(self) -> None:
        """Raises ConfigError with every mistake."""
        if self.found:
            raise ConfigError(self.found)


def shown(value: Any) -> str:
    """A value of a pattern in a message: as JSON calls it, and short."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "an object" if value else "an empty object"
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    if isinstance(value, str):
        text = f'"{value}"'
    elif isinstance(value, int | float):
        text = f"the number {value}"
    else:
        text = f"of Python's type {type(value).__name__}" if not hasattr(value, "as_tuple") else f"the number {value}"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 3]}..."
