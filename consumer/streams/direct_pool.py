"""Connections to one endpoint: a bounded number, each used again for as long as the other side is likely to keep it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from urllib.parse import urlsplit

from aiohappyeyeballs import start_connection
from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError, SSLError

from consumer.clock import Clock
from consumer.streams.direct_buffers import Buffers
from consumer.streams.direct_connection import Connection, Reply

__all__ = ["Connections", "NotConnected"]


class NotConnected(EndpointConnectionError):
    """There was never a connection; botocore has one class for that and for one that broke while in use."""


class Connections:
    """Connections of one event loop to the host of ``url``, at most ``limit`` at a time; who comes later waits.

    ``tls`` None: the URL is no https. ``kept_seconds`` is how long one may be idle and be used again.
    """

    def __init__(
        self,
        url: str,
        tls: ssl.SSLContext | None,
        *,
        clock: Clock,
        limit: int,
        connect_timeout_seconds: float,
        read_timeout_seconds: float,
        kept_seconds: float,
    ) -> None:
        parts = urlsplit(url)
        self._url = url
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if tls is not None else 80)
        self._tls = tls
        self._connect_timeout_seconds = connect_timeout_seconds
        self._read_timeout_seconds = read_timeout_seconds
        self._kept_seconds = kept_seconds
        self._clock = clock
        self._buffers = Buffers(clock)
        self._slots = asyncio.Semaphore(limit)
        self._idle: deque[Connection] = deque(maxlen=limit)
        self._all: set[Connection] = set()
        self._opening: set[asyncio.Task[Connection]] = set()

    async def exchange(self, request: bytes, timeout_seconds: float) -> Reply:
        """The reply to ``request``, sent once. Raises botocore's errors for what goes wrong with a connection."""
        until = self._clock.monotonic() + timeout_seconds
        if self._slots.locked():
            async with self._clock.timeout(timeout_seconds):
                await self._slots.acquire()
        else:
            await self._slots.acquire()
        try:
            connection = self._kept() or await self._connect(until)
            reply = await connection.exchange(request, until)
            if connection.is_open:
                self._idle.append(connection)
            return reply
        finally:
            self._slots.release()

    async def close(self) -> None:
        """Close them all, and return once they are."""
        self._idle.clear()
        await asyncio.gather(*self._opening, return_exceptions=True)
        closing = tuple(self._all)
        for connection in closing:
            connection.abort()
        await asyncio.gather(*(connection.closed for connection in closing))
        self._buffers.close()

    def _kept(self) -> Connection | None:
        """The connection used last that is still good; those that were idle for too long are closed in passing."""
        oldest = self._clock.monotonic() - self._kept_seconds
        while self._idle and self._idle[0].idle_since < oldest:
            self._idle.popleft().abort()
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        return None

    async def _connect(self, until: float) -> Connection:
        """A new connection, in a task of its own: ``close`` waits for it, also where its caller does not any more."""
        opening = asyncio.get_running_loop().create_task(self._open(until))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_abort)
            raise

    async def _open(self, until: float) -> Connection:
        left_seconds = min(until - self._clock.monotonic(), self._connect_timeout_seconds)
        loop = asyncio.get_running_loop()
        try:
            async with self._clock.timeout(left_seconds):
                addresses = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
                # Not asyncio's own race of addresses: cancelled, it loses the socket that has just won.
                connected = await start_connection(addresses, happy_eyeballs_delay=0.25)
                _, connection = await loop.create_connection(
                    lambda: Connection(self._url, self._buffers, self._read_timeout_seconds, clock=self._clock),
                    sock=connected,
                    ssl=self._tls,
                    server_hostname=self._host if self._tls is not None else None,
                )
        except TimeoutError as error:
            raise ConnectTimeoutError(endpoint_url=self._url, error=error) from error
        except ssl.SSLError as error:
            raise SSLError(endpoint_url=self._url, error=error) from error
        except OSError as error:
            raise NotConnected(endpoint_url=self._url, error=error) from error
        self._all.add(connection)
        connection.closed.add_done_callback(lambda _: self._all.discard(connection))
        return connection


def _abort(opened: asyncio.Task[Connection]) -> None:
    """Nobody waits for it any more, neither for the connection nor for what went wrong with it."""
    if not opened.cancelled() and opened.exception() is None:
        opened.result().abort()
