"""Rows of the lease table that somebody else wrote: read, named as unreadable, or left alone; none stops a worker."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from consumer.errors import LeaseholdError, LeaseTableConflict
from consumer.hooks import Hooks
from consumer.leasing.held_lease import HeldLease
from consumer.leasing.lease_loop import LeaseLoop, LeaseSettings
from consumer.shards.position import made_at, start_position
from consumer.testing.virtual_time import VirtualClock, run_virtual
from lease_store.attributes import KEY_ATTRIBUTES, Place
from lease_store.checkpoint import Checkpoint
from lease_store.coordination import LeaderLock, coordination_to_item
from lease_store.errors import InvalidRow
from lease_store.item import Row, canonical, from_item, item_of, table_scan, to_item
from lease_store.lease import Lease
from lease_store.lease_wire import plain_lease
from lease_store.memory import MemoryLeaseStore
from tests.fuzz.mutations import attribute_values, integers, mutated, row_names, sequence_numbers

pytestmark = pytest.mark.usefixtures("nothing_logged")

Item = Mapping[str, Any]
LEGACY_PLACES: tuple[Place, ...] = ("coordinator", "metrics")

keys = st.one_of(
    st.sampled_from(["shardId-000000000000", "Leader", "Migration3.0", "TableMigration3.5", "x"]),
    st.text(min_size=1, max_size=10),
)
places = st.sampled_from(["TRIM_HORIZON", "LATEST", "AT_TIMESTAMP", "SHARD_END", "0"]) | sequence_numbers
likely = st.fixed_dictionaries(
    {
        "leaseCounter": st.one_of((st.integers(0, 10**6) | integers).map(lambda n: {"N": str(n)}), attribute_values),
        "checkpoint": st.one_of(places.map(lambda text: {"S": text}), attribute_values),
    },
    optional={
        "leaseOwner": st.sampled_from([{"S": "a"}, {"S": "me"}, {"S": ""}, {"NULL": True}]),
        "entityType": st.sampled_from([{"S": "LEASE"}, {"S": "WORKER_METRIC_STATS"}, {"S": "NEW"}, {"N": "1"}]),
        "leaseholdStream": st.sampled_from([{"S": "clicks@1"}, {"S": "other@1"}, {"S": ""}]),
        "leaseholdStartAt": st.sampled_from([{"N": "1E+120"}, {"N": "-5"}, {"N": "1795000000.5"}]),
        "leaseholdCreatedAt": st.text(max_size=12).map(lambda text: {"S": text}),
    },
)
states = st.sampled_from(["CLIENT_VERSION_3X", "CLIENT_VERSION_INIT", "TABLE_MIGRATION_STATUS_PENDING", "INIT", ""])
entries = st.fixed_dictionaries({"cv": states.map(lambda text: {"S": text})}, optional={"mts": st.just({"N": "5"})})
series = st.dictionaries(
    st.sampled_from(["C", "NI"]), st.lists(st.floats(-1, 100).map(str), max_size=3), max_size=2
).map(lambda lists: {"M": {name: {"L": [{"N": each} for each in numbers]} for name, numbers in lists.items()}})
# What a KCL's rows that are no leases are made of, some of it a little wrong.
coordinating = st.fixed_dictionaries(
    {},
    optional={
        "ownerName": st.sampled_from([{"S": "java"}, {"S": "me"}, {"S": ""}, {"N": "1"}]),
        "recordVersionNumber": st.sampled_from([{"S": "v1"}, {"N": "1"}, {"NULL": True}]),
        "leaseDuration": st.sampled_from([{"S": "120000"}, {"S": "-1"}, {"S": "1e3"}, {"S": "9" * 40}, {"N": "5"}]),
        "isReleased": st.sampled_from([{"S": "1"}, {"S": "0"}, {"BOOL": True}]),
        "entityType": st.sampled_from(
            [{"S": name} for name in ("LEADER", "CLIENT_VERSION_MIGRATION", "TABLE_MIGRATION", "WORKER_METRIC_STATS")]
        ),
        "cv": states.map(lambda text: {"S": text}),
        "tm": states.map(lambda text: {"S": text}),
        "mb": st.just({"S": "java"}),
        "mts": st.sampled_from([{"N": "1795192117774"}, {"N": "1.5"}]),
        "h": st.lists(entries.map(lambda entry: {"M": entry}), max_size=2).map(lambda entries: {"L": entries}),
        "lut": st.sampled_from([{"N": "1795192120"}, {"N": "1.5"}, {"S": "now"}]),
        "sts": st.one_of(series, attribute_values),
        "opr": st.one_of(series, attribute_values),
        "sup": st.sampled_from([{"N": "1"}, {"S": "1"}]),
    },
)
noise = st.dictionaries(row_names, attribute_values, max_size=5)


@st.composite
def items(draw: st.DrawFn) -> dict[str, Any]:
    """A row with a key: perhaps a lease's, perhaps a worker's, perhaps nothing anybody has ever written."""
    row = draw(st.one_of(st.just({}), likely, coordinating)) | draw(st.one_of(st.just({}), noise))
    return {**row, "leaseKey": {"S": draw(keys)}}


def _read(item: Item, place: Place) -> Row | str:
    """The row, or the sentence that says why it can't be read."""
    try:
        return from_item(item, place)
    except InvalidRow as error:
        return str(error)


WORKER = {"entityType": {"S": "WORKER_METRIC_STATS"}, "leaseholdBeat": {"N": "1"}}


@given(items(), st.sampled_from(list(KEY_ATTRIBUTES)))
@example({"leaseKey": {"S": "w"}, **WORKER, "leaseholdFailover": {"N": "9007199254740993"}}, "leases")
@example({"leaseKey": {"S": "w"}, **WORKER, "leaseholdFailover": {"N": "0.1"}}, "leases")
@settings(max_examples=400)
def test_a_row_is_read_or_refused_and_one_that_is_read_loses_nothing(item: dict[str, Any], place: Place) -> None:
    item[KEY_ATTRIBUTES[place]] = item.pop("leaseKey")
    row = _read(item, place)
    if isinstance(row, str):
        assert repr(item[KEY_ATTRIBUTES[place]]["S"]) in row, "an error that does not name its row"
        return
    written = item_of(row, place)
    for name, value in item.items():
        says_something = "NULL" not in value and all(content not in ("", b"", []) for content in value.values())
        if says_something and name in written:
            assert canonical(written[name]) == canonical(value), name
        assert name in written or not says_something, f"{name} was dropped"


FULL = Lease(
    key="shardId-000000000001",
    counter=7,
    owner="a",
    checkpoint_owner="b",
    checkpoint=Checkpoint("100000000000000000001", 3),
    parents=("shardId-0", "shardId-00"),
    children=("shardId-2", "shardId-3"),
    hash_range=("0", str(2**127)),
    throughput_kbps=Decimal("12.5"),
    stream="clicks@1",
    start_at=Decimal(1795000000),
    created_at="1795-a",
    taken_back=6,
    app="orders",
    rules="2.x",
    newcomer="c",
)


@given(mutated(to_item(FULL)), st.none() | st.binary(min_size=1, max_size=2), st.integers(0, 10**4))
@settings(max_examples=400)
def test_a_row_read_from_its_bytes_is_what_the_codec_reads_or_is_left_to_it(
    row: Any, cut: bytes | None, at: int
) -> None:
    body = json.dumps(row).encode()
    if cut is not None:
        at %= len(body)
        body = body[:at] + cut + body[at + len(cut) :]
    lease = plain_lease(body)
    assert lease is None or lease == from_item(json.loads(body))


@given(
    st.lists(items(), max_size=6, unique_by=lambda item: item["leaseKey"]["S"]),
    st.lists(st.dictionaries(row_names, attribute_values, max_size=3), max_size=2),
)
def test_a_scan_shows_every_row_once_whatever_the_others_are(found: list[Item], keyless: list[Item]) -> None:
    scan = table_scan([*found, *keyless])
    states = [row for row in (scan.lock, scan.client_version, scan.table_migration) if row is not None]
    shown = len(scan.leases) + len(scan.workers) + len(scan.foreign) + len(scan.unreadable) + len(states)
    assert shown == len(found) + len(keyless)


@given(items())
@settings(max_examples=200)
def test_a_lease_that_can_be_read_can_be_opened_or_says_why_not(item: dict[str, Any]) -> None:
    try:
        row = from_item(item)
        if isinstance(row, Lease):
            assert made_at(row) >= 0.0
            start_position(row, aggregates=True)
    except InvalidRow:
        return


class Consumers:
    """Starts nothing; remembers what began."""

    def __init__(self) -> None:
        self.began: list[str] = []

    def tenure_began(self, held: HeldLease) -> None:
        self.began.append(held.key)

    def stop_changed(self, held: HeldLease, reason: Any) -> None: ...


LOCKED: list[Item] = [coordination_to_item(LeaderLock(owner="dead", version="1", duration_seconds=120.0))]


def _after_two_minutes(rows: list[Item], beside: list[Item]) -> tuple[MemoryLeaseStore, list[str], Exception | None]:
    """A worker beside ``rows`` and a sound lease, ``beside`` in legacy tables: the table, what it began, its end."""
    store, consumers = MemoryLeaseStore(), Consumers()
    store.put_item(to_item(Lease(key="sound", stream="clicks@1", created_at="1")))
    for row in rows:
        store.put_item(row)
    if beside:
        store.add_legacy_tables()
    for row in beside:
        for place in LEGACY_PLACES:
            fields = {name: value for name, value in row.items() if name != "leaseKey"}
            store.put_item(fields | {KEY_ATTRIBUTES[place]: row["leaseKey"]}, place)

    async def main() -> Exception | None:
        clock = VirtualClock()
        loop = LeaseLoop(
            store,
            LeaseSettings("me", "clicks", 10.0, 30.0, 50.0),
            consumers,
            clock=clock,
            random=random.Random(1),
            hooks=Hooks([]),
        )
        try:
            async with clock.timeout(120.0):
                await loop.start()
                await loop.run()
        except TimeoutError:
            return None
        except LeaseholdError as error:
            return error
        raise AssertionError("the lease loop ended by itself")

    return store, consumers.began, run_virtual(main(), seed=1, limit_seconds=1_000)


@given(st.lists(items(), min_size=1, max_size=4), st.one_of(st.just([]), st.lists(items(), min_size=1, max_size=3)))
@example(LOCKED, [])
@example([to_item(Lease(key="x", stream="clicks@1", created_at="1"))], LOCKED)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_a_worker_takes_its_leases_beside_any_rows_or_says_why_it_can_not_join(
    rows: list[Item], beside: list[Item]
) -> None:
    store, began, error = _after_two_minutes(rows, beside)
    if error is not None:
        assert isinstance(error, LeaseTableConflict | InvalidRow), error
        return
    assert "sound" in began
    for row in rows:
        key = row["leaseKey"]["S"]
        kept = store.get(key)
        assert kept is not None, f"the row {key!r} was deleted"
        if key not in began and row is [each for each in rows if each["leaseKey"]["S"] == key][-1]:
            known = {"leaseOwner", "checkpointOwner", "leaseCounter", "ownerSwitchesSinceCheckpoint"}
            assert all(kept[name] == row[name] for name in row if name not in known), "a row that is not ours changed"


@given(st.text(max_size=140) | places, integers)
def test_a_checkpoint_is_understood_or_refused_and_what_is_understood_has_an_order(text: str, sub: int) -> None:
    try:
        checkpoint = Checkpoint(text, sub)
    except InvalidRow:
        return
    assert (checkpoint < Checkpoint("5")) + (checkpoint > Checkpoint("5")) + (checkpoint == Checkpoint("5")) >= 1 or (
        int(text) == 5
    )
    assert checkpoint <= Checkpoint("SHARD_END") or checkpoint.is_end


@given(st.integers(1, 10**129 - 1), st.integers(0, 2**31))
def test_numbers_of_every_length_order_by_value_up_to_129_digits(number: int, sub: int) -> None:
    here = Checkpoint(str(number), sub)
    assert Checkpoint(str(number - 1), sub + 1) < here < Checkpoint(str(number), sub + 1)
    with pytest.raises(InvalidRow, match="129"):
        Checkpoint("1" + "0" * 129)
