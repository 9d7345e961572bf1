"""Real writes to a real table on shards that rotate and split; and the server as a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import urllib.request
import uuid
from collections import defaultdict
from typing import Any

import aiohttp
import boto3
import pytest
from botocore.config import Config

from consumer.testing.faults import Fault
from consumer.testing.ministack import Ministack
from consumer.testing.proxy import Proxy
from consumer.testing.server_process import StreamServerProcess
from consumer.testing.stream_server import StreamServer

LOCAL = {"region_name": "us-east-1", "aws_access_key_id": "local", "aws_secret_access_key": "local"}
WAIT_SECONDS = 20.0


def client(endpoint_url: str, service: str) -> Any:
    return boto3.client(service, endpoint_url=endpoint_url, config=Config(read_timeout=10), **LOCAL)


def make_table(ministack: Ministack) -> str:
    name = f"orders-{uuid.uuid4().hex[:8]}"
    client(ministack.endpoint_url, "dynamodb").create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    return name


def write(ministack: Ministack, table: str, first: int, count: int) -> None:
    items = client(ministack.endpoint_url, "dynamodb")
    for n in range(first, first + count):
        items.put_item(TableName=table, Item={"pk": {"S": f"k{n % 7}"}, "n": {"N": str(n)}})


async def until_fed(server: StreamServer, count: int) -> None:
    (feed,) = server.feeds
    async with asyncio.timeout(WAIT_SECONDS):
        while feed.records < count:
            await server.clock.sleep(0.02)


def versions(server: StreamServer, table: str) -> dict[str, list[int]]:
    """The item versions of each key in the order in which a consumer that follows the lineage meets them."""
    found: dict[str, list[int]] = defaultdict(list)
    for _, record in server.log.stream(table).records():
        found[record.entry["dynamodb"]["Keys"]["pk"]["S"]].append(int(record.entry["dynamodb"]["NewImage"]["n"]["N"]))
    return found


@pytest.mark.integration
async def test_real_writes_land_on_rotating_shards_in_order(ministack: Ministack) -> None:
    table = make_table(ministack)
    async with StreamServer() as server:
        arn = await server.feed_from(ministack.endpoint_url, table)
        (described,) = (client(ministack.endpoint_url, "dynamodb").describe_table(TableName=table)["Table"],)
        assert arn == described["LatestStreamArn"]
        await asyncio.to_thread(write, ministack, table, 0, 60)
        await until_fed(server, 60)
        lineage = server.log.stream(table).lineage
        lineage.rotate()
        lineage.split()
        await asyncio.to_thread(write, ministack, table, 60, 60)
        await until_fed(server, 120)
        assert versions(server, table) == {f"k{k}": list(range(k, 120, 7)) for k in range(7)}
        held = [len(shard) for shard in lineage.shards.values()]
        assert held[:2] == [60, 0]
        assert min(held[2:]) > 0
        last = server.log.stream(table).records()[-1][1].entry
        assert last["eventName"] == "MODIFY"
        assert last["dynamodb"]["OldImage"]["n"] == {"N": "112"}
        assert last["dynamodb"]["SizeBytes"] > 0


@pytest.mark.integration
async def test_the_feed_survives_errors_without_loss_or_repeat(ministack: Ministack) -> None:
    table = make_table(ministack)
    async with Proxy(ministack.endpoint_url) as proxy, StreamServer() as server:
        await server.feed_from(proxy.endpoint_url, table)
        troubles = (Fault.error("InternalServerError", "GetRecords", times=2), Fault.drop("GetRecords"))
        for batch in range(5):
            await asyncio.to_thread(write, ministack, table, batch * 20, 20)
            proxy.faults.arm(*troubles)
            async with asyncio.timeout(WAIT_SECONDS):
                while proxy.faults.armed:
                    await server.clock.sleep(0.02)
        await until_fed(server, 100)
        (feed,) = server.feeds
        assert feed.errors == 15
        assert versions(server, table) == {f"k{k}": list(range(k, 100, 7)) for k in range(7)}
        assert feed.records == 100


@pytest.mark.integration
async def test_a_write_shows_within_a_third_of_a_second(ministack: Ministack) -> None:
    table = make_table(ministack)
    async with StreamServer() as server:
        await server.feed_from(ministack.endpoint_url, table)
        await asyncio.to_thread(write, ministack, table, 0, 1)
        await until_fed(server, 1)
        delays = []
        for n in range(1, 11):
            await asyncio.to_thread(write, ministack, table, n, 1)
            written = time.monotonic()
            await until_fed(server, n + 1)
            delays.append(time.monotonic() - written)
    assert sorted(delays)[len(delays) // 2] < 0.3


# -- the process


def answer(endpoint_url: str, name: str = "state") -> Any:
    with urllib.request.urlopen(f"{endpoint_url}/_stream/{name}", timeout=5) as reply:
        return json.load(reply)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.integration
def test_the_process_serves_what_its_command_line_says_and_stops_on_sigterm() -> None:
    arguments = (
        "--table",
        "orders:id:version",
        "--stream",
        "clicks:3",
        "--rotate-every-seconds",
        "3600",
        "--shards",
        "2",
    )
    with StreamServerProcess.start(*arguments) as server:
        assert server.streams.keys() == {"dynamodb:orders", "kinesis:clicks"}
        streams = client(server.endpoint_url, "dynamodbstreams")
        described = streams.describe_stream(StreamArn=server.streams["dynamodb:orders"])["StreamDescription"]
        assert [key["AttributeName"] for key in described["KeySchema"]] == ["id", "version"]
        assert len(described["Shards"]) == 2
        assert len(answer(server.endpoint_url)["streams"]["kinesis:clicks"][0]["shards"]) == 3
        assert server.stop() == 0
    assert gone(server.pid)


@pytest.mark.integration
def test_the_process_feeds_from_a_real_table(ministack: Ministack) -> None:
    table = make_table(ministack)
    write(ministack, table, 0, 10)
    arguments = ("--feed-from", ministack.endpoint_url, "--table", table, "--region", "us-east-1", "--shards", "2")
    with StreamServerProcess.start(*arguments) as server:
        deadline = time.monotonic() + WAIT_SECONDS
        while answer(server.endpoint_url)["feeds"][0]["records"] < 10:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        (stream,) = answer(server.endpoint_url)["streams"][f"dynamodb:{table}"]
        assert stream["arn"] == server.streams[f"dynamodb:{table}"]
        assert sum(shard["records"] for shard in stream["shards"]) == 10


@pytest.mark.integration
def test_the_process_ends_when_its_parent_is_killed() -> None:
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            textwrap.dedent(
                """
                import time
                from consumer.testing.server_process import StreamServerProcess
                print(StreamServerProcess.start().pid, flush=True)
                time.sleep(60)
                """
            ),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    with parent.stdout as said:
        child = int(said.readline())
    assert not gone(child)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + WAIT_SECONDS
    while not gone(child):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.integration
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--rotate-every-seconds", "0.001"), "rotate_every_seconds"),
        (("--feed-from", "http://127.0.0.1:9", "--table", "orders"), "127.0.0.1:9"),
    ],
)
def test_the_process_says_why_it_can_not_start(arguments: tuple[str, ...], said: str) -> None:
    command = [sys.executable, "-m", "consumer.testing.stream_server", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


# -- speed


async def read_all(server: StreamServer, session: aiohttp.ClientSession, name: str) -> float:
    """Read a stream of one shard to its tip over HTTP; records per second of this process's own CPU time."""
    headers = {"X-Amz-Target": "DynamoDBStreams_20120810.GetRecords"}
    stream = server.log.stream(name)
    token = stream.iterator(stream.listing()[0].id, "TRIM_HORIZON")
    count = 0
    begun = time.process_time()
    while True:
        async with session.post(
            server.endpoint_url, data=json.dumps({"ShardIterator": token}), headers=headers
        ) as reply:
            page = await reply.json(content_type=None)
        if not page["Records"]:
            break
        count += len(page["Records"])
        token = page["NextShardIterator"]
    assert count == len(stream.records())
    return count / (time.process_time() - begun)


@pytest.mark.integration
async def test_full_pages_come_at_twenty_thousand_records_a_second() -> None:
    async with StreamServer() as server, aiohttp.ClientSession() as session:
        server.log.create_table("orders")
        for n in range(10_000):
            server.log.put_item("orders", new_image={"pk": f"k{n}", "n": n, "text": "x" * 100})
        # CPU time and the best of three: the machine may be busy with something else.
        assert max([await read_all(server, session, "orders") for _ in range(3)]) > 20_000
