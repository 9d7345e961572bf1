"""What the commands for hand-run campaigns take as numbers: a campaign of nothing is refused, not green."""

from __future__ import annotations

from argparse import ArgumentTypeError

__all__ = ["above_zero", "at_least_one", "virtual_days"]


def at_least_one(text: str) -> int:
    """A whole number from 1 on; ArgumentTypeError otherwise."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def above_zero(text: str) -> float:
    """A number of seconds or units; ArgumentTypeError where it is none, or not above zero."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise ArgumentTypeError(f"{text!r} is no number above zero")
    return number


def virtual_days(text: str) -> float:
    """Days, an hour at least; ArgumentTypeError otherwise."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 1 / 24 <= number < float("inf"):
        raise ArgumentTypeError(f"{text!r} is no number of days, of which an hour (0.042) is the least")
    return number
