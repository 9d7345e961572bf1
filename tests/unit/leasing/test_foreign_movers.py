"""Who writes to the table without a worker's row: a KCL, or a peer of ours that has just left (fleet seed 2025)."""

from __future__ import annotations

from typing import Any

import pytest

from consumer.errors import LeaseTableConflict
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
    _, watch = watch_on(bench, spawned)
    for number in range(5):
        bench.apply(verbs.create(lease(f"child-{number}", "has-left")))
        await watch.scan()


@on_bench
async def test_who_moves_one_lease_again_and_again_is_refused_by_name_however_slowly(bench: Bench) -> None:
    """A KCL renews every few seconds, and scans come once a second."""
    spawned: list[Any] = []
    _, watch = watch_on(bench, spawned)
    row = lease("shard", "kcl-worker")
    bench.apply(verbs.create(row))
    await watch.scan()
    await watch.scan()
    bench.apply(verbs.renew(row, "kcl-worker"))
    with pytest.raises(LeaseTableConflict, match="kcl-worker"):
        await watch.scan()


@on_bench
async def test_a_leaver_that_ended_its_last_shard_convicts_nobody(bench: Bench) -> None:
    """Fleet seed 3110: scans that lagged showed its last renewal, then its SHARD_END, and its own row no more."""
    spawned: list[Any] = []
    _, watch = watch_on(bench, spawned)
    row = lease("shard", "has-left")
    bench.apply(verbs.create(row))
    await watch.scan()
    bench.apply(verbs.end_shard(row, "has-left", ()))
    await watch.scan()
