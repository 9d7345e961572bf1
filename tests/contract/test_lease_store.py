"""What every LeaseStore does, asked of each of them: the fake in memory, and a table on a real server."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from lease_store import (
    SHARD_END,
    TRIM_HORIZON,
    Applied,
    Checkpoint,
    InvalidRow,
    Lease,
    LeaseStore,
    Refused,
    Unknown,
    WorkerRow,
    Write,
    verbs,
)
from lease_store.coordination import LeaderLock, coordination_to_item
from lease_store.item import from_item, lease_of, to_item, worker_to_item
from tests.contract.bench import Bench, Item, TableRows, same
from tests.contract.verb_cases import (
    CASES,
    CONDITIONAL,
    DELETE,
    ENDED,
    IDLE,
    OWNED,
    PENDING,
    REFUSED_BY,
    Case,
    violations,
)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
async def test_a_write_whose_condition_holds_returns_the_whole_row_after_it(bench: Bench, case: Case) -> None:
    bench.put(case.row)
    result = await bench.write(case.write)
    assert same(bench.get(), case.row_after)
    assert result == Applied(from_item(case.row_after))  # type: ignore[arg-type]
    assert case.write.stands_in(bench.get())


@pytest.mark.parametrize("name", [name for name in CONDITIONAL if REFUSED_BY[name]])
async def test_each_expectation_alone_refuses_and_shows_the_row_in_the_way(bench: Bench, name: str) -> None:
    for what, row in violations(name).items():
        bench.put(row)
        assert await bench.write(CONDITIONAL[name].write) == Refused(lease_of(row)), what
        assert same(bench.get(), row), what


@pytest.mark.parametrize("case", CONDITIONAL.values(), ids=CONDITIONAL.keys())
async def test_no_write_but_create_brings_a_row_into_being(bench: Bench, case: Case) -> None:
    assert await bench.write(case.write) == Refused(None)
    assert bench.get() is None


async def test_create_writes_the_whole_row_once(bench: Bench) -> None:
    assert await bench.write(verbs.create(OWNED)) == Applied(OWNED)
    assert same(bench.get(), to_item(OWNED))
    late = verbs.create(replace(OWNED, counter=0, owner="w2"))
    assert await bench.write(late) == Refused(OWNED)
    assert same(bench.get(), to_item(OWNED))


async def test_delete_removes_a_finished_row(bench: Bench) -> None:
    bench.put(DELETE.row)
    assert await bench.write(DELETE.write) == Applied(None)
    assert bench.get() is None
    assert DELETE.write.stands_in(None)


async def test_delete_of_a_row_without_a_mark_compares_no_mark(bench: Bench) -> None:
    unmarked = replace(ENDED, created_at=None)
    bench.put(to_item(unmarked))
    assert await bench.write(verbs.delete(unmarked)) == Applied(None)


async def test_numbers_compare_by_value_as_dynamodb_does(bench: Bench) -> None:
    bench.put(to_item(OWNED) | {"leaseCounter": {"N": "7.0"}})
    assert await bench.write(verbs.renew(OWNED, "w1")) == Applied(replace(OWNED, counter=8))


async def test_a_start_of_a_hand_off_does_not_compare_the_counter(bench: Bench) -> None:
    """The owner renews all the while; a compared counter would let the start fail on every lease that is alive."""
    bench.put(to_item(replace(OWNED, counter=1000)))
    result = await bench.write(verbs.start_hand_off(OWNED, "w2"))
    assert result == Applied(replace(PENDING, counter=1000))


async def test_an_attribute_that_is_absent_is_not_the_forbidden_value(bench: Bench) -> None:
    write = Write("probe", "shard-1", (verbs.IsNot("custom", {"S": "forbidden"}),), {"leaseOwner": {"S": "w2"}})
    bench.put(to_item(replace(OWNED, extra={})))
    assert await bench.write(write) == Applied(replace(OWNED, owner="w2", extra={}))


async def test_a_refusal_by_a_row_that_is_no_lease_shows_none(bench: Bench) -> None:
    bench.put(worker_to_item(WorkerRow(worker_id="shard-1", beat=1)))
    assert await bench.write(verbs.create(OWNED)) == Refused(None)


async def test_a_refusal_by_an_unreadable_row_names_it(bench: Bench) -> None:
    bench.put({"leaseKey": {"S": "shard-1"}, "leaseCounter": {"N": "1"}})
    with pytest.raises(InvalidRow, match=r"'shard-1'.*checkpoint"):
        await bench.write(verbs.renew(OWNED, "w1"))


async def test_a_write_that_leaves_an_unreadable_row_is_not_denied(bench: Bench) -> None:
    bench.put({"leaseKey": {"S": "shard-1"}, "leaseCounter": {"N": "7"}, "leaseOwner": {"S": "w1"}})
    result = await bench.write(verbs.renew(OWNED, "w1"))
    assert isinstance(result, Unknown)
    assert "checkpoint" in result.reason
    assert (bench.get() or {})["leaseCounter"] == {"N": "8"}


async def test_twenty_take_at_once_and_one_wins(bench: Bench) -> None:
    bench.put(to_item(IDLE))
    results = await asyncio.gather(*(bench.write(verbs.take(IDLE, f"w{n}")) for n in range(20)))
    winners = [result.lease.owner for result in results if isinstance(result, Applied) and result.lease]
    assert len(winners) == 1
    assert {result.lease.owner for result in results if isinstance(result, Refused) and result.lease} == set(winners)
    assert await bench.store.read("shard-1") == replace(IDLE, counter=8, owner=winners[0])


async def test_twenty_create_at_once_and_one_wins(bench: Bench) -> None:
    writes = [verbs.create(replace(OWNED, created_at=f"mark-{n}")) for n in range(20)]
    results = await asyncio.gather(*(bench.write(write) for write in writes))
    winners = [result.lease.created_at for result in results if isinstance(result, Applied) and result.lease]
    assert len(winners) == 1
    stored = await bench.store.read("shard-1")
    assert stored is not None
    assert stored.created_at == winners[0]


async def test_read_finds_leases_and_nothing_else(bench: Bench) -> None:
    bench.put(to_item(PENDING))
    bench.put(worker_to_item(WorkerRow(worker_id="w1", beat=1)))
    bench.put(coordination_to_item(LeaderLock(owner="w1", version="1", duration_seconds=9.0)))
    assert await bench.store.read("shard-1") == PENDING
    assert await bench.store.read("w1") is None
    assert await bench.store.read("Leader") is None
    assert await bench.store.read("missing") is None


async def test_scan_returns_every_page_and_each_kind_sorted(bench: Bench) -> None:
    # DynamoDB ends a page at 1 MB.
    ballast = {"ballast": {"B": bytes(190_000)}}
    leases = [replace(IDLE, key=f"shard-{n}", extra=ballast) for n in range(8)]
    for lease in reversed(leases):
        bench.put(to_item(lease))
    workers = [WorkerRow(worker_id=f"w{n}", beat=n) for n in range(3)]
    for worker in reversed(workers):
        bench.put(worker_to_item(worker))
    bench.put({"leaseKey": {"S": "Leader"}, "entityType": {"S": "LEADER"}})
    bench.put({"leaseKey": {"S": "stream"}, "entityType": {"S": "STREAM"}})
    bench.put({"leaseKey": {"S": "broken"}, "checkpoint": {"S": "5"}})
    if isinstance(bench.rows, TableRows):
        assert "LastEvaluatedKey" in bench.rows.client.scan(TableName=bench.store.name), "one page proves nothing"
    scan = await bench.store.scan()
    assert scan.leases == tuple(leases)
    assert scan.workers == tuple(workers)
    assert [row.key for row in scan.foreign] == ["stream"]
    assert [key for key, _ in scan.unreadable] == ["Leader", "broken"]
    assert "leaseCounter" in scan.unreadable[1][1]


async def test_scan_of_an_empty_table(bench: Bench) -> None:
    assert await bench.store.scan() == type(await bench.store.scan())()


async def test_unknown_attributes_survive_a_whole_life(bench: Bench) -> None:
    """Bytes and sets of every kind go through create, hand-off, checkpoint and end untouched."""
    extra: Item = {"b": {"B": base64.b64decode("AAEC/w==")}, "bs": {"BS": [b"1", b"2"]}, "ns": {"NS": ["1", "2.5"]}}
    lease = replace(OWNED, extra=extra)
    await bench.write(verbs.create(lease))
    life: tuple[Callable[[Lease], Write], ...] = (
        lambda seen: verbs.take(seen, "w1"),
        lambda seen: verbs.start_hand_off(seen, "w2"),
        lambda seen: verbs.finish_hand_off(seen, "w1"),
        lambda seen: verbs.set_checkpoint(seen, "w2", Checkpoint("200")),
        lambda seen: verbs.end_shard(seen, "w2", ()),
    )
    for verb in life:
        result = await bench.write(verb(lease))
        assert isinstance(result, Applied)
        assert result.lease is not None
        lease = result.lease
    assert lease.checkpoint == SHARD_END
    row = bench.get() or {}
    assert same({name: row[name] for name in extra}, extra)


async def test_a_row_without_entity_type_stays_without(bench: Bench) -> None:
    old = replace(OWNED, entity_type=None)
    bench.put(to_item(old))
    result = await bench.write(verbs.renew(old, "w1"))
    assert result == Applied(replace(old, counter=8))
    assert "entityType" not in (bench.get() or {})


async def test_a_worker_row_is_put_whole(bench: Bench) -> None:
    first = WorkerRow(worker_id="w1", beat=1, failover_seconds=10.0, max_leases=5, updated_at=100)
    await bench.store.write_worker(first)
    assert await bench.store.read_worker("w1") == first
    second = WorkerRow(worker_id="w1", beat=2, draining=True, failover_seconds=2.5, updated_at=103)
    await bench.store.write_worker(second)
    assert await bench.store.read_worker("w1") == second
    assert "leaseholdMaxLeases" not in (bench.get("w1") or {})
    assert await bench.store.read_worker("w2") is None


@pytest.mark.parametrize("late_beat", [1, 2])
async def test_a_worker_row_that_arrives_late_undoes_nothing(bench: Bench, late_beat: int) -> None:
    """A beat sent before the mark of draining and applied after it would have peers hand leases to who leaves."""
    marked = WorkerRow(worker_id="w1", beat=2, draining=True, updated_at=103)
    assert await bench.store.write_worker(marked)
    assert not await bench.store.write_worker(WorkerRow(worker_id="w1", beat=late_beat, max_leases=5, updated_at=100))
    assert await bench.store.read_worker("w1") == marked


async def test_a_worker_row_takes_the_place_of_a_kcls_of_the_same_name(bench: Bench) -> None:
    bench.put(worker_to_item(WorkerRow(worker_id="w1", beat=None, updated_at=100)))
    assert await bench.store.write_worker(WorkerRow(worker_id="w1", beat=1, updated_at=103))


async def test_a_lease_is_no_worker(bench: Bench) -> None:
    bench.put(to_item(OWNED))
    assert await bench.store.read_worker("shard-1") is None


async def test_a_worker_row_is_deleted_only_where_it_has_not_moved(bench: Bench) -> None:
    seen = WorkerRow(worker_id="w1", beat=1, updated_at=100)
    await bench.store.write_worker(replace(seen, beat=2))
    await bench.store.delete_worker(seen)
    assert await bench.store.read_worker("w1") == replace(seen, beat=2)
    await bench.store.delete_worker(replace(seen, beat=2))
    assert await bench.store.read_worker("w1") is None
    await bench.store.delete_worker(seen)


async def test_a_row_of_a_kcl_worker_moves_by_its_time_of_update(bench: Bench) -> None:
    seen = WorkerRow(worker_id="j1", beat=None, updated_at=100)
    bench.put(worker_to_item(replace(seen, updated_at=130)))
    await bench.store.delete_worker(seen)
    assert await bench.store.read_worker("j1") == replace(seen, updated_at=130)
    await bench.store.delete_worker(replace(seen, updated_at=130))
    assert await bench.store.read_worker("j1") is None


async def test_deleting_a_worker_never_deletes_a_lease(bench: Bench) -> None:
    row = to_item(OWNED) | {"leaseholdBeat": {"N": "1"}, "lut": {"N": "0"}}
    bench.put(row)
    await bench.store.delete_worker(WorkerRow(worker_id="shard-1", beat=1))
    await bench.store.delete_worker(WorkerRow(worker_id="shard-1", beat=None))
    assert same(bench.get(), row)


async def test_two_loops_in_two_threads_share_one_store(bench: Bench) -> None:
    """Each loop counts one row up 15 times; no step may be lost, and no loop may touch the other's clients."""
    start = replace(OWNED, counter=0, checkpoint=TRIM_HORIZON)
    bench.put(to_item(start))
    problems: list[BaseException] = []

    async def count_up() -> None:
        async with bench.store.open():
            done, lease = 0, start
            for _ in range(1000):
                result = await bench.write(verbs.renew(lease, "w1"))
                assert isinstance(result, (Applied, Refused))
                assert result.lease is not None
                lease, done = result.lease, done + isinstance(result, Applied)
                if done == 15:
                    return
            raise AssertionError("15 of 1,000 attempts should come through")

    def run() -> None:
        try:
            asyncio.run(count_up())
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert problems == []
    assert await bench.store.read("shard-1") == replace(start, counter=30)


async def test_open_counts_up_on_one_loop(bench: Bench) -> None:
    bench.put(to_item(OWNED))
    async with bench.store.open():
        assert await bench.store.read("shard-1") == OWNED
    assert await bench.store.read("shard-1") == OWNED


async def test_a_store_is_a_lease_store_and_has_a_name(bench: Bench) -> None:
    assert isinstance(bench.store, LeaseStore)
    assert bench.store.name
