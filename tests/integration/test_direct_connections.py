"""The direct path's connections against a server that sends what it likes, when it likes, in what pieces it likes."""

from __future__ import annotations

import asyncio
import gc
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from botocore.exceptions import BotoCoreError, ConnectionClosedError, ReadTimeoutError

from consumer.clock import SystemClock
from consumer.streams.direct_buffers import Buffers
from consumer.streams.direct_connection import Connection
from consumer.streams.direct_pool import Connections, NotConnected
from tests.integration.raw_server import Asked, RawServer, reply_of

REQUEST = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody"
LARGE = bytes(range(256)) * 4000
Answer = Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]


async def fine(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(reply_of(b"fine"))


@pytest.fixture
async def server() -> AsyncIterator[RawServer]:
    async with RawServer(fine) as running:
        yield running


def connections_to(server: RawServer, *, limit: int, connect_timeout_seconds: float) -> Connections:
    return Connections(
        server.url,
        None,
        clock=SystemClock(),
        limit=limit,
        connect_timeout_seconds=connect_timeout_seconds,
        read_timeout_seconds=0.25,
        kept_seconds=60.0,
    )


@pytest.fixture
async def connections(server: RawServer) -> AsyncIterator[Connections]:
    made = connections_to(server, limit=2, connect_timeout_seconds=3.0)
    yield made
    await made.close()


def first(answer: Answer) -> Answer:
    """``answer`` to the first request, and fine ones after that."""
    asked_before = []

    async def one_then_fine(asked: Asked, writer: asyncio.StreamWriter) -> None:
        asked_before.append(asked)
        await (answer if len(asked_before) == 1 else fine)(asked, writer)

    return one_then_fine


def pieces(*parts: bytes, closes: bool = False, half_closes: bool = False) -> Answer:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.002)
        if half_closes:
            writer.write_eof()
        if closes:
            writer.close()

    return answer


async def ask(connections: Connections, seconds: float = 5.0) -> bytes:
    return bytes((await connections.exchange(REQUEST, seconds)).body)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "expected", "connections_after_two"),
    [
        (pieces(reply_of(LARGE)), LARGE, 1),
        (pieces(reply_of(LARGE)[:30], reply_of(LARGE)[30:70], reply_of(LARGE)[70:]), LARGE, 1),
        (pieces(reply_of(b"small")[:-2], b"ll"), b"small", 1),
        (pieces(CHUNKED + b"4\r\nwi", b"ki\r\n5\r\npedia\r\n0\r\n", b"\r\n"), b"wikipedia", 1),
        (pieces(CHUNKED, b"%x\r\n%b\r\n0\r\nA: b\r\n\r\n" % (len(LARGE), LARGE)), LARGE, 1),
        (pieces(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n", reply_of(b"x")), b"x", 1),
        (pieces(b"HTTP/1.1 200 OK\r\n\r\nup to ", b"the end", closes=True), b"up to the end", 2),
        (pieces(b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold"), b"old", 2),
        (pieces(reply_of(b"last", "Connection: close")), b"last", 2),
        (pieces(reply_of(b"half"), half_closes=True), b"half", 2),
        (pieces(reply_of(b"gone"), closes=True), b"gone", 2),
    ],
)
async def test_a_reply_is_read_however_it_comes_and_a_connection_used_again_only_if_it_may_be(
    server: RawServer, connections: Connections, answer: Answer, expected: bytes, connections_after_two: int
) -> None:
    server.answer = first(answer)
    assert await ask(connections) == expected
    if connections_after_two == 2:
        await server.until(lambda: server.ended == [0])
        await asyncio.sleep(0)
    assert await ask(connections) == b"fine"
    assert server.connections == connections_after_two


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (pieces(closes=True), "closed before the reply was complete"),
        (pieces(half_closes=True), "closed before the reply was complete"),
        (pieces(b"HTTP/1.1 200 OK\r\nContent-Le", closes=True), "closed before the reply was complete"),
        (pieces(reply_of(LARGE)[:-1], closes=True), "closed before the reply was complete"),
        (pieces(reply_of(LARGE)[:-1], half_closes=True), "closed before the reply was complete"),
        (pieces(CHUNKED + b"5\r\npedia\r\n0\r\n", closes=True), "closed before the reply was complete"),
        (pieces(CHUNKED + b"5\r\npediatric\r\n"), "longer than it says"),
        (pieces(CHUNKED + b"0\r\n\r\nmore"), "after its last chunk"),
        (pieces(reply_of(b"body") + b"more"), "after its end"),
        (pieces(b"HTTP/1.1 200 OK\r\nA: " + b"a" * 20_000), "more than 16384 bytes"),
        (pieces(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), "malformed"),
        (pieces(b"HTTP/1.1 200 OK\r\nContent-Length: 4, 4\r\n\r\nbody"), "content-length"),
    ],
)
async def test_a_broken_reply_is_a_closed_connection_and_the_next_call_gets_another_one(
    server: RawServer, connections: Connections, answer: Answer, said: str
) -> None:
    server.answer = first(answer)
    with pytest.raises(ConnectionClosedError) as caught:
        await ask(connections)
    assert said in str(caught.value.kwargs["error"])
    assert await ask(connections) == b"fine"
    assert server.connections == 2


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nContent-", reply_of(LARGE)[:-1], CHUNKED + b"5\r\nped"])
async def test_silence_ends_with_the_read_time_out(server: RawServer, connections: Connections, sent: bytes) -> None:
    server.answer = first(pieces(sent))
    async with asyncio.timeout(3):
        with pytest.raises(ReadTimeoutError, match="Read timeout"):
            await ask(connections, 60.0)
    await server.until(lambda: server.ended == [0])
    assert await ask(connections) == b"fine"
    assert server.connections == 2


async def test_who_goes_on_sending_is_waited_for(server: RawServer, connections: Connections) -> None:
    text = reply_of(b"slowly but surely")

    async def slowly(asked: Asked, writer: asyncio.StreamWriter) -> None:
        for at in range(0, len(text), 10):
            writer.write(text[at : at + 10])
            await writer.drain()
            await asyncio.sleep(0.08)  # a third of the read time-out, seven times

    server.answer = slowly
    assert await ask(connections) == b"slowly but surely"


async def test_a_trickle_ends_with_the_time_of_the_whole_call(server: RawServer, connections: Connections) -> None:
    async def trickle(asked: Asked, writer: asyncio.StreamWriter) -> None:
        for byte in reply_of(b"x" * 1000):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.02)

    server.answer = first(trickle)
    with pytest.raises(ReadTimeoutError):
        await ask(connections, 0.5)
    assert await ask(connections) == b"fine"


async def test_a_call_cancelled_within_the_body_takes_its_connection_with_it(
    server: RawServer, connections: Connections
) -> None:
    half_sent = asyncio.Event()

    async def half(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(reply_of(LARGE)[: len(LARGE) // 2])
        await writer.drain()
        half_sent.set()

    server.answer = first(half)
    task = asyncio.create_task(ask(connections))
    await half_sent.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await ask(connections) == b"fine"
    await server.until(lambda: server.ended == [0])
    assert server.connections == 2


async def test_a_call_cancelled_while_it_connects_leaves_no_connection(
    server: RawServer, connections: Connections
) -> None:
    task = asyncio.create_task(ask(connections))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await server.until(lambda: server.ended == [0])
    assert server.asked == []


def block() -> None:
    """As user code does that forgets that it runs on a loop."""
    time.sleep(0.03)


async def test_a_connection_that_stands_when_its_time_is_up_is_closed_and_not_left_to_the_collector(
    server: RawServer,
) -> None:
    """A loop that user code has blocked finds both at once: the socket is connected, and the time-out has passed."""
    late = connections_to(server, limit=20, connect_timeout_seconds=0.03)

    async def block_again_and_again() -> None:
        for _ in range(20):
            await asyncio.sleep(0.001)
            block()

    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        await asyncio.gather(block_again_and_again(), *(ask(late) for _ in range(20)), return_exceptions=True)
        await late.close()
        gc.collect()
    assert [warning for warning in heard if warning.category is ResourceWarning] == []


async def test_what_nobody_asked_for_ends_an_idle_connection(server: RawServer, connections: Connections) -> None:
    writers: list[asyncio.StreamWriter] = []

    async def keep(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await fine(asked, writer)

    server.answer = keep
    assert await ask(connections) == b"fine"
    writers[0].write(reply_of(b"of somebody else"))
    await server.until(lambda: server.ended == [0])
    assert await ask(connections) == b"fine"
    assert server.connections == 2


async def test_an_idle_connection_that_the_peer_has_closed_is_not_used(
    server: RawServer, connections: Connections
) -> None:
    await ask(connections)
    server.hang_up()
    await server.until(lambda: server.ended == [0])
    await asyncio.sleep(0.01)  # the news needs a turn of our loop
    assert await ask(connections) == b"fine"


async def test_who_accepts_and_closes_is_not_waited_for() -> None:
    async def at_once(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    clock = SystemClock()
    async with await asyncio.start_server(at_once, "127.0.0.1", 0) as closing:
        port = closing.sockets[0].getsockname()[1]
        connection = await opened(port)
        await connection.closed
        began = clock.monotonic()
        with pytest.raises(ConnectionClosedError):
            await connection.exchange(REQUEST, began + 5.0)
        assert clock.monotonic() - began < 1.0


async def opened(port: int) -> Connection:
    clock = SystemClock()
    loop = asyncio.get_running_loop()
    _, made = await loop.create_connection(
        lambda: Connection("http://h/", Buffers(clock), 5.0, clock=clock), "127.0.0.1", port
    )
    return made


async def test_at_most_so_many_connections_and_who_waits_can_be_cancelled_or_run_out_of_time(
    server: RawServer, connections: Connections
) -> None:
    go_on = asyncio.Event()

    async def held(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        await fine(asked, writer)

    server.answer = held
    calls = [asyncio.create_task(ask(connections)) for _ in range(2)]
    await server.until(lambda: len(server.asked) == 2)
    with pytest.raises(TimeoutError):
        await ask(connections, 0.01)
    waiting = asyncio.create_task(ask(connections))
    cancelled = asyncio.create_task(ask(connections))
    await asyncio.sleep(0)
    cancelled.cancel()
    go_on.set()
    assert await asyncio.gather(*calls, waiting) == [b"fine"] * 3
    assert server.connections == 2


async def test_connections_idle_for_too_long_are_closed(server: RawServer) -> None:
    options = {"connect_timeout_seconds": 3.0, "read_timeout_seconds": 3.0, "kept_seconds": 0.0}
    connections = Connections(server.url, None, clock=SystemClock(), limit=2, **options)  # type: ignore[arg-type]
    await ask(connections)
    await ask(connections)
    await server.until(lambda: server.ended == [0])
    assert server.connections == 2
    await connections.close()


async def test_nobody_there_is_told_from_a_connection_that_broke() -> None:
    options = {"connect_timeout_seconds": 3.0, "read_timeout_seconds": 3.0, "kept_seconds": 0.0}
    connections = Connections("http://127.0.0.1:9/", None, clock=SystemClock(), limit=1, **options)  # type: ignore[arg-type]
    with pytest.raises(NotConnected):
        await ask(connections)
    unknown = Connections("http://nobody.invalid/", None, clock=SystemClock(), limit=1, **options)  # type: ignore[arg-type]
    with pytest.raises(BotoCoreError):
        await ask(unknown)


async def test_a_body_that_is_still_looked_at_is_never_overwritten(server: RawServer, connections: Connections) -> None:
    bodies = [bytes([number]) * 300_000 for number in range(5)]

    async def numbered(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(reply_of(bodies[len(server.asked) - 1]))

    server.answer = numbered
    kept = [(await connections.exchange(REQUEST, 5.0)).body for _ in range(3)]
    parts = [memoryview(body)[7:9] for body in kept]
    del kept
    for number in (3, 4):
        assert bytes((await connections.exchange(REQUEST, 5.0)).body) == bodies[number]
    assert [bytes(part) for part in parts] == [bytes([number]) * 2 for number in range(3)]


async def test_closing_breaks_off_what_is_under_way_and_leaves_no_connection(
    server: RawServer, connections: Connections
) -> None:
    async def silent(asked: Asked, writer: asyncio.StreamWriter) -> None:
        return None

    await ask(connections)
    server.answer = silent
    call = asyncio.create_task(ask(connections))
    await server.until(lambda: len(server.asked) == 2)
    await connections.close()
    with pytest.raises(ConnectionClosedError):
        await call
    await server.until(lambda: server.ended == [0])
