"""What the tests of both sources share: a clock to move, settings for a local server, calls by name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from aiobotocore.session import get_session

from consumer.streams import DynamoDBStreamsSource, Page, Position, StreamIdentity
from consumer.testing.stream_server import StreamServer

HORIZON = Position("TRIM_HORIZON")
# Service models are read once, not for each of a hundred tests.
SESSION = get_session()
Place = tuple[StreamIdentity, str, str]


class MovableClock:
    """The server's time: real, plus what a test adds."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time() + self.ahead

    def wall(self) -> float:
        return 1_795_000_000.25 + self.ahead

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def timeout(self, seconds: float | None) -> asyncio.Timeout:
        return asyncio.timeout(seconds)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, callback)


def point_at(monkeypatch: pytest.MonkeyPatch, server: StreamServer) -> None:
    """Botocore's own settings for a local server."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint_url)


def put(server: StreamServer, *numbers: int) -> list[str]:
    return [server.log.put_item("orders", new_image={"pk": f"k{number}", "n": number}) for number in numbers]


def numbers(page: Page) -> list[str]:
    return [record.sequence_number for record in page.records]


async def only_shard(source: DynamoDBStreamsSource) -> tuple[StreamIdentity, str]:
    stream = await source.resolve()
    (shard,) = (await source.list_shards(stream)).shards
    return stream, shard.id


async def read_place(source: DynamoDBStreamsSource) -> Place:
    stream, shard_id = await only_shard(source)
    return stream, shard_id, (await source.iterator(stream, shard_id, HORIZON)).iterator


async def ask(source: DynamoDBStreamsSource, call: str, place: Place) -> object:
    """One call of the source by its name."""
    stream, shard_id, iterator = place
    if call == "resolve":
        return await source.resolve()
    if call == "list_shards":
        return await source.list_shards(stream)
    if call == "children":
        return await source.children(stream, shard_id)
    if call == "iterator":
        return await source.iterator(stream, shard_id, HORIZON)
    return await source.read(stream, shard_id, iterator, 10)
