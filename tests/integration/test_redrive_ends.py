"""A redrive whose user code hangs in a thread, which nothing can interrupt: the command ends all the same."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from consumer.dead_letters.file import FileDeadLetters
from tests.dead_letters import change
from tests.house.tree import ROOT

pytestmark = pytest.mark.integration

PROCESSOR = """
import time
from consumer import RecordProcessor

class Hangs(RecordProcessor):
    def process_records(self, records, checkpointer):
        if records[0].sequence_number == "2":
            print("hangs", flush=True)
            time.sleep(300)
"""


@contextmanager
def redriving(folder: Path, *flags: str) -> Iterator[subprocess.Popen[str]]:
    """The command, once its user code hangs; two letters before that one is done."""
    (folder / "hanging.py").write_text(PROCESSOR)

    async def fill() -> None:
        store = FileDeadLetters(str(folder / "letters"))
        async with store.open():
            await store.put([change(n, "a", key_is_held=True) for n in (0, 1, 2, 3)])

    asyncio.run(fill())
    command = ["dlq", "redrive", "hanging:Hangs", "--dead-letters", "file:letters", *flags]
    with subprocess.Popen(
        [sys.executable, "-m", "consumer", *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "hangs\n"
            yield process
        finally:
            process.kill()


def left(folder: Path) -> list[str]:
    async def read() -> list[str]:
        store = FileDeadLetters(str(folder / "letters"))
        async with store.open():
            return [letter.sequence_number async for letter in store.letters()]  # type: ignore[union-attr]

    return asyncio.run(read())


def test_after_its_time_is_up_with_the_place_where_it_hangs(tmp_path: Path) -> None:
    with redriving(tmp_path, "--batch-size", "1", "--batch-timeout-seconds", "0.2") as process:
        out, err = process.communicate(timeout=30)
    assert process.returncode == 5
    assert "hanging.py:9 in process_records" in err
    assert "has not ended in --batch-timeout-seconds and can't be interrupted" in err
    assert out == "2 letters redriven (file:letters)\n"
    assert left(tmp_path) == ["2", "3"]


def test_when_it_is_told_so_twice(tmp_path: Path) -> None:
    with redriving(tmp_path, "--batch-size", "1") as process:
        assert process.stderr is not None
        process.send_signal(signal.SIGINT)
        assert "a second signal does not wait" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert out == "2 letters redriven (file:letters)\n"
    assert left(tmp_path) == ["2", "3"]
