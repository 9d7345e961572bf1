"""10,000 shards held by one process: that it starts, polls them and keeps every lease.

What a shard takes of memory is told by ``shard_memory``. Resident memory, the difference between 10,000 and 1,000, is
told here: it has what Python's account does not know, as what a scan of the whole table and its reply take while they
last, and what malloc keeps of that.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.processes import progress
from tests.benchmarks.results import goal_row
from tests.benchmarks.scale.stage import FAILOVER_SECONDS, Span, Stage

__all__ = ["measure"]

_SHARDS: Final = (1000, 10_000)
_MINUTE: Final = 60.0
_START_SECONDS: Final = 600.0
_SETTLE_SECONDS: Final = 3 * FAILOVER_SECONDS
_FLAGS: Final = ("--failover-seconds", f"{FAILOVER_SECONDS:g}")


def measure() -> dict[str, Any]:
    """Both sizes, and a minute of the greater one."""
    with ExitStack() as stack:
        stage = Stage(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="leasehold-benchmark-"))))
        few = _resident(stage, _SHARDS[0])
        many = _resident(stage, _SHARDS[1])
    figures = _figures(few, many)
    progress(f"  {figures}")
    return {"figures": figures, "goals": _goals(figures)}


def _figures(few: dict[str, Any], many: dict[str, Any]) -> dict[str, Any]:
    span: Span = many["span"]
    resident = 1e3 * (many["megabytes"] - few["megabytes"]) / (_SHARDS[1] - _SHARDS[0])
    return {
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
    }


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


def _goals(figures: dict[str, Any]) -> list[dict[str, Any]]:
    title = "10,000 shards held by one process"
    polled = round(figures["polls_a_second"] / _SHARDS[1], 3)
    return [
        goal_row(f"{title}: leases lost in a minute", figures["tenures_ended_in_a_minute"], 0, "", at_least=False),
        goal_row(f"{title}: leases held", figures["leases_held_after_it"], _SHARDS[1], "", at_least=True),
        goal_row(f"{title}: polls a second and shard", polled, 0.2, "", at_least=True),
    ]
