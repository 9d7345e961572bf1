"""`leasehold doctor` as a process on tables of the real KCL: it reads, says what is there, and writes nothing."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from consumer.testing.faults import Fault
from consumer.testing.ministack import Ministack
from consumer.testing.proxy import Proxy
from lease_store.attributes import KEY_ATTRIBUTES, LEASE_KEY
from lease_store.dynamodb_expressions import create_table_request
from tests.golden import recordings
from tests.house.tree import ROOT

pytestmark = pytest.mark.integration

ROWS = json.loads((ROOT / "tests/golden/kcl-3.5.1-tables.json").read_text())["1-two-workers"]
READS = {"DescribeTable", "Scan", "Query", "GetItem"}
WITHIN_SECONDS = 30.0


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "consumer", "doctor", *arguments]


def environment(ministack: Ministack, folder: Path, endpoint_url: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "LEASEHOLD_"))}
    return kept | ministack.environment | {"AWS_ENDPOINT_URL": endpoint_url, "HOME": str(folder)}


async def examine(
    ministack: Ministack, folder: Path, *arguments: str, faults: tuple[Fault, ...] = ()
) -> tuple[int | None, str, str, set[str]]:
    """Exit code, output, errors, and the operations it asked for."""
    async with Proxy(ministack.endpoint_url) as proxy:
        for fault in faults:
            proxy.faults.arm(fault)
        process = await asyncio.create_subprocess_exec(
            *command(*arguments),
            cwd=folder,
            env=environment(ministack, folder, proxy.endpoint_url),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(WITHIN_SECONDS):
                out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return process.returncode, out.decode(), err.decode(), {each.request.operation for each in proxy.exchanges}


async def test_a_table_of_the_kcl_is_told_and_nothing_is_written(
    ministack: Ministack, tmp_path: Path, table: str, dynamodb: Any
):
    code, out, err, asked = await examine(ministack, tmp_path, "--table", table, "--watch", "1")
    assert (code, err) == (0, "")
    assert f"table       {table}\n" in out
    assert "mode        leader, since its row 'Migration3.0' says CLIENT_VERSION_3X\n" in out
    assert "workers     w1: KCL, 2 leases, nothing of it moved\n" in out
    assert "verdict     a worker may join\n" in out
    assert asked <= READS, asked
    left = dynamodb.scan(TableName=table)["Items"]
    assert sorted(left, key=lambda item: item["leaseKey"]["S"]) == sorted(ROWS, key=lambda item: item["leaseKey"]["S"])


async def test_json_is_one_object_with_all_that_the_text_says(ministack: Ministack, tmp_path: Path, table: str):
    code, out, err, _ = await examine(ministack, tmp_path, "--table", table, "--json")
    found = json.loads(out)
    assert (code, err, found["is_joinable"], found["mode"]) == (0, "", True, "leader")
    assert [worker["worker_id"] for worker in found["workers"]] == ["w1", "w2"]
    assert found["locks"][0]["owner"] == "w1"


async def test_a_table_that_is_not_there_is_a_new_group_and_is_not_made(
    ministack: Ministack, tmp_path: Path, dynamodb: Any
):
    code, out, err, asked = await examine(ministack, tmp_path, "--table", "app-of-nobody")
    assert (code, err) == (0, "")
    assert "it does not exist yet" in out
    assert asked == {"DescribeTable"}
    assert "app-of-nobody" not in dynamodb.list_tables()["TableNames"]


async def test_a_table_that_is_no_lease_table_can_not_be_joined(ministack: Ministack, tmp_path: Path, dynamodb: Any):
    name = f"orders-{uuid4().hex[:8]}"
    key = [{"AttributeName": "pk", "KeyType": "HASH"}]
    types = [{"AttributeName": "pk", "AttributeType": "S"}]
    dynamodb.create_table(TableName=name, KeySchema=key, AttributeDefinitions=types, BillingMode="PAY_PER_REQUEST")
    code, out, _, _ = await examine(ministack, tmp_path, "--table", name)
    assert code == 1
    assert f"refused     Table {name} is not a lease table" in out


async def test_one_look_finds_the_tables_that_an_older_kcl_called_after_its_application(
    ministack: Ministack, tmp_path: Path, dynamodb: Any
):
    name, app = f"leases-{uuid4().hex[:8]}", f"app-{uuid4().hex[:8]}"
    dynamodb.create_table(**create_table_request(name))
    for recorded, place, rows in recordings.tables():
        if not recorded.startswith("kcl-3.3.0 1-one-worker"):
            continue
        table = {"leases": name, "coordinator": f"{app}-CoordinatorState", "metrics": f"{app}-WorkerMetricStats"}[place]
        if place != "leases":
            request = json.loads(json.dumps(create_table_request(table)).replace(LEASE_KEY, KEY_ATTRIBUTES[place]))
            dynamodb.create_table(**request)
        for row in rows:
            dynamodb.put_item(TableName=table, Item=row)
    code, out, _, _ = await examine(ministack, tmp_path, "--table", name, "--app", app)
    assert code == 0
    assert "layout      legacy tables: the lock in the legacy coordinator table" in out
    code, out, _, _ = await examine(ministack, tmp_path, "--table", name)
    assert "mode        2x" in out  # not told the application's name, it can't know of them


async def test_a_right_that_is_missing_is_named(ministack: Ministack, tmp_path: Path, table: str):
    denied = Fault.error("AccessDeniedException", "Scan", service="dynamodb", times=100)
    code, out, err, _ = await examine(ministack, tmp_path, "--table", table, faults=(denied,))
    assert (code, out) == (1, "")
    assert "dynamodb:Scan" in err
    assert "Traceback" not in err


def test_on_a_narrow_terminal_no_line_is_broken_by_the_terminal(ministack: Ministack, tmp_path: Path, table: str):
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
    given = environment(ministack, tmp_path, ministack.endpoint_url)
    given.pop("COLUMNS", None)
    process = subprocess.Popen(command("--table", table), env=given, stdout=its, stderr=subprocess.PIPE, stdin=its)
    os.close(its)
    told = b""
    try:
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # Linux says so of a terminal whose other end was closed
                break
            if not piece:
                break
            told += piece
        assert process.wait(WITHIN_SECONDS) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(ours)
        assert process.stderr is not None
        process.stderr.close()
    lines = told.decode().splitlines()
    assert "made by" in lines
    assert max(map(len, lines)) <= 40
