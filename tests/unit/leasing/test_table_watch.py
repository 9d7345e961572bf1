"""What looking at a table costs, and that nothing of a shard stays once its row is gone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from typing import Any

import pytest

from lease_store import verbs
from lease_store.errors import LeaseTableThrottled
from lease_store.lease import Lease, WorkerRow
from tests.unit.leasing.loop_stage import STREAM, loop_on, watch_on
from tests.unit.leasing.scripted_store import ME, Bench, Step, on_bench


def shards_of_a(bench: Bench, numbers: Iterable[int]) -> None:
    for number in numbers:
        bench.apply(verbs.create(Lease(key=f"shard-{number}", owner="a", stream=STREAM, created_at="1")))


async def settle(spawned: list[Coroutine[Any, Any, None]]) -> None:
    works, spawned[:] = list(spawned), []
    for work in works:
        await work


@on_bench
async def test_a_limit_is_kept_without_going_through_the_table_for_each_free_lease(bench: Bench) -> None:
    """With 6,000 rows and 1,000 of them free it cost 3 s at each look, in which no lease was renewed."""
    spawned: list[Coroutine[Any, Any, None]] = []
    leases, watch = watch_on(bench, spawned, max_leases=30)
    for number in range(100):
        bench.apply(verbs.create(Lease(key=f"shard-{number}", stream=STREAM, created_at="1")))
    await bench.clock.sleep(2.0)  # no fleet is forming any more
    await watch.scan()
    watch.rules.apply_takes()
    assert leases.walks <= 2
    await settle(spawned)
    assert len(leases.held) == 30
    watch.rules.apply_takes()
    await settle(spawned)
    assert len(leases.held) == 30


@on_bench
async def test_rows_that_come_one_after_another_are_not_each_a_reason_to_plan_for_all(bench: Bench) -> None:
    """Scale: while 10,000 rows were made, a third of the lease loop's time went into a plan of all for each of them."""
    leases, watch = watch_on(bench, [])
    shards_of_a(bench, range(1000))
    await watch.scan()
    plans: list[float] = []
    watch.rules.apply_takes = lambda: plans.append(bench.clock.monotonic())  # type: ignore[method-assign]
    bench.begin(watch.take_forever())
    began = bench.clock.monotonic()
    for _ in range(1000):
        leases.moved.set()
        await bench.clock.sleep(0.001)
    assert plans[0] < began + 0.01
    assert 20 <= len(plans) <= 50
    leases.moved.set()
    await bench.clock.sleep(0.05)
    assert plans[-1] >= began + 1.0  # the last word is heard, too


@on_bench
async def test_what_was_noted_of_a_shard_goes_with_its_row(bench: Bench) -> None:
    spawned: list[Coroutine[Any, Any, None]] = []
    _, watch = watch_on(bench, spawned)
    await bench.write_worker(WorkerRow(worker_id="a-peer", beat=1))
    for number in range(4):
        bench.apply(verbs.create(Lease(key=f"shard-{number}", stream=STREAM, created_at="1")))
    bench.script.extend([Step(error=LeaseTableThrottled())] * 4)
    await watch.scan()
    watch.rules.apply_takes()  # half of them are the peer's by plan and get a grace, the other half is throttled
    await settle(spawned)
    assert len(watch.rules._taking._grace) == len(watch.writes._troubles) == 2
    for lease in bench.rows().leases[1:]:
        bench._tables["leases"].pop(lease.key)
    await watch.scan()
    assert len(watch.rules._taking._grace) + len(watch.writes._troubles) == 1


@on_bench
async def test_who_starts_among_the_rows_of_the_dead_looks_again_within_a_failover_time(bench: Bench) -> None:
    """Chaos, dynamodb seed 5: with 26 rows of killed workers the first pause was 12 s at a failover time of 2 s."""
    spawned: list[Coroutine[Any, Any, None]] = []
    leases, watch = watch_on(bench, spawned)
    for number in range(300):
        bench.apply(verbs.create(Lease(key=f"shard-{number}", stream=STREAM, owner="w0", created_at="1")))
    for number in range(40):
        await bench.write_worker(WorkerRow(worker_id=f"w{number}", beat=7))
    bench.begin(watch.scan_forever())
    await bench.clock.sleep(1.0)
    assert watch.scan_period_seconds > 15.0
    looked_at = leases.looked_at
    await bench.clock.sleep(10.0)
    assert leases.looked_at > looked_at
    assert watch.scan_period_seconds == 1.0
    for work in spawned:
        work.close()


@on_bench
async def test_a_lease_is_asked_for_only_where_two_looks_agree(bench: Bench) -> None:
    """Scale: looks amid a change show states it only passes through; 73 leases moved for these where 4 had to."""
    spawned: list[Coroutine[Any, Any, None]] = []
    _, watch = watch_on(bench, spawned)
    shards_of_a(bench, range(6))
    for beat in (1, 2):
        await bench.write_worker(WorkerRow(worker_id="a", beat=beat))
        await watch.scan()
    watch.rules.follow()
    assert spawned == []
    watch.rules.follow()
    assert len(spawned) == 3
    for ask in spawned:
        ask.close()


@on_bench
async def test_a_look_out_of_turn_follows_the_rows_that_it_shows_and_takes_the_place_of_the_next_one(
    bench: Bench,
) -> None:
    """It came on top of the budget, and what named this worker was left to the look after it."""
    loop = loop_on(bench)
    await bench.clock.sleep(0.7)
    bench.apply(verbs.create(Lease(key="s", owner=ME, stream=STREAM, created_at="1")))
    state = await loop.seen_since(bench.clock.monotonic())
    assert [lease.key for lease in state.leases] == ["s"]
    looked_at = loop.leases.looked_at
    await bench.clock.sleep(0.1)
    assert "s" in loop.leases.held
    await bench.clock.sleep(0.75)
    assert loop.leases.looked_at == looked_at
    await bench.clock.sleep(0.3)
    assert loop.leases.looked_at > looked_at


def test_a_dead_workers_row_that_can_not_be_deleted_is_named_once_a_minute_and_keeps_nobody_from_looking(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It said that it could not scan, and the next look was put off."""

    @on_bench
    async def main(bench: Bench) -> None:
        leases, watch = watch_on(bench, [])
        await bench.write_worker(WorkerRow(worker_id="zed", beat=7))
        bench.refuse_deletes = True
        bench.begin(watch.scan_forever())
        for _ in range(100):
            await bench.clock.sleep(1.0)
            assert leases.looked_at > bench.clock.monotonic() - 1.1
        bench.refuse_deletes = False
        await bench.clock.sleep(61.0)
        assert bench.rows().workers == ()

    with caplog.at_level(logging.WARNING, "leasehold.leasing"):
        main()
    (told,) = (record.getMessage() for record in caplog.records)
    assert told.startswith("The row of worker zed, which died, could not be deleted from lease table memory")


@on_bench
async def test_time_given_to_the_planned_taker_does_not_run_while_fleets_form(bench: Bench) -> None:
    """Scale, cold start: who knew the fleet first took 160 leases of peers that still held back."""
    spawned: list[Coroutine[Any, Any, None]] = []
    leases, watch = watch_on(bench, spawned)
    for number in range(120):
        bench.apply(verbs.create(Lease(key=f"shard-{number}", stream=STREAM, created_at="1")))
    await bench.write_worker(WorkerRow(worker_id="a-peer", beat=1))
    await watch.scan()
    bench.script.extend([Step(error=LeaseTableThrottled())] * 4)
    watch.rules.apply_takes()  # the first few, which fail
    await settle(spawned)
    await bench.clock.sleep(5.0)
    await bench.write_worker(WorkerRow(worker_id="a-peer", beat=4))
    await watch.scan()
    watch.rules.apply_takes()
    await settle(spawned)
    assert len(leases.held) == 60


@on_bench
async def test_a_lease_that_does_not_come_is_no_reason_to_ask_for_another_before_the_next_look(bench: Bench) -> None:
    """A receiver asks on as leases come; asking on as they are refused would be a storm of refusals."""
    spawned: list[Coroutine[Any, Any, None]] = []
    _, watch = watch_on(bench, spawned)
    shards_of_a(bench, range(40))
    for beat in (1, 2):
        await bench.write_worker(WorkerRow(worker_id="a", beat=beat))
        await watch.scan()
        watch.rules.follow()
    for lease in bench.rows().leases:
        bench.apply(verbs.start_hand_off(lease, "another"))
    await settle(spawned)
    assert bench.sent == ["start_hand_off"] * 4
    assert spawned == []


@on_bench
async def test_between_two_looks_no_more_come_than_both_have_shown_as_lacking(bench: Bench) -> None:
    spawned: list[Coroutine[Any, Any, None]] = []
    leases, watch = watch_on(bench, spawned)
    for beat, rows in ((1, range(4)), (2, range(4, 40))):
        shards_of_a(bench, rows)
        await bench.write_worker(WorkerRow(worker_id="a", beat=beat))
        await watch.scan()
        watch.rules.follow()
    asks = [bench.begin(work) for work in spawned]
    spawned.clear()
    await bench.clock.sleep(0.05)
    for lease in bench.rows().leases:
        bench.apply(verbs.finish_hand_off(lease, "a"))
    await asyncio.gather(*asks)
    assert len(leases.held) == 2
    assert spawned == []
