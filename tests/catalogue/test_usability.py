"""Catalogue, usability: what users install, read, print and are told is what was promised."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.session import get_session

from consumer.cli import metrics_table
from consumer.config import describe_fields
from consumer.errors import LeaseTableThrottled
from consumer.operate.prometheus import PrometheusHook
from consumer.operate.supervisor.page import DESCRIBED
from consumer.processor import RecordProcessor
from consumer.testing.faults import Fault
from deploy import check_wheel
from lease_store import DynamoDBLeaseStore
from lease_store.dynamodb_expressions import create_table_request
from lease_store.item import to_item
from tests.catalogue.recorder import Batch
from tests.catalogue.stage import Group, Stage, staged
from tests.house.tree import ROOT, module_name, modules

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel, installed where there is no index and nothing to fetch from one."""
    folder = tmp_path_factory.mktemp("fresh")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=60)
    install = ["-m", "pip", "--python", folder / "bin/python", "install", "--no-index", "--no-deps", "--quiet", wheel]
    subprocess.run([sys.executable, *install], check=True, timeout=60, env={"PIP_DISABLE_PIP_VERSION_CHECK": "1"})
    return folder


# Imports every module of what is installed, and is ended by the first attempt to reach anything outside the process.
IMPORT_ALL = """
import importlib, pkgutil, sys

OUTWARD = {"socket.connect", "socket.getaddrinfo", "socket.sendto", "subprocess.Popen", "os.exec", "os.posix_spawn"}

def stay_inside(event, arguments):
    if event in OUTWARD:
        raise SystemExit(f"{event}{arguments}")

sys.addaudithook(stay_inside)
import consumer, lease_store

for package in (consumer, lease_store):
    for each in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not each.name.endswith("__main__"):
            importlib.import_module(each.name)
            print(each.name)
"""


def test_c80_the_wheel_installs_without_network_and_fetches_nothing_afterwards(wheel: Path, installed: Path) -> None:
    """Its dependencies are those of the tests' own environment; each is a name that any index may serve."""
    assert wheel.name.endswith("-py3-none-any.whl")  # no build step, no binary, no second download
    assert check_wheel.problems(wheel) == []
    (packages,) = (installed / "lib").glob("python*/site-packages")
    (metadata,) = packages.glob("leasehold-*.dist-info/METADATA")
    required = re.findall(r"^Requires-Dist: (.*)$", metadata.read_text(), re.MULTILINE)
    assert required
    assert [each for each in required if not re.fullmatch(r"[a-z0-9-]+>=[\d.]+( ?; extra == '\w+')?", each)] == []
    libraries = os.pathsep.join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    run = subprocess.run(
        [installed / "bin/python", "-c", IMPORT_ALL],
        check=False,
        env={"PYTHONPATH": libraries},
        cwd=installed,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    ours = [path for name in check_wheel.PACKAGES for path in modules(name)]
    names = {module_name(path) for path in ours if path.name != "__main__.py"}
    assert set(run.stdout.split()) == names - {*check_wheel.PACKAGES, "consumer.cli.entry"}  # the command, see below


def test_c81_an_installed_wheel_imports_and_tells_its_version_with_nothing_else_there(installed: Path) -> None:
    run = [installed / "bin/python", "-c", "import consumer, lease_store, consumer.errors, consumer.config"]
    assert subprocess.run(run, check=True, capture_output=True, text=True, timeout=60).stdout == ""
    told = subprocess.run([installed / "bin/leasehold", "--version"], check=True, capture_output=True, text=True)
    assert told.stdout == f"leasehold {PROJECT['version']}\n"


def test_c82_five_libraries_are_required_and_each_has_its_reason() -> None:
    """Those named for their lower bound alone do not count: aiobotocore brings them."""
    required = {re.split(r"[>=]", each)[0] for each in PROJECT["dependencies"]}
    assert len(required - {"botocore", "aiohappyeyeballs"}) <= 5
    reasons = (ROOT / "CONTRIBUTING.md").read_text().partition("## Dependencies, each argued for")[2]
    assert [name for name in sorted(required) if f"| {name}" not in reasons] == []


# A Windows without Windows: what its Python lacks is taken away, then a worker reads a record and is told to stop.
ON_WINDOWS = """
import asyncio, os, signal, sys, time
import aiobotocore.session, aiohttp.web, prometheus_client  # these know their way on Windows

LACKING = {
    os: "fork forkpty register_at_fork getuid geteuid getgid setsid killpg getpgid uname nice wait3 wait4 WNOHANG",
    signal: "SIGHUP SIGKILL SIGQUIT SIGUSR1 SIGUSR2 SIGALRM SIGCHLD SIGCONT SIGSTOP SIGPIPE alarm setitimer pause "
    "pthread_sigmask pthread_kill sigpending siginterrupt sigwait",
    time: "clock_gettime clock_gettime_ns clock_settime clock_getres CLOCK_REALTIME CLOCK_MONOTONIC CLOCK_BOOTTIME "
    "CLOCK_MONOTONIC_RAW CLOCK_PROCESS_CPUTIME_ID CLOCK_THREAD_CPUTIME_ID",
}
for module, names in LACKING.items():
    for name in names.split():
        delattr(module, name)
for name in ("fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty"):
    sys.modules[name] = None

def add_signal_handler(*arguments):
    raise NotImplementedError

asyncio.SelectorEventLoop.add_signal_handler = add_signal_handler

import consumer.cli.main, consumer.operate.server
from consumer import InitialPosition, RecordProcessor, Worker, WorkerConfig
from consumer.cli.signals import StopSignals
from consumer.clock import SystemClock
from consumer.streams import open_source
from consumer.testing.memory_source import MemoryRecordSource
from consumer.testing.shard_log import ShardLog
from lease_store import DynamoDBLeaseStore
from lease_store.memory import MemoryLeaseStore

class Reads(RecordProcessor):
    def process_records(self, records, checkpointer):
        print(records[0].keys["pk"])
        signal.raise_signal(signal.SIGTERM)

log = ShardLog(time.time)
log.create_table("orders")
log.put_item("orders", new_image={"pk": "a"})
source = MemoryRecordSource(log, "dynamodb:orders", clock=SystemClock())
config = WorkerConfig(app="any", initial_position=InitialPosition("TRIM_HORIZON"))
worker = Worker(source, MemoryLeaseStore(), Reads, config)

async def work():
    async with worker:
        print((await worker.run()).name)

with StopSignals(worker.stop, drain_timeout_seconds=20.0, failover_seconds=10.0, unfinished=tuple):
    asyncio.run(work())
"""


def test_c83_a_worker_starts_reads_and_stops_where_python_has_only_what_windows_has() -> None:
    command = [sys.executable, "-c", ON_WINDOWS]
    run = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert (run.stdout.split(), run.returncode) == (["a", "CLEAN"], 0), run.stderr


def test_c88_every_option_of_create_table_can_be_given_but_for_what_makes_it_a_lease_table() -> None:
    shape = get_session().get_service_model("dynamodb").operation_model("CreateTable").input_shape
    ours = {"TableName", "AttributeDefinitions", "KeySchema"}
    options = {name: f"<{name}>" for name in shape.members if name not in ours}
    assert {
        "Tags",
        "SSESpecification",
        "TableClass",
        "ProvisionedThroughput",
        "DeletionProtectionEnabled",
    } <= options.keys()
    asked = create_table_request("leases", options=options)
    assert {name: asked[name] for name in options} == options
    assert asked.keys() == shape.members.keys()
    store = DynamoDBLeaseStore("leases", table_options=options)
    assert store._create_request == asked


CALLBACKS = [name for name, each in vars(RecordProcessor).items() if callable(each) and not name.startswith("_")]


def test_c86_every_callback_is_explained_where_users_look() -> None:
    assert sorted(CALLBACKS) == ["initialize", "lease_lost", "process_records", "shard_ended", "shutdown_requested"]
    for page in ("README.md", "examples/running_totals/README.md"):
        rows = re.findall(r"^\| `(\w+)\(.*?\)` \| (.+?) \| (.+?) \|$", (ROOT / page).read_text(), re.MULTILINE)
        assert sorted(name for name, *_ in rows) == sorted(CALLBACKS), page


def test_c86_the_example_of_every_callback_works_and_counts_each_record_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A hand-over, the end of a shard, a lease taken by force and a drain; totals on disk are the truth after each."""
    monkeypatch.syspath_prepend(ROOT / "examples/running_totals")
    monkeypatch.chdir(tmp_path)
    import totals

    called: set[str] = set()

    def spied(group: Group, name: str) -> RecordProcessor:
        processor = totals.Totals()
        for callback in CALLBACKS:
            monkeypatch.setattr(processor, callback, _noting(called, callback, getattr(processor, callback)))
        return processor

    def put(stage: Stage, times: int) -> None:
        for number in range(times):
            stage.log.put_item("orders", new_image={"pk": f"o{number}", "customer": "ada"})

    def counted() -> int:
        return sum(json.loads(path.read_text()).get("ada", 0) for path in (tmp_path / "totals").iterdir())

    @staged(shards=2)
    async def play(stage: Stage) -> None:
        group = stage.group(checkpointing="manual")
        first = await group.start(processor=spied)
        put(stage, 50)
        await stage.advance(5)
        second = await group.start(processor=spied)
        await group.until_held(1, 1)
        assert counted() > 0
        put(stage, 50)
        await stage.advance(2)
        stage.stream().lineage.rotate()
        await stage.until(lambda: counted() == 100, "the totals of ended shards", within_seconds=30.0)
        put(stage, 30)
        await stage.advance(2)
        await second.drain()
        (taken, *_) = first.held
        row = group.lease(taken)
        group.judge.table.put_item(to_item(replace(row, owner="thief", counter=row.counter + 1)))
        await stage.advance(20)
        await first.drain()
        assert counted() == 130

    play()
    assert called == set(CALLBACKS)


def _noting(called: set[str], name: str, callback: Any) -> Any:
    def noted(*arguments: Any) -> Any:
        called.add(name)
        return callback(*arguments)

    return noted


# What 0.1.0 needs, and of what. A new version may not need more: whoever extends this takes a right from somebody's
# deployment.
RIGHTS = {
    "table/SOURCE_TABLE": "DescribeTable",
    "table/SOURCE_TABLE/stream/*": "DescribeStream GetRecords GetShardIterator",
    "stream/SOURCE_STREAM": "DescribeStreamSummary GetRecords GetShardIterator ListShards",
    "table/LEASE_TABLE": "CreateTable DeleteItem DescribeTable GetItem PutItem Scan UpdateItem",
}
# What only a group that shares its table with a Java KCL uses: without these a group of Leasehold's own works as before
# (tests/integration/test_policy.py plays it under the first version's policy).
BESIDE_A_KCL = {
    "table/LEASE_TABLE": "UpdateTable",
    "table/LEASE_TABLE/index/LeaseOwnerToLeaseKeyIndex": "Query",
    **{
        f"table/{name}-{kind}": "DeleteItem GetItem PutItem Scan UpdateItem"
        for name in ("LEASE_TABLE", "APP")
        for kind in ("CoordinatorState", "WorkerMetricStats")
    },
}

# Without these, writes and reads of rows go one by one, as the first version's did.
TO_SAVE = {"table/LEASE_TABLE": "BatchGetItem PartiQLUpdate"}
# Of these nothing is asked unless dead_letters names a store: without, and that is the default, they need not exist.
OF_DEAD_LETTERS = ("table/DEAD_LETTER_TABLE", "DEAD_LETTER_BUCKET", "DEAD_LETTER_BUCKET/*", "DEAD_LETTER_QUEUE")


def test_c89_no_version_needs_a_right_that_the_first_one_did_not() -> None:
    """The policy names each call of the code (tests/house/test_deploy.py), and nothing new that must be allowed."""
    policy = json.loads((ROOT / "deploy/iam-policy.json").read_text())
    assert {each["Effect"] for each in policy["Statement"]} == {"Allow"}
    assert {each["name"]: each["default"] for each in describe_fields()}["dead_letters"] is None
    for statement in policy["Statement"]:
        resources = [statement["Resource"]] if isinstance(statement["Resource"], str) else statement["Resource"]
        actions = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
        for resource in resources:
            of = resource.rpartition(":")[2]
            if of in (*OF_DEAD_LETTERS, "DEAD_LETTER_TOPIC"):
                continue
            known = f"{RIGHTS.get(of, '')} {BESIDE_A_KCL.get(of, '')} {TO_SAVE.get(of, '')}".split()
            assert {action.partition(":")[2] for action in actions} <= set(known), of


def test_c92_the_table_of_metrics_is_made_from_the_registry_and_complete() -> None:
    """What the registry exports is what the page names, and every name that the page uses elsewhere is among them."""
    text = (ROOT / "deploy/README.md").read_text()
    assert metrics_table.with_table(text) == text, "run `make config-table`"
    families = PrometheusHook().registry.collect()
    exported = {each.name + ("_total" if each.type == "counter" else "") for each in families}
    ours = {name for name in exported if not name.startswith("process_")} | {each.name for each in DESCRIBED}
    assert set(re.findall(r"^\| `(leasehold_\w+)` \|", text, re.MULTILINE)) == ours
    assert set(re.findall(r"leasehold_\w+", text)) <= ours
    assert len(ours) > 20


@staged()
async def test_c93_one_process_reads_three_streams_each_by_a_worker_of_its_own(stage: Stage) -> None:
    sources = ("dynamodb:orders", "dynamodb:customers", "kinesis:clicks")
    for source in sources[1:]:
        stage.open(source, 2)
    groups = [stage.group(source) for source in sources]
    for group in groups:
        await group.start()
    for source in sources:
        stage.put_each(10, 5, source=source)
    for group in groups:
        await group.until_given()
        assert not group.repeated()
    assert [len(group.leases()) for group in groups] == [1, 2, 2]
    assert [len(group.members[0].worker.status().shards) for group in groups] == [1, 2, 2]
    assert sum(len(group.given) for group in groups) == 150


class _Deletes(RecordProcessor):
    """Keeps what each REMOVE says of its author."""

    def __init__(self, found: list[tuple[str, str, bool]]) -> None:
        self.found = found

    def process_records(self, records: Any, checkpointer: Any) -> None:
        self.found += [(each.keys["pk"], each.event_name, each.is_ttl_delete) for each in records]


@staged()
async def test_c97_a_delete_by_the_time_to_live_is_told_from_a_users(stage: Stage) -> None:
    """The real record's fields, in both spellings, are in tests/unit/streams/test_records.py."""
    found: list[tuple[str, str, bool]] = []
    stage.log.put_item("orders", new_image={"pk": "a", "n": 1})
    stage.log.put_item("orders", old_image={"pk": "a", "n": 1})
    stage.log.put_item("orders", old_image={"pk": "b", "n": 1}, ttl=True)
    await stage.group().start(processor=lambda group, name: _Deletes(found))
    await stage.until(lambda: len(found) == 3, "three changes")
    assert found == [("a", "INSERT", False), ("a", "REMOVE", False), ("b", "REMOVE", True)]


def _refuse_everything(group: Group) -> None:
    for member in group.members:
        member.store.refusal = lambda write: LeaseTableThrottled()


@pytest.mark.parametrize("trouble", ["user code", "the stream", "the table"])
@staged(shards=4)
async def test_c99_an_hour_of_one_trouble_stays_within_120_lines_a_shard(
    stage: Stage, caplog: pytest.LogCaptureFixture, trouble: str
) -> None:
    """Two lines a minute for each shard that is in trouble, and never the same one without a pause."""

    def work(batch: Batch) -> None:
        if trouble == "user code" and stage.now > 10.0:
            raise ValueError

    group = stage.group()
    await group.start(work=work)
    stage.put_each(16)
    await group.until_given()
    await stage.advance(10)
    if trouble == "the stream":
        stage.plan.arm(Fault.error("InternalServerError", times=None))
    elif trouble == "the table":
        _refuse_everything(group)
    stage.put_each(16)
    caplog.clear()
    with caplog.at_level(logging.INFO):
        await stage.advance(hours=1)
    lines = [each.getMessage() for each in caplog.records]
    assert 0 < len(lines) <= 120 * 4, lines[:20]
