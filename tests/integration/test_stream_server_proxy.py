"""The proxy in front of a real server: what it passes on, what it keeps, and each thing that it can spoil."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from consumer.testing.faults import Fault, Mangling
from consumer.testing.proxy import Exchange, ProxiedReply, ProxiedRequest, Proxy
from consumer.testing.stream_server import StreamServer


@pytest.fixture
async def server() -> AsyncIterator[StreamServer]:
    async with StreamServer() as running:
        running.log.create_table("orders")
        running.log.create_stream("clicks")
        yield running


@pytest.fixture
async def proxy(server: StreamServer) -> AsyncIterator[Proxy]:
    async with Proxy(server.endpoint_url) as running:
        yield running


def client(endpoint_url: str, service: str = "dynamodbstreams", **settings: Any) -> Any:
    return boto3.client(
        service,
        endpoint_url=endpoint_url,
        region_name="eu-west-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=Config(**{"retries": {"total_max_attempts": 1}, **settings}),
    )


async def listed(proxy: Proxy, **settings: Any) -> dict[str, Any]:
    streams = client(proxy.endpoint_url, **settings)
    reply: dict[str, Any] = await asyncio.to_thread(streams.list_streams)
    return reply


async def put(proxy: Proxy, **settings: Any) -> dict[str, Any]:
    kinesis = client(proxy.endpoint_url, "kinesis", **settings)
    reply: dict[str, Any] = await asyncio.to_thread(
        kinesis.put_record, StreamName="clicks", PartitionKey="a", Data=b"x"
    )
    return reply


def held(server: StreamServer) -> int:
    return len(server.log.stream("clicks").records())


async def test_what_is_not_spoilt_passes_and_is_kept(server: StreamServer, proxy: Proxy) -> None:
    assert len((await listed(proxy))["Streams"]) == 1
    reply = await put(proxy)
    assert held(server) == 1
    first, second = proxy.exchanges
    assert (first.request.service, first.request.operation) == ("dynamodbstreams", "ListStreams")
    assert (second.request.service, second.request.operation) == ("kinesis", "PutRecord")
    assert second.fields["StreamName"] == "clicks"
    assert second.reply is not None
    assert reply["SequenceNumber"].encode() in second.reply.body
    assert second.at >= first.at
    assert proxy.of("PutRecord") == [second]
    assert proxy.faults.calls == {"ListStreams": 1, "PutRecord": 1}


async def test_it_answers_in_the_servers_place(server: StreamServer, proxy: Proxy) -> None:
    denied = "User: x is not authorized to perform: kinesis:PutRecord"
    proxy.faults.arm(Fault.error("AccessDeniedException", "PutRecord", message=denied))
    with pytest.raises(ClientError, match=rf"\(AccessDeniedException\).*{denied}"):
        await put(proxy)
    assert held(server) == 0
    assert proxy.exchanges[0].reply is None
    await put(proxy)
    assert held(server) == 1


@pytest.mark.parametrize("applied", [False, True])
async def test_it_drops_before_or_after_the_server_acted(server: StreamServer, proxy: Proxy, applied: bool) -> None:
    proxy.faults.arm(Fault.drop("PutRecord", applied=applied))
    with pytest.raises(ConnectionClosedError):
        await put(proxy)
    assert held(server) == applied


async def test_it_delays(proxy: Proxy) -> None:
    proxy.faults.arm(Fault.delay(0.5, "ListStreams"), Fault.delay(0.5, "ListStreams"))
    begun = time.monotonic()
    await listed(proxy)
    assert time.monotonic() - begun >= 0.5
    with pytest.raises(ReadTimeoutError):
        await listed(proxy, read_timeout=0.2)


@pytest.mark.parametrize("place", ["proxy", "server"])
async def test_a_call_held_up_on_its_way_is_carried_out_long_after_its_caller_has_gone(
    server: StreamServer, proxy: Proxy, place: str
) -> None:
    answered: asyncio.Queue[Exchange] = asyncio.Queue(10)
    proxy.answered = answered.put_nowait
    (proxy if place == "proxy" else server).faults.arm(Fault.delay(0.4, "PutRecord", applied=False))
    with pytest.raises(ReadTimeoutError):
        await put(proxy, read_timeout=0.1)
    assert (held(server), answered.qsize()) == (0, 0)
    exchange = await answered.get()
    assert held(server) == 1
    assert [exchange] == proxy.of("PutRecord")
    assert exchange.answered_at is not None
    assert exchange.answered_at - exchange.at >= 0.4


async def test_a_call_under_way_reaches_the_server_though_the_proxy_stops(server: StreamServer, proxy: Proxy) -> None:
    proxy.faults.arm(Fault.delay(0.3, "PutRecord", applied=False))
    putting = asyncio.ensure_future(put(proxy))
    while not proxy.exchanges:  # noqa: ASYNC110 - the proxy tells of answers, not of questions
        await asyncio.sleep(0.01)
    await proxy.stop()
    assert held(server) == 1
    assert "SequenceNumber" in await putting


async def test_it_cuts_and_mangles(proxy: Proxy) -> None:
    proxy.faults.arm(Fault.half_body("ListStreams"), Fault.malformed(Mangling.NULL, "ListStreams", path="Streams"))
    assert "Streams" not in await listed(proxy)
    assert "Streams" not in await listed(proxy)
    assert len((await listed(proxy))["Streams"]) == 1


async def test_callables_alter_requests_and_replies(server: StreamServer, proxy: Proxy) -> None:
    def rename(request: ProxiedRequest) -> ProxiedRequest:
        return replace(request, body=request.body.replace(b"clacks", b"clicks"))

    def shout(request: ProxiedRequest, reply: ProxiedReply) -> ProxiedReply:
        return replace(reply, body=reply.body.replace(b"orders", b"ORDERS"))

    proxy.alter_request = rename
    proxy.alter_reply = shout
    kinesis = client(proxy.endpoint_url, "kinesis")
    await asyncio.to_thread(kinesis.put_record, StreamName="clacks", PartitionKey="a", Data=b"x")
    assert held(server) == 1
    assert (await listed(proxy))["Streams"][0]["TableName"] == "ORDERS"


async def test_a_server_that_is_not_there_is_a_502(server: StreamServer, proxy: Proxy) -> None:
    await server.stop()
    with pytest.raises(ClientError) as caught:
        await listed(proxy)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 502


async def test_form_requests_are_known_by_their_action(proxy: Proxy) -> None:
    metrics = client(proxy.endpoint_url, "sts")
    proxy.faults.arm(Fault.drop("GetCallerIdentity", applied=False))
    with pytest.raises(ConnectionClosedError):
        await asyncio.to_thread(metrics.get_caller_identity)
    assert proxy.faults.fired == {"drop": 1}
