"""Ways to get pages of Kinesis over the network and decoded, one a process: ``python -m ... WAY URL``.

Each line on standard input is a turn, an iterator and how many calls; each line on standard output its CPU seconds.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import boto3
import msgspec
from aiobotocore.session import get_session
from botocore.config import Config

from consumer.clock import SystemClock
from consumer.config import DataPath
from consumer.streams.aws_clients import AwsClients
from consumer.streams.sigv4 import Identity, Signer
from consumer.streams.wire import decode_kinesis

__all__ = ["WAYS"]

_TARGET: Final = "Kinesis_20131202.GetRecords"
_CONTENT_TYPE: Final = "application/x-amz-json-1.1"
_AT_ONCE: Final = 8  # calls under way of those who can have several
_LENGTH: Final = re.compile(rb"content-length: *([0-9]+)", re.IGNORECASE)

_OPEN: Final[list[object]] = []  # until the process ends

Ask = Callable[[str], Awaitable[object]]


def bare_socket(url: str) -> Callable[[str, int], None]:
    """One blocking socket, no signature, one buffer: the limit."""
    place = urlsplit(url)
    connection = socket.create_connection((place.hostname or "", place.port or 80))
    buffer = bytearray(1 << 23)
    view = memoryview(buffer)

    def ask(iterator: str) -> object:
        body = msgspec.json.encode({"ShardIterator": iterator, "Limit": 1000})
        start = b"POST / HTTP/1.1\r\nX-Amz-Target: %b\r\nContent-Type: %b\r\n" % (
            _TARGET.encode(),
            _CONTENT_TYPE.encode(),
        )
        connection.sendall(b"%bContent-Length: %d\r\n\r\n%b" % (start, len(body), body))
        got, first = 0, -1
        while first < 0:
            got += connection.recv_into(view[got:])
            first = buffer.find(b"\r\n\r\n", 0, got)
        found = _LENGTH.search(buffer, 0, first)
        assert found is not None
        end = first + 4 + int(found[1])
        while got < end:
            got += connection.recv_into(view[got:])
        return decode_kinesis(view[first + 4 : end])

    return lambda iterator, calls: _one_by_one(ask, iterator, calls)


def boto3_client(url: str) -> Callable[[str, int], None]:
    """As people call it."""
    client = boto3.client("kinesis", endpoint_url=url, config=Config(retries={"total_max_attempts": 1}))
    return lambda iterator, calls: _one_by_one(lambda each: client.get_records(ShardIterator=each), iterator, calls)


async def _ours(data_path: DataPath, url: str) -> Ask:
    clients = AwsClients(("kinesis",), "kinesis:x", clock=SystemClock(), session=get_session(), region_name=None)
    opened = clients.open(data_path)
    await opened.__aenter__()
    _OPEN.append(opened)

    async def ask(iterator: str) -> object:
        request = {"ShardIterator": iterator, "Limit": 1000}
        return await clients.get_records("kinesis", request, resource="kinesis:x", shard_id="x")

    return ask


async def _aiohttp(receive: Callable[[aiohttp.ClientResponse], Awaitable[Any]], url: str) -> Ask:
    """An aiohttp session with all that it does for others switched off, and our signer."""
    constant = {"X-Amz-Target": _TARGET, "Content-Type": _CONTENT_TYPE, "Accept-Encoding": "identity"}
    signer = Signer("POST", url, constant, region="us-east-1", service="kinesis")
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=100, keepalive_timeout=12),
        timeout=aiohttp.ClientTimeout(sock_connect=3, sock_read=10),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers={"User-Agent", "Accept", "Content-Type"},
        read_bufsize=1 << 22,
    )

    async def ask(iterator: str) -> object:
        body = msgspec.json.encode({"ShardIterator": iterator, "Limit": 1000})
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        signed = {"X-Amz-Date": stamp, "Authorization": signer.authorization(Identity("key", "secret"), stamp, body)}
        async with session.post(url, data=body, headers={**constant, **signed}, allow_redirects=False) as response:
            return decode_kinesis(await receive(response))

    return ask


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    return await response.read()


class _OneBuffer:
    """Small blocks off the socket, which malloc need not get from the system anew, copied into one buffer."""

    def __init__(self) -> None:
        self._free: list[bytearray] = []

    async def __call__(self, response: aiohttp.ClientResponse) -> bytes | memoryview:
        length = response.content_length or 0
        if length < 1 << 16 or response.connection is None or response.connection.transport is None:
            return await response.read()
        response.connection.transport.max_size = 1 << 16  # type: ignore[attr-defined]
        buffer = self._free.pop() if self._free else bytearray(1 << 21)
        got = 0
        async for block in response.content.iter_any():
            buffer[got : got + len(block)] = block
            got += len(block)
        self._free.append(buffer)
        return memoryview(buffer)[:got]  # Kinesis' records are copies: nobody looks into it later


def on_loop(make: Callable[[str], Awaitable[Ask]]) -> Callable[[str], Callable[[str, int], None]]:
    """Several calls at once on an event loop."""

    def begin(url: str) -> Callable[[str, int], None]:
        loop = asyncio.new_event_loop()
        ask = loop.run_until_complete(make(url))  # type: ignore[arg-type]

        async def several(iterator: str, calls: int) -> None:
            for _ in range(calls // _AT_ONCE):
                await ask(iterator)

        async def turn(iterator: str, calls: int) -> None:
            await asyncio.gather(*(several(iterator, calls) for _ in range(_AT_ONCE)))

        return lambda iterator, calls: loop.run_until_complete(turn(iterator, calls))

    return begin


def _one_by_one(ask: Callable[[str], object], iterator: str, calls: int) -> None:
    for _ in range(calls):
        ask(iterator)


WAYS: Final[dict[str, Callable[[str], Callable[[str, int], None]]]] = {
    "a bare socket": bare_socket,
    "ours, direct": on_loop(lambda url: _ours("auto", url)),
    "ours, through botocore": on_loop(lambda url: _ours("plain", url)),
    "aiohttp and our signer": on_loop(lambda url: _aiohttp(_whole, url)),
    "the same, into one buffer": on_loop(lambda url: _aiohttp(_OneBuffer(), url)),
    "boto3": boto3_client,
}


def main() -> None:
    """Turns, until standard input ends."""
    _, way, url = sys.argv
    os.environ.update(AWS_ENDPOINT_URL=url, AWS_ACCESS_KEY_ID="key", AWS_SECRET_ACCESS_KEY="secret")
    os.environ["AWS_DEFAULT_REGION"] = "us-east-1"
    turn = WAYS[way](url)
    for line in sys.stdin:
        iterator, calls = line.split()
        began = time.process_time()
        turn(iterator, int(calls))
        print(time.process_time() - began, flush=True)


if __name__ == "__main__":
    main()
