"""What a call of user code came to, as a value: whatever it raised must not travel through our own control flow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Outcome", "Raised", "Returned", "captured"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Returned(Generic[T]):
    """The call returned ``value``."""

    value: T


@dataclass(frozen=True, slots=True)
class Raised:
    """The call raised ``error``: any BaseException, SystemExit, KeyboardInterrupt and CancelledError included."""

    error: BaseException


Outcome = Returned[T] | Raised


def captured(call: Callable[[], T]) -> Outcome[T]:
    """Run ``call`` and hold on to whatever comes of it."""
    try:
        return Returned(call())
    except BaseException as error:
        return Raised(error)
