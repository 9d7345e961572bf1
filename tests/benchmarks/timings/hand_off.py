"""Hand-off: the pause of a shard that moves between live workers, while records come steadily."""

from __future__ import annotations

import signal
from itertools import pairwise
from typing import Any

from tests.benchmarks.timings.figures import Event, Pause, pauses, percentile, repeats, spread, verdict
from tests.benchmarks.timings.options import Options
from tests.benchmarks.timings.stage import CLOCK, Stage, Table, WorkerProcess, progress, until

GOAL_SECONDS = 0.5
_SHARDS = 8
_RECORDS_PER_SHARD_PER_SECOND = 20.0
_WITHIN_SECONDS = 60.0


async def measure(options: Options) -> dict[str, Any]:
    """A worker joins and takes half; then the first one is stopped with SIGTERM."""
    joined: list[Pause] = []
    stopped: list[Pause] = []
    ordinary: list[float] = []
    moved: list[float] = []
    doubled = lost = 0
    for index in range(options.rounds):
        async with Stage.set() as stage:
            table = await stage.table(f"handoff-{index}", _SHARDS)
            ada = await stage.worker(table, "ada")
            await table.do("steady", per_shard_per_second=_RECORDS_PER_SHARD_PER_SECOND)
            await table.until_balanced([ada], _SHARDS)
            await CLOCK.sleep(3.0)
            ordinary += _gaps(ada.events("record"))
            began = CLOCK.monotonic()
            bob = await stage.worker(table, "bob")
            await table.until_balanced([ada, bob], _SHARDS, _WITHIN_SECONDS)
            first = await _pauses_of(ada, [ada, bob], began, _SHARDS // 2)
            moved.append(max(pause.first_at for pause in first) - began)
            # A rolling update leaves at least as much between a start and the next stop: a peer is handed leases once
            # its own row was seen to move, a third of the failover time after its start and a scan later.
            await CLOCK.sleep(5.0)
            told = ada.send(signal.SIGTERM)
            await ada.wait(_WITHIN_SECONDS)
            second = await _pauses_of(ada, [ada, bob], told, _SHARDS // 2)
            doubled += repeats([*ada.events(), *bob.events()])
            lost += await _lost(table, [ada, bob])
        joined += first
        stopped += second
        progress(f"  round {index + 1}: worst pause {_worst(first):.2f} s (join), {_worst(second):.2f} s (SIGTERM)")
    figures = {
        "worker_joins": _parts(joined),
        "worker_stops": _parts(stopped),
        "worst_seconds": round(max(_worst(joined), _worst(stopped)), 3),
        "gap_between_deliveries_without_hand_off_median_seconds": round(percentile(ordinary, 0.5), 3),
        "start_of_second_worker_to_last_shard_moved": spread(moved),
        "repeats": doubled,
        "lost": lost,
    }
    return verdict(figures, {"worst_seconds": GOAL_SECONDS, "repeats": 0, "lost": 0})


async def _pauses_of(old: WorkerProcess, workers: list[WorkerProcess], after: float, shards: int) -> list[Pause]:
    def seen() -> list[Pause]:
        found = pauses([event for worker in workers for event in worker.events()], old.name, after)
        return list(found.values()) if len(found) >= shards else []

    found: list[Pause] = await until(seen, f"{shards} shards of {old.name} read elsewhere", _WITHIN_SECONDS)
    return found


async def _lost(table: Table, workers: list[WorkerProcess]) -> int:
    """Records that nobody was given, after the writer has paused and everything had time to be read."""
    await table.do("steady", per_shard_per_second=0)
    await CLOCK.sleep(2.5)
    written = {number for number, _, _ in (await table.do("facts"))["written"]}
    return len(written - {event.number for worker in workers for event in worker.events("record")})


def _gaps(records: list[Event]) -> list[float]:
    """Seconds between batches of one shard."""
    by_shard: dict[str, list[float]] = {}
    for record in records:
        by_shard.setdefault(record.shard_id, []).append(record.at)
    return [later - earlier for times in by_shard.values() for earlier, later in pairwise(sorted(set(times)))]


def _parts(found: list[Pause]) -> dict[str, Any]:
    return {
        **spread([each.seconds for each in found]),
        "last_record_to_shutdown_requested": spread([each.asked_at - each.last_at for each in found if each.asked_at]),
        "shutdown_requested_to_new_tenure": spread(
            [each.initialized_at - each.asked_at for each in found if each.asked_at]
        ),
        "new_tenure_to_first_record": spread([each.first_at - each.initialized_at for each in found]),
    }


def _worst(found: list[Pause]) -> float:
    return max(pause.seconds for pause in found)
