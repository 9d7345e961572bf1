"""Times on the wire: epoch seconds, read into floats."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Final

from msgspec import Meta

__all__ = ["Moment", "moment_of", "utc"]

# What a datetime can hold: the years 1 to 9999.
_FIRST: Final = -62_135_596_800
_LAST: Final = 253_402_300_799

Moment = Annotated[float, Meta(ge=_FIRST, le=_LAST)]
"""Epoch seconds as services write them: a JSON number."""


def utc(seconds: float | None) -> datetime | None:
    """That moment as a datetime; None stays None."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def moment_of(value: Any) -> float | None:
    """Epoch seconds of whatever botocore accepts as a time: a number, or text in one of the formats that it knows.

    A datetime is one as well: it is what botocore makes of them. Raises ValueError.
    """
    if value is None:
        return None
    if isinstance(value, str):
        from botocore.utils import parse_timestamp  # only for services that write numbers otherwise than AWS does

        try:
            value = parse_timestamp(value)
        except (ArithmeticError, OSError, RuntimeError, TypeError):
            raise ValueError("A time is in no known format.") from None
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, int | float) and not isinstance(value, bool) and _FIRST <= value <= _LAST:
        return float(value)
    raise ValueError("A time is in no known format.")
