"""What each mode of a lease table means for a worker in it, in words: for the log at a change, and for the doctor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["FROM_NOW_ON", "changed"]

FROM_NOW_ON: Final[Mapping[str, str]] = {
    "peer": (
        "every worker is a peer: it writes a row of its own by which the others see that it lives, and takes, asks for "
        "and hands over leases by its own plan"
    ),
    "leader": (
        "whoever holds the leader lock plans for all: this worker takes and asks for nothing by itself, publishes its "
        "metric row, begins what is assigned to it, finishes the hand-offs under way, and is a candidate for the lock"
    ),
    "2x": (
        "this worker goes by the rules of KCL 2.x: it writes lease rows only (a row of any other kind stops a KCL "
        "2.x), takes by counter what expired or what is too much elsewhere, and hands over by releasing"
    ),
}
"""Mode to what this worker does under it; no full stop, so that it may be part of a sentence."""


def changed(table: str, mode: str, because: str, *, previous: str | None) -> str:
    """The log line at the first look at ``table`` and at each change of its mode.

    ``because`` says which row was seen, as a clause: ``its row 'Leader' is a KCL's``.
    """
    what = FROM_NOW_ON[mode]
    if previous is None:
        return f"Lease table {table} is in mode {mode}, since {because}: {what}."
    return f"Lease table {table} goes from mode {previous} to mode {mode}, since {because}. From now on {what}."
