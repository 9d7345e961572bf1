"""Records as the KPL packs them: many of a user's in one of the stream's (`kcl-protocol`: KPL aggregation)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

__all__ = ["aggregate"]

_MAGIC: Final = b"\xf3\x89\x9a\xc2"
_TEXT_OR_MESSAGE: Final = 2
_NUMBER: Final = 0


def aggregate(key: str, payloads: Sequence[bytes]) -> bytes:
    """One record's data that holds a user record of ``key`` for each of ``payloads``."""
    body = _field(1, key.encode())
    for payload in payloads:
        body += _field(3, bytes([1 << 3 | _NUMBER, 0]) + _field(3, payload))
    return _MAGIC + body + hashlib.md5(body, usedforsecurity=False).digest()


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | _TEXT_OR_MESSAGE]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
