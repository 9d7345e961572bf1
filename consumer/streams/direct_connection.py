"""One connection to a service: a request at a time, and its reply's body straight into the memory it is decoded from.

aiohttp, which does everything else here, receives into fresh blocks and joins them, and takes four times as long for
an empty page; ``tests/benchmarks`` has the figures. What may go wrong is raised as botocore's own errors, so that the
border translates it as it does everything else.
"""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple, cast

from botocore.exceptions import ConnectionClosedError, ReadTimeoutError

from consumer.clock import Clock
from consumer.streams.direct_buffers import Buffers
from consumer.streams.direct_http import HEAD_LIMIT, BadReply, Chunks, Head, Remainder, read_head

__all__ = ["Connection", "Reply"]

_FIRST_FINAL_STATUS: Final = 200


class Reply(NamedTuple):
    """One reply. ``body`` may lie in memory that is used again once nothing refers to it any more."""

    status: int
    headers: dict[str, str]
    body: bytes | memoryview


class Connection(asyncio.BufferedProtocol):
    """Speaks HTTP/1.1 over one transport. Whatever goes wrong, also a cancellation, closes it.

    ``closed`` is done once the transport is gone. ``idle_since`` (the clock's) is when the last reply ended.
    """

    def __init__(self, endpoint: str, buffers: Buffers, read_timeout_seconds: float, *, clock: Clock) -> None:
        self._endpoint = endpoint
        self._buffers = buffers
        self._read_timeout_seconds = read_timeout_seconds
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Reply] | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._heard_at = self._until = 0.0
        self._received = bytearray(HEAD_LIMIT)
        self._view = memoryview(self._received)
        self._expect_head()
        self.idle_since = 0.0
        self.closed: asyncio.Future[None] = self._loop.create_future()

    @property
    def is_open(self) -> bool:
        """Whether another request may be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def abort(self) -> None:
        """Close at once; whatever is under way is lost."""
        if self._transport is not None:
            self._transport.abort()

    async def exchange(self, request: bytes, until: float) -> Reply:
        """Send ``request`` and return its reply; ``until`` is the latest, by the clock. One call at a time.

        Raises botocore's ConnectionClosedError and ReadTimeoutError. The read time-out starts anew with each byte.
        """
        if self._transport is None or not self.is_open:
            raise self._closed_error()
        waiter: asyncio.Future[Reply] = self._loop.create_future()
        self._waiter = waiter
        self._until = until
        self._heard_at = self._clock.monotonic()
        try:
            # One timer for many requests: it looks when the first of them would be late, and then again.
            if self._watch is None:
                self._watch = self._clock.call_later(self._due() - self._heard_at, self._look)
            self._transport.write(request)
            reply = await waiter
        except BaseException:
            self.abort()
            if waiter.done() and not waiter.cancelled():
                waiter.exception()  # asked for, or asyncio would complain that nobody did
            raise
        finally:
            self._waiter = None
        self.idle_since = self._heard_at
        return reply

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._body is not None:
            return self._body[self._filled :]
        return self._view if self._parts is not None else self._view[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        if self._waiter is None or self._waiter.done():
            self.abort()  # nobody has asked for this
            return
        self._heard_at = self._clock.monotonic()
        try:
            self._take(nbytes)
        except BadReply as error:
            self._fail(ConnectionClosedError(endpoint_url=self._endpoint, error=error))

    def eof_received(self) -> None:
        if isinstance(self._parts, Remainder):
            self._answer(memoryview(self._parts.body))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._watch is not None:
            self._watch.cancel()
        self._fail(self._closed_error(exc))
        if not self.closed.done():
            self.closed.set_result(None)

    # The reply.

    def _expect_head(self) -> None:
        self._head: Head | None = None
        self._filled = 0
        self._body: memoryview | None = None
        self._parts: Chunks | Remainder | None = None

    def _take(self, count: int) -> None:
        if self._parts is not None:
            if self._parts.feed(self._view[:count]):
                self._answer(memoryview(self._parts.body))
            return
        self._filled += count
        if self._body is None:
            self._take_head()
        elif self._filled == len(self._body):
            self._answer(self._body)

    def _take_head(self) -> None:
        head = read_head(self._received, self._filled)
        # Ends with what was received: each round takes one interim reply (RFC 9110, 15.2) off it.
        while head is not None and head.status < _FIRST_FINAL_STATUS:
            rest = bytes(self._view[head.size : self._filled])
            self._view[: len(rest)] = rest
            self._filled = len(rest)
            head = read_head(self._received, self._filled)
        if head is None:
            return
        self._head = head
        first = self._view[head.size : self._filled]
        if head.length is None:
            self._parts = Chunks() if head.chunked else Remainder()
            if self._parts.feed(first):
                self._answer(memoryview(self._parts.body))
        elif len(first) == head.length:
            self._answer(bytes(first))
        elif len(first) > head.length:
            raise BadReply("a reply goes on after its end")
        else:
            is_large = head.length > HEAD_LIMIT
            self._body = self._buffers.take(head.length) if is_large else memoryview(bytearray(head.length))
            self._body[: len(first)] = first
            self._filled = len(first)

    def _answer(self, body: bytes | memoryview) -> None:
        head, waiter = self._head, self._waiter
        self._expect_head()
        if head is None or not head.stays_open:
            self.abort()
        if head is not None and waiter is not None and not waiter.done():
            waiter.set_result(Reply(head.status, head.headers, body))

    def _closed_error(self, cause: Exception | None = None) -> ConnectionClosedError:
        cause = cause or ConnectionResetError("the connection was closed before the reply was complete")
        return ConnectionClosedError(endpoint_url=self._endpoint, error=cause)

    def _fail(self, error: Exception) -> None:
        self._expect_head()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

    # Time.

    def _due(self) -> float:
        return min(self._heard_at + self._read_timeout_seconds, self._until)

    def _look(self) -> None:
        self._watch = None
        if self._waiter is None:
            return
        now = self._clock.monotonic()
        if now < self._due():
            self._watch = self._clock.call_later(self._due() - now, self._look)
        else:
            waited = TimeoutError(f"no complete reply; the last sign of one was {now - self._heard_at:.1f} s ago")
            self._fail(ReadTimeoutError(endpoint_url=self._endpoint, error=waited))
