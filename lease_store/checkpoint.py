"""Positions in a shard as the lease table stores them: a sequence number or a word, and a sub-sequence number."""

from __future__ import annotations

from dataclasses import dataclass
from functools import total_ordering
from typing import Any, Final, TypeGuard

from lease_store.errors import InvalidRow

__all__ = [
    "AT_TIMESTAMP",
    "LATEST",
    "MOST_DIGITS",
    "SHARD_END",
    "TRIM_HORIZON",
    "Checkpoint",
    "checkpoint_of",
    "is_sequence_number",
]

# The words sort around the numbers as the KCL's do: AT_TIMESTAMP < TRIM_HORIZON < LATEST < digits < SHARD_END.
_WORDS: Final = {"AT_TIMESTAMP": -3, "TRIM_HORIZON": -2, "LATEST": -1}
_END: Final = "SHARD_END"
# Kinesis' API reference has 129 at most, DynamoDB's 40; Python itself refuses to read numbers of thousands of digits.
MOST_DIGITS: Final = 129


def is_sequence_number(value: Any) -> TypeGuard[str]:
    """Whether a value is a sequence number as the services make them: text of 1 to 129 decimal digits."""
    return isinstance(value, str) and len(value) <= MOST_DIGITS and value.isascii() and value.isdigit()


@total_ordering
@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A place in a shard: everything at or below it is done.

    ``sequence_number`` is 1 to 129 decimal digits or one of AT_TIMESTAMP, TRIM_HORIZON, LATEST, SHARD_END;
    ``sub_sequence_number`` counts user records within one aggregated Kinesis record, 0 otherwise. Ordering is the
    KCL's: by number, never by text, SHARD_END above all. Raises InvalidRow for anything else.
    """

    sequence_number: str
    sub_sequence_number: int = 0

    def __post_init__(self) -> None:
        text = self.sequence_number
        if text not in _WORDS and text != _END and not is_sequence_number(text):
            raise InvalidRow(
                f"Checkpoint {text[:200]!r} is neither 1 to 129 decimal digits nor TRIM_HORIZON, LATEST, AT_TIMESTAMP "
                "or SHARD_END."
            )
        if self.sub_sequence_number < 0:
            raise InvalidRow(f"Sub-sequence number {self.sub_sequence_number} of checkpoint {text} is below 0.")

    @property
    def is_number(self) -> bool:
        """True for a sequence number, False for one of the four words."""
        return self.sequence_number not in _WORDS and self.sequence_number != _END

    @property
    def is_end(self) -> bool:
        """True for SHARD_END."""
        return self.sequence_number == _END

    def _order(self) -> tuple[int, int, int]:
        if self.is_end:
            return (1, 0, 0)
        word = _WORDS.get(self.sequence_number)
        return (0, int(self.sequence_number) if word is None else word, self.sub_sequence_number)

    def __lt__(self, other: Checkpoint) -> bool:
        return self._order() < other._order()

    def __gt__(self, other: Checkpoint) -> bool:  # asked several times a batch: total_ordering's own is slow
        return self._order() > other._order()

    def __str__(self) -> str:
        suffix = f"/{self.sub_sequence_number}" if self.sub_sequence_number else ""
        return self.sequence_number + suffix


TRIM_HORIZON: Final = Checkpoint("TRIM_HORIZON")
LATEST: Final = Checkpoint("LATEST")
AT_TIMESTAMP: Final = Checkpoint("AT_TIMESTAMP")
SHARD_END: Final = Checkpoint(_END)
_MADE: Final = {each.sequence_number: each for each in (TRIM_HORIZON, LATEST, AT_TIMESTAMP, SHARD_END)}


def checkpoint_of(sequence_number: str, sub_sequence_number: int = 0) -> Checkpoint:
    """The place; each of the four words is one object, however many rows have it. Raises InvalidRow."""
    made = None if sub_sequence_number else _MADE.get(sequence_number)
    return Checkpoint(sequence_number, sub_sequence_number) if made is None else made
