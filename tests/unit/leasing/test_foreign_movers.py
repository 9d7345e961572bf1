"""Who writes to the table without a worker's row: a KCL, or a peer of ours that has just left (fleet seed 2025)."""

from __future__ import annotations

from typing import Any

from lease_store import verbs
from lease_store.lease import Lease
from tests.unit.leasing.loop_stage import STREAM, watch_on
from tests.unit.leasing.scripted_store import Bench, on_bench


def lease(key: str, owner: str) -> Lease:
    return Lease(key=key, owner=owner, stream=STREAM, created_at="1")


@on_bench
async def test_rows_that_peers_make_for_a_worker_that_has_left_convict_nobody(bench: Bench) -> None:
    """A draining worker's shards end one after another, and it gives their children to the peer it had chosen."""
    spawned: list[Any] = []
    leases, watch = watch_on(bench, spawned)
    for number in range(5):
        bench.apply(verbs.create(lease(f"child-{number}", "has-left")))
        await watch.scan()
    assert leases.table.mode == "peer"


@on_bench
async def test_who_moves_one_lease_again_and_again_makes_the_rules_those_of_a_kcl_2x_however_slowly(
    bench: Bench,
) -> None:
    """A KCL renews every few seconds, and scans come once a second."""
    spawned: list[Any] = []
    leases, watch = watch_on(bench, spawned)
    row = lease("shard", "kcl-worker")
    bench.apply(verbs.create(row))
    await watch.scan()
    await watch.scan()
    bench.apply(verbs.renew(row, "kcl-worker"))
    await watch.scan()
    assert leases.table.mode == "peer"
    await watch.scan()
    assert leases.table.mode == "2x"
    assert "'kcl-worker', which has no worker row" in leases.table.because


@on_bench
async def test_a_leaver_that_ended_its_last_shard_convicts_nobody(bench: Bench) -> None:
    """Fleet seed 3110: scans that lagged showed its last renewal, then its SHARD_END, and its own row no more."""
    spawned: list[Any] = []
    leases, watch = watch_on(bench, spawned)
    row = lease("shard", "has-left")
    bench.apply(verbs.create(row))
    await watch.scan()
    bench.apply(verbs.end_shard(row, "has-left", ()))
    await watch.scan()
    await watch.scan()
    assert leases.table.mode == "peer"
