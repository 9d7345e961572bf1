"""One worker with 100 idle shards at the default idle wait: memory, CPU, and what it asks of the services."""

from __future__ import annotations

from typing import Any

from tests.benchmarks.timings.figures import verdict
from tests.benchmarks.timings.options import Options
from tests.benchmarks.timings.stage import CLOCK, Stage, progress

GOAL_MEGABYTES = 150.0
GOAL_CPU_SHARE = 0.20
_SHARDS = 100
_SETTLE_SECONDS = 15.0


async def measure(options: Options) -> dict[str, Any]:
    """Over ``idle_seconds`` after everything has settled, renewals and scans included."""
    async with Stage.set() as stage:
        table = await stage.table("idle", _SHARDS)
        worker = await stage.worker(table, "ada")
        await table.until_balanced([worker], _SHARDS)
        await CLOCK.sleep(_SETTLE_SECONDS)
        began, cpu, facts = CLOCK.monotonic(), worker.cpu_seconds(), await table.do("facts")
        counters = sum(lease.counter for lease in await table.leases())
        await CLOCK.sleep(options.idle_seconds)
        seconds = CLOCK.monotonic() - began
        used = worker.cpu_seconds() - cpu
        reads = (await table.do("facts"))["calls"]["GetRecords"] - facts["calls"]["GetRecords"]
        renewals = sum(lease.counter for lease in await table.leases()) - counters
        figures = {
            "resident_megabytes": round(worker.resident_megabytes(), 1),
            "cpu_share_of_a_core": round(used / seconds, 3),
            "get_records_per_second": round(reads / seconds, 1),
            "lease_writes_per_second": round(renewals / seconds, 1),
            "cpu_milliseconds_per_request": round(1000 * used / (reads + renewals), 3),
            "seconds": round(seconds, 1),
            "shards": _SHARDS,
        }
        progress(f"  {figures}")
        return verdict(figures, {"resident_megabytes": GOAL_MEGABYTES, "cpu_share_of_a_core": GOAL_CPU_SHARE})
