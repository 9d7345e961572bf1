"""A hook's handlers by kind of fact."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from consumer.hooks import Fact

__all__ = ["ByFact"]

HandlerT = TypeVar("HandlerT", bound=Callable[..., None])


class ByFact:
    """Methods of a class, one a kind of fact; facts without one pass.

    A hook hears of every read of every shard, and most facts are none of its business: to pass, one costs a look into a
    dict (a ``singledispatchmethod`` would make a function for each).
    """

    def __init__(self) -> None:
        self._handlers: dict[type[Fact], Callable[..., None]] = {}

    def of(self, kind: type[Fact]) -> Callable[[HandlerT], HandlerT]:
        """The method that follows handles facts of this very class."""

        def register(handler: HandlerT) -> HandlerT:
            self._handlers[kind] = handler
            return handler

        return register

    def handler(self, fact: Fact) -> Callable[[Any, Any], None] | None:
        """What handles ``fact``; to be called with the hook and the fact."""
        return self._handlers.get(type(fact))
