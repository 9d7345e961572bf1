"""Shards that have nothing new: what polling them and keeping their leases takes of a core, and of memory.

The worker is real, with leases, scans and metrics on, at a failover time of 10 s and one poll a second and shard. The
server counts polls and lease writes, and so whether the worker kept up. The comparison with boto3 is in turns of five
seconds, which is every lease's renewal once; boto3 stands still in the worker's turns, while the worker, which would
lose its leases, goes on in boto3's.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.contenders.counting import COUNTER, Slots
from tests.benchmarks.processes import Canned, Child, progress
from tests.benchmarks.reckoning import lower_quartile
from tests.benchmarks.results import goal_row
from tests.benchmarks.scale.stage import FAILOVER_SECONDS, Span, Stage, Worker, environment

__all__ = ["measure"]

_WINDOW_SECONDS: Final = FAILOVER_SECONDS / 2
_BOTO3_SECONDS: Final = 1.5
_START_SECONDS: Final = 180.0
_SETTLE_SECONDS: Final = 2 * FAILOVER_SECONDS
_BOTO3_SHARDS: Final = 16
_LOOP_STARTS_SECONDS: Final = 30.0


def measure(shards: int = 1000, rounds: int = 9, settle_seconds: float = _SETTLE_SECONDS) -> dict[str, Any]:
    """``shards`` that are idle, and one idle poll of theirs beside boto3's."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="leasehold-benchmark-")))
        flags = ("--failover-seconds", f"{FAILOVER_SECONDS:g}")
        _, worker = stack.enter_context(Stage(folder).serving("idle", f"idle-{shards}", *flags))
        started = worker.until_reading(shards, _START_SECONDS)
        loop = stack.enter_context(_Loop(stack.enter_context(Canned(_made(folder / "boto3"))), folder))
        time.sleep(settle_seconds)
        spans, loops = [], []
        for number in range(rounds):
            spans.append(worker.watch(_WINDOW_SECONDS))
            loops.append(loop.microseconds_a_poll())
            progress(f"  round {number + 1} of {rounds}: {_told(spans[-1])}, boto3 {loops[-1]:.0f} us a poll")
        figures = _figures(spans, loops, worker) | {"shards": shards, "start_seconds": round(started, 1)}
    return {"figures": figures, "goals": _goals(figures)}


class _Loop(Child):
    """The boto3 loop over idle shards of a server of its own, standing still but for its turns."""

    def __init__(self, canned: Canned, folder: Path) -> None:
        self._canned = canned
        counter = folder / "boto3.counts"
        Slots.create(counter, _BOTO3_SHARDS)
        own = {"BENCH_SERVICE": "kinesis", "BENCH_STREAM": f"idle-{_BOTO3_SHARDS}", "BENCH_TOUCH": "payload"}
        command = [sys.executable, "-m", "tests.benchmarks.contenders.boto3_loop"]
        super().__init__("boto3", command, {**environment(canned), **own, COUNTER: str(counter)}, folder)
        deadline = time.monotonic() + _LOOP_STARTS_SECONDS
        while self._polls() < _BOTO3_SHARDS:
            self.check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"The boto3 loop does not poll.\n{self.last_words()}")
            time.sleep(0.05)
        self.stop()

    def _polls(self) -> int:
        return int(self._canned.counts()["calls"].get("kinesis.GetRecords", 0))

    def microseconds_a_poll(self) -> float:
        """A turn of its own."""
        self.go_on()
        before, cpu_seconds = self._polls(), self.cpu_seconds()
        time.sleep(_BOTO3_SECONDS)
        polls, used = self._polls() - before, self.cpu_seconds() - cpu_seconds
        self.stop()
        self.check()
        return 1e6 * used / polls


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _told(span: Span) -> str:
    return f"{span.core_share:.3f} of a core, {span.polls / span.seconds:,.0f} polls a second"


def _figures(spans: list[Span], loops: list[float], worker: Worker) -> dict[str, Any]:
    seconds = sum(span.seconds for span in spans)
    poll, boto3 = (lower_quartile(each) for each in ([span.microseconds_a_poll for span in spans], loops))
    return {
        "share_of_a_core": round(lower_quartile([span.core_share for span in spans]), 3),
        "median_share_of_a_core": round(statistics.median(span.core_share for span in spans), 3),
        "resident_megabytes": round(worker.resident_megabytes(), 1),
        "polls_a_second": round(sum(span.polls for span in spans) / seconds, 1),
        "lease_writes_a_second": round(sum(span.lease_writes for span in spans) / seconds, 1),
        "lease_requests_a_second": round(sum(span.lease_requests for span in spans) / seconds, 2),
        "tenures_ended": worker.metric("leasehold_tenures_ended_total"),
        "data_path": "direct" if worker.metric('leasehold_data_path{path="direct"}') else "plain",
        "microseconds_a_poll": round(poll, 1),
        "boto3_microseconds_a_poll": round(boto3, 1),
        "poll_ratio_to_boto3": round(poll / boto3, 3),
        "server_share_of_a_core": round(sum(span.server_cpu_seconds for span in spans) / seconds, 3),
        "rounds": len(spans),
    }


def _goals(figures: dict[str, Any]) -> list[dict[str, Any]]:
    title = f"{figures['shards']:,} idle shards at 1 poll/s, failover 10 s"
    poll = "an idle poll in the running worker, against boto3's"
    polled = figures["polls_a_second"] / figures["shards"]
    return [
        goal_row(poll, figures["poll_ratio_to_boto3"], 0.25, "x", at_least=False),
        goal_row(f"{title}: CPU", figures["share_of_a_core"], 0.35, "core", at_least=False),
        goal_row(f"{title}: resident memory", figures["resident_megabytes"], 120, "MB", at_least=False),
        goal_row(f"{title}: polls a second and shard", round(polled, 3), 0.9, "", at_least=True),
    ]
