"""10,000 shards held by one process: that it starts, polls them, keeps every lease, and what a shard takes of memory.

A shard's memory is the difference between 10,000 and 1,000 of them, resident; and once more as Python's own account of
it, tracemalloc, between 3,000 and 1,000 at a slower pace, since under that account everything takes several times as
long. Connections, of which there are as many as polls are under way, are the same in all of these.
"""

from __future__ import annotations

import signal
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.processes import progress
from tests.benchmarks.results import goal_row
from tests.benchmarks.scale.processors import TRACED
from tests.benchmarks.scale.stage import FAILOVER_SECONDS, Span, Stage

__all__ = ["measure"]

_SHARDS: Final = (1000, 10_000)
_TRACED_SHARDS: Final = (1000, 3000)
_MINUTE: Final = 60.0
_START_SECONDS: Final = 600.0
_SETTLE_SECONDS: Final = 3 * FAILOVER_SECONDS
_FLAGS: Final = ("--failover-seconds", f"{FAILOVER_SECONDS:g}")
_TRACED_FLAGS: Final = ("--failover-seconds", "60", "--idle-wait-seconds", "5")


def measure() -> dict[str, Any]:
    """Both sizes, a minute of the greater one, and the account of what was allocated."""
    with ExitStack() as stack:
        stage = Stage(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="leasehold-benchmark-"))))
        few = _resident(stage, _SHARDS[0])
        many = _resident(stage, _SHARDS[1])
        traced = [_traced(stage, shards) for shards in _TRACED_SHARDS]
    span: Span = many["span"]
    resident = 1e3 * (many["megabytes"] - few["megabytes"]) / (_SHARDS[1] - _SHARDS[0])
    allocated = 1e-3 * (traced[1] - traced[0]) / (_TRACED_SHARDS[1] - _TRACED_SHARDS[0])
    figures = {
        "shards": _SHARDS[1],
        "start_seconds": round(many["start_seconds"], 1),
        "polls_a_second": round(span.polls / span.seconds),
        "lease_writes_a_second": round(span.lease_writes / span.seconds),
        "lease_requests_a_second": round(span.lease_requests / span.seconds, 1),
        "share_of_a_core": round(span.core_share, 2),
        "server_share_of_a_core": round(span.server_cpu_seconds / span.seconds, 2),
        "tenures_ended_in_a_minute": many["tenures_ended"],
        "leases_held_after_it": many["held"],
        "resident_megabytes": round(many["megabytes"], 1),
        "resident_megabytes_of_1000_shards": round(few["megabytes"], 1),
        "resident_kilobytes_a_shard": round(resident, 2),
        "allocated_kilobytes_a_shard": round(allocated, 2),
    }
    progress(f"  {figures}")
    return {"figures": figures, "goals": _goals(figures)}


def _resident(stage: Stage, shards: int) -> dict[str, Any]:
    """A worker of so many idle shards, settled; of the greater number also a minute of its work."""
    with stage.serving(f"held-{shards}", f"idle-{shards}", *_FLAGS) as (_, worker):
        started = worker.until_reading(shards, _START_SECONDS)
        time.sleep(_SETTLE_SECONDS)
        ended = worker.metric("leasehold_tenures_ended_total")
        span = worker.watch(_MINUTE if shards == _SHARDS[1] else 1.0)
        return {
            "start_seconds": started,
            "span": span,
            "tenures_ended": worker.metric("leasehold_tenures_ended_total") - ended,
            "held": worker.metric("leasehold_leases_held"),
            "megabytes": worker.resident_megabytes(),
        }


def _traced(stage: Stage, shards: int) -> int:
    """The bytes that Python has allocated in a worker of so many idle shards."""
    name = f"traced-{shards}"
    told = stage.folder / f"{name}.bytes"
    account = {"PYTHONTRACEMALLOC": "1", TRACED: str(told)}
    with stage.serving(name, f"idle-{shards}", *_TRACED_FLAGS, environment=account) as (_, worker):
        worker.until_reading(shards, _START_SECONDS)
        time.sleep(_SETTLE_SECONDS)
        worker.send(signal.SIGUSR1)
        deadline = time.monotonic() + FAILOVER_SECONDS
        while not told.exists() or not told.read_text():
            worker.check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{name} did not tell what it has allocated.\n{worker.last_words()}")
            time.sleep(0.1)
        return int(told.read_text())


def _goals(figures: dict[str, Any]) -> list[dict[str, Any]]:
    title = "10,000 shards held by one process"
    return [
        goal_row(f"{title}: leases lost in a minute", figures["tenures_ended_in_a_minute"], 0, "", at_least=False),
        goal_row(f"{title}: leases held", figures["leases_held_after_it"], _SHARDS[1], "", at_least=True),
        goal_row(f"{title}: resident memory", figures["resident_kilobytes_a_shard"], 3, "kB a shard", at_least=False),
    ]
