"""What every LeaseStore does, asked of each of them: the fake in memory, and a table on a real server."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any
from uuid import uuid4

import boto3
import pytest
from aiobotocore.session import AioSession

from lease_store import (
    SHARD_END,
    TRIM_HORIZON,
    Applied,
    Checkpoint,
    DynamoDBLeaseStore,
    InvalidRow,
    Lease,
    LeaseStore,
    MemoryLeaseStore,
    Refused,
    Unknown,
    WorkerRow,
    Write,
    verbs,
)
from lease_store.item import canonical, from_item, lease_of, to_item, worker_to_item

Item = dict[str, Mapping[str, Any]]


@dataclass
class Bench:
    """A store, and the table behind it for looking and meddling."""

    store: LeaseStore
    rows: Any

    async def write(self, write: Write) -> Any:
        return await self.store.write(write, timeout_seconds=10.0)

    def put(self, item: Mapping[str, Any]) -> None:
        self.rows.put(item)

    def get(self, key: str = "shard-1") -> Item | None:
        found: Item | None = self.rows.get(key)
        return found


class MemoryRows:
    def __init__(self, store: MemoryLeaseStore) -> None:
        self.put, self.get = store.put_item, store.get


class TableRows:
    """A client of its own: the tests must not look through the eyes of what they test."""

    def __init__(self, endpoint_url: str, table_name: str) -> None:
        self.table_name = table_name
        self.client = boto3.client(
            "dynamodb",
            endpoint_url=endpoint_url,
            region_name="us-east-1",
            aws_access_key_id="local",
            aws_secret_access_key="local",
        )

    def put(self, item: Mapping[str, Any]) -> None:
        self.client.put_item(TableName=self.table_name, Item=item)

    def get(self, key: str) -> Item | None:
        reply = self.client.get_item(TableName=self.table_name, Key={"leaseKey": {"S": key}}, ConsistentRead=True)
        found: Item | None = reply.get("Item")
        return found


def local_session() -> AioSession:
    session = AioSession()
    session.set_credentials("local", "local")
    return session


@pytest.fixture(params=["memory", pytest.param("dynamodb", marks=pytest.mark.integration)])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    if request.param == "memory":
        memory = MemoryLeaseStore()
        async with memory.open():
            yield Bench(memory, MemoryRows(memory))
        return
    server = request.getfixturevalue("ministack")
    store = DynamoDBLeaseStore(
        f"leases-{uuid4()}", session=local_session, region_name="us-east-1", endpoint_url=server.endpoint_url
    )
    async with store.open():
        rows = TableRows(server.endpoint_url, store.name)
        yield Bench(store, rows)
        rows.client.delete_table(TableName=store.name)
        rows.client.close()


OWNED = Lease(
    key="shard-1",
    counter=7,
    owner="w1",
    checkpoint=Checkpoint("100", 2),
    owner_switches_since_checkpoint=1,
    parents=("shard-0",),
    hash_range=("0", "99"),
    stream="stream@1",
    start_at=Decimal("1700000000.5"),
    created_at="mark",
    extra={"custom": {"M": {"a": {"L": [{"N": "1"}, {"NULL": True}]}}}, "odd.name-1": {"SS": ["b", "a"]}},
)
PENDING = replace(OWNED, owner="w2", checkpoint_owner="w1")
IDLE = replace(OWNED, owner=None)
ENDED = replace(OWNED, checkpoint=SHARD_END)
PREPARED = {
    "pendingCheckpoint": {"S": "90"},
    "pendingCheckpointSubSequenceNumber": {"N": "0"},
    "pendingCheckpointState": {"B": b"\x00state"},
}


@dataclass(frozen=True)
class Case:
    """A row, a write whose condition it meets, and what the row must be afterwards, written out by hand."""

    before: Lease
    write: Write
    changes: Mapping[str, Any]
    removed: tuple[str, ...] = ()
    also: Mapping[str, Any] | None = None

    @property
    def row(self) -> Item:
        return to_item(self.before) | dict(self.also or {})  # type: ignore[return-value]

    @property
    def row_after(self) -> Item:
        return {name: value for name, value in (self.row | dict(self.changes)).items() if name not in self.removed}


C8 = {"leaseCounter": {"N": "8"}}
STORED = {
    "checkpoint": {"S": "150"},
    "checkpointSubSequenceNumber": {"N": "3"},
    "ownerSwitchesSinceCheckpoint": {"N": "0"},
}
CASES = {
    "take from another": Case(
        OWNED,
        verbs.take(OWNED, "me"),
        C8 | {"leaseOwner": {"S": "me"}, "ownerSwitchesSinceCheckpoint": {"N": "2"}},
    ),
    "take idle": Case(IDLE, verbs.take(IDLE, "me"), C8 | {"leaseOwner": {"S": "me"}}),
    "take my own": Case(OWNED, verbs.take(OWNED, "w1"), C8),
    "take pending": Case(
        PENDING,
        verbs.take(PENDING, "w2"),
        C8 | {"ownerSwitchesSinceCheckpoint": {"N": "2"}},
        removed=("checkpointOwner",),
    ),
    "renew": Case(OWNED, verbs.renew(OWNED, "w1"), C8),
    "renew while pending": Case(PENDING, verbs.renew(PENDING, "w1"), C8),
    "set_checkpoint": Case(
        OWNED,
        verbs.set_checkpoint(OWNED, "w1", Checkpoint("150", 3)),
        C8 | STORED,
        removed=tuple(PREPARED),
        also=PREPARED,
    ),
    "set_checkpoint while pending": Case(
        PENDING, verbs.set_checkpoint(PENDING, "w1", Checkpoint("150", 3)), C8 | STORED
    ),
    "start_hand_off": Case(
        OWNED, verbs.start_hand_off(OWNED, "w2"), {"leaseOwner": {"S": "w2"}, "checkpointOwner": {"S": "w1"}}
    ),
    "finish_hand_off": Case(PENDING, verbs.finish_hand_off(PENDING, "w1"), C8, removed=("checkpointOwner",)),
    "take_back": Case(
        PENDING,
        verbs.take_back(PENDING, "w1"),
        C8 | {"leaseOwner": {"S": "w1"}, "leaseholdTakenBack": {"N": "8"}},
        removed=("checkpointOwner",),
    ),
    "release": Case(OWNED, verbs.release(OWNED, "w1"), C8, removed=("leaseOwner",)),
    "pass_on to a peer": Case(OWNED, verbs.pass_on(OWNED, "w1", "w3"), C8 | {"leaseOwner": {"S": "w3"}}),
    "pass_on to nobody": Case(OWNED, verbs.pass_on(OWNED, "w1", None), C8, removed=("leaseOwner",)),
    "end_shard": Case(
        OWNED,
        verbs.end_shard(OWNED, "w1", ("shard-3", "shard-2")),
        C8
        | {
            "checkpoint": {"S": "SHARD_END"},
            "checkpointSubSequenceNumber": {"N": "0"},
            "ownerSwitchesSinceCheckpoint": {"N": "0"},
            "childShardIds": {"SS": ["shard-2", "shard-3"]},
        },
        removed=tuple(PREPARED),
        also=PREPARED,
    ),
    "end_shard while pending": Case(
        PENDING,
        verbs.end_shard(PENDING, "w1", ()),
        C8
        | {
            "leaseOwner": {"S": "w1"},
            "checkpoint": {"S": "SHARD_END"},
            "checkpointSubSequenceNumber": {"N": "0"},
            "ownerSwitchesSinceCheckpoint": {"N": "0"},
        },
        removed=("checkpointOwner",),
    ),
}
DELETE = Case(ENDED, verbs.delete(ENDED), {})


def violations(case: Case) -> dict[str, Item]:
    """Rows that break exactly one expectation of the case's write, in every way that expectation can break."""
    rows: dict[str, Item] = {}
    for expect in case.write.expects:
        match expect:
            case verbs.Is("leaseCounter", _):
                rows["counter above"] = case.row | {"leaseCounter": {"N": "9"}}
                rows["counter below"] = case.row | {"leaseCounter": {"N": "6"}}
            case verbs.Is(attribute, _):
                rows[f"{attribute} another"] = case.row | {attribute: {"S": "12345"}}
                if attribute != "checkpoint":
                    rows[f"{attribute} absent"] = {n: v for n, v in case.row.items() if n != attribute}
            case verbs.IsNot(attribute, value):
                rows[f"{attribute} forbidden"] = case.row | {attribute: value}
            case verbs.Absent(attribute):
                rows[f"{attribute} present"] = case.row | {attribute: {"S": "w9"}}
            case verbs.ActualOwner(worker_id):
                bare = {n: v for n, v in case.row.items() if n not in ("leaseOwner", "checkpointOwner")}
                rows["no owner"] = bare
                rows["another owner"] = bare | {"leaseOwner": {"S": "w9"}}
                rows["mine next, another's now"] = bare | {
                    "leaseOwner": {"S": worker_id},
                    "checkpointOwner": {"S": "w9"},
                }
    return rows


CONDITIONAL = {**CASES, "delete": DELETE}
VIOLATIONS = [
    pytest.param(case.write, row, id=f"{name}: {broken}")
    for name, case in CONDITIONAL.items()
    for broken, row in violations(case).items()
]


def same(row: Mapping[str, Any] | None, expected: Mapping[str, Any] | None) -> bool:
    if row is None or expected is None:
        return row is expected
    return canonical({"M": row}) == canonical({"M": expected})


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
async def test_a_write_whose_condition_holds_returns_the_whole_row_after_it(bench: Bench, case: Case) -> None:
    bench.put(case.row)
    result = await bench.write(case.write)
    assert same(bench.get(), case.row_after)
    assert result == Applied(from_item(case.row_after))  # type: ignore[arg-type]
    assert case.write.stands_in(bench.get())


@pytest.mark.parametrize(("write", "row"), VIOLATIONS)
async def test_each_expectation_alone_refuses_and_shows_the_row_in_the_way(
    bench: Bench, write: Write, row: Item
) -> None:
    bench.put(row)
    assert await bench.write(write) == Refused(lease_of(row))
    assert same(bench.get(), row)


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


async def test_a_refusal_by_a_row_that_is_no_lease_shows_none(bench: Bench) -> None:
    bench.put(worker_to_item(WorkerRow(worker_id="shard-1", beat=1)))
    assert await bench.write(verbs.create(OWNED)) == Refused(None)


async def test_a_refusal_by_an_unreadable_row_names_it(bench: Bench) -> None:
    bench.put({"leaseKey": {"S": "shard-1"}, "leaseCounter": {"N": "1"}})
    with pytest.raises(InvalidRow, match="'shard-1'.*checkpoint"):
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
    bench.put({"leaseKey": {"S": "Leader"}, "ownerName": {"S": "w1"}})
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
    bench.put({"leaseKey": {"S": "broken"}, "checkpoint": {"S": "5"}})
    if isinstance(bench.rows, TableRows):
        assert "LastEvaluatedKey" in bench.rows.client.scan(TableName=bench.store.name), "one page proves nothing"
    scan = await bench.store.scan()
    assert scan.leases == tuple(leases)
    assert scan.workers == tuple(workers)
    assert [row.key for row in scan.foreign] == ["Leader"]
    assert [key for key, _ in scan.unreadable] == ["broken"]
    assert "leaseCounter" in scan.unreadable[0][1]


async def test_scan_of_an_empty_table(bench: Bench) -> None:
    assert await bench.store.scan() == type(await bench.store.scan())()


async def test_unknown_attributes_survive_a_whole_life(bench: Bench) -> None:
    """Bytes and sets of every kind go through create, hand-off, checkpoint and end untouched."""
    extra = {"b": {"B": base64.b64decode("AAEC/w==")}, "bs": {"BS": [b"1", b"2"]}, "ns": {"NS": ["1", "2.5"]}}
    lease = replace(OWNED, extra=extra)
    await bench.write(verbs.create(lease))
    for verb in (
        lambda seen: verbs.take(seen, "w1"),
        lambda seen: verbs.start_hand_off(seen, "w2"),
        lambda seen: verbs.finish_hand_off(seen, "w1"),
        lambda seen: verbs.set_checkpoint(seen, "w2", Checkpoint("200")),
        lambda seen: verbs.end_shard(seen, "w2", ()),
    ):
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
