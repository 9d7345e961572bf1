"""`leasehold table` on tables of a real server, with rows of the real KCL: what goes, what stays as it was, to the last
attribute, and what the command says and exits with.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from consumer.cli.table import prepare
from consumer.clock import SystemClock
from consumer.testing.ministack import Ministack
from lease_store.dynamodb import DynamoDBLeaseStore
from tests.house.tree import ROOT

pytestmark = pytest.mark.integration

ROWS = json.loads((ROOT / "tests/golden/kcl-3.5.1-tables.json").read_text())["1-two-workers"]
LEASES = [item for item in ROWS if item["entityType"]["S"] == "LEASE"]


class Hurried(SystemClock):
    """A clock on which waiting is over at once and takes its time all the same: nothing here lives meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self._skipped = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self._skipped

    async def sleep(self, seconds: float) -> None:
        self._skipped += max(0.0, seconds)
        await asyncio.sleep(0)


def rows_of(dynamodb: Any, table: str) -> dict[str, Mapping[str, Any]]:
    items = dynamodb.scan(TableName=table, ConsistentRead=True)["Items"]
    return {item["leaseKey"]["S"]: item for item in items}


def test_a_dead_fleet_s_table_is_left_with_its_leases_alone(
    dynamodb: Any, table: str, ministack: Ministack, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(LEASES) < len(ROWS)
    for name, value in ministack.environment.items():
        monkeypatch.setenv(name, value)
    store = DynamoDBLeaseStore(table, create_table=False, endpoint_url=ministack.endpoint_url)
    assert asyncio.run(prepare(store, Hurried(), apply=True)) == 0
    marked = {item["leaseKey"]["S"]: {**item, "leaseholdRules": {"S": "2.x"}} for item in LEASES}
    assert rows_of(dynamodb, table) == marked


def command(ministack: Ministack, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "LEASEHOLD_"))}
    return subprocess.run(
        [sys.executable, "-m", "consumer", "table", *arguments],
        check=False,
        cwd=folder,
        env=kept | ministack.environment | {"HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_a_dry_run_is_a_process_that_says_what_it_would_do(
    dynamodb: Any, table: str, ministack: Ministack, tmp_path: Path
) -> None:
    for item in ROWS:
        if item["leaseKey"]["S"] == "Leader" or "lut" in item:  # or it would watch them for two minutes
            dynamodb.delete_item(TableName=table, Key={"leaseKey": item["leaseKey"]})
    before = rows_of(dynamodb, table)
    made = command(ministack, tmp_path, "prepare-2x", "--lease-table", table)
    assert (made.returncode, made.stderr) == (0, "")
    assert f"With --apply: {len(LEASES)} of {len(LEASES)} lease rows of {table} are marked" in made.stdout
    assert "the state 'CLIENT_VERSION_3X'" in made.stdout
    assert rows_of(dynamodb, table) == before


@pytest.mark.parametrize("name", ["prepare-2x", "prepare-peers"])
def test_a_table_that_is_not_there_is_said_and_not_made(
    dynamodb: Any, ministack: Ministack, tmp_path: Path, name: str
) -> None:
    made = command(ministack, tmp_path, name, "--lease-table", "no-such-table", "--apply")
    assert (made.returncode, made.stdout) == (1, "")
    assert "no-such-table" in made.stderr
    assert "Traceback" not in made.stderr
    assert "no-such-table" not in dynamodb.list_tables()["TableNames"]
