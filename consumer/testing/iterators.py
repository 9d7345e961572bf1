"""Shard iterators: opaque tokens that say where to read and when they were issued; the log keeps nothing of them."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

__all__ = ["Cursor", "decode", "encode"]

_SEPARATOR = "\x1f"
_DIGEST_BYTES = 9


@dataclass(frozen=True, slots=True)
class Cursor:
    """What a token carries: the next wanted number in a shard of one incarnation of a stream, and its birth."""

    incarnation: str
    shard_id: str
    position: int
    issued_at: float


def encode(cursor: Cursor, prefix: str = "") -> str:
    """``cursor`` as a token; ``prefix`` stands readable before it, as DynamoDB's iterators begin with an ARN."""
    fields = (cursor.incarnation, cursor.shard_id, str(cursor.position), repr(cursor.issued_at))
    body = _SEPARATOR.join(fields).encode("utf-8")
    return prefix + base64.urlsafe_b64encode(_digest(body) + body).decode("ascii")


def decode(token: str) -> Cursor:
    """The cursor in ``token``. Raises ValueError for a token that this log did not make."""
    try:
        raw = base64.b64decode(token.rpartition("|")[2].encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError("The iterator is not base64 text.") from error
    digest, body = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
    if digest != _digest(body):
        raise ValueError("The iterator was altered or made elsewhere.")
    incarnation, shard_id, position, issued_at = body.decode("utf-8").split(_SEPARATOR)
    return Cursor(incarnation, shard_id, int(position), float(issued_at))


def _digest(body: bytes) -> bytes:
    # No secret: it is there so that a client that builds or cuts tokens is found out, not to keep anybody out.
    return hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest()
