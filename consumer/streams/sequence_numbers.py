"""Sequence numbers of a whole page, checked at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from lease_store.checkpoint import MOST_DIGITS

__all__ = ["SequenceNumber", "are_digits"]

SequenceNumber = Annotated[str, Meta(min_length=1, max_length=MOST_DIGITS)]
"""Text of a sequence number's length; whether it is made of digits is asked of a page at a time."""


def are_digits(numbers: Sequence[str]) -> bool:
    """Whether each of these texts, of which none is empty, is made of the digits 0 to 9.

    Bytes are asked: ``str.isdigit`` looks every character up in Unicode's tables, which takes eight times as long.
    """
    try:
        return not numbers or "".join(numbers).encode().isdigit()
    except UnicodeEncodeError:
        return False
