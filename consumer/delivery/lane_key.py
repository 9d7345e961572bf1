"""What a record shares its order with, where a function of the user's says it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from consumer.failures import Failure
from consumer.record import Record

__all__ = ["told_key"]

_OUR_FRAMES: Final = frozenset({__name__})


def told_key(lane_key: Callable[[Any], str], record: Record) -> str | Failure:
    """What ``lane_key`` says of ``record``, or why it says nothing: what it raises is that one record's failure."""
    try:
        key = lane_key(record)
    except Exception as error:
        return Failure.of(error, leave_out=_OUR_FRAMES)
    if isinstance(key, str):
        return key
    return Failure("TypeError", f"lane_key returned {type(key).__name__}; it returns text.", "lane_key")
