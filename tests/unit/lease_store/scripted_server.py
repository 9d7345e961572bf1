"""A DynamoDB endpoint that answers from a script: each request gets the next answer, and every request is kept."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiobotocore.session import AioSession

from lease_store.dynamodb import DynamoDBLeaseStore

Answer = Callable[["ScriptedServer", asyncio.StreamWriter], None]


@dataclass
class ScriptedServer:
    """Answers by operation; what the script does not mention gets ``ACTIVE`` for DescribeTable and fails otherwise."""

    port: int = 0
    script: dict[str, list[Answer]] = field(default_factory=dict)
    requests: list[tuple[str, Any]] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    listener: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def will(self, operation: str, *answers: Answer) -> None:
        """The next answers to ``operation``; the last one stays."""
        self.script[operation] = list(answers)

    def asked_for(self, operation: str) -> list[Any]:
        return [request for asked, request in self.requests if asked == operation]

    def stop_listening(self) -> None:
        """From now on nobody can connect; what is connected stays so."""
        if self.listener is not None:
            self.listener.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                headers = dict(line.lower().split(": ", 1) for line in head.decode().splitlines()[1:] if ": " in line)
                body = await reader.readexactly(int(headers["content-length"]))
                operation = headers["x-amz-target"].rpartition(".")[2]
                operation = next(name for name in OPERATIONS if name.lower() == operation)
                self.requests.append((operation, json.loads(body)))
                answers = self.script.get(operation, [ACTIVE] if operation == "DescribeTable" else [])
                self.asked.set()
                (answers.pop(0) if len(answers) > 1 else answers[0])(self, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


OPERATIONS = (
    "BatchExecuteStatement",
    "BatchGetItem",
    "CreateTable",
    "DeleteItem",
    "DescribeTable",
    "GetItem",
    "PutItem",
    "Query",
    "Scan",
    "UpdateItem",
    "UpdateTable",
)


def raw(status: int, body: bytes, *, content_length: int | None = None, close: bool = False) -> Answer:
    """A reply as it stands on the wire; a content length above the body's, with ``close``, is a reply that was cut."""

    def answer(_: ScriptedServer, writer: asyncio.StreamWriter) -> None:
        length = len(body) if content_length is None else content_length
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: {length}\r\n\r\n"
        writer.write(head.encode() + body)
        if close:
            writer.close()

    return answer


def ok(**body: Any) -> Answer:
    return raw(200, json.dumps(body).encode())


def error(status: int, code: str, message: str = "because", **more: Any) -> Answer:
    kind = f"com.amazonaws.dynamodb.v20120810#{code}"
    return raw(status, json.dumps({"__type": kind, "message": message, **more}).encode())


def hang_up(_: ScriptedServer, writer: asyncio.StreamWriter) -> None:
    """Take the request, then close the connection without a word."""
    writer.close()


def reset(_: ScriptedServer, writer: asyncio.StreamWriter) -> None:
    """Take the request, then reset the connection."""
    linger_not = struct.pack("ii", 1, 0)  # A close without lingering is a reset on the wire.
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_not)
    writer.transport.abort()


def silence(_: ScriptedServer, writer: asyncio.StreamWriter) -> None:
    """Take the request and never answer."""


def table(status: str = "ACTIVE", key: str = "leaseKey", kind: str = "S", sort_key: str | None = None) -> Answer:
    schema = [{"AttributeName": key, "KeyType": "HASH"}]
    definitions = [{"AttributeName": key, "AttributeType": kind}]
    if sort_key:
        schema.append({"AttributeName": sort_key, "KeyType": "RANGE"})
        definitions.append({"AttributeName": sort_key, "AttributeType": "N"})
    return ok(Table={"TableStatus": status, "KeySchema": schema, "AttributeDefinitions": definitions})


ACTIVE = table()


@asynccontextmanager
async def scripted_server() -> AsyncIterator[ScriptedServer]:
    scripted = ScriptedServer()
    scripted.listener = await asyncio.start_server(scripted.serve, "127.0.0.1", 0)
    scripted.port = scripted.listener.sockets[0].getsockname()[1]
    try:
        yield scripted
    finally:
        scripted.listener.close()


SESSION = AioSession()
SESSION.set_credentials("local", "local")


def store_at(url: str, **options: Any) -> DynamoDBLeaseStore:
    """A store of table ``leases`` at ``url``; one session for all of them reads the service's model once."""
    return DynamoDBLeaseStore("leases", session=SESSION, region_name="us-east-1", endpoint_url=url, **options)


@dataclass
class Bench:
    """An open store and the server that it talks to."""

    server: ScriptedServer
    store: DynamoDBLeaseStore
