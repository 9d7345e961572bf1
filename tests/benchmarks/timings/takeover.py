"""Takeover: kill -9 of one of three workers, to the moment when the last of its shards is read again."""

from __future__ import annotations

import asyncio
import random
import signal
from typing import Any

from tests.benchmarks.timings.figures import Pause, pauses, repeats, spread, verdict
from tests.benchmarks.timings.options import Options
from tests.benchmarks.timings.stage import CLOCK, Stage, progress, until

BEYOND_FAILOVER_SECONDS = 2.0
_SHARDS = 6
_RECORDS_PER_SHARD_PER_SECOND = 5.0


async def measure(options: Options) -> dict[str, Any]:
    """At a failover time of 10 s, the default, and of 2 s."""
    figures: dict[str, Any] = {}
    for failover_seconds in (10.0, 2.0):
        figures[f"failover_{failover_seconds:g}_s"] = await _at(failover_seconds, options)
    return figures


async def _at(failover_seconds: float, options: Options) -> dict[str, Any]:
    taken, until_tenure, until_read, doubled = [], [], [], []
    for index in range(options.rounds):
        killed_at, found, again = await _kill_one(failover_seconds, f"takeover-{failover_seconds:g}-{index}")
        worst = max(found, key=lambda pause: pause.first_at)
        taken.append(worst.first_at - killed_at)
        until_tenure += [pause.initialized_at - killed_at for pause in found]
        until_read += [pause.first_at - pause.initialized_at for pause in found]
        doubled.append(again)
        progress(f"  failover {failover_seconds:g} s, round {index + 1}: {taken[-1]:.2f} s, {again} records again")
    return verdict(
        {
            **spread(taken),
            "kill_to_new_tenure": spread(until_tenure),
            "new_tenure_to_first_record": spread(until_read),
            "records_given_again": doubled,
        },
        {"worst_seconds": failover_seconds + BEYOND_FAILOVER_SECONDS},
    )


async def _kill_one(failover_seconds: float, name: str) -> tuple[float, list[Pause], int]:
    """When it was killed, the pauses of its shards, and how many records were given again."""
    async with Stage.set() as stage:
        table = await stage.table(name, _SHARDS)
        flags = ("--failover-seconds", f"{failover_seconds:g}")
        workers = [await stage.worker(table, worker, *flags) for worker in ("ada", "bob", "cleo")]
        await table.do("steady", per_shard_per_second=_RECORDS_PER_SHARD_PER_SECOND)
        await table.until_balanced(workers, _SHARDS)
        # Anywhere between two renewals and two scans.
        await asyncio.sleep(1.0 + random.uniform(0.0, failover_seconds / 3))
        victim = workers[1]
        killed_at = victim.send(signal.SIGKILL)
        share = _SHARDS // len(workers)

        def seen() -> list[Pause]:
            found = pauses([event for worker in workers for event in worker.events()], victim.name, killed_at)
            return list(found.values()) if len(found) >= share else []

        found = await until(seen, f"the {share} shards of the killed worker read again", 4 * failover_seconds + 20)
        await CLOCK.sleep(1.0)
        return killed_at, found, repeats(event for worker in workers for event in worker.events())
