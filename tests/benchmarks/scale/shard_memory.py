"""What an idle shard takes of a worker's memory: by Python's account of what it has allocated, tracemalloc.

It is the difference between 300 and 1,500 shards at a slow pace, since under that account everything takes
several times as long. Of several looks the least counts: while a scan is under way, the rows that it has read are there
a second time. Connections and their buffers are left out, there are as many as polls are under way, however many shards
there are; and so is the user's processor.
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
from tests.benchmarks.scale.stage import Stage, Worker

__all__ = ["measure"]

_SHARDS: Final = (300, 1500)
_FLAGS: Final = ("--failover-seconds", "60", "--idle-wait-seconds", "25")
_START_SECONDS: Final = 600.0
_SETTLE_SECONDS: Final = 30.0
_LOOKS: Final = 7
_PAUSE_SECONDS: Final = 3.0
_TELL_SECONDS: Final = 60.0


def measure() -> dict[str, Any]:
    """Both sizes, one after the other."""
    with ExitStack() as stack:
        stage = Stage(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="leasehold-benchmark-"))))
        few, many = (_allocated(stage, shards) for shards in _SHARDS)
    figures = {"allocated_kilobytes_a_shard": round(1e-3 * (many - few) / (_SHARDS[1] - _SHARDS[0]), 2)}
    progress(f"  {figures}")
    own = figures["allocated_kilobytes_a_shard"]
    goal = goal_row("an idle shard: memory, of its own", own, 3, "kB", at_least=False)
    return {"figures": figures, "goals": [goal]}


def _allocated(stage: Stage, shards: int) -> int:
    """The bytes that Python has allocated in a worker of so many idle shards, but for connections."""
    name = f"traced-{shards}"
    told = stage.folder / f"{name}.bytes"
    account = {"PYTHONTRACEMALLOC": "1", TRACED: str(told)}
    with stage.serving(name, f"idle-{shards}", *_FLAGS, environment=account) as (_, worker):
        worker.until_reading(shards, _START_SECONDS)
        time.sleep(_SETTLE_SECONDS)
        looks = []
        for _ in range(_LOOKS):
            time.sleep(_PAUSE_SECONDS)
            looks.append(_look(worker, told))
        return min(looks)


def _look(worker: Worker, told: Path) -> int:
    told.unlink(missing_ok=True)
    worker.send(signal.SIGUSR1)
    deadline = time.monotonic() + _TELL_SECONDS
    while not told.exists():
        worker.check()
        if time.monotonic() > deadline:
            raise TimeoutError(f"{worker.name} did not tell what it has allocated.\n{worker.last_words()}")
        time.sleep(0.1)
    return int(told.read_text())
