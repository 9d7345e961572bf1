"""Whatever DynamoDB's API answers about the lease table: a result, or an error of ours that means *not applied*."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import botocore.session
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lease_store import verbs
from lease_store.coordination import LeaderLock, coordination_to_item
from lease_store.dynamodb import DynamoDBLeaseStore
from lease_store.errors import LeaseStoreError
from lease_store.item import table_scan, to_item, worker_to_item
from lease_store.layout import LegacyRows
from lease_store.lease import Lease, TableScan, WorkerRow
from lease_store.store import Applied, Refused, Unknown
from lease_store.strict_parser import StrictParser
from tests.fuzz.canned import CannedBench, Reply, outcome
from tests.fuzz.mutations import replies

LEASE = Lease(key="shardId-1", owner="me", counter=7, stream="orders@1", created_at="1", parents=("shardId-0",))
ROW = to_item(LEASE)
FULL_ROW = ROW | {
    "leaseKey": {"S": "shardId-2"},
    "checkpointOwner": {"S": "peer"},
    "childShardIds": {"SS": ["shardId-4", "shardId-3"]},
    "startingHashKey": {"S": "0"},
    "endingHashKey": {"S": "340282366920938463463374607431768211455"},
    "throughputKBps": {"N": "12.5"},
    "leaseholdStartAt": {"N": "1795000000"},
    "leaseholdTakenBack": {"N": "6"},
    "entityType": {"S": "LEASE"},
}
PEER = worker_to_item(WorkerRow(worker_id="peer", beat=3, failover_seconds=10.0))
LOCK = LeaderLock(owner="peer", version="1", duration_seconds=9.0)
LOCK_ROW = coordination_to_item(LOCK)
READY = {
    "Table": {
        "TableStatus": "ACTIVE",
        "KeySchema": [{"AttributeName": "leaseKey", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "leaseKey", "AttributeType": "S"}],
    }
}
WRITES = {
    write.verb: write
    for write in (
        verbs.create(LEASE),
        verbs.renew(LEASE, "me"),
        verbs.take(LEASE, "me"),
        verbs.end_shard(LEASE, "me", ("shardId-2",)),
        verbs.delete(LEASE),
        verbs.assign(LEASE, "peer"),
        verbs.acquire_lock(None, LOCK, "leases"),
        verbs.acquire_lock(LOCK, LOCK, "coordinator"),
        verbs.heartbeat_lock(LOCK, "2", "leases"),
        verbs.release_lock(LOCK, "leases"),
    )
}
ROWLESS = ("create", "delete", "acquire_lock", "release_lock")


class Bench(CannedBench):
    """One store with open clients."""

    def __init__(self) -> None:
        super().__init__()
        self.canned.reply = lambda _: Reply(json.dumps(READY).encode())
        self.store = DynamoDBLeaseStore("leases", session=self.canned.session, region_name="eu-west-1")
        self.open(self.store.open())

    def ask(self, call: Callable[[DynamoDBLeaseStore], Awaitable[Any]], reply: Reply) -> Any:
        """What the call returns, or the error of ours it raises; anything else fails."""
        self.canned.reply = lambda _: reply
        return self.run(outcome(call(self.store)))


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with Bench() as made:
        yield made


@pytest.fixture(autouse=True)
def _no_wait_between_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Botocore sleeps before it tries a read again; how long is no matter of the reply."""

    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)


@pytest.mark.parametrize("verb", WRITES)
@given(chance=st.data())
@settings(max_examples=80)
def test_a_write_is_applied_refused_or_unknown_and_denied_only_by_the_service(
    bench: Bench, verb: str, chance: st.DataObject
) -> None:
    sound = {} if verb in ROWLESS else {"Attributes": dict(LOCK_ROW if "lock" in verb else ROW)}
    reply, document = chance.draw(replies(sound))
    answer = bench.ask(lambda store: store.write(WRITES[verb], timeout_seconds=5.0), reply)
    assert isinstance(answer, Applied | Refused | Unknown | LeaseStoreError)
    if reply.status < 300:
        assert isinstance(answer, Applied | Unknown), "a success was taken for a refusal"
    if isinstance(answer, Applied):
        assert document is not None, "a write was believed for a reply that is not whole"


@given(chance=st.data())
@settings(max_examples=120)
def test_a_scan_shows_every_row_or_fails(bench: Bench, chance: st.DataObject) -> None:
    reply, document = chance.draw(replies({"Items": [dict(ROW), dict(PEER)], "Count": 2}))
    answer = bench.ask(lambda store: store.scan(), reply)
    assert isinstance(answer, TableScan | LeaseStoreError)
    if isinstance(answer, TableScan):
        assert document is not None
        shown = len(answer.leases) + len(answer.workers) + len(answer.foreign) + len(answer.unreadable)
        assert shown == len(document["Items"])
        assert all(isinstance(lease.key, str) for lease in answer.leases)


@pytest.fixture(scope="module")
def scan_shape() -> Any:
    """Botocore's model of a Scan's reply."""
    return botocore.session.Session().get_service_model("dynamodb").operation_model("Scan").output_shape


@given(chance=st.data())
@settings(max_examples=200)
def test_a_scan_says_what_parser_and_codec_say_of_the_whole_reply(
    bench: Bench, scan_shape: Any, chance: st.DataObject
) -> None:
    """Rows that are known or ordinary take a way of their own; a reply that the parser believes is read alike."""
    reply, document = chance.draw(replies({"Items": [dict(ROW), dict(FULL_ROW), dict(PEER)]}))
    answer = bench.ask(lambda store: store.scan(), reply)
    if document is None or document.get("LastEvaluatedKey"):
        return
    try:
        parsed = StrictParser()._handle_json_body(reply.body, scan_shape)
        expected = table_scan(parsed["Items"])
    except (KeyError, ValueError):
        assert isinstance(answer, LeaseStoreError)
    else:
        assert answer == expected
        assert bench.ask(lambda store: store.scan(), reply) == expected, "read once, it is read otherwise"


def test_half_a_surrogate_pair_in_one_row_hides_no_other(bench: Bench) -> None:
    """No JSON to msgspec, and text to Python."""
    odd = ROW | {"leaseKey": {"S": "shardId-\ud800"}}
    reply = Reply(json.dumps({"Items": [odd, FULL_ROW]}).encode())
    for _ in range(2):
        scan = bench.ask(lambda store: store.scan(), reply)
        assert [lease.key for lease in scan.leases] == ["shardId-2", "shardId-\ud800"]


@pytest.mark.parametrize(("reads", "row"), [("read", ROW), ("read_worker", PEER)])
@given(chance=st.data())
@settings(max_examples=100)
def test_a_row_is_read_or_fails_and_only_an_empty_reply_means_there_is_none(
    bench: Bench, reads: str, row: dict[str, Any], chance: st.DataObject
) -> None:
    reply, document = chance.draw(replies({"Item": dict(row)}))
    answer = bench.ask(lambda store: getattr(store, reads)("shardId-1"), reply)
    assert answer is None or isinstance(answer, Lease | WorkerRow | LeaseStoreError)
    if answer is None:
        assert document is not None, "a reply that is not whole was taken for: there is no such row"


@given(chance=st.data())
@settings(max_examples=80)
def test_a_lock_is_read_or_fails(bench: Bench, chance: st.DataObject) -> None:
    reply, document = chance.draw(replies({"Item": dict(LOCK_ROW)}))
    answer = bench.ask(lambda store: store.read_lock("leases"), reply)
    assert answer is None or isinstance(answer, LeaderLock | LeaseStoreError)
    if answer is None:
        assert document is not None, "a reply that is not whole was taken for a lock that is free"
        assert not document.get("Item")


@given(chance=st.data())
@settings(max_examples=40)
def test_the_keys_of_an_owner_are_told_whole_or_not_at_all(bench: Bench, chance: st.DataObject) -> None:
    async def ask(_: DynamoDBLeaseStore) -> tuple[str, ...] | None:
        """Of a store of its own: what a store found missing it does not ask for again at once."""
        store = DynamoDBLeaseStore("leases", session=bench.canned.session, region_name="eu-west-1")
        bench.canned.reply = lambda _: Reply(json.dumps(READY).encode())
        async with store.open():
            bench.canned.reply = lambda _: reply
            return await store.owned_by("me")

    reply, document = chance.draw(replies({"Items": [{"leaseKey": {"S": "a"}}, {"leaseKey": {"S": "b"}}]}))
    answer = bench.ask(ask, reply)
    assert answer is None or isinstance(answer, tuple | LeaseStoreError)
    if answer is None:
        assert reply.status >= 400, "an answer of another kind was taken for: there is no index"
    if isinstance(answer, tuple):
        assert document is not None
        assert len(answer) == len(document["Items"])
        assert all(isinstance(each, str) and each for each in answer)


@given(chance=st.data())
@settings(max_examples=40)
def test_legacy_tables_are_shown_missing_denied_or_fail(bench: Bench, chance: st.DataObject) -> None:
    async def ask(_: DynamoDBLeaseStore) -> LegacyRows | None:
        store = DynamoDBLeaseStore("leases", session=bench.canned.session, region_name="eu-west-1")
        bench.canned.reply = lambda _: Reply(json.dumps(READY).encode())
        async with store.open():
            bench.canned.reply = lambda _: reply
            return await store.legacy()

    reply, document = chance.draw(replies({"Items": [{"key": {"S": "Leader"}, **LOCK_ROW}]}))
    answer = bench.ask(ask, reply)
    assert answer is None or isinstance(answer, LegacyRows | LeaseStoreError)
    if answer is None:
        assert reply.status >= 400, "an answer of another kind was taken for: there is no such table"
    if isinstance(answer, LegacyRows) and answer.denied is None:
        assert document is not None


@given(chance=st.data())
@settings(max_examples=60)
def test_a_beat_is_written_or_fails(bench: Bench, chance: st.DataObject) -> None:
    reply, _ = chance.draw(replies({}))
    row = WorkerRow(worker_id="me", beat=4)
    answer = bench.ask(lambda store: store.write_worker(row), reply)
    assert answer is None or isinstance(answer, bool | LeaseStoreError)


@given(chance=st.data())
@settings(max_examples=60)
def test_a_table_is_ready_or_the_start_fails(bench: Bench, chance: st.DataObject) -> None:
    reply, document = chance.draw(replies(READY))

    async def no_wait(_: float) -> None: ...

    async def start(opened: DynamoDBLeaseStore) -> None:
        """By a store of its own: ``opened`` has long begun."""
        store = DynamoDBLeaseStore(
            "leases", session=bench.canned.session, region_name="eu-west-1", table_wait_seconds=2.0, sleep=no_wait
        )
        async with store.open():
            pass

    came = bench.ask(start, reply)
    assert came is None or isinstance(came, LeaseStoreError)
    if came is None:
        assert document is not None
        assert document["Table"]["TableStatus"] == "ACTIVE"


@pytest.mark.parametrize("keys", [["a", "b"], ["a", "b", "c"]])
def test_a_scan_that_goes_round_in_circles_ends(bench: Bench, keys: list[str]) -> None:
    turn = iter(range(10**9))

    def page(_: str) -> Reply:
        last = {"leaseKey": {"S": keys[next(turn) % len(keys)]}}
        return Reply(json.dumps({"Items": [dict(ROW)], "LastEvaluatedKey": last}).encode())

    bench.canned.reply = page

    with pytest.raises(LeaseStoreError, match="does not move"):
        bench.run(bench.store.scan())
