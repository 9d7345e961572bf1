"""A prepared checkpoint under a tenure: a counter write as any other, kept through a change of owner."""

from __future__ import annotations

import pytest

from consumer.errors import LeaseLost
from lease_store import verbs
from lease_store.checkpoint import Checkpoint
from lease_store.lease import PendingCheckpoint
from tests.unit.leasing.scripted_store import Bench, Step, on_bench

HALF = PendingCheckpoint(Checkpoint("9"), b"half done")


@on_bench
async def test_it_stands_beside_the_checkpoint_and_goes_with_the_next_one(bench: Bench) -> None:
    held = bench.hold(checkpoint=Checkpoint("5"))
    await held.prepare(HALF.checkpoint, HALF.state)
    assert (bench.row.checkpoint, bench.row.pending_checkpoint, bench.row.counter) == (Checkpoint("5"), HALF, 8)
    await held.checkpoint(Checkpoint("7"))
    assert (bench.row.checkpoint, bench.row.pending_checkpoint) == (Checkpoint("7"), None)


@on_bench
async def test_a_reply_that_is_lost_is_settled_by_a_read(bench: Bench) -> None:
    held = bench.hold()
    bench.script.append(Step(lost=True))
    await held.prepare(HALF.checkpoint, HALF.state)
    assert bench.sent == ["prepare_checkpoint", "read"]
    bench.script.append(Step(applied=False, lost=True))
    await held.prepare(Checkpoint("11"), None)
    assert bench.sent[2:] == ["prepare_checkpoint", "read", "prepare_checkpoint"]
    assert bench.row.pending_checkpoint == PendingCheckpoint(Checkpoint("11"))


@on_bench
async def test_the_next_owner_finds_it_however_it_came_to_the_lease(bench: Bench) -> None:
    held = bench.hold()
    await held.prepare(HALF.checkpoint, HALF.state)
    bench.other(lambda lease: verbs.start_hand_off(lease, "you"))
    await held.renew()
    await held.finish_hand_off()
    assert (bench.row.actual_owner, bench.row.pending_checkpoint) == ("you", HALF)
    bench.other(lambda lease: verbs.take(lease, "thief"))
    assert bench.row.pending_checkpoint == HALF
    with pytest.raises(LeaseLost):
        await held.prepare(Checkpoint("10"), None)
