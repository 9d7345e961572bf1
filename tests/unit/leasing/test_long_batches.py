"""Fleets whose batches last as long as it takes to give up waiting for one: they come to rest all the same."""

from __future__ import annotations

import pytest

from consumer.hooks import HandOffFinished
from consumer.leasing.table_mode import Coordination
from lease_store import verbs
from lease_store.lease import Lease
from tests.unit.leasing.two_x_stage import Shared, in_shared_table


@pytest.mark.parametrize("coordination", ["auto", "leader"])
@pytest.mark.parametrize("batch_seconds", [5.0, 8.0, 9.0, 12.0])
def test_who_joins_gets_its_share_in_the_fewest_moves_however_long_a_batch_is(
    batch_seconds: float, coordination: Coordination
) -> None:
    """At 8 s it was 193 moves in 400 s, and went on: what had been asked for instead came too, and was given back."""

    @in_shared_table
    async def play(shared: Shared) -> None:
        for number in range(12):
            shared.store.apply(verbs.create(Lease(key=f"shard-{number:02d}", stream="clicks@1", created_at="1-a")))
        workers = []
        for number in range(3):
            workers.append(shared.python(f"py-{number}", batch_seconds=batch_seconds, coordination=coordination))
            await shared.clock.sleep(0.7)
        await shared.until(lambda: [len(each.held) for each in workers] == [4, 4, 4], within=40.0)
        await shared.stays(lambda: [len(each.held) for each in workers] == [4, 4, 4], seconds=60.0)
        assert sum(isinstance(fact, HandOffFinished) for each in workers for fact in each.facts) == 8

    play()
