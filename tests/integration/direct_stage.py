"""What the tests of direct calls share: a canned page, sessions that cost little, clients of one stream, one read."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from aiobotocore.session import AioSession

from consumer.clock import SystemClock
from consumer.streams.aws_clients import AwsClients
from tests.integration.raw_server import Asked, reply_of
from tests.integration.stream_sources import SESSION

PAGE: Final = b'{"Records": [], "NextShardIterator": "next", "MillisBehindLatest": 0}'
REQUEST: Final = {"ShardIterator": "a/+=é", "Limit": 10}
JSON: Final = "Content-Type: application/x-amz-json-1.1"


async def page(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(reply_of(PAGE, JSON))


class WrongClock(SystemClock):
    """This machine's clock, ``ahead`` of the service's by so many seconds."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def wall(self) -> float:
        return super().wall() + self.ahead


def bare_session(kind: type[AioSession] = AioSession) -> AioSession:
    made = kind()
    made.register_component("data_loader", SESSION.get_component("data_loader"))
    return made


def session_of(token: str | None = None, kind: type[AioSession] = AioSession) -> AioSession:
    made = bare_session(kind)
    made.set_credentials("key", "secret", token)
    return made


def clients_of(session: AioSession, clock: WrongClock | None = None) -> AwsClients:
    return AwsClients(
        ("kinesis",), "kinesis:clicks", clock=clock or WrongClock(), session=session, region_name="eu-west-1"
    )


async def read(clients: AwsClients, **request: Any) -> Any:
    return await clients.get_records("kinesis", REQUEST | request, resource="kinesis:clicks", shard_id="shard-1")
