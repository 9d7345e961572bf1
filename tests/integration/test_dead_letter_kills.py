"""kill -9 between a letter's write and its acknowledgement: a repeat, never a loss, never two."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from consumer.dead_letters import taken
from consumer.dead_letters.letter import DeadLetter
from consumer.dead_letters.store import Unreadable
from consumer.testing.ministack import Ministack
from consumer.testing.proxy import Exchange, Proxy
from tests.contract.letter_stores import REAL, LetterBench, client, make_bench
from tests.dead_letters import change
from tests.house.tree import ROOT

pytestmark = pytest.mark.integration

WRITES = {"s3": "PutObject", "dynamodb": "PutItem", "sqs": "SendMessageBatch", "sqs-fifo": "SendMessageBatch"}
WRITER = """
import asyncio, sys
from consumer.dead_letters.opening import open_store
from tests.dead_letters import change

async def main():
    store = open_store(sys.argv[1])
    async with store.open():
        for number in range(int(sys.argv[2]), int(sys.argv[3])):
            await store.put([change(number, bytes_of_body=20_000)])
            print(number, flush=True)

asyncio.run(main())
"""
PROCESSOR = """
import time
from consumer import RecordProcessor

class Slow(RecordProcessor):
    def process_records(self, records, checkpointer):
        print("begun", flush=True)
        time.sleep(0.5)
"""


WAITER = """
import asyncio, sys
from consumer.dead_letters.opening import open_store
from tests.dead_letters import change

async def main():
    store = open_store(sys.argv[1])
    async with store.open():
        try:
            async with asyncio.timeout(0.3):
                await store.put([change(1)])
        except TimeoutError:
            print("gave up", flush=True)

asyncio.run(main())
"""


@contextmanager
def running(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A process of Python's in the project's folder, dead in the end."""
    environment = {"PYTHONPATH": str(ROOT), **environment}
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


async def kept(bench: LetterBench) -> list[DeadLetter | Unreadable]:
    store = bench.store()
    async with store.open():
        return [each async for each in store.letters()]


def numbers(found: list[DeadLetter | Unreadable]) -> list[int]:
    return [int(each.sequence_number) for each in found if isinstance(each, DeadLetter)]


def killer(process: Callable[[], subprocess.Popen[str]], operation: str, after: int) -> Callable[[Exchange], None]:
    """Kills when the server has answered the write of that number, and before the answer goes back."""
    seen = 0

    def answered(exchange: Exchange) -> None:
        nonlocal seen
        if exchange.request.operation == operation and b"sequenceNumber" in exchange.request.body:
            seen += 1
            if seen == after:
                process().kill()

    return answered


@pytest.mark.parametrize("kind", REAL)
async def test_a_letter_that_was_stored_and_not_acknowledged_is_one_in_the_end(
    kind: str, ministack: Ministack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taken, "WAIT_SECONDS", 0)
    bench = make_bench(kind, tmp_path, ministack.endpoint_url)
    made: list[subprocess.Popen[str]] = []
    async with Proxy(ministack.endpoint_url, answered=killer(lambda: made[0], WRITES[kind], after=3)) as proxy:
        environment = ministack.environment | {"AWS_ENDPOINT_URL": proxy.endpoint_url}
        with running("-c", WRITER, bench.address, "0", "10", **environment) as process:
            made.append(process)
            said, complained = await asyncio.to_thread(process.communicate, timeout=30)
    assert process.returncode == -signal.SIGKILL, complained
    acknowledged = [int(line) for line in said.split()]
    assert acknowledged == [0, 1], "the third was stored, and nobody was told"
    assert sorted(numbers(await kept(bench))) == [0, 1, 2]
    store = bench.store()
    async with store.open():
        await store.put([change(number, bytes_of_body=20_000) for number in range(2, 5)])  # as the next owner does
    assert sorted(numbers(await kept(bench))) == [0, 1, 2, 3, 4]
    if kind == "sqs":  # which is one letter to whoever lists it, and two messages in the queue: both go with it
        sqs = client("sqs", ministack.endpoint_url)
        url = sqs.get_queue_url(QueueName=bench.address.removeprefix("sqs:"))["QueueUrl"]
        counted = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
        assert counted["Attributes"]["ApproximateNumberOfMessages"] == "6"


async def test_a_writer_to_a_file_may_be_killed_anywhere(tmp_path: Path) -> None:
    bench = make_bench("file", tmp_path, "")
    path = Path(bench.address.removeprefix("file:"))
    acknowledged = 0
    for _ in range(5):
        with running("-c", WRITER, bench.address, str(acknowledged), str(acknowledged + 100_000)) as process:
            assert process.stdout is not None
            for line in process.stdout:
                acknowledged = int(line) + 1
                if acknowledged % 7 == 6:
                    process.kill()
                    break
            acknowledged += len(process.communicate()[0].split())
        found = numbers(await kept(bench))
        assert found == sorted(set(found)), "none twice"
        assert len(found) - acknowledged in (0, 1)
    assert path.stat().st_mode & 0o777 == 0o600, "letters are their owner's"


@pytest.mark.parametrize("cut", [1, 5_000, 20_000])
async def test_a_line_that_was_torn_is_told_and_costs_nothing(tmp_path: Path, cut: int) -> None:
    bench = make_bench("file", tmp_path, "")
    path = Path(bench.address.removeprefix("file:"))
    letters = [change(number, bytes_of_body=20_000) for number in range(4)]
    store = bench.store()
    async with store.open():
        await store.put(letters[:3])
        path.write_bytes(path.read_bytes()[:-cut])
        assert numbers([each async for each in store.letters()]) == [0, 1], "without its end, a line does not count"
        await store.put(letters[2:])
        found = [each async for each in store.letters()]
        assert numbers(found) == [0, 1, 2, 3]
        torn = [each.why for each in found if isinstance(each, Unreadable)]
        assert [("cut off" in why) for why in torn] == ([] if cut == 1 else [True]), (
            "only its end may be what is missing"
        )
        for letter in letters:
            await store.remove(letter.identity)
    left = await kept(bench)
    assert len(left) == len(torn)
    assert path.stat().st_size < 25_000, "nothing but the torn line, which is nobody's to throw away"


async def test_two_processes_write_one_file_while_a_third_empties_it(tmp_path: Path) -> None:
    bench = make_bench("file", tmp_path, "")
    gone: set[int] = set()
    with (
        running("-c", WRITER, bench.address, "0", "60") as one,
        running("-c", WRITER, bench.address, "60", "120") as other,
    ):
        while one.poll() is None or other.poll() is None or numbers(await kept(bench)):
            store = bench.store()
            async with store.open():  # which writes the file anew whenever it is left
                async for letter in store.letters():
                    assert isinstance(letter, DeadLetter)
                    gone.add(int(letter.sequence_number))
                    await store.remove(letter.identity)
        assert (one.returncode, other.returncode) == (0, 0)
    assert gone == set(range(120))


async def test_a_writer_that_gives_up_waiting_for_the_file_ends_and_writes_nothing_later(tmp_path: Path) -> None:
    bench = make_bench("file", tmp_path, "")
    path = Path(bench.address.removeprefix("file:"))
    with path.open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with running("-c", WAITER, bench.address) as process:
            said, complained = await asyncio.to_thread(process.communicate, timeout=10)
        assert (said, process.returncode) == ("gave up\n", 0), complained
        store = bench.store()
        async with store.open():
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await store.put([change(1)])
            fcntl.flock(held, fcntl.LOCK_UN)
            await store.put([change(2)])
    assert numbers(await kept(bench)) == [2]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_messages_that_a_redrive_held_are_given_back(
    number: signal.Signals, ministack: Ministack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taken, "WAIT_SECONDS", 0)
    bench = make_bench("sqs", tmp_path, ministack.endpoint_url)
    (tmp_path / "slow.py").write_text(PROCESSOR)
    store = bench.store()
    async with store.open():
        await store.put([change(each, f"key-{each}", key_is_held=True) for each in range(30)])
    command = ("-m", "consumer", "dlq", "redrive", "slow:Slow", "--dead-letters", bench.address)
    with running(*command, PYTHONPATH=f"{ROOT}:{tmp_path}", **ministack.environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        assert await kept(bench) == [], "while it runs, nobody else is given one of them"
        process.send_signal(number)
        said, complained = await asyncio.to_thread(process.communicate, timeout=20)
    assert process.returncode == 1
    assert "interrupted" in complained
    done = int(next(line for line in said.splitlines() if "redriven" in line).split()[0])
    assert len(await kept(bench)) == 30 - done, "what was not done can be had at once, and not in five minutes"
