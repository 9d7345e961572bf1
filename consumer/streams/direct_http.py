"""HTTP/1.1 replies, from bytes to what they say: pure, strict, and no more of it than a client of AWS needs.

The grammar is RFC 9112's. What it calls obsolete or ambiguous is refused: folded header lines, blanks before a colon, a
bare line feed, lengths that contradict each other, a length beside chunks.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

__all__ = ["HEAD_LIMIT", "BadReply", "Chunks", "Head", "Remainder", "read_head"]

HEAD_LIMIT: Final = 16 * 1024
"""Bytes that the status line and the headers of a reply may have."""

_BODY_LIMIT: Final = 64 * 1024 * 1024  # A page of Kinesis has up to 10 MB, which are 14 MB of base64.
_HEAD: Final = re.compile(
    rb"HTTP/1\.([01]) ([1-9]\d\d)(?: [^\r\n\0]*+)?+\r\n((?:[!#$%&'*+.^_`|~0-9A-Za-z-]++:[^\r\n\0]*+\r\n)*+)\r\n"
)
_LENGTH: Final = re.compile(r"\d{1,18}", re.ASCII)
_CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n\0]*)?\r\n")
_CHUNK_LINE_LIMIT: Final = 1024
# These have none, whatever their headers say (RFC 9112, 6.3).
_BODILESS: Final = frozenset({204, 304})


class BadReply(ValueError):
    """What came is no HTTP/1.1 reply, or not one that is taken."""


class Head(NamedTuple):
    """The beginning of a reply; ``size`` is how many bytes it takes.

    ``headers`` have their names in small letters; of one that comes more than once, the values are joined by commas.
    ``length`` is the body's, None where chunks or the end of the connection tell. ``stays_open``: another request may
    follow on this connection.
    """

    size: int
    status: int
    headers: dict[str, str]
    length: int | None
    chunked: bool
    stays_open: bool


def read_head(received: bytes | bytearray, count: int) -> Head | None:
    """The head of a reply, of which the first ``count`` bytes of ``received`` are here; None where they are too few.

    Raises BadReply.
    """
    end = received.find(b"\r\n\r\n", 0, count)
    if end < 0:
        if count >= HEAD_LIMIT:
            raise BadReply(f"a reply's headers have more than {HEAD_LIMIT} bytes")
        return None
    found = _HEAD.fullmatch(received, 0, end + 4)
    if found is None:
        raise BadReply("a reply's status line or headers are malformed")
    status = int(found[2])
    headers = _headers_of(found[3].decode("latin-1"))
    length, chunked = (0, False) if status in _BODILESS else _framing(headers)
    stays_open = found[1] == b"1" and not _closes(headers.get("connection")) and (chunked or length is not None)
    return Head(end + 4, status, headers, length, chunked, stays_open)


def _headers_of(lines: str) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines.split("\r\n")[:-1]:
        name, _, value = line.partition(":")
        name, value = name.lower(), value.strip(" \t")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _closes(connection: str | None) -> bool:
    return connection is not None and "close" in [each.strip() for each in connection.lower().split(",")]


def _framing(headers: dict[str, str]) -> tuple[int | None, bool]:
    """The body's length, or that it comes in chunks; (None, False): it ends with the connection."""
    coding, length = headers.get("transfer-encoding"), headers.get("content-length")
    if coding is not None:
        if coding.lower() != "chunked" or length is not None:
            raise BadReply(f"a reply has transfer-encoding {coding!r} and content-length {length!r}")
        return None, True
    if length is None:
        return None, False
    if not _LENGTH.fullmatch(length):
        raise BadReply(f"a reply's content-length is {length!r}")
    return _bounded(int(length)), False


def _bounded(size: int) -> int:
    if size > _BODY_LIMIT:
        raise BadReply(f"a reply's body has {size} bytes, and {_BODY_LIMIT} are taken")
    return size


class Remainder:
    """A body that ends with the connection: whoever feeds it knows when that is."""

    def __init__(self) -> None:
        self.body = bytearray()

    def feed(self, received: bytes | memoryview) -> bool:
        """Take the next bytes; never knows that they were the last. Raises BadReply."""
        _bounded(len(self.body) + len(received))
        self.body += received
        return False


class Chunks:
    """A body that comes in chunks (RFC 9112, 7.1). Extensions and trailers are read over."""

    def __init__(self) -> None:
        self.body = bytearray()
        self._pending = bytearray()
        self._left = 0
        self._take = self._size_line

    def feed(self, received: bytes | memoryview) -> bool:
        """Take the next bytes; True: ``body`` is complete. Raises BadReply, also for what comes after the end."""
        self._pending += received
        # Each round takes something off what is pending, or leaves.
        while self._pending and self._take():
            continue
        return self._take == self._excess

    def _size_line(self) -> bool:
        found = _CHUNK_LINE.match(self._pending)
        if found is None:
            if b"\n" in self._pending or len(self._pending) > _CHUNK_LINE_LIMIT:
                raise BadReply("a chunk of a reply begins with a malformed line")
            return False
        self._left = int(found[1], 16)
        _bounded(len(self.body) + self._left)
        del self._pending[: len(found[0])]
        self._take = self._data if self._left else self._trailer
        return True

    def _data(self) -> bool:
        taken = min(self._left, len(self._pending))
        self.body += memoryview(self._pending)[:taken]
        del self._pending[:taken]
        self._left -= taken
        if not self._left:
            self._take = self._line_end
        return True

    def _line_end(self) -> bool:
        if not b"\r\n".startswith(self._pending[:2]):
            raise BadReply("a chunk of a reply is longer than it says")
        if len(self._pending) < 2:
            return False
        del self._pending[:2]
        self._take = self._size_line
        return True

    def _trailer(self) -> bool:
        end = self._pending.find(b"\r\n")
        if end < 0:
            if len(self._pending) > HEAD_LIMIT:
                raise BadReply(f"a trailer of a reply has more than {HEAD_LIMIT} bytes")
            return False
        del self._pending[: end + 2]
        if end == 0:
            self._take = self._excess
        return True

    def _excess(self) -> bool:
        raise BadReply("a reply goes on after its last chunk")
