"""A server of bytes: whatever a test wants to answer with, in whatever pieces, and what was asked."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Self

__all__ = ["Asked", "RawServer", "reply_of"]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, with headers' names in small letters; ``connection`` counts connections from 0."""

    connection: int
    start: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class RawServer:
    """Answers each request by ``answer``, which may write, half-close or close; on 127.0.0.1 unless told otherwise.

    ``ended`` has the connections whose client has gone.
    """

    answer: Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]
    tls: ssl.SSLContext | None = None
    asked: list[Asked] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _server: asyncio.Server | None = None
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/"

    @property
    def connections(self) -> int:
        return len(self._writers)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for it; a hang fails."""
        async with asyncio.timeout(5), self.changed:
            await self.changed.wait_for(condition)

    def hang_up(self) -> None:
        """Close every connection that is open."""
        for writer in self._writers:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(self._writers)
        self._writers.append(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = dict(line.split(": ", 1) for line in head[1:-2])
                headers = {name.lower(): value for name, value in headers.items()}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                asked = Asked(number, head[0], headers, body)
                await self._tell(self.asked.append, asked)
                await self.answer(asked, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            await self._tell(self.ended.append, number)
        finally:
            writer.close()

    async def _tell(self, note: Callable[..., None], what: object) -> None:
        async with self.changed:
            note(what)
            self.changed.notify_all()


def reply_of(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """A reply with its length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body
