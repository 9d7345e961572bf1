"""A shard that checkpoints every 0.2 s: how soon its owner's user code hears of a hand-off that somebody started."""

from __future__ import annotations

import random
from typing import Any

from lease_store import verbs
from lease_store.store import Applied, LeaseStore
from tests.benchmarks.timings.figures import spread, verdict
from tests.benchmarks.timings.options import Options
from tests.benchmarks.timings.stage import CLOCK, Stage, progress, until

GOAL_SECONDS = 1.0
_SHARDS = 4
_RECORDS_PER_SHARD_PER_SECOND = 10.0


async def measure(options: Options) -> dict[str, Any]:
    """Hand-offs are written as a peer would write them; the owner learns of them from its next reply."""
    noticed = []
    async with Stage.set() as stage:
        table = await stage.table("notice", _SHARDS)
        worker = await stage.worker(table, "ada", "--checkpoint-interval-seconds", "0.2")
        await table.do("steady", per_shard_per_second=_RECORDS_PER_SHARD_PER_SECOND)
        await table.until_balanced([worker], _SHARDS)
        await CLOCK.sleep(2.0)
        store = await stage.lease_store(table.app)
        keys = sorted(lease.key for lease in await table.leases())
        for index in range(4 * options.rounds):
            # The name of no worker: the owner takes the lease back after it has told its user code.
            noticed.append(await _hand_off(store, worker, keys[index % _SHARDS], f"nobody-{index}"))
            await CLOCK.sleep(random.uniform(0.5, 1.0))
    progress(f"  {spread(noticed)}")
    return verdict(spread(noticed), {"worst_seconds": GOAL_SECONDS})


async def _hand_off(store: LeaseStore, worker: Any, key: str, to: str) -> float:
    lease = await store.read(key)
    assert lease is not None
    sent_at = CLOCK.monotonic()
    result = await store.write(verbs.start_hand_off(lease, to), timeout_seconds=5.0)
    if not isinstance(result, Applied):
        raise RuntimeError(f"The hand-off of {key} could not be started: {result}.")

    def heard() -> list[float]:
        asked = worker.events("shutdown_requested")
        return [event.at for event in asked if event.shard_id == key and event.at > sent_at]

    at: list[float] = await until(heard, f"{worker.name} hears of the hand-off of {key}", 30.0)
    return at[0] - sent_at
