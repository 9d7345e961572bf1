"""Images of items as they come over the wire: JSON that is decoded on first access, to exact Python values.

The fast way reads a whole image into typed structs, where msgspec's C code has made each ``N`` a Decimal and each ``B``
bytes already. What it refuses is read once more by the table of ``attributes``, which is slower, knows what botocore
accepts, and says what is wrong.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

from msgspec import MsgspecError, Raw, Struct
from msgspec.json import Decoder, Encoder

from consumer.streams.attributes import decode_item

__all__ = ["NO_IMAGE", "as_botocore", "attributes_of", "canonical", "decoded", "encoded", "value_of"]

NO_IMAGE: Final = Raw()


class _Value(Struct, gc=False, eq=False, forbid_unknown_fields=True):
    """One attribute value: exactly one of these is set. DynamoDB sends no two; if it did, the first would count."""

    S: str | None = None
    N: Decimal | None = None
    M: dict[str, _Value] | None = None
    L: list[_Value] | None = None
    BOOL: bool | None = None
    NULL: bool | None = None
    B: bytes | None = None
    SS: set[str] | None = None
    NS: set[Decimal] | None = None
    BS: set[bytes] | None = None


_DECODER: Final = Decoder(dict[str, _Value] | None)
_VALUE_DECODER: Final = Decoder(_Value)
_ATTRIBUTES_DECODER: Final = Decoder(dict[str, Raw] | None)
_KEY_DECODER: Final = Decoder(dict[str, dict[str, str]])
_SORTED_ENCODER: Final = Encoder(order="sorted")


def decoded(image: Raw) -> dict[str, Any] | None:
    """An image's values, as ``attributes.decode`` has them; None where there is none.

    Raises ValueError, naming the type and never the content, for what can't be decoded.
    """
    if image is NO_IMAGE:
        return None
    try:
        values = _DECODER.decode(image)
        return None if values is None else _unwrapped(values)
    except (MsgspecError, ValueError, RecursionError):
        return _decoded_slowly(image)


def _decoded_slowly(image: Raw) -> dict[str, Any] | None:
    try:
        item = _item(_parsed(image, "strict"))
    except (UnicodeDecodeError, RecursionError):
        raise ValueError("An image is no text in UTF-8, or too deep; record.raw has it as it came.") from None
    return None if item is None else decode_item(item)


def attributes_of(image: Raw) -> dict[str, Raw]:
    """An image's attributes by name, none of them decoded. Raises ValueError for what is no image."""
    if image is NO_IMAGE:
        return {}
    try:
        return _ATTRIBUTES_DECODER.decode(image) or {}
    except (MsgspecError, ValueError, RecursionError):
        raise ValueError("An image is no map of attributes in UTF-8; record.raw has it as it came.") from None


def value_of(attribute: Raw) -> Any:
    """One attribute's value, as ``decoded`` has it. Raises ValueError as it does."""
    try:
        value = _VALUE_DECODER.decode(attribute)
        return text if (text := value.S) is not None else _content(value)
    except (MsgspecError, ValueError, RecursionError):
        return (_decoded_slowly(Raw(b'{"a":' + bytes(attribute) + b"}")) or {})["a"]


def _unwrapped(values: dict[str, Any]) -> dict[str, Any]:
    """The same dictionary with what each value holds in its place, which is a fifth cheaper than another one.

    What is common is looked at here, without a call for each value.
    """
    for name, value in values.items():
        if (text := value.S) is not None:
            values[name] = text
        elif (number := value.N) is not None:
            values[name] = number
        elif (members := value.M) is not None:
            values[name] = _unwrapped(members)
        elif (flag := value.BOOL) is not None:
            values[name] = flag
        else:
            values[name] = _content(value)
    return values


def _content(value: _Value) -> Any:
    """What a value holds that is no text. Raises ValueError where it holds nothing."""
    if (number := value.N) is not None:
        return number
    if (members := value.M) is not None:
        return _unwrapped(members)
    if (elements := value.L) is not None:
        return [text if (text := each.S) is not None else _content(each) for each in elements]
    if value.NULL is not None:
        return None
    for rare in (value.BOOL, value.B, value.SS, value.NS, value.BS):
        if rare is not None:
            return rare
    raise ValueError("An attribute value of no type.")


def canonical(keys: Raw) -> str:
    """A primary key as JSON that is the same however the service has ordered and spaced it; ``{}`` where none came.

    Never raises: what is no primary key is told apart by its bytes.
    """
    if keys is NO_IMAGE:
        return "{}"
    try:
        # Parts of a key are texts on the wire: S, N and B.
        return _SORTED_ENCODER.encode(_KEY_DECODER.decode(keys)).decode()
    except (MsgspecError, ValueError):
        return _canonical_slowly(keys)


def _canonical_slowly(keys: Raw) -> str:
    try:
        return json.dumps(json.loads(bytes(keys)) or {}, sort_keys=True, separators=(",", ":"))
    except (ValueError, RecursionError):
        return bytes(keys).decode(errors="backslashreplace")


def as_botocore(image: Raw) -> Any:
    """An image as botocore parses it, binary as bytes, and as it came where it is not of its type. None for none."""
    return _item(_parsed(image, "surrogateescape"))


def _parsed(image: Raw, errors: str) -> Any:
    return json.loads(bytes(image).decode(errors=errors) or "null")


def encoded(image: Any) -> Raw:
    """The wire form of an image as botocore parses it or as JSON has it. Raises TypeError for what JSON can't carry."""
    return NO_IMAGE if image is None else Raw(json.dumps(image, default=_plain).encode())


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no place in an item of a stream.")


def _item(item: Any) -> Any:
    return {name: _unpacked(value) for name, value in item.items()} if isinstance(item, dict) else item


def _unpacked(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {kind: _UNPACKED[kind](content) if kind in _UNPACKED else content for kind, content in value.items()}


def _binary(content: Any) -> Any:
    try:
        return base64.b64decode(content)
    except (TypeError, ValueError, binascii.Error):
        return content


def _each(unpack: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda content: [unpack(each) for each in content] if isinstance(content, list) else content


_UNPACKED: Final[dict[str, Callable[[Any], Any]]] = {
    "B": _binary,
    "BS": _each(_binary),
    "L": _each(_unpacked),
    "M": _item,
}
