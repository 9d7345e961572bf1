"""The canned server's loop: one thread, sockets that never block, and an account of how long it had nothing to do."""

from __future__ import annotations

import json
import selectors
import socket
import time
from pathlib import Path
from typing import Final

from tests.benchmarks.canned.answering import Answers
from tests.benchmarks.canned.prepared import Page
from tests.benchmarks.canned.reading import Reader

__all__ = ["CannedServer"]

_CHUNK: Final = 1 << 18
_SEND_BUFFER: Final = 1 << 22
_BACKLOG: Final = 1024
_HEAD_END: Final = b"\r\n\r\n"


class _Connection:
    __slots__ = ("inbox", "outbox", "page", "reader", "sent", "socket")

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.inbox = b""
        self.outbox: bytes | bytearray = b""
        self.sent = 0
        self.page: Page | None = None
        self.reader: Reader | None = None


class CannedServer:
    """Answers on a loopback port until ``run`` is interrupted. Requests of one connection are answered in order."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
        self._listener.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._answers = Answers()
        self._began = time.monotonic()

    @property
    def port(self) -> int:
        """The port that was free."""
        port: int = self._listener.getsockname()[1]
        return port

    def run(self) -> None:
        """Until the process is ended."""
        while True:
            events = self._selector.select()
            self._answers.heads.tick(int(time.time()))
            for key, mask in events:
                if key.data is None:
                    self._accept()
                    continue
                try:
                    (self._send if mask & selectors.EVENT_WRITE else self._receive)(key.data)
                except OSError:
                    self._close(key.data)  # gone in the middle of a reply: killed at the end of its rounds

    def _accept(self) -> None:
        connected, _ = self._listener.accept()
        connected.setblocking(False)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        self._selector.register(connected, selectors.EVENT_READ, _Connection(connected))

    def _receive(self, connection: _Connection) -> None:
        received = connection.socket.recv(_CHUNK)
        if not received:
            self._close(connection)
            return
        connection.inbox += received
        self._answer(connection)

    def _answer(self, connection: _Connection) -> None:
        """The next whole request, if there is one."""
        end = connection.inbox.find(_HEAD_END)
        if end < 0:
            return
        request_line, *lines = connection.inbox[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        after = end + len(_HEAD_END) + int(headers.get("content-length", 0))
        if len(connection.inbox) < after:
            return
        body, connection.inbox = connection.inbox[end + len(_HEAD_END) : after], connection.inbox[after:]
        if request_line.startswith("GET /counts"):
            self._begin(connection, self._counts(), None)
        else:
            self._begin(connection, *self._answers.answer(headers, body, time.monotonic() - self._began))

    def _begin(self, connection: _Connection, reply: bytes | Page, reader: Reader | None) -> None:
        connection.sent = 0
        if isinstance(reply, Page):
            connection.page, connection.reader, connection.outbox = reply, reader, reply.buffer
        else:
            connection.outbox = reply
        if not self._sent(connection):
            self._selector.modify(connection.socket, selectors.EVENT_WRITE, connection)

    def _send(self, connection: _Connection) -> None:
        if self._sent(connection):
            self._selector.modify(connection.socket, selectors.EVENT_READ, connection)
            self._answer(connection)

    def _sent(self, connection: _Connection) -> bool:
        """Send on; whether all of the reply is on its way. Where its buffer is full, epoll tells of new room."""
        try:
            with memoryview(connection.outbox) as view:
                while connection.sent < len(view):
                    connection.sent += connection.socket.send(view[connection.sent :])
        except BlockingIOError:
            return False
        self._give_back(connection)
        connection.outbox = b""
        return True

    def _give_back(self, connection: _Connection) -> None:
        if connection.page is not None and connection.reader is not None:
            connection.reader.give(connection.page)
            connection.page = None

    def _close(self, connection: _Connection) -> None:
        self._give_back(connection)
        self._selector.unregister(connection.socket)
        connection.socket.close()

    def _counts(self) -> bytes:
        """Calls so far, and three clocks in seconds: the wall's, this process's CPU, its waiting for a CPU."""
        running, waiting = (int(each) / 1e9 for each in Path("/proc/self/schedstat").read_text().split()[:2])
        leases = self._answers.leases
        counts = {
            "calls": self._answers.calls,
            "table_calls": leases.calls,
            "lease_writes": leases.lease_writes,
            "lease_writes_refused": leases.refused,
            "seconds": time.monotonic() - self._began,
            "cpu_seconds": running,
            "waiting_seconds": waiting,
        }
        body = json.dumps(counts).encode()
        return self._answers.heads.of("application/json", len(body)) + body
