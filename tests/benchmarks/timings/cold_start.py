"""Cold start: an empty lease table, records waiting; from the process's start to the first record in user code."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from functools import partial
from typing import Any

from consumer import RecordProcessor
from tests.benchmarks.timings.figures import spread, verdict
from tests.benchmarks.timings.options import Options
from tests.benchmarks.timings.stage import CLOCK, Stage, Table, progress, until

GOAL_SECONDS = 2.0
_SHARDS = 4
_WITHIN_SECONDS = 30.0


async def measure(options: Options) -> dict[str, Any]:
    """Real processes, and the same without the interpreter's start and the imports."""
    processes, imports, inside = [], [], []
    async with Stage.set() as stage:
        for index in range(options.rounds):
            table = await stage.table(f"cold-{index}", _SHARDS)
            await table.do("put_on_each")
            worker = await stage.worker(table, f"cold-{index}")
            first = await until(partial(worker.events, "record"), "a first record", _WITHIN_SECONDS)
            processes.append(first[0].at - worker.spawned_at)
            await worker.end()
            table = await stage.table(f"warm-{index}", _SHARDS)
            await table.do("put_on_each")
            timed = await _in_process(stage, table)
            imports.append(timed["imported_at"] - timed["spawned_at"])
            inside.append(timed["first_at"] - timed["imported_at"])
            progress(f"  round {index + 1}: process {processes[-1]:.2f} s, without its start {inside[-1]:.2f} s")
    return verdict(
        {
            **spread(processes),
            "in_process": spread(inside),
            "interpreter_start_and_imports": spread(imports),
            "shards": _SHARDS,
        },
        {"worst_seconds": GOAL_SECONDS},
    )


async def _in_process(stage: Stage, table: Table) -> dict[str, float]:
    spawned_at = CLOCK.monotonic()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.benchmarks.timings.cold_start", table.name),
        env={**os.environ, **stage.environment},
        stdout=asyncio.subprocess.PIPE,
    )
    async with CLOCK.timeout(_WITHIN_SECONDS):
        printed, _ = await process.communicate()
    return {"spawned_at": spawned_at, **json.loads(printed)}


async def _first_record(table_name: str) -> dict[str, float]:
    """A worker in this process: when all was imported, and when its processor was given its first record."""
    from consumer.config import InitialPosition, WorkerConfig
    from consumer.streams import open_source
    from consumer.worker import Worker
    from lease_store.dynamodb import DynamoDBLeaseStore

    firsts: list[float] = []

    class First(RecordProcessor):
        def process_records(self, records: Any, checkpointer: Any) -> None:
            firsts.append(CLOCK.monotonic())
            worker.stop()

    imported_at = CLOCK.monotonic()
    app = f"{table_name}-audit"
    config = WorkerConfig(app=app, initial_position=InitialPosition("TRIM_HORIZON"))
    worker = Worker(open_source(f"dynamodb:{table_name}"), DynamoDBLeaseStore(app), First, config)
    async with worker:
        await worker.run()
    return {"imported_at": imported_at, "first_at": firsts[0]}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_first_record(sys.argv[1]))))
