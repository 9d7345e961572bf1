"""Replies as they come over a connection: what is one, what is refused, and that it doesn't matter how it is cut up."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.streams.direct_http import HEAD_LIMIT, BadReply, Chunks, Head, Remainder, read_head


def head_of(text: bytes) -> Head | None:
    return read_head(bytearray(text), len(text))


def test_a_reply_of_the_service_is_read() -> None:
    text = b"HTTP/1.1 200 OK\r\nDate: Sat, 21 Nov 2026 18:00:00 GMT\r\nX-Id:a\r\nContent-Length: 12\r\n\r\n"
    assert head_of(text + b"{}") == Head(
        len(text), 200, {"date": "Sat, 21 Nov 2026 18:00:00 GMT", "x-id": "a", "content-length": "12"}, 12, False, True
    )


@pytest.mark.parametrize("cut", [1, 10, 16, 40, 53])
def test_half_a_head_is_none_yet(cut: int) -> None:
    text = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nA: b\r\n\r\n"
    assert head_of(text[:cut]) is None or cut >= len(text)
    # What lies behind the received bytes is what an earlier reply left there.
    assert read_head(bytearray(text), len(text) - 1) is None


@pytest.mark.parametrize(
    ("lines", "length", "chunked", "stays_open"),
    [
        (b"HTTP/1.1 200 \r\nContent-Length: 0\r\n", 0, False, True),
        (b"HTTP/1.1 200\r\nContent-Length: 5\r\nConnection: keep-alive, Close\r\n", 5, False, False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n", 5, False, False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n", None, True, True),
        (b"HTTP/1.1 200 OK\r\n", None, False, False),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n", 0, False, True),
        (b"HTTP/1.1 503 Slow Down\r\nContent-Length: 7\r\n", 7, False, True),
    ],
)
def test_how_the_body_ends_and_whether_another_request_may_follow(
    lines: bytes, length: int | None, chunked: bool, stays_open: bool
) -> None:
    head = head_of(lines + b"\r\n")
    assert head is not None
    assert (head.length, head.chunked, head.stays_open) == (length, chunked, stays_open)


def test_a_header_that_comes_twice_keeps_both_values() -> None:
    head = head_of(b"HTTP/1.1 200 OK\r\nVia: a\r\nVIA: b\r\nContent-Length: 0\r\n\r\n")
    assert head is not None
    assert head.headers["via"] == "a, b"


@pytest.mark.parametrize(
    "text",
    [
        b"HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\0c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0x10\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: \xb2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n",
    ],
)
def test_what_is_ambiguous_or_too_large_is_refused(text: bytes) -> None:
    with pytest.raises(BadReply):
        head_of(text)


def test_headers_without_an_end_are_refused_at_the_limit() -> None:
    endless = b"HTTP/1.1 200 OK\r\nA: " + b"b" * HEAD_LIMIT
    assert head_of(endless[: HEAD_LIMIT - 1]) is None
    with pytest.raises(BadReply, match="16384 bytes"):
        head_of(endless[:HEAD_LIMIT])


def in_pieces(text: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % len(text) for cut in cuts), len(text)]
    return [text[a:b] for a, b in itertools.pairwise(places) if a < b]


@given(
    chunks=st.lists(st.binary(min_size=1, max_size=50), max_size=6),
    cuts=st.lists(st.integers(min_value=0, max_value=10_000), max_size=12),
    trailers=st.lists(st.sampled_from([b"A: b\r\n", b"x-amz-crc32: 1\r\n"]), max_size=2),
)
def test_chunks_are_one_body_however_they_arrive(chunks: list[bytes], cuts: list[int], trailers: list[bytes]) -> None:
    lines = [b"%X;name=value\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks]
    pieces = in_pieces(b"".join(lines) + b"0\r\n" + b"".join(trailers) + b"\r\n", cuts)
    body = Chunks()
    assert [body.feed(piece) for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert body.body == b"".join(chunks)


def byte_by_byte(text: bytes) -> None:
    body = Chunks()
    for at in range(len(text)):
        body.feed(text[at : at + 1])


@pytest.mark.parametrize(
    "text",
    [
        b"zz\r\n",
        b"-1\r\n",
        b"\r\n",
        b"5\nhello\r\n",
        b"4\r\nhello\r\n",
        b"4\r\nhell\r\r\n",
        b"FFFFFFFF\r\n",
        b"123456789\r\n",
        b"1;" + b"x" * 2000,
        b"0\r\n\r\nHTTP/1.1 200 OK",
        b"0\r\n" + b"x" * (HEAD_LIMIT + 1),
    ],
)
def test_malformed_chunks_are_refused_whole_or_byte_by_byte(text: bytes) -> None:
    with pytest.raises(BadReply):
        Chunks().feed(text)
    with pytest.raises(BadReply):
        byte_by_byte(text)


def test_a_body_up_to_the_end_of_the_connection_is_bounded() -> None:
    body = Remainder()
    piece = bytes(8 * 1024 * 1024)
    for _ in range(8):
        assert body.feed(piece) is False
    assert len(body.body) == 64 * 1024 * 1024
    with pytest.raises(BadReply, match="are taken"):
        body.feed(b"x")
