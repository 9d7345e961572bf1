"""What a lease costs in writes at a failover time of 10 s: idle, and with a checkpoint every 10 s.

The table's own server counts them. For the Java KCL 3.5.1 the same table says 1,088 and 1,448 an hour and lease: it
renews every 3.3 s, and a checkpoint saves no renewal.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.processes import progress
from tests.benchmarks.results import goal_row
from tests.benchmarks.scale.stage import FAILOVER_SECONDS, Stage

__all__ = ["measure"]

_SHARDS: Final = 64
_CHECKPOINT_SECONDS: Final = 10.0
_WINDOW_SECONDS: Final = 120.0
_START_SECONDS: Final = 60.0
_GOAL: Final = 720.0
_HOUR: Final = 3600.0


def measure() -> dict[str, Any]:
    """Two workers side by side, each on a server of its own, over two minutes."""
    with ExitStack() as stack:
        stage = Stage(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="leasehold-benchmark-"))))
        failover = ("--failover-seconds", f"{FAILOVER_SECONDS:g}")
        checkpoints = ("--checkpoint-interval-seconds", f"{_CHECKPOINT_SECONDS:g}")
        _, idle = stack.enter_context(stage.serving("idle", f"idle-{_SHARDS}", *failover))
        _, busy = stack.enter_context(stage.serving("ticking", f"ticking-{_SHARDS}", *failover, *checkpoints))
        for worker in (idle, busy):
            worker.until_reading(_SHARDS, _START_SECONDS)
        time.sleep(2 * FAILOVER_SECONDS)
        stored, before = busy.metric("leasehold_checkpoints_total"), [each.lease_writes() for each in (idle, busy)]
        began = time.monotonic()
        time.sleep(_WINDOW_SECONDS)
        after, seconds = [each.lease_writes() for each in (idle, busy)], time.monotonic() - began
        stored = busy.metric("leasehold_checkpoints_total") - stored
        hourly = [_HOUR * (late - early) / seconds / _SHARDS for early, late in zip(before, after, strict=True)]
    figures = {
        "leases": _SHARDS,
        "failover_seconds": FAILOVER_SECONDS,
        "idle_writes_an_hour_and_lease": round(hourly[0]),
        "checkpointing_writes_an_hour_and_lease": round(hourly[1]),
        "checkpoints_an_hour_and_lease": round(_HOUR * stored / seconds / _SHARDS),
        "seconds": round(seconds, 1),
    }
    progress(f"  {figures}")
    title = "lease writes an hour and lease, failover 10 s"
    goals = [
        goal_row(f"{title}: idle (KCL 1,088)", figures["idle_writes_an_hour_and_lease"], _GOAL, "", at_least=False),
        goal_row(
            f"{title}: a checkpoint every 10 s (KCL 1,448)",
            figures["checkpointing_writes_an_hour_and_lease"],
            _GOAL,
            "",
            at_least=False,
        ),
    ]
    return {"figures": figures, "goals": goals}
