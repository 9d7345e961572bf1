"""Catalogue, usability: the README's own processor and command, run as a process on a table that was just made."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest

from consumer.cli.main import main
from consumer.clock import SystemClock
from consumer.config import InitialPosition, WorkerConfig
from consumer.hooks import CheckpointStored
from consumer.processor import RecordProcessor
from consumer.testing.memory_source import MemoryRecordSource
from consumer.testing.ministack import Ministack
from consumer.testing.proxy import Exchange, Proxy
from consumer.testing.shard_log import ShardLog
from consumer.worker import Outcome, Worker
from lease_store import DynamoDBLeaseStore
from tests.house.tree import ROOT
from tests.integration.policy import Policy
from tests.integration.table_writes import table_of

pytestmark = pytest.mark.integration

CLOCK = SystemClock()
ITEMS = [{"id": "o-1", "state": "new"}, {"id": "o-2", "state": '{"action": "shutdown"}\nsecond line'}]
READS = {
    "DescribeTable",
    "DescribeStream",
    "GetShardIterator",
    "GetRecords",
    "GetItem",
    "BatchGetItem",
    "Scan",
    "Query",
}


@dataclass
class Evidence:
    """What one run of the quick start left: its code, its output, every call that it made."""

    code: list[str]
    command: str
    out: list[str] = field(default_factory=list)
    log: str = ""
    exit_code: int | None = None
    seconds: float = 0.0
    calls: list[Exchange] = field(default_factory=list)


def _quick_start() -> Evidence:
    readme = (ROOT / "README.md").read_text()
    code = re.search(r"^```python\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    command = re.search(r"^leasehold (run .*)$", readme, re.MULTILINE)
    assert code
    assert command
    return Evidence(code[1].splitlines(), command[1])


def _make_table(dynamodb: Any) -> None:
    dynamodb.create_table(
        TableName="orders",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )


async def _follow(found: Evidence, folder: Path, server: Ministack, put: Any) -> None:
    async with Proxy(server.endpoint_url) as proxy:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "LEASEHOLD_"))}
        given = {"AWS_ENDPOINT_URL": proxy.endpoint_url, "PYTHONUNBUFFERED": "1"}
        began = CLOCK.monotonic()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "consumer", *shlex.split(found.command)),
            cwd=folder,
            env=kept | server.environment | given,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stdout
        try:
            async with CLOCK.timeout(60.0):
                for item in ITEMS:
                    await asyncio.to_thread(put, Item=item)
                    found.out.append((await process.stdout.readline()).decode())
                found.seconds = CLOCK.monotonic() - began
                await CLOCK.sleep(1.5)  # an idle look at everything, too
                process.terminate()
                rest, log = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        found.out += rest.decode().splitlines(keepends=True)
        found.log, found.exit_code, found.calls = log.decode(), process.returncode, list(proxy.exchanges)


@pytest.fixture(scope="module")
def ran(ministack: Ministack, tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """The quick start, once; ``ministack`` only says that there is one: names are the README's, so it gets its own."""
    folder = tmp_path_factory.mktemp("quick-start")
    found = _quick_start()
    (folder / "orders.py").write_text("\n".join(found.code))
    with Ministack.start() as server:
        session = boto3.Session("local", "local", region_name="us-east-1")
        made = {"endpoint_url": server.endpoint_url}
        _make_table(session.client("dynamodb", **made))
        asyncio.run(_follow(found, folder, server, session.resource("dynamodb", **made).Table("orders").put_item))
    return found


def test_c79_from_a_table_to_its_printed_changes_in_less_than_ten_lines(ran: Evidence) -> None:
    assert len([line for line in [*ran.code, ran.command] if line.strip()]) < 10
    assert ran.exit_code == 0, ran.log
    assert ran.seconds < 60.0
    assert [line.split(" ", 1)[0] for line in ran.out] == ["INSERT", "INSERT"]
    assert "'o-1'" in ran.out[0]


def test_c85_what_a_handler_prints_is_all_of_stdout_and_the_log_is_whole(ran: Evidence) -> None:
    assert ran.out == [f"INSERT {{'id': {item['id']!r}}} {item!r}\n" for item in ITEMS]
    lines = ran.log.splitlines()
    assert len(lines) >= 4
    assert [line for line in lines if not re.match(r"\d{4}-\d\d-\d\d.* (INFO|WARNING) +leasehold", line)] == []


def test_c78_a_default_run_creates_the_lease_table_and_nothing_else(ran: Evidence) -> None:
    operations = {call.request.operation for call in ran.calls}
    created = [call.fields["TableName"] for call in ran.calls if call.request.operation == "CreateTable"]
    assert created == ["orders-audit"]
    written = {table_of(call) for call in ran.calls if call.request.operation in operations - READS}
    assert written == {"orders-audit"}
    assert operations - READS <= {"CreateTable", "PutItem", "UpdateItem", "DeleteItem", "BatchExecuteStatement"}


def test_c89_a_run_needs_no_right_beyond_the_policy(ran: Evidence) -> None:
    """Each call is replayed against the policy as a deployer fills it in, with what it was about."""
    (stream,) = {call.fields["StreamArn"] for call in ran.calls if "StreamArn" in call.fields}
    tables, _, _ = stream.partition("orders/stream/")
    _, _, _, region, account, _ = tables.split(":")
    policy = Policy(
        {
            "REGION": region,
            "ACCOUNT": account,
            "SOURCE_TABLE": "orders",
            "LEASE_TABLE": "orders-audit",
            "APP": "orders-audit",
        }
    )
    # GetRecords names no more than an iterator; there is one stream that it can be of.
    lacking = {policy.lacks(call, tables=tables, otherwise=stream) for call in ran.calls}
    assert lacking == {None}


def test_c90_the_table_that_table_schema_describes_is_accepted_by_a_worker_that_creates_none(
    ministack: Ministack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in ministack.environment.items():
        monkeypatch.setenv(name, value)
    assert main(["table-schema", "made-beforehand"]) == 0
    schema = json.loads(capsys.readouterr().out)
    boto3.client("dynamodb").create_table(**schema)
    log = ShardLog(CLOCK.wall)
    log.create_table("orders")
    log.put_item("orders", new_image={"pk": "a"})
    config = WorkerConfig(app="any", initial_position=InitialPosition("TRIM_HORIZON"), create_table=False)

    async def work() -> None:
        seen = asyncio.Event()
        source = MemoryRecordSource(log, "dynamodb:orders", clock=CLOCK)
        store = DynamoDBLeaseStore("made-beforehand", create_table=False)
        told = [lambda fact: seen.set() if isinstance(fact, CheckpointStored) else None]
        async with CLOCK.timeout(30.0), Worker(source, store, _Reads, config, hooks=told) as worker:
            running = asyncio.ensure_future(worker.run())
            await asyncio.wait([running, waits := asyncio.ensure_future(seen.wait())], return_when="FIRST_COMPLETED")
            assert waits.done()
            worker.stop()
            assert await running is Outcome.CLEAN

    asyncio.run(work())


class _Reads(RecordProcessor):
    async def process_records(self, records: Any, checkpointer: Any) -> None:
        return None
