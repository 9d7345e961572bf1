"""Whatever bytes a service, or who stands in its way, sends over a direct connection: a reply or an error, at once."""

from __future__ import annotations

import asyncio
import itertools

from botocore.exceptions import ConnectionClosedError
from hypothesis import given
from hypothesis import strategies as st

from consumer.clock import SystemClock
from consumer.streams.direct_buffers import Buffers
from consumer.streams.direct_connection import Connection, Reply

LINES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 100 Continue\r\n",
        b"HTTP/1.0 500 Oops\r\n",
        b"HTTP/1.1 204 No Content\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: 40000\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"Date: Sat, 21 Nov 2026 18:00:00 GMT\r\n",
        b" folded\r\n",
        b"\r\n",
        b"\n",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"hello",
        b"x" * 20_000,
        b"ffffffff\r\n",
    ]
)
STREAMS = st.lists(st.one_of(LINES, LINES, LINES, st.binary(max_size=20)), max_size=12).map(b"".join)


class Transport(asyncio.Transport):
    """Sends nowhere; what closes it is told to the connection on the loop's next turn, as a real one does."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self.connection = connection
        self.is_aborted = False

    def write(self, data: object) -> None:
        return None

    def is_closing(self) -> bool:
        return self.is_aborted

    def abort(self) -> None:
        if not self.is_aborted:
            self.is_aborted = True
            asyncio.get_running_loop().call_soon(self.connection.connection_lost, None)


async def received(pieces: list[bytes]) -> tuple[Reply | Exception, bool]:
    """What comes of a request when these ``pieces`` come and the connection ends, and whether it was kept till then."""
    clock = SystemClock()
    connection = Connection("http://h/", Buffers(clock), 10.0, clock=clock)
    transport = Transport(connection)
    connection.connection_made(transport)
    asking = asyncio.ensure_future(connection.exchange(b"request", clock.monotonic() + 10.0))
    await asyncio.sleep(0)
    for piece in pieces:
        left = memoryview(piece)
        # Ends with the piece: a buffer has room for a byte at least.
        while left and not transport.is_aborted and not asking.done():
            room = connection.get_buffer(-1)
            assert len(room) > 0
            count = min(len(room), len(left))
            room[:count] = left[:count]
            connection.buffer_updated(count)
            left = left[count:]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    was_kept = not transport.is_aborted
    if not asking.done():
        connection.eof_received()
        transport.abort()
    (outcome,) = await asyncio.gather(asking, return_exceptions=True)
    transport.abort()
    await connection.closed
    assert isinstance(outcome, Reply | ConnectionClosedError), outcome
    return outcome, was_kept


def cut_up(text: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    return [text[a:b] for a, b in itertools.pairwise(places)]


@given(text=STREAMS, cuts=st.lists(st.integers(min_value=0, max_value=50_000), max_size=6))
def test_any_bytes_are_a_reply_or_an_error_and_it_does_not_matter_how_they_are_cut_up(
    text: bytes, cuts: list[int]
) -> None:
    async def both() -> None:
        at_once, _ = await received([text])
        in_pieces, _ = await received(cut_up(text, cuts))
        # What follows a reply at once is seen to be too much; later, the reply has been given already.
        if isinstance(at_once, Reply):
            assert isinstance(in_pieces, Reply)
            assert (in_pieces.status, bytes(in_pieces.body)) == (at_once.status, bytes(at_once.body))

    asyncio.run(both())


@given(body=st.binary(max_size=60_000), cuts=st.lists(st.integers(min_value=0, max_value=70_000), max_size=6))
def test_a_sound_reply_comes_through_whole_and_the_connection_is_kept(body: bytes, cuts: list[int]) -> None:
    text = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

    async def sound() -> None:
        reply, was_kept = await received(cut_up(text, cuts))
        assert isinstance(reply, Reply)
        assert (reply.status, bytes(reply.body), was_kept) == (200, body, True)

    asyncio.run(sound())
