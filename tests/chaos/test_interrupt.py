"""Ctrl-C in the middle of a campaign leaves no process and no folder behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from consumer.clock import SystemClock
from consumer.testing import tether
from consumer.testing.ministack import MinistackMissing, find_ministack
from tests.house.tree import ROOT

pytestmark = pytest.mark.integration

CLOCK = SystemClock()
WITHIN_SECONDS = 40.0


def descendants(pid: int) -> Iterator[int]:
    with suppress(FileNotFoundError):  # it has just ended
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (thread / "children").read_text().split()):
                yield child
                yield from descendants(child)


def is_worker(pid: int) -> bool:
    with suppress(FileNotFoundError):
        return b"user_orders:Orders" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def test_an_interrupted_campaign_is_gone_without_a_trace() -> None:
    try:
        find_ministack()
    except MinistackMissing as error:
        pytest.skip(str(error))
    command = tether.command(sys.executable, "-m", "tests.chaos", "--rounds", "2")
    campaign = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert campaign.stderr is not None
    with campaign, campaign.stderr as said:
        folder = Path(re.findall(r"logs in (\S+) until", said.readline())[0])
        deadline = CLOCK.monotonic() + WITHIN_SECONDS
        running: list[int] = []
        while sum(map(is_worker, running)) < 4 and CLOCK.monotonic() < deadline:
            time.sleep(0.1)
            running = list(descendants(campaign.pid))
        assert len(running) >= 6, "four workers, ministack and its supervisor"
        os.kill(running[-1], signal.SIGSTOP)  # a stopped process ends, too
        campaign.send_signal(signal.SIGINT)
        assert "Interrupted; every process and file of it is gone." in said.read()
        assert campaign.wait() == 130
    assert not folder.exists()
    assert [pid for pid in running if Path(f"/proc/{pid}").exists()] == []
