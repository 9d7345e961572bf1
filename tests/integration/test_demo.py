"""``leasehold demo`` as a user runs it: the whole of it, interrupted at any moment, and what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumer.demo.check import Goals
from consumer.testing.ministack import Ministack

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

_GONE_WITHIN_SECONDS = 10.0


class Demo:
    """A demo in a process of its own, whose children carry a mark and whose temporary files lie in a folder of ours."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.mark = f"DEMO_TEST_MARK={uuid.uuid4().hex}"
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        name, _, value = self.mark.partition("=")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "consumer", "demo", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={**_with_absolute_ministack(), name: value, "TMPDIR": str(self.temporary)},
            start_new_session=True,
        )

    def finish(self) -> tuple[str, str]:
        """Wait for its end; what it wrote to standard output and standard error."""
        return self.process.communicate(timeout=200)

    def running(self) -> list[str]:
        """The command lines of every process that carries the mark, other than the demo itself."""
        return [_command(pid) for pid in _pids() if pid != self.process.pid and self.mark in _environment(pid)]

    def is_gone(self) -> bool:
        """Wait for a moment until no process with the mark is left."""
        deadline = time.monotonic() + _GONE_WITHIN_SECONDS
        while self.running() and time.monotonic() < deadline:
            time.sleep(0.05)
        return not self.running()


def _with_absolute_ministack() -> dict[str, str]:
    # Found from the checkout; the demo runs in a folder of the test.
    from consumer.testing.ministack import find_ministack

    return {**os.environ, "LEASEHOLD_MINISTACK": str(find_ministack())}


def _pids() -> Iterator[int]:
    yield from (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())


def _environment(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    except OSError:  # gone, or somebody else's
        return ""


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return "(gone)"


@pytest.fixture
def started(ministack: Ministack, tmp_path: Path) -> Iterator[Demo]:
    """A demo that has said that it starts; ended after the test, whatever became of it."""
    demo = Demo(tmp_path)
    assert demo.process.stdout is not None
    assert "Starting" in demo.process.stdout.readline()
    yield demo
    demo.process.kill()
    demo.process.communicate()


@pytest.mark.parametrize(("source", "seconds"), [("dynamodb", 45), ("kinesis", 30)])
def test_nothing_is_lost_while_shards_change_and_workers_go(
    ministack: Ministack, tmp_path: Path, source: str, seconds: int
):
    demo = Demo(tmp_path, "--seconds", str(seconds), "--source", source)
    out, said = demo.finish()
    verdict = json.loads(out.splitlines()[-1])

    assert demo.process.returncode == 0, f"{said}\n{out}"
    assert verdict["problems"] == []
    assert (verdict["lost"], verdict["out_of_order"]) == (0, 0)
    assert verdict["written"] == verdict["delivered"] >= Goals().writes
    assert verdict["keys"] >= Goals().keys
    assert verdict["rotations"] >= Goals().rotations
    assert verdict["splits"] >= Goals().splits
    # Measured, and so neither missing nor nothing; how small they must be is for the benchmarks on a quiet machine.
    assert 5.0 < verdict["takeover_seconds"] < 25.0
    assert 0.0 < verdict["handoff_seconds"] < 10.0
    assert demo.running() == []
    assert list(demo.temporary.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("after_lines", [0, 1, 3], ids=["starting", "writing", "under way"])
def test_an_interrupted_demo_leaves_nothing_behind(started: Demo, number: signal.Signals, after_lines: int):
    assert started.process.stdout is not None
    for _ in range(after_lines):
        assert started.process.stdout.readline()
    started.process.send_signal(number)
    _, said = started.finish()

    assert started.process.returncode == 130
    assert said == "leasehold: interrupted; every process that the demo had started is gone.\n"
    assert started.is_gone(), started.running()
    assert list(started.temporary.iterdir()) == []


def test_an_impatient_user_interrupts_only_once(started: Demo):
    assert started.process.stdout is not None
    assert started.process.stdout.readline()
    for _ in range(20):
        if started.process.poll() is None:
            started.process.send_signal(signal.SIGINT)
        time.sleep(0.02)
    started.finish()
    assert started.is_gone(), started.running()
    assert list(started.temporary.iterdir()) == []


def test_a_demo_killed_with_9_takes_its_processes_along(started: Demo):
    assert started.process.stdout is not None
    assert started.process.stdout.readline()
    assert len(started.running()) >= 6  # ministack and its supervisor, stream server, three workers, writer
    started.process.kill()
    started.process.wait()
    assert started.is_gone(), started.running()


def test_a_worker_that_ends_by_itself_ends_the_demo_with_its_last_words(started: Demo):
    assert started.process.stdout is not None
    for _ in range(2):
        assert started.process.stdout.readline()
    victim = next(pid for pid in _pids() if started.mark in _environment(pid) and "consumer run" in _command(pid))
    os.kill(victim, signal.SIGKILL)
    _, said = started.finish()

    assert started.process.returncode == 1
    assert "ended by itself with exit code -9. It said:" in said
    assert "Traceback" not in said
    assert started.is_gone(), started.running()
    assert list(started.temporary.iterdir()) == []


def test_a_missing_ministack_is_a_sentence(tmp_path: Path):
    environment = {**os.environ, "LEASEHOLD_MINISTACK": str(tmp_path / "nowhere"), "TMPDIR": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-m", "consumer", "demo"], capture_output=True, text=True, env=environment, check=False
    )
    assert ended.returncode == 1
    assert "make demo" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert list(tmp_path.iterdir()) == []
