"""Items as DynamoDB writes them: plain Python values to attribute values, sizes as the service counts them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from boto3.dynamodb.types import TypeSerializer

__all__ = ["Image", "key_text", "size_of", "to_image"]

# An item in DynamoDB's JSON: attribute name -> {"S": "..."} and so on, binaries as bytes.
Image = Mapping[str, Mapping[str, Any]]

_TYPES = frozenset({"S", "N", "B", "SS", "NS", "BS", "M", "L", "NULL", "BOOL"})
_SERIALIZER = TypeSerializer()


def to_image(item: Mapping[str, Any]) -> Image:
    """``item`` in DynamoDB's JSON: unchanged where it is that, else by boto3's rules (numbers as int or Decimal).

    An item counts as DynamoDB's JSON when every attribute is a mapping of one entry whose name is a type code. Raises
    TypeError for values that DynamoDB has no type for, floats among them.
    """
    if item and all(_is_attribute_value(value) for value in item.values()):
        return item
    return {name: _SERIALIZER.serialize(value) for name, value in item.items()}


def key_text(value: Mapping[str, Any]) -> str:
    """A partition key's attribute value as text, different for different keys: what decides on the shard."""
    code, inner = next(iter(value.items()))
    return f"{code}:{inner.hex() if isinstance(inner, bytes) else inner}"


def size_of(image: Image) -> int:
    """Bytes of an item, as the service's documentation counts them: UTF-8 lengths of names, and the values."""
    return sum(len(name.encode("utf-8")) + _size(value) for name, value in image.items())


def _is_attribute_value(value: object) -> bool:
    return isinstance(value, Mapping) and len(value) == 1 and next(iter(value)) in _TYPES


def _size(value: Mapping[str, Any]) -> int:
    code, inner = next(iter(value.items()))
    if code == "S":
        return len(inner.encode("utf-8"))
    if code == "N":
        return _number_size(inner)
    if code == "B":
        return len(inner)
    if code in ("SS", "NS", "BS"):
        return sum(_size({code[0]: element}) for element in inner)
    if code == "M":
        return 3 + sum(1 + len(name.encode("utf-8")) + _size(element) for name, element in inner.items())
    if code == "L":
        return 3 + sum(1 + _size(element) for element in inner)
    return 1


def _number_size(text: str) -> int:
    digits = text.lower().partition("e")[0].lstrip("+-").replace(".", "").strip("0")
    return (len(digits) + 1) // 2 + 1
