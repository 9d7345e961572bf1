"""The fixtures as a user's project has them, and the package's lazy names."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import consumer.testing

USERS_TESTS = """
    import asyncio
    import boto3
    import pytest
    from consumer.testing import Fault, StreamOptions

    pytest_plugins = ["consumer.testing.pytest_plugin"]

    @pytest.fixture
    def stream_options():
        return StreamOptions(empty_last_page=True)

    def test_with_a_server(stream_server):
        arn = stream_server.create_table("orders")
        stream_server.put_item("orders", new_image={"pk": "a"})
        streams = boto3.client(
            "dynamodbstreams", endpoint_url=stream_server.endpoint_url, region_name="eu-west-1",
            aws_access_key_id="local", aws_secret_access_key="local",
        )
        (shard,) = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]
        place = {"StreamArn": arn, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
        stream_server.rotate("orders")
        page = streams.get_records(ShardIterator=streams.get_shard_iterator(**place)["ShardIterator"])
        assert len(page["Records"]) == 1
        assert "NextShardIterator" in page

    def test_in_memory(shard_log, memory_source, stream_faults):
        shard_log.create_table("orders")
        source = memory_source("dynamodb:orders")

        async def listed():
            async with source.open():
                return await source.list_shards(await source.resolve())

        assert len(asyncio.run(listed()).shards) == 1
        assert stream_faults.calls["DescribeStream"] == 2
"""


def test_fixtures_work_in_a_project_without_asyncio_plugins(tmp_path: Path) -> None:
    (tmp_path / "test_users.py").write_text(textwrap.dedent(USERS_TESTS))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "-W", "error", "."]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "2 passed" in ended.stdout


def test_names_are_imported_on_first_use() -> None:
    script = "import sys, consumer.testing; print('aiohttp' in sys.modules); consumer.testing.StreamServer"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout.strip() == "False"
    for name in consumer.testing.__all__:
        assert getattr(consumer.testing, name).__name__ == name
    assert dir(consumer.testing) == sorted(consumer.testing.__all__)
