"""DynamoDB attribute values as plain Python values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

__all__ = ["decode", "decode_item"]


def decode_item(item: Mapping[str, Any]) -> dict[str, Any]:
    """One item (or key) of attribute values, as botocore parses them. Raises ValueError as ``decode`` does."""
    if not isinstance(item, Mapping):
        raise ValueError("An item is no map of attribute values; record.raw has it as it came.")
    return {name: decode(value) for name, value in item.items()}


def decode(value: Mapping[str, Any]) -> Any:
    """One attribute value: ``{"N": "1.5"}`` is ``Decimal("1.5")``.

    S: str. N: Decimal, exact (DynamoDB keeps 38 digits). B: bytes. BOOL: bool. NULL: None. SS, NS, BS: set. L: list.
    M: dict. Raises ValueError, naming the type and never the content, for a type that this version does not know and
    for content that is not of its type: something else in its place would be a silent change of the data.
    """
    if isinstance(value, Mapping) and len(value) == 1:
        ((kind, content),) = value.items()
        known = _DECODERS.get(kind)
        if known is not None and isinstance(content, known[0]):
            return known[1](content)
    kinds = ", ".join(sorted(map(str, value))) if isinstance(value, Mapping) else ""
    raise ValueError(f"An attribute value of type {kinds or 'nothing'} can't be decoded; record.raw has it as it came.")


def _number(text: str) -> Decimal:
    try:
        return Decimal(text)  # The constructor is exact: the precision of the thread's context plays no part.
    except (InvalidOperation, TypeError):
        raise ValueError("A DynamoDB number is not a number; record.raw has it as it came.") from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("An element of a DynamoDB string set is no string; record.raw has it as it came.")
    return value


def _bytes(value: Any) -> bytes:
    if not isinstance(value, _BINARY):
        raise ValueError("An element of a DynamoDB binary set is not binary; record.raw has it as it came.")
    return bytes(value)


_BINARY: Final = (bytes, bytearray, memoryview)
_DECODERS: Final[dict[str, tuple[Any, Callable[[Any], Any]]]] = {
    "S": (str, lambda text: text),
    "N": (str, _number),
    "B": (_BINARY, bytes),
    "BOOL": (bool, lambda flag: flag),
    "NULL": (bool, lambda _: None),
    "SS": (list, lambda texts: {_text(text) for text in texts}),
    "NS": (list, lambda texts: {_number(text) for text in texts}),
    "BS": (list, lambda contents: {_bytes(content) for content in contents}),
    "L": (list, lambda values: [decode(value) for value in values]),
    "M": (Mapping, decode_item),
}
