"""CBOR as the AWS SDK for Java speaks it to Kinesis: what its requests hold, and what replies to them hold.

RFC 8949 without half floats, simple values beyond null and the booleans, and chunked text. A timestamp is tag 1 around
whole milliseconds, which is AWS's own reading of it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

__all__ = ["decode", "encode"]

_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)
_INDEFINITE: Final = 31
_BREAK: Final = 0xFF
_TIME: Final = 1
_SIZES: Final[Mapping[int, str]] = {24: ">B", 25: ">H", 26: ">I", 27: ">Q"}
_SIMPLES: Final[Mapping[int, Any]] = {20: False, 21: True, 22: None}
_FLOATS: Final[Mapping[int, str]] = {26: ">f", 27: ">d"}


def encode(value: Any) -> bytes:
    """A reply of maps, lists, text, bytes, numbers, booleans and datetimes. Raises TypeError for anything else."""
    match value:
        case None | True | False:
            return bytes([_SIMPLE << 5 | {False: 20, True: 21, None: 22}[value]])
        case int():
            return _head(_UNSIGNED, value) if value >= 0 else _head(_NEGATIVE, -1 - value)
        case float():
            return b"\xfb" + struct.pack(">d", value)
        case bytes():
            return _head(_BYTES, len(value)) + value
        case str():
            content = value.encode()
            return _head(_TEXT, len(content)) + content
        case datetime():
            return _head(_TAG, _TIME) + encode(round(value.timestamp() * 1000))
        case Mapping():
            return _head(_MAP, len(value)) + b"".join(encode(each) for pair in value.items() for each in pair)
        case list() | tuple():
            return _head(_ARRAY, len(value)) + b"".join(map(encode, value))
    raise TypeError(f"{type(value).__name__} has no place in a reply.")


def decode(content: bytes) -> Any:
    """The value of a request's body. Raises ValueError for what is no such value, or more than one."""
    reader = _Reader(content)
    try:
        value = reader.value()
    except (IndexError, struct.error, KeyError) as error:
        raise ValueError(f"No CBOR at {reader.place} of {len(content)} bytes: {error!r}") from error
    if reader.place != len(content):
        raise ValueError(f"CBOR ends at {reader.place} of {len(content)} bytes.")
    return value


def _head(kind: int, number: int) -> bytes:
    if number < 24:
        return bytes([kind << 5 | number])
    for size, form in _SIZES.items():
        if number < 1 << 8 * struct.calcsize(form):
            return bytes([kind << 5 | size]) + struct.pack(form, number)
    raise TypeError(f"{number} has more than 64 bits.")


class _Reader:
    def __init__(self, content: bytes) -> None:
        self._content = content
        self.place = 0

    def value(self) -> Any:
        kind, detail = divmod(self._byte(), 32)
        if kind == _SIMPLE:
            return self._unpack(_FLOATS[detail]) if detail in _FLOATS else _SIMPLES[detail]
        if kind in (_ARRAY, _MAP):
            return self._many(kind, detail)
        number = detail if detail < 24 else self._unpack(_SIZES[detail])
        match kind:
            case 0:  # unsigned
                return number
            case 1:  # negative
                return -1 - number
            case 2:  # bytes
                return self._take(number)
            case 3:  # text
                return self._take(number).decode()
        milliseconds = self.value()
        if number != _TIME:
            raise ValueError(f"Tag {number} is in no request to Kinesis.")
        return datetime.fromtimestamp(milliseconds / 1000, UTC)

    def _many(self, kind: int, detail: int) -> Any:
        """A list or a map, of known length or up to its break."""
        found: list[Any] = []
        if detail == _INDEFINITE:
            while self._content[self.place] != _BREAK:
                found.append(self.value())
            self.place += 1
        else:
            number = detail if detail < 24 else self._unpack(_SIZES[detail])
            found = [self.value() for _ in range(number * (2 if kind == _MAP else 1))]
        return found if kind == _ARRAY else dict(zip(found[::2], found[1::2], strict=True))

    def _byte(self) -> int:
        self.place += 1
        return self._content[self.place - 1]

    def _unpack(self, form: str) -> Any:
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _take(self, length: int) -> bytes:
        taken = self._content[self.place : self.place + length]
        if len(taken) != length:
            raise ValueError(f"CBOR ends within {length} bytes at {self.place}.")
        self.place += length
        return taken
