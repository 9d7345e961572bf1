"""User code that blocks: it must cost no lease, and it must not keep a process alive that was told to stop."""

from __future__ import annotations

import signal
from typing import Any

from tests.benchmarks.timings.figures import repeats, verdict
from tests.benchmarks.timings.options import Options
from tests.benchmarks.timings.stage import CLOCK, Stage, progress, until

_FAILOVER_SECONDS = 2.0
_DRAIN_SECONDS = 5.0  # an undisturbed drain takes about 3: two scans after the mark that it drains
_ENDS = {"NeverEnds": 4, "NeverEndsOnTheLoop": 4, "AlwaysRaises": 0}


async def measure_sleep(options: Options) -> dict[str, Any]:
    """Two workers with two shards each at a failover time of 2 s; every handler sleeps, then goes on."""
    async with Stage.set() as stage:
        table = await stage.table("sleep", 4)
        flags = ("--failover-seconds", f"{_FAILOVER_SECONDS:g}")
        workers = [await stage.worker(table, name, *flags, processor="Sleeps") for name in ("ada", "bob")]
        await table.until_balanced(workers, 4)
        await CLOCK.sleep(1.0)
        before = sum(len(worker.events("initialize")) for worker in workers)
        await table.do("put_on_each", sleep=str(options.sleep_seconds))
        await until(lambda: sum(len(worker.events("record")) for worker in workers) == 4, "four sleeping handlers")
        progress(f"  four handlers sleep for {options.sleep_seconds:g} s")
        await CLOCK.sleep(options.sleep_seconds)
        await until(lambda: sum(len(worker.events("returned")) for worker in workers) == 4, "four handlers back", 30.0)
        await table.do("put_on_each")
        await until(lambda: sum(len(worker.events("record")) for worker in workers) >= 8, "a record after it", 30.0)
        await CLOCK.sleep(2.0)
        events = [event for worker in workers for event in worker.events()]
    figures = {
        "leases_lost": sum(1 for event in events if event.kind == "lease_lost"),
        "new_tenures": sum(1 for event in events if event.kind == "initialize") - before,
        "repeats": repeats(events),
        "slept_seconds": options.sleep_seconds,
        "failover_seconds": _FAILOVER_SECONDS,
    }
    return verdict(figures, {"leases_lost": 0, "new_tenures": 0, "repeats": 0})


async def measure_stop(options: Options) -> dict[str, Any]:
    """SIGTERM to handlers that never return (exit code 4) and to one that always raises (0), each alone."""
    figures: dict[str, Any] = {}
    async with Stage.set() as stage:
        for processor, expected in _ENDS.items():
            figures[processor] = await _stop(stage, processor, expected)
            progress(f"  {processor}: {figures[processor]}")
    return figures


async def _stop(stage: Stage, processor: str, expected: int) -> dict[str, Any]:
    table = await stage.table(processor, 2)
    await table.do("put_on_each")
    flags = ("--drain-timeout-seconds", f"{_DRAIN_SECONDS:g}")
    worker = await stage.worker(table, processor, *flags, processor=processor)
    # A handler on the loop blocks the other shard's with it.
    await until(lambda: worker.events("record"), f"a record in {processor}")
    await CLOCK.sleep(2.0)
    told_at = worker.send(signal.SIGTERM)
    code = await worker.wait(_DRAIN_SECONDS + 30.0)
    figures = {
        "seconds_to_exit": round(CLOCK.monotonic() - told_at, 3),
        "exit_code": code,
        "wrong_exit_code": int(code != expected),
        "drain_timeout_seconds": _DRAIN_SECONDS,
    }
    return verdict(figures, {"seconds_to_exit": _DRAIN_SECONDS + 1.0, "wrong_exit_code": 0})
