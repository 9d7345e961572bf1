"""A table that answers looks and lets writes hang: what a worker begins with each look does not pile up."""

from __future__ import annotations

import asyncio

from lease_store import verbs
from lease_store.checkpoint import SHARD_END, Checkpoint
from lease_store.lease import Lease
from lease_store.store import Unknown, WriteResult
from lease_store.writes import Write
from tests.unit.leasing.kcl_3x import Kcl3x
from tests.unit.leasing.two_x_stage import Shared, in_shared_table

ROWS = 60


async def grown(shared: Shared) -> int:
    """By how many the tasks on the loop grow in the second half of a minute."""
    await shared.clock.sleep(30.0)
    before = len(asyncio.all_tasks())
    await shared.clock.sleep(30.0)
    return len(asyncio.all_tasks()) - before


def writes_hang(shared: Shared) -> None:
    async def unanswered(write: Write, *, timeout_seconds: float) -> WriteResult:
        await shared.clock.sleep(timeout_seconds)
        return Unknown(f"no reply to {write.verb}")

    shared.store.write = unanswered  # type: ignore[method-assign]


@in_shared_table
async def test_leases_that_a_kcl_assigned_are_accepted_by_one_task_each(shared: Shared) -> None:
    java = Kcl3x("java", shared.store, shared.clock, leads=True)
    java.make(ROWS)
    shared.enter("java", java.run())
    ours = shared.python("py-1")
    await shared.clock.sleep(5.0)
    writes_hang(shared)
    for number in range(ROWS):
        java.assign(f"shard-{number:02d}", ours.name)
    assert await grown(shared) <= ROWS


@in_shared_table
async def test_finished_rows_are_deleted_by_one_task_each(shared: Shared) -> None:
    shared.make(1)
    ours = shared.python("py-1")
    await shared.until(lambda: ours.held == ["shard-00"], within=5.0)
    writes_hang(shared)
    for number in range(ROWS):
        parent, child = f"parent-{number}", f"child-{number}"
        for lease in (
            Lease(key=parent, checkpoint=SHARD_END, owner=ours.name, children=(child,), entity_type=None),
            Lease(key=child, checkpoint=Checkpoint("5"), owner="java", parents=(parent,), entity_type=None),
        ):
            shared.store.apply(verbs.create(lease))
    assert await grown(shared) <= ROWS
