"""Who answers over TLS is verified on direct connections as it is by botocore."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from consumer.clock import SystemClock
from consumer.errors import StreamUnreachable
from consumer.streams.aws_clients import AwsClients
from tests.integration.certificates import Authority
from tests.integration.raw_server import Asked, RawServer, reply_of
from tests.integration.stream_sources import SESSION

GOOD = ("good", "IP:127.0.0.1")
RECORDS = [
    {"SequenceNumber": str(number), "PartitionKey": "k", "Data": "eHh4" * 100, "ApproximateArrivalTimestamp": 1.5}
    for number in range(2000)
]
PAGE = json.dumps({"Records": RECORDS, "NextShardIterator": "next", "MillisBehindLatest": 0}).encode()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "trusted")


async def page(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(reply_of(PAGE, "Content-Type: application/x-amz-json-1.1"))


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch, authority: Authority) -> AsyncIterator[RawServer]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.certificate(*GOOD))
    async with RawServer(page, tls=context) as running:
        monkeypatch.setenv("AWS_CA_BUNDLE", str(authority.bundle))
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
        yield running


def new_clients() -> AwsClients:
    return AwsClients(
        ("kinesis",), "kinesis:clicks", clock=SystemClock(), session=SESSION, region_name="eu-west-1"
    )  # fmt: skip


async def records(clients: AwsClients) -> int:
    request = {"ShardIterator": "i", "Limit": 10_000}
    return len((await clients.get_records("kinesis", request, resource="kinesis:clicks", shard_id="shard-1")).records)


async def test_pages_come_over_tls_and_connections_are_kept(server: RawServer) -> None:
    clients = new_clients()
    async with clients.open():
        assert [await records(clients) for _ in range(5)] == [2000] * 5
        assert clients.data_path == "direct"
        assert server.connections == 2, "botocore's one, and one of ours"


@pytest.mark.parametrize(
    ("name", "said"), [("other", "mismatch"), ("past", "expired"), ("stranger", "certificate verify failed")]
)
async def test_who_is_not_the_one_gets_no_request_on_either_way(
    server: RawServer, authority: Authority, tmp_path: Path, name: str, said: str
) -> None:
    signs = Authority(tmp_path / "stranger") if name == "stranger" else authority
    subject = "DNS:other.example.com" if name == "other" else "IP:127.0.0.1"
    certificate = signs.certificate(name, subject, is_past=name == "past")
    assert server.tls is not None
    clients, plain = new_clients(), new_clients()
    async with clients.open(), plain.open("plain"):
        await records(clients)
        await records(clients)
        assert clients.data_path == "direct"
        server.hang_up()
        await server.until(lambda: len(server.ended) == 2)
        server.tls.load_cert_chain(*certificate)
        asked_before = len(server.asked)
        for each in (clients, plain):
            with pytest.raises(StreamUnreachable, match=said):
                await records(each)
        assert len(server.asked) == asked_before
        server.tls.load_cert_chain(*authority.certificate(*GOOD))
        assert [await records(each) for each in (clients, plain)] == [2000, 2000]


async def speak_no_tls(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mail\r\n")
    writer.close()


async def test_what_speaks_no_tls_is_out_of_reach(server: RawServer, monkeypatch: pytest.MonkeyPatch) -> None:
    clients = new_clients()
    async with clients.open():
        await records(clients)
        await records(clients)
        port = int(server.url.rstrip("/").rpartition(":")[2])
        await server.__aexit__()
        async with await asyncio.start_server(speak_no_tls, "127.0.0.1", port):
            with pytest.raises(StreamUnreachable, match="SSL"):
                await records(clients)
            with pytest.raises(StreamUnreachable, match="SSL"):
                await records(clients)
