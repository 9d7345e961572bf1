"""Whatever is wrong with the input of `leasehold run`: a sentence with cause and way out, no traceback, within 15 s."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest

from consumer.testing.faults import Fault
from consumer.testing.ministack import Ministack
from consumer.testing.proxy import Proxy
from consumer.testing.server_thread import StreamServerThread

pytestmark = pytest.mark.integration

WITHIN_SECONDS = 15
PROCESSOR = """
from consumer import RecordProcessor

class Orders(RecordProcessor):
    def process_records(self, records, checkpointer):
        pass

class NeedsBoth(Orders):
    requires = {"old_image", "new_image"}
"""


@dataclass
class Ended:
    """How a command ended."""

    code: int
    err: str

    def says(self, *patterns: str, code: int) -> None:
        """The exit code, every pattern in what it said, each line a sentence, and no traceback."""
        assert self.code == code, self.err
        assert "Traceback" not in self.err
        for pattern in patterns:
            assert re.search(pattern, self.err), self.err


class Command:
    """`leasehold run` in a folder of its own, with an environment that holds nothing of this machine's AWS settings."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "LEASEHOLD_"))}
        self.environment = kept | {"HOME": str(folder), "AWS_EC2_METADATA_DISABLED": "true"} | environment

    def run(
        self, source: str, *flags: str, processor: str = "orders:Orders", app: str | None = None, **extra: str
    ) -> Ended:
        """Run it to its end; ``extra`` are further variables, an empty one is taken out."""
        command = [
            sys.executable,
            "-m",
            "consumer",
            "run",
            processor,
            "--source",
            source,
            "--app",
            app or f"app-{uuid4().hex}",
        ]
        command += ["--initial-position", "TRIM_HORIZON", *flags]
        environment = {name: value for name, value in (self.environment | extra).items() if value}
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=WITHIN_SECONDS,
            check=False,
        )
        return Ended(done.returncode, done.stderr)


@pytest.fixture
def streams() -> Iterator[StreamServerThread]:
    with StreamServerThread() as server:
        yield server


@pytest.fixture
def command(tmp_path: Path, ministack: Ministack) -> Command:
    (tmp_path / "orders.py").write_text(PROCESSOR)
    return Command(tmp_path, ministack.environment)


@pytest.fixture
def dynamodb(ministack: Ministack) -> Any:
    return boto3.client(
        "dynamodb",
        endpoint_url=ministack.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",
    )


def make_table(dynamodb: Any, view_type: str | None, key: str = "pk") -> str:
    """A table of this test's own; its name."""
    name = f"table-{uuid4().hex}"
    stream = {"StreamSpecification": {"StreamEnabled": True, "StreamViewType": view_type}} if view_type else {}
    dynamodb.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        **stream,
    )
    return name


def test_no_credentials_names_the_variables_to_set(command: Command, dynamodb: Any):
    table = make_table(dynamodb, "NEW_AND_OLD_IMAGES")
    ended = command.run(f"dynamodb:{table}", AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
    ended.says("(?i)credentials", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", code=1)


def test_no_region_names_the_variable_to_set(command: Command):
    command.run("dynamodb:orders", AWS_DEFAULT_REGION="").says("(?i)region", "AWS_(DEFAULT_)?REGION", code=1)


@pytest.mark.parametrize("source", ["dynamodb:orders", "kinesis:clicks"])
def test_an_endpoint_that_nobody_answers_is_named(command: Command, source: str):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        closed = f"http://127.0.0.1:{unused.getsockname()[1]}"
    ended = command.run(source, AWS_ENDPOINT_URL=closed)
    ended.says(re.escape(closed), "(?i)reach|connect", code=1)


def test_a_lease_table_endpoint_that_nobody_answers_is_named(command: Command, streams: StreamServerThread):
    arn = streams.create_table("orders")
    with socket.create_server(("127.0.0.1", 0)) as unused:
        closed = f"http://127.0.0.1:{unused.getsockname()[1]}"
    ended = command.run(arn, AWS_ENDPOINT_URL_DYNAMODB=closed, AWS_ENDPOINT_URL_DYNAMODB_STREAMS=streams.endpoint_url)
    ended.says("(?i)lease table", "(?i)reach|connect", code=1)


def test_a_table_that_is_not_there(command: Command):
    command.run("dynamodb:no-such-table").says(
        "no-such-table", "(?i)does not exist|no table|not found|there is no", code=1
    )


def test_a_table_without_a_stream(command: Command, dynamodb: Any):
    table = make_table(dynamodb, None)
    command.run(f"dynamodb:{table}").says(table, "has no stream", "StreamSpecification|stream-specification", code=1)


def test_a_stream_that_is_switched_off(command: Command, dynamodb: Any, streams: StreamServerThread):
    arn = streams.create_table("orders")
    streams.call(streams.server.log.tables.disable, "orders")
    ended = command.run(arn, AWS_ENDPOINT_URL_DYNAMODB_STREAMS=streams.endpoint_url)
    ended.says("(?i)switched off|disabled", "StreamSpecification|update-table", code=1)


def test_a_stream_that_lacks_what_the_processor_requires(command: Command, dynamodb: Any):
    table = make_table(dynamodb, "NEW_IMAGE")
    ended = command.run(f"dynamodb:{table}", processor="orders:NeedsBoth")
    ended.says("requires old_image", "NEW_IMAGE", "NEW_AND_OLD_IMAGES", code=3)


def test_a_kinesis_stream_that_is_not_there(command: Command, streams: StreamServerThread):
    ended = command.run("kinesis:no-such-stream", AWS_ENDPOINT_URL_KINESIS=streams.endpoint_url)
    ended.says("no-such-stream", "(?i)does not exist|no stream|not found|there is no", code=1)


@pytest.mark.parametrize(
    "source",
    [
        "orders",
        "s3:orders",
        "arn:aws:dynamodb:us-east-1:1:table/orders",
        "arn:aws:sqs:us-east-1:123456789012:q",
        "kinesis:",
    ],
)
def test_a_malformed_source_is_told_the_forms(command: Command, source: str):
    command.run(source).says(re.escape(source), "dynamodb:TABLE, kinesis:STREAM", code=3)


def test_everything_wrong_is_told_at_once(command: Command):
    ended = command.run(
        "orders",
        *("--failover-seconds", "0.1", "--batch-size", "many", "--http", "9464"),
        processor="orders:Nothing",
        LEASEHOLD_ON_TRIMMED="ignore",
    )
    ended.says(
        "--source: 'orders'", "--failover-seconds 0.1", "'many'", "HOST:PORT", "no 'Nothing'", "LEASEHOLD_ON_TR", code=3
    )
    assert all(line.startswith("leasehold: ") for line in ended.err.splitlines())


def test_a_processor_that_raises_is_told_before_anything_is_connected(command: Command):
    (command.folder / "broken.py").write_text(
        "from orders import Orders\nclass Broken(Orders):\n  def __init__(self): 1 / 0\n"
    )
    command.run("dynamodb:orders", processor="broken:Broken").says("ZeroDivisionError", r"broken.py, line 3", code=3)


def test_a_lease_table_that_is_none(command: Command, dynamodb: Any):
    table, other = make_table(dynamodb, "NEW_IMAGE"), make_table(dynamodb, None)
    ended = command.run(f"dynamodb:{table}", "--lease-table", other)
    ended.says(other, "leaseKey", code=3)


@pytest.mark.parametrize(
    "row",
    [
        {"leaseKey": {"S": "Leader"}, "entityType": {"S": "LEADER"}, "leaseOwner": {"S": "java"}},
        {
            "leaseKey": {"S": "shardId-00000001700000000000-aaaaaaaa"},
            "leaseCounter": {"N": "7"},
            "checkpoint": {"S": "TRIM_HORIZON"},
            "checkpointSubSequenceNumber": {"N": "0"},
            "ownerSwitchesSinceCheckpoint": {"N": "0"},
            "leaseOwner": {"S": "java-worker"},
        },
        {
            "leaseKey": {"S": "shardId-00000001700000000000-aaaaaaaa"},
            "leaseCounter": {"N": "7"},
            "checkpoint": {"S": "TRIM_HORIZON"},
            "checkpointSubSequenceNumber": {"N": "0"},
            "ownerSwitchesSinceCheckpoint": {"N": "0"},
            "leaseholdStream": {
                "S": "arn:aws:dynamodb:us-east-1:000000000000:table/other/stream/2026-01-01T00:00:00.000"
            },
            "leaseholdCreatedAt": {"S": "somewhere"},
        },
    ],
    ids=["a leader's lock of an unknown shape", "a KCL's lease of another stream", "another stream's lease"],
)
def test_a_lease_table_that_others_keep_is_refused_and_left_alone(command: Command, dynamodb: Any, row: dict[str, Any]):
    table, leases = make_table(dynamodb, "NEW_IMAGE"), make_table(dynamodb, None, key="leaseKey")
    dynamodb.put_item(TableName=leases, Item=row)
    ended = command.run(f"dynamodb:{table}", "--lease-table", leases)
    ended.says(leases, "--lease-table", code=3)
    assert dynamodb.scan(TableName=leases)["Items"] == [row]


@pytest.mark.parametrize(
    ("operation", "action"),
    [
        ("DescribeTable", "dynamodb:DescribeTable"),
        ("DescribeStream", "dynamodb:DescribeStream"),
        ("CreateTable", "dynamodb:CreateTable"),
        ("Scan", "dynamodb:Scan"),
        ("PutItem", "dynamodb:PutItem"),
        ("UpdateItem", "dynamodb:UpdateItem"),
        ("GetShardIterator", "dynamodb:GetShardIterator"),
        ("GetRecords", "dynamodb:GetRecords"),
    ],
)
async def test_a_missing_permission_names_the_action(
    command: Command, dynamodb: Any, ministack: Ministack, operation: str, action: str
):
    table = make_table(dynamodb, "NEW_IMAGE")
    async with Proxy(ministack.endpoint_url) as proxy:
        # As DynamoDB spells it; times=None: a permission does not come back by trying again.
        denied = f"User: arn:aws:iam::123456789012:user/u is not authorized to perform: {action} on resource: r"
        proxy.faults.arm(Fault.error("AccessDeniedException", operation, message=denied, times=None))
        ended = await asyncio.to_thread(command.run, f"dynamodb:{table}", AWS_ENDPOINT_URL=proxy.endpoint_url)
    ended.says(action, "(?i)permission|not allowed|allow", code=1)


async def test_a_missing_permission_on_kinesis_names_the_action(command: Command, streams: StreamServerThread):
    streams.create_stream("clicks")
    denied = "User: u is not authorized to perform: kinesis:ListShards on resource: r"
    async with Proxy(streams.endpoint_url) as proxy:
        proxy.faults.arm(Fault.error("AccessDeniedException", "ListShards", message=denied, times=None))
        ended = await asyncio.to_thread(command.run, "kinesis:clicks", AWS_ENDPOINT_URL_KINESIS=proxy.endpoint_url)
    ended.says("kinesis:ListShards", "(?i)permission|not allowed|allow", code=1)


def test_a_port_in_use(command: Command, dynamodb: Any):
    table = make_table(dynamodb, "NEW_IMAGE")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ended = command.run(f"dynamodb:{table}", "--http", f"127.0.0.1:{port}")
    ended.says(f"--http 127.0.0.1:{port}", "in use", code=3)
