"""A KCL's rows as rows of this worker's stream: labelled in memory, given an instant with the write that begins."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from decimal import Decimal
from typing import Any, TypeVar

import pytest

from consumer.config import InitialPosition
from consumer.leasing.adopted import AdoptedLeases
from lease_store import verbs
from lease_store.checkpoint import AT_TIMESTAMP, LATEST, SHARD_END, TRIM_HORIZON, Checkpoint
from lease_store.item import to_item
from lease_store.lease import Lease
from lease_store.memory import MemoryLeaseStore
from lease_store.store import Applied, LeaseStore, Refused
from lease_store.verbs import Write
from tests.golden.recordings import Item, tables

LABEL = "arn:clicks@1"
T = TypeVar("T")


class Table(MemoryLeaseStore):
    def __init__(self, *rows: Lease, start: str = "LATEST") -> None:
        super().__init__("kcl-app")
        self.now = 1_800_000_000.9
        for row in rows:
            self.put_item(to_item(row))
        self.adopted = AdoptedLeases(self, LABEL, InitialPosition.parse(start), lambda: self.now)

    def seen(self, key: str) -> Lease:
        lease = at_once(self.adopted.read(key))
        assert lease is not None
        return lease

    def stored(self, key: str) -> dict[str, Any]:
        item = self.get(key)
        assert item is not None
        return item

    def send(self, write: Write) -> Lease | None:
        result = at_once(self.adopted.write(write, timeout_seconds=1.0))
        assert isinstance(result, Applied | Refused)
        return result.lease


def at_once(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def kcl(key: str = "s", checkpoint: Checkpoint = TRIM_HORIZON, **fields: Any) -> Lease:
    return Lease(key=key, checkpoint=checkpoint, **{"counter": 4, "owner": "java", **fields})


def test_it_is_a_lease_store() -> None:
    assert isinstance(AdoptedLeases(MemoryLeaseStore(), LABEL, InitialPosition("LATEST"), float), LeaseStore)


@pytest.mark.parametrize(("moment", "items"), [(name, items) for name, place, items in tables() if place == "leases"])
def test_every_kcls_rows_are_of_this_stream_and_stay_as_they_are(moment: str, items: list[Item]) -> None:
    table = Table()
    for item in items:
        table.put_item(item)
    scan = at_once(table.adopted.scan())
    assert {lease.stream for lease in scan.leases} == {LABEL}, moment
    assert {lease.created_at for lease in scan.leases} == {None}
    assert [item["leaseKey"] for item in items if item != table.get(item["leaseKey"]["S"])] == []


def test_rows_of_ours_keep_their_own_stream() -> None:
    table = Table(Lease(key="a", stream="arn:clicks@0"), kcl("b"))
    assert [lease.stream for lease in at_once(table.adopted.scan()).leases] == ["arn:clicks@0", LABEL]


def test_every_reply_shows_the_row_with_its_stream_and_none_writes_it() -> None:
    table = Table(kcl())
    taken = table.send(verbs.take(table.seen("s"), "me"))
    assert taken is not None
    assert taken.stream == LABEL
    stale = table.send(verbs.take(kcl(), "you"))
    assert stale is not None
    assert (stale.stream, stale.owner) == (LABEL, "me")
    table.send(verbs.set_checkpoint(taken, "me", Checkpoint("7")))
    assert "leaseholdStream" not in table.stored("s")


def test_a_finished_row_of_a_kcls_goes_only_as_it_was_judged() -> None:
    table = Table(kcl(checkpoint=SHARD_END))
    judged = table.seen("s")
    table.put_item(to_item(kcl(checkpoint=SHARD_END, counter=5)))
    assert table.send(verbs.delete(judged)) is not None, "a KCL renews finished rows: look again"
    assert table.send(verbs.delete(table.seen("s"))) is None
    assert table.get("s") is None


@pytest.mark.parametrize("begin", [verbs.assign, verbs.renew, verbs.take])
def test_who_first_owns_a_row_at_latest_writes_the_instant_at_which_it_first_saw_it(begin: Any) -> None:
    table = Table(kcl(checkpoint=LATEST, owner="me"))
    assert table.seen("s").start_at is None
    table.now += 500
    begun = table.send(begin(table.seen("s"), "me"))
    assert begun is not None
    assert begun.start_at == Decimal(1_799_999_999), "floored and less one: no record of that second falls out"
    assert begun.checkpoint == LATEST, "a KCL knows the word and not the instant"
    table.now += 500
    after = table.send(verbs.renew(begun, "me"))
    assert after is not None
    assert after.start_at == begun.start_at


def test_of_a_row_that_a_kcl_keeps_at_latest_for_days_no_days_come_again() -> None:
    """An application that never checkpoints is one for which LATEST means from now on; a batch may run for a while."""
    table = Table(kcl(checkpoint=LATEST))
    at_once(table.adopted.scan())
    for counter in range(5, 10):
        table.now += 3_600
        table.put_item(to_item(kcl(checkpoint=LATEST, counter=counter)))
        at_once(table.adopted.scan())
    moved_at = int(table.now)
    table.now += 60
    begun = table.send(verbs.take(table.seen("s"), "me"))
    assert begun is not None
    assert begun.start_at == Decimal(moved_at - 601)


def test_a_clock_that_is_ahead_of_the_streams_takes_nothing_from_the_start() -> None:
    """By how much is known only once the stream was listed, after the first look at the table."""
    table = Table(kcl(checkpoint=LATEST))
    at_once(table.adopted.scan())
    table.adopted.ahead_seconds = 100.0
    begun = table.send(verbs.take(table.seen("s"), "me"))
    assert begun is not None
    assert begun.start_at == Decimal(1_799_999_899)


def test_a_scan_that_goes_back_does_not_move_the_instant() -> None:
    table = Table(kcl(checkpoint=LATEST))
    before = table.stored("s")
    begun = table.send(verbs.take(table.seen("s"), "me"))
    assert begun is not None
    after = table.stored("s")
    table.now += 500
    table.put_item(before)
    at_once(table.adopted.scan())
    table.put_item(after)
    renewed = table.send(verbs.renew(begun, "me"))
    assert renewed is not None
    assert renewed.start_at == begun.start_at


def test_a_row_that_moved_since_it_was_seen_is_still_given_its_first_instant() -> None:
    table = Table(kcl(checkpoint=LATEST))
    at_once(table.adopted.scan())
    table.now += 60
    table.put_item(to_item(kcl(checkpoint=LATEST, counter=5)))
    begun = table.send(verbs.take(table.seen("s"), "me"))
    assert begun is not None
    assert begun.start_at == Decimal(1_799_999_999)


@pytest.mark.parametrize(
    "row",
    [
        kcl(checkpoint=Checkpoint("5"), owner="me"),
        kcl(checkpoint=TRIM_HORIZON, owner="me"),
        kcl(checkpoint=LATEST, owner="me", stream=LABEL, created_at="1-x"),
    ],
)
def test_no_other_row_is_given_an_instant(row: Lease) -> None:
    table = Table(row)
    begun = table.send(verbs.renew(table.seen("s"), "me"))
    assert begun is not None
    assert begun.start_at is None


def test_other_writes_of_a_row_at_latest_are_as_they_were() -> None:
    table = Table(kcl(checkpoint=LATEST, owner="me"))
    table.send(verbs.release(table.seen("s"), "me"))
    assert "leaseholdStartAt" not in table.stored("s")


def test_at_timestamp_is_the_instant_that_this_worker_is_configured_with() -> None:
    table = Table(kcl(checkpoint=AT_TIMESTAMP), start="AT_TIMESTAMP=2026-11-20T08:00:00Z")
    at = Decimal("1795161600.0")
    assert table.seen("s").start_at == at
    assert "leaseholdStartAt" not in table.stored("s")
    table.send(verbs.take(table.seen("s"), "me"))
    assert Decimal(table.stored("s")["leaseholdStartAt"]["N"]) == at
    assert table.stored("s")["checkpoint"] == {"S": "AT_TIMESTAMP"}
    assert Table(kcl(checkpoint=AT_TIMESTAMP)).seen("s").start_at is None, "which another worker does not know"


def test_rows_that_are_gone_are_forgotten() -> None:
    table = Table(kcl(checkpoint=LATEST))
    at_once(table.adopted.scan())
    table.apply(verbs.Write("delete", "s", deletes=True))
    at_once(table.adopted.scan())
    table.put_item(to_item(kcl("t")))
    at_once(table.adopted.scan())
    assert table.adopted._unpinned == {}


def test_rows_that_go_together_are_adopted_and_given_an_instant_as_those_that_go_alone() -> None:
    table = Table(kcl("a", LATEST, owner="me"), kcl("b", owner="thief"), kcl("c", stream="another"))
    rows = at_once(table.adopted.read_many(["a", "b", "c"]))
    assert [row.stream for row in rows if isinstance(row, Lease)] == [LABEL, LABEL, "another"]
    writes = [verbs.as_seen(verbs.renew(row, "me"), row) for row in (table.seen("a"), kcl("b", owner="me"))]
    stands, refused = at_once(table.adopted.write_many(writes, timeout_seconds=1.0))
    assert isinstance(stands, Applied)
    assert isinstance(refused, Refused)
    assert [each.lease.stream for each in (stands, refused) if each.lease] == [LABEL, LABEL]
    assert "leaseholdStartAt" in table.stored("a")
    assert "leaseholdStream" not in table.stored("a")
    assert table.adopted.most_together == 25
