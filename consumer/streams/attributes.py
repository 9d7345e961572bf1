"""DynamoDB attribute values as plain Python values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

__all__ = ["decode", "decode_item"]


def decode_item(item: Mapping[str, Any]) -> dict[str, Any]:
    """One item (or key) of attribute values, as botocore parses them. Raises ValueError as ``decode`` does."""
    return {name: decode(value) for name, value in item.items()}


def decode(value: Mapping[str, Any]) -> Any:
    """One attribute value: ``{"N": "1.5"}`` is ``Decimal("1.5")``.

    S: str. N: Decimal, exact (DynamoDB keeps 38 digits). B: bytes. BOOL: bool. NULL: None. SS, NS, BS: set. L: list.
    M: dict. Raises ValueError, naming the type and never the content, for a type that this version does not know and
    for an N that is no number: None in its place would be a silent change of the data.
    """
    if len(value) == 1:
        ((kind, content),) = value.items()
        decoder = _DECODERS.get(kind)
        if decoder is not None:
            return decoder(content)
    kinds = ", ".join(sorted(value)) or "nothing"
    raise ValueError(f"An attribute value of type {kinds} can't be decoded; record.raw has it as it came.")


def _number(text: str) -> Decimal:
    try:
        return Decimal(text)  # The constructor is exact: the precision of the thread's context plays no part.
    except (InvalidOperation, TypeError):
        raise ValueError("A DynamoDB number is not a number; record.raw has it as it came.") from None


_DECODERS: dict[str, Callable[[Any], Any]] = {
    "S": lambda text: text,
    "N": _number,
    "B": bytes,
    "BOOL": lambda flag: flag,
    "NULL": lambda _: None,
    "SS": set,
    "NS": lambda texts: {_number(text) for text in texts},
    "BS": lambda contents: {bytes(content) for content in contents},
    "L": lambda values: [decode(value) for value in values],
    "M": decode_item,
}
