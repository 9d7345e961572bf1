"""Rows of a scan straight from bytes: the same as by the codec, and the same objects for as long as nothing changes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from consumer.streams.entries import hash_range_of, shard_id_of
from lease_store.checkpoint import LATEST, SHARD_END, TRIM_HORIZON, Checkpoint
from lease_store.coordination import COORDINATION_KEYS
from lease_store.item import from_item, item_of, lease_of, to_item
from lease_store.known_rows import KnownRows, RawRows
from lease_store.lease import Lease, PendingCheckpoint, TableScan, WorkerRow
from lease_store.lease_wire import plain_lease
from tests.golden.recordings import tables

ARN = "arn:aws:dynamodb:eu-west-1:111122223333:table/orders/stream/2026-11-20T08:00:00.000"
LEASE = Lease(
    key="shardId-1",
    counter=7,
    owner="host-1.abc",
    checkpoint=Checkpoint("100000000000000000001", 3),
    parents=("shardId-0", "shardId-00"),
    stream=ARN,
    start_at=Decimal(1795000000),
    created_at="1795-a",
    app="orders-audit",
)
FULL = replace(
    LEASE,
    checkpoint_owner="host-2.def",
    owner_switches_since_checkpoint=2,
    children=("shardId-2", "shardId-3"),
    hash_range=("0", str(2**127)),
    throughput_kbps=Decimal("12.5"),
    taken_back=6,
    rules="2.x",
    newcomer="host-3.ghi",
)


def wire(item: Mapping[str, Any]) -> bytes:
    return json.dumps(item, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    "lease",
    [LEASE, FULL, Lease(key="x"), Lease(key="ключ", entity_type=None, checkpoint=LATEST)]
    + [replace(LEASE, checkpoint=place) for place in (SHARD_END, TRIM_HORIZON, Checkpoint("TRIM_HORIZON", 4))],
)
def test_an_ordinary_row_is_read_as_the_codec_reads_it(lease: Lease) -> None:
    read = plain_lease(wire(to_item(lease)))
    if lease.checkpoint == Checkpoint("TRIM_HORIZON", 4):
        assert read is None  # nobody writes that
    else:
        assert read == lease == from_item(to_item(lease))


def test_the_rows_that_the_kcls_wrote_are_ordinary() -> None:
    rows = [row for _, place, found in tables() if place == "leases" for row in found]
    leases = [(row, lease) for row in rows if isinstance(lease := from_item(row), Lease)]
    assert len(leases) > 100
    told = {
        lease.key
        for row, lease in leases
        if lease.pending_checkpoint is None and not lease.extra and plain_lease(wire(row)) != lease
    }
    assert told == set()


UNUSUAL: dict[str, Any] = {
    "another attribute": {"somethingElse": {"S": "x"}},
    "another kind": {"leaseOwner": {"N": "1"}},
    "two kinds": {"leaseOwner": {"S": "a", "N": "1"}},
    "no kind": {"leaseOwner": {}},
    "null": {"leaseOwner": {"NULL": True}},
    "an empty text": {"leaseOwner": {"S": ""}},
    "an empty set": {"parentShardId": {"SS": []}},
    "a fraction": {"leaseCounter": {"N": "7.5"}},
    "an exponent": {"leaseCounter": {"N": "7E1"}},
    "a sign": {"leaseCounter": {"N": "-7"}},
    "other digits": {"leaseCounter": {"N": "\u0667"}},
    "a great number": {"leaseCounter": {"N": "9" * 19}},
    "no number": {"leaseholdStartAt": {"N": "soon"}},
    "a number beyond DynamoDB's": {"leaseholdStartAt": {"N": "1E+200"}},
    "no place": {"checkpoint": {"S": "earliest"}},
    "half a range": {"startingHashKey": {"S": "1"}},
    "a range backwards": {"startingHashKey": {"S": "2"}, "endingHashKey": {"S": "1"}},
    "a prepared checkpoint": item_of(replace(LEASE, pending_checkpoint=PendingCheckpoint(SHARD_END))),
    "a worker": item_of(WorkerRow(worker_id="shardId-1", beat=3)),
    "another entity": {"entityType": {"S": "NEW"}},
    "a key of the KCL's own": {"leaseKey": {"S": "Leader"}},
}


@pytest.mark.parametrize("what", UNUSUAL)
def test_whatever_is_out_of_the_ordinary_is_left_to_the_codec(what: str) -> None:
    assert plain_lease(wire(to_item(LEASE) | UNUSUAL[what])) is None


KEYS = st.text(min_size=1, max_size=6).filter(lambda key: key not in COORDINATION_KEYS)


@given(KEYS, st.integers(0, 10**20), st.sampled_from([None, "a", "b"]))
@settings(max_examples=200)
def test_any_key_counter_and_owner(key: str, counter: int, owner: str | None) -> None:
    lease = Lease(key=key, counter=counter, owner=owner)
    assert plain_lease(wire(to_item(lease))) in (None, from_item(to_item(lease)))


class Table:
    """A table that is scanned, in pages of two rows."""

    def __init__(self) -> None:
        self.rows: list[bytes] = []
        self.known = KnownRows()
        self.read = 0

    def item(self, body: bytes) -> Any:
        self.read += 1
        return json.loads(body)

    async def _pages(self) -> AsyncIterator[RawRows]:
        for at in range(0, len(self.rows), 2):
            yield RawRows([Raw(row) for row in self.rows[at : at + 2]], self.item)

    def scan(self) -> TableScan:
        return asyncio.run(self.known.scan(self._pages()))


def test_a_row_that_has_not_changed_twice_is_the_same_object_and_a_changed_one_is_read() -> None:
    table = Table()
    leases = [replace(LEASE, key=f"shardId-{number}") for number in range(5)]
    table.rows = [wire(to_item(lease)) for lease in leases]
    assert list(table.scan().leases) == leases
    first = table.scan()
    assert list(first.leases) == leases
    moved = replace(leases[3], counter=8)
    table.rows[3] = wire(to_item(moved))
    second = table.scan()
    assert list(second.leases) == [*leases[:3], moved, leases[4]]
    assert [old is new for old, new in zip(first.leases, second.leases, strict=True)] == [True, True, True, False, True]
    assert table.read == 0, "an ordinary row went the long way"
    for _ in range(2):
        third = table.scan()
    assert third.leases[3] is table.scan().leases[3]


def test_of_rows_that_move_between_all_scans_no_lease_is_kept() -> None:
    """Scale: of its own leases a worker kept what it knew of them, and what the last scan had shown."""
    table = Table()
    for counter in range(3):
        table.rows = [wire(to_item(replace(LEASE, counter=counter)))]
        table.scan()
    assert list(table.known._leases.values()) == [None]


@pytest.mark.parametrize("read", [plain_lease, lambda body: lease_of(json.loads(body))], ids=["bytes", "codec"])
def test_rows_have_their_texts_in_common(read: Callable[[bytes], Lease]) -> None:
    one, other = (read(wire(to_item(replace(LEASE, key=f"shardId-{number}")))) for number in range(2))
    for name in ("owner", "stream", "app", "start_at", "entity_type", "extra"):
        assert getattr(one, name) is getattr(other, name)


def test_copies_of_a_row_and_the_listing_have_their_texts_in_common() -> None:
    """A worker keeps some of each of its shards: as listed, as held now, as the last scan showed it."""
    body = wire(to_item(FULL))
    scanned, held = plain_lease(body), from_item(json.loads(body))
    entry = json.loads(
        json.dumps({"ShardId": FULL.key, "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": str(2**127)}})
    )
    assert isinstance(scanned, Lease)
    assert isinstance(held, Lease)
    assert scanned.key is held.key is shard_id_of(entry)
    ranges = (scanned.hash_range, held.hash_range, hash_range_of(entry))
    assert len({tuple(map(id, each or ())) for each in ranges}) == 1


def test_every_other_row_is_read_by_the_codec_and_what_is_gone_is_forgotten() -> None:
    table = Table()
    odd = to_item(LEASE) | {"somethingElse": {"S": "x"}}
    table.rows = [
        wire(odd),
        wire(item_of(WorkerRow(worker_id="w", beat=3))),
        wire({"leaseKey": {"S": "shardId-2"}}),
    ]
    scan = table.scan()
    assert (scan.leases[0].extra, scan.workers[0].beat) == ({"somethingElse": {"S": "x"}}, 3)
    assert [key for key, _ in scan.unreadable] == ["shardId-2"]
    assert table.scan().leases[0] is table.scan().leases[0]
    kept, table.rows = table.rows, []
    assert table.scan() == TableScan()
    table.rows = kept
    again = table.scan()
    assert again == scan
    assert again.leases[0] is not scan.leases[0], "what a scan did not show was kept"


def test_a_scan_that_fails_forgets_nothing() -> None:
    table = Table()
    table.rows = [wire(to_item(LEASE))]
    for _ in range(2):
        first = table.scan()
    table.rows.append(b'{"leaseKey": 7')
    with pytest.raises(ValueError, match="delimiter"):
        table.scan()
    del table.rows[1]
    assert table.scan().leases[0] is first.leases[0]


def test_of_two_rows_with_one_hash_each_is_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lease_store.known_rows.hash", lambda _: 1, raising=False)
    table = Table()
    leases = [replace(LEASE, key=f"shardId-{number}") for number in (4, 5)]
    for _ in range(2):
        table.rows = [wire(to_item(lease)) for lease in leases]
        assert list(table.scan().leases) == leases
