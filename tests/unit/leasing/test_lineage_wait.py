"""A child waits for its parents: woken by their end at once, and for the price of few reads."""

from __future__ import annotations

from consumer.leasing.lease_loop import LeaseLoop
from lease_store import verbs
from lease_store.lease import Lease
from tests.unit.leasing.loop_stage import STREAM, child_of, loop_on
from tests.unit.leasing.scripted_store import Bench, on_bench


def end(bench: Bench, key: str) -> None:
    """Another worker's end of a shard, which this one has not seen."""
    (row,) = [lease for lease in bench.rows().leases if lease.key == key]
    bench.apply(verbs.end_shard(row, "other", ()))


def see(loop: LeaseLoop, bench: Bench, key: str) -> None:
    (row,) = [lease for lease in bench.rows().leases if lease.key == key]
    loop.leases.see(row)


@on_bench
async def test_a_wave_of_ends_wakes_each_child_at_its_own_parents_end_without_a_wave_of_reads(bench: Bench) -> None:
    loop = loop_on(bench)
    waits = []
    for number in range(30):
        bench.apply(verbs.create(Lease(key=f"parent-{number}", owner="other", stream=STREAM, created_at="1")))
        held = await child_of(loop, f"child-{number}", f"parent-{number}")
        waits.append(bench.begin(loop.parents_finished(held)))
    await bench.clock.sleep(5.0)
    bench.sent.clear()
    for number in range(30):
        end(bench, f"parent-{number}")
        see(loop, bench, f"parent-{number}")
        await bench.clock.sleep(0.001)
        assert [wait.done() for wait in waits] == [other <= number for other in range(30)]
    assert bench.sent.count("read") <= 5  # a timer of some child may be due within these 30 ms


@on_bench
async def test_an_end_that_nobody_tells_of_is_found_within_2_seconds(bench: Bench) -> None:
    loop = loop_on(bench)
    bench.apply(verbs.create(Lease(key="parent", owner="other", stream=STREAM, created_at="1")))
    wait = bench.begin(loop.parents_finished(await child_of(loop, "child", "parent")))
    await bench.clock.sleep(5.0)
    assert not wait.done()
    end(bench, "parent")
    await bench.clock.sleep(2.1)
    assert wait.result() == ()


@on_bench
async def test_of_a_merges_parents_one_is_gone_and_the_others_end_is_enough(bench: Bench) -> None:
    loop = loop_on(bench)
    bench.apply(verbs.create(Lease(key="parent", owner="other", stream=STREAM, created_at="1")))
    wait = bench.begin(loop.parents_finished(await child_of(loop, "child", "gone", "parent")))
    await bench.clock.sleep(5.0)
    assert not wait.done()
    end(bench, "parent")
    see(loop, bench, "parent")
    await bench.clock.sleep(0.001)
    assert wait.result() == ("gone",)


@on_bench
async def test_a_parent_that_this_worker_holds_itself_is_never_read(bench: Bench) -> None:
    loop = loop_on(bench)
    parent = await child_of(loop, "parent")
    wait = bench.begin(loop.parents_finished(await child_of(loop, "child", "parent")))
    bench.sent.clear()
    await bench.clock.sleep(5.0)
    assert "read" not in bench.sent
    await parent.end_shard(("child",))
    await bench.clock.sleep(0.001)
    assert wait.result() == ()


@on_bench
async def test_waiting_ends_with_the_tenure(bench: Bench) -> None:
    loop = loop_on(bench)
    bench.apply(verbs.create(Lease(key="parent", owner="other", stream=STREAM, created_at="1")))
    held = await child_of(loop, "child", "parent")
    wait = bench.begin(loop.parents_finished(held))
    held.end("lost")
    await bench.clock.sleep(2.1)
    assert wait.result() == ()
