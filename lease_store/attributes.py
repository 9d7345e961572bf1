"""Attributes of rows in DynamoDB's wire form: read with their types checked, written as the KCL writes them. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from sys import intern
from typing import Any, Final, Literal

from lease_store.checkpoint import Checkpoint, checkpoint_of, is_sequence_number
from lease_store.errors import InvalidRow

__all__ = [
    "KEY_ATTRIBUTES",
    "LEASE_KEY",
    "NOTHING",
    "AttributeValue",
    "Fields",
    "Place",
    "canonical",
    "decimal_of",
    "set_float",
    "set_names",
    "set_number",
    "set_series",
    "set_text",
]

AttributeValue = Mapping[str, Any]
"""One DynamoDB attribute in its wire form, such as ``{"S": "w1"}`` or ``{"N": "7"}``."""

Place = Literal["leases", "coordinator", "metrics"]
"""A table that rows lie in: the lease table, or one of the two that a KCL 3.0 to 3.4 keeps beside it."""

LEASE_KEY: Final = "leaseKey"
KEY_ATTRIBUTES: Final[Mapping[Place, str]] = {"leases": LEASE_KEY, "coordinator": "key", "metrics": "wid"}

NOTHING: Final[Mapping[str, AttributeValue]] = {}
"""What is left of a row of which everything is known; shared, as nearly all are such."""

_LARGEST_EXPONENT: Final = 130


def canonical(value: AttributeValue) -> Hashable:
    """An attribute in a form that is equal exactly where DynamoDB calls two attributes equal.

    Numbers compare by value (``7`` is ``7.0``), sets without order, all else literally; the type always counts.
    """
    if len(value) != 1:
        return tuple(sorted(value))  # Botocore hands over nothing of a type that it does not know.
    ((kind, content),) = value.items()
    match kind:
        case "N":
            return kind, _value(content)
        case "NS":
            return kind, frozenset(_value(number) for number in content)
        case "SS" | "BS":
            return kind, frozenset(content)
        case "B":
            return kind, bytes(content)
        case "L":
            return kind, tuple(canonical(element) for element in content)
        case "M":
            return kind, frozenset((name, canonical(element)) for name, element in content.items())
        case _:
            return kind, content


def _value(number: str) -> Hashable:
    try:
        return Decimal(number)
    except InvalidOperation:
        return number  # no number of DynamoDB's: equal to itself and nothing else


@lru_cache(maxsize=1024)  # all rows of a group start at one instant: one object for them
def decimal_of(text: str) -> Decimal | None:
    """The number in an N; None where it is none of DynamoDB's.

    Those end below 1E+126; what is greater took a wrong way here, and costs as many digits to write.
    """
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    return value if value.is_finite() and abs(value.adjusted()) <= _LARGEST_EXPONENT else None


class Fields:
    """Takes known attributes out of a row, checking types; what is unknown or says nothing stays in ``rest``.

    NULL, an empty string and an empty set count as absent. A known attribute of another type raises InvalidRow, which
    names the row and the attribute.
    """

    def __init__(self, key: str, key_attribute: str, item: Mapping[str, AttributeValue]) -> None:
        self._key = key
        self.rest = {name: value for name, value in item.items() if name != key_attribute}

    def text(self, name: str) -> str | None:
        value: str | None = self._take(name, "S")
        return value

    def shared_text(self, name: str) -> str | None:
        """A text that many rows, or many copies of a row, have in common: one object in all of them."""
        value = self.text(name)
        return None if value is None else intern(value)

    def required(self, name: str) -> str:
        value = self.text(name)
        if value is None:
            raise self.wrong(name, "it is absent, and no KCL leaves it out")
        return value

    def binary(self, name: str) -> bytes | None:
        value = self._take(name, "B")
        return None if value is None else bytes(value)

    def flag(self, name: str) -> bool | None:
        value: bool | None = self._take(name, "BOOL")
        return value

    def names(self, name: str) -> tuple[str, ...]:
        return tuple(sorted(self._take(name, "SS") or ()))

    def elements(self, name: str) -> list[AttributeValue]:
        return list(self._take(name, "L") or ())

    def number(self, name: str) -> Decimal | None:
        text = self._take(name, "N")
        if text is None:
            return None
        value = decimal_of(text)
        if value is None:
            raise self.wrong(name, f"{text[:200]!r} is no number of DynamoDB's")
        return value

    def float_number(self, name: str) -> float | None:
        """A number that a float holds to its last digit, as ``set_float`` writes it."""
        value = self.number(name)
        if value is None:
            return None
        if _exactly(float(value)) != value:
            raise self.wrong(name, f"{value} has more digits than a float")
        return float(value)

    def integer(self, name: str) -> int | None:
        value = self.number(name)
        if value is None:
            return None
        if value != value.to_integral_value():
            raise self.wrong(name, f"{value} is not a whole number")
        return int(value)

    def checkpoint(self, name: str, sub_name: str) -> Checkpoint | None:
        if self.is_absent(name):
            return None
        sequence_number = self.text(name) or ""
        try:
            return checkpoint_of(sequence_number, self.integer(sub_name) or 0)
        except InvalidRow as error:
            raise self.wrong(name, str(error)) from None

    def hash_range(self) -> tuple[str, str] | None:
        """Only a pair counts, and only one whose start lies below its end; anything else is kept and says nothing."""
        pair = tuple(self.rest.get(name, {}).get("S", "") for name in ("startingHashKey", "endingHashKey"))
        if not all(is_sequence_number(bound) for bound in pair) or int(pair[0]) >= int(pair[1]):
            return None
        del self.rest["startingHashKey"], self.rest["endingHashKey"]
        return intern(pair[0]), intern(pair[1])

    def series(self, name: str) -> dict[str, tuple[float, ...]]:
        """Lists of numbers by name; what is anything else, or has a number no float holds, is kept and says nothing."""
        members = self.rest.get(name, {}).get("M")
        if not isinstance(members, Mapping):
            return {}
        found = {short: _floats(content) for short, content in members.items()}
        if None in found.values():
            return {}
        del self.rest[name]
        return {short: numbers for short, numbers in found.items() if numbers is not None}

    def is_absent(self, name: str) -> bool:
        attribute = self.rest.get(name)
        if attribute is None or "NULL" in attribute:
            return True
        return any(content is None or content in ("", b"") or content == [] for content in attribute.values())

    def unknown(self) -> Mapping[str, AttributeValue]:
        """What was not taken; one object for all rows of which nothing is left."""
        return dict(self.rest) if self.rest else NOTHING  # a copy, since what was taken leaves its room in ``rest``

    def wrong(self, name: str, reason: str) -> InvalidRow:
        return InvalidRow(f"Row {self._key!r} of the lease table can't be read at {name}: {reason}")

    def _take(self, name: str, kind: str) -> Any:
        if self.is_absent(name):
            return None
        attribute = self.rest[name]
        if kind not in attribute:
            raise self.wrong(name, f"it is stored as {', '.join(attribute)} where a lease table has {kind}")
        del self.rest[name]
        return attribute[kind]


def _floats(value: AttributeValue) -> tuple[float, ...] | None:
    numbers = []
    for element in value.get("L", (None,)):
        text = element.get("N") if isinstance(element, Mapping) else None
        try:
            number = Decimal(text or "")
        except InvalidOperation:
            return None
        if not number.is_finite() or _exactly(float(number)) != number:
            return None
        numbers.append(float(number))
    return tuple(numbers)


def _exactly(number: float) -> Decimal:
    # repr is the shortest text that reads back as the same float.
    return Decimal(repr(number))


def set_text(item: dict[str, AttributeValue], name: str, value: str | None) -> None:
    """Set an S, but for None and the empty string, which a KCL calls illegal."""
    if value:
        item[name] = {"S": value}


def set_names(item: dict[str, AttributeValue], name: str, values: tuple[str, ...]) -> None:
    """Set an SS, but for an empty one, which DynamoDB refuses."""
    if values:
        item[name] = {"SS": sorted(set(values))}


def set_number(item: dict[str, AttributeValue], name: str, value: Decimal | int | None) -> None:
    """Set an N, but for None."""
    if value is not None:
        # Never an exponent: every implementation reads plain digits.
        item[name] = {"N": format(value, "f") if isinstance(value, Decimal) else str(value)}


def set_float(item: dict[str, AttributeValue], name: str, value: float | None) -> None:
    """Set an N to the shortest number that reads back as the same float, but for None."""
    set_number(item, name, None if value is None else _exactly(value))


def set_series(item: dict[str, AttributeValue], name: str, series: Mapping[str, tuple[float, ...]]) -> None:
    """Set an M of L of N."""
    item[name] = {"M": {short: {"L": [_number(each) for each in numbers]} for short, numbers in series.items()}}


def _number(value: float) -> AttributeValue:
    return {"N": format(_exactly(value).normalize(), "f")}
