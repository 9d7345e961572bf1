"""`leasehold run` as a process: it reads, serves its page, drains, and ends in time whatever user code does."""

from __future__ import annotations

import gc
import json
import re
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumer.clock import SystemClock
from consumer.testing.ministack import Ministack
from consumer.testing.server_thread import StreamServerThread
from tests.integration.running import Running

pytestmark = pytest.mark.integration

PROCESSOR = """
import time
from consumer import RecordProcessor, Retry

class Orders(RecordProcessor):
    def process_records(self, records, checkpointer):
        for record in records:
            print("got", record.keys["pk"], flush=True)

class Says(Orders):
    filter = {"dynamodb": {"Keys": {"pk": {"S": [{"anything-but": ["b"]}]}}}}
    retries = {RuntimeError: Retry(max_attempts=2)}

    @staticmethod
    def lane_key(record):
        return print("asked for", record.keys["pk"], flush=True) or "all"

class Collects(RecordProcessor):
    def process_records(self, records, checkpointer):
        import gc
        print(*gc.get_threshold(), gc.get_freeze_count() > 10_000, flush=True)

class Raises(RecordProcessor):
    def process_records(self, records, checkpointer):
        print("raised", flush=True)
        raise ValueError("not today")

class Sleeps(RecordProcessor):
    def process_records(self, records, checkpointer):
        print("asleep", flush=True)
        time.sleep(3600)

class Awaits(RecordProcessor):
    async def process_records(self, records, checkpointer):
        import asyncio
        print("asleep", flush=True)
        await asyncio.sleep(3600)

class BlocksTheLoop(RecordProcessor):
    async def process_records(self, records, checkpointer):
        print("asleep", flush=True)
        time.sleep(3600)

class IgnoresItsEnd(RecordProcessor):
    async def process_records(self, records, checkpointer):
        import asyncio
        print("asleep", flush=True)
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                pass
"""


class Fleet:
    """Starts runs on one table's stream and ends what is left of them."""

    def __init__(self, folder: Path, ministack: Ministack, streams: StreamServerThread) -> None:
        self.streams = streams
        self.arn = streams.create_table("orders")
        self._folder = folder
        self._environment = ministack.environment | {"AWS_ENDPOINT_URL_DYNAMODB_STREAMS": streams.endpoint_url}
        self._running: list[Running] = []

    def put(self, key: str) -> None:
        self.streams.put_item("orders", new_image={"pk": key})

    def start(self, processor: str, *flags: str) -> Running:
        running = Running(self._folder, self._environment, f"user_orders:{processor}", "--source", self.arn, *flags)
        self._running.append(running)
        return running

    def close(self) -> None:
        for running in self._running:
            running.close()


@pytest.fixture
def fleet(tmp_path: Path, ministack: Ministack) -> Iterator[Fleet]:
    (tmp_path / "user_orders.py").write_text(PROCESSOR)
    with StreamServerThread() as streams:
        made = Fleet(tmp_path, ministack, streams)
        yield made
        made.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_reads_and_a_signal_drains_it_cleanly(fleet: Fleet, number: signal.Signals):
    fleet.put("a")
    worker = fleet.start("Orders")
    assert worker.line() == "got a"
    fleet.put("b")
    assert worker.line() == "got b"
    worker.stop(number)
    assert worker.end() == 0, worker.said()
    assert f"{number.name}: draining" in worker.said()
    assert "Traceback" not in worker.said()


def test_what_its_class_says_of_records_is_heard(fleet: Fleet):
    for key in "abc":
        fleet.put(key)
    worker = fleet.start("Says", "--batch-window-seconds", "1")
    assert {worker.line() for _ in range(4)} == {"asked for a", "asked for c", "got a", "got c"}


def test_a_handler_that_always_raises_keeps_its_shard_and_ends_cleanly_on_sigterm(fleet: Fleet):
    fleet.put("a")
    worker = fleet.start("Raises")
    assert [worker.line(), worker.line()] == ["raised", "raised"]
    worker.stop()
    assert worker.end() == 0, worker.said()
    assert "ValueError" in worker.said()
    assert "got a" not in worker.said()


def test_garbage_collection_is_python_s_own_unless_asked_for(fleet: Fleet):
    fleet.put("a")
    plain, tuned = fleet.start("Collects"), fleet.start("Collects", "--tune-gc")
    told = tuned.line()
    for number in range(100):
        if told == "50000 20 100 True":
            break
        fleet.put(str(number))  # the first batch may come before the start is over
        told = tuned.line()
    assert told == "50000 20 100 True"
    assert "Garbage collection is tuned" in tuned.said()
    assert plain.line() == f"{' '.join(map(str, gc.get_threshold()))} False"
    assert "Garbage collection is tuned" not in plain.said()


@pytest.mark.parametrize("processor", ["Sleeps", "Awaits", "BlocksTheLoop", "IgnoresItsEnd"])
def test_a_handler_that_sleeps_for_ever_is_left_behind_at_the_deadline(fleet: Fleet, processor: str):
    fleet.put("a")
    limits = ("--batch-timeout-seconds", "0.3") if processor == "BlocksTheLoop" else ()
    worker = fleet.start(processor, "--drain-timeout-seconds", "2", *limits)
    assert worker.line() == "asleep"
    clock = SystemClock()
    before = clock.monotonic()
    worker.stop()
    assert worker.end() == 4, worker.said()
    assert 2.0 <= clock.monotonic() - before < 6.0
    assert "shardId-" in worker.said()
    assert re.search("expire (with)?in", worker.said()), worker.said()
    blocked = re.search(r"loop has stood still.*It is at: user_orders\.py:\d+ in process_records$", worker.said(), re.M)
    assert bool(blocked) == bool(limits), worker.said()


@pytest.mark.parametrize(
    ("processor", "how"), [("Sleeps", "runs in a thread"), ("IgnoresItsEnd", "was cancelled and goes on all the same")]
)
def test_a_call_that_does_not_end_ends_the_process_with_5_and_says_where_it_is(fleet: Fleet, processor: str, how: str):
    fleet.put("a")
    limits = ("--batch-timeout-seconds", "0.2", "--on-timeout", "restart", "--drain-timeout-seconds", "600")
    worker = fleet.start(processor, *limits)
    assert worker.line() == "asleep"
    assert worker.end() == 5, worker.said()
    assert how in worker.said()
    assert re.search(
        r"It is at: (\S+ in sleep < )?user_orders\.py:\d+ in process_records$", worker.said(), re.MULTILINE
    )
    assert re.search(r"leaves shardId-\S+ behind", worker.said())
    assert worker.out.empty(), "nothing of it was tried again"


def test_a_second_signal_stops_at_once(fleet: Fleet):
    fleet.put("a")
    worker = fleet.start("BlocksTheLoop", "--drain-timeout-seconds", "600")
    assert worker.line() == "asleep"
    worker.stop()
    worker.stop(signal.SIGINT)
    assert worker.end(10.0) == 4, worker.said()


@pytest.mark.parametrize(("asked", "path"), [("auto", "direct"), ("plain", "plain")])
def test_the_page_tells_records_and_health(fleet: Fleet, asked: str, path: str):
    fleet.put("a")
    worker = fleet.start("Orders", "--http", "127.0.0.1:0", "--log-format", "json", "--data-path", asked)
    assert worker.line() == "got a"
    (port,) = {match[1] for line in worker.log if (match := re.search(r"on port (\d+)", json.loads(line)["message"]))}
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as reply:
        health = json.load(reply)
    assert (health["healthy"], health["shards_held"]) == (True, 1)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
        metrics = reply.read().decode()
    assert "leasehold_leases_held 1.0" in metrics
    assert re.search(r"leasehold_records_read_total [1-9]", metrics)
    assert re.findall(r'leasehold_data_path\{path="(\w+)"\} 1\.0', metrics) == [path]
    worker.stop()
    assert worker.end() == 0, worker.said()
