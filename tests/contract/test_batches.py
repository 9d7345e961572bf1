"""Many writes and reads in one request: the same conditions and the same rows as one by one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lease_store import Applied, Lease, Refused, Write, verbs
from lease_store.checkpoint import SHARD_END, Checkpoint
from lease_store.errors import InvalidRow
from lease_store.item import lease_of, to_item
from tests.contract.bench import Bench, same
from tests.contract.counterparts import kind_of, seed
from tests.contract.verb_cases import CASES, IDLE, OWNED, PENDING, REFUSED_BY, Case, violations
from tests.golden.recordings import writes as recorded_writes

BESIDE = replace(OWNED, key="beside")


def renewed(lease: Lease, kbps: float | None = None) -> Write:
    """A renewal as it goes with others."""
    return verbs.as_seen(verbs.renew(lease, lease.actual_owner or "", kbps), lease)


async def together(bench: Bench, write: Write) -> Any:
    """The result of one write that goes with another, which succeeds."""
    bench.put(to_item(BESIDE))
    result, other = await bench.store.write_many([write, renewed(BESIDE)], timeout_seconds=10.0)
    assert other == Applied(replace(BESIDE, counter=BESIDE.counter + 1)), "each stands or fails by itself"
    return result


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_a_write_among_others_leaves_the_row_that_it_leaves_alone(bench: Bench, case: Case) -> None:
    bench.put(case.row)
    result = await together(bench, case.write)
    assert result == Applied(lease_of(case.row_after))
    assert same(bench.get(), case.row_after)


@pytest.mark.parametrize("name", [name for name in CASES if REFUSED_BY[name]])
async def test_each_expectation_alone_refuses_and_shows_the_row_in_the_way(bench: Bench, name: str) -> None:
    for what, row in violations(name).items():
        bench.put(row)
        assert await together(bench, CASES[name].write) == Refused(lease_of(row)), what
        assert same(bench.get(), row), what


ALTERED_SINCE = {
    "counter": {"leaseCounter": {"N": "9"}},
    "owner": {"leaseOwner": {"S": "w9"}},
    "no owner": {"leaseOwner": None},
    "a hand-off": {"leaseOwner": {"S": "w2"}, "checkpointOwner": {"S": "w1"}},
    "checkpoint": {"checkpoint": {"S": "120"}},
    "ended": {"checkpoint": {"S": "SHARD_END"}},
}


@pytest.mark.parametrize("alteration", ALTERED_SINCE.values(), ids=ALTERED_SINCE)
async def test_a_renewal_for_going_together_stands_only_in_the_row_as_seen(bench: Bench, alteration: Any) -> None:
    row = {name: value for name, value in (to_item(OWNED) | alteration).items() if value is not None}
    bench.put(row)
    assert await together(bench, renewed(OWNED)) == Refused(await bench.store.read("shard-1"))
    assert same(bench.get(), row)


GONE_OVER = {
    "take": (OWNED, verbs.take(OWNED, "w2")),
    "take of nobody's": (IDLE, verbs.take(IDLE, "w2")),
    "take of a dead owner's hand-off": (PENDING, verbs.take(PENDING, "w3")),
    "release": (OWNED, verbs.release(OWNED, "w1")),
    "start_hand_off": (OWNED, verbs.start_hand_off(OWNED, "w2")),
    "finish_hand_off": (PENDING, verbs.finish_hand_off(PENDING, "w1")),
}


@pytest.mark.parametrize(("lease", "write"), GONE_OVER.values(), ids=GONE_OVER)
async def test_what_changes_the_owner_leaves_among_others_the_row_that_it_leaves_alone(
    bench: Bench, lease: Lease, write: Write
) -> None:
    bench.put(to_item(lease))
    assert isinstance(await bench.write(write), Applied)
    alone = bench.get()
    bench.put(to_item(lease))
    assert isinstance(await together(bench, verbs.as_seen(write, lease)), Applied)
    assert same(bench.get(), alone)


@pytest.mark.parametrize("alteration", ALTERED_SINCE.values(), ids=ALTERED_SINCE)
async def test_what_changes_the_owner_stands_among_others_only_in_the_row_as_seen(
    bench: Bench, alteration: Any
) -> None:
    for lease, write in GONE_OVER.values():
        row = {name: value for name, value in (to_item(lease) | alteration).items() if value is not None}
        if same(row, to_item(lease)):
            continue
        bench.put(row)
        assert await together(bench, verbs.as_seen(write, lease)) == Refused(await bench.store.read("shard-1"))
        assert same(bench.get(), row)


async def test_a_row_that_was_seen_to_have_ended_is_neither_taken_nor_renewed_among_others(bench: Bench) -> None:
    ended = replace(OWNED, checkpoint=SHARD_END)
    for write in (
        verbs.take(ended, "w2"),
        verbs.renew(ended, "w1"),
        verbs.set_checkpoint(ended, "w1", Checkpoint("9")),
    ):
        bench.put(to_item(ended))
        assert await together(bench, verbs.as_seen(write, ended)) == Refused(ended), write.verb
        assert same(bench.get(), to_item(ended))


@pytest.mark.parametrize("lease", [OWNED, PENDING, replace(OWNED, created_at=None, stream=None, entity_type=None)])
async def test_a_renewal_for_going_together_is_a_renewal_with_its_load(bench: Bench, lease: Lease) -> None:
    bench.put(to_item(lease))
    result = await together(bench, renewed(lease, 12.3456785))
    assert isinstance(result, Applied)
    expected = to_item(lease) | {"leaseCounter": {"N": "8"}, "throughputKBps": {"N": "12.345679"}}
    assert same(bench.get(), expected)


async def test_a_row_that_a_kcl_wrote_is_renewed_among_others_and_refused_where_it_moved(bench: Bench) -> None:
    """Each row before a recorded renewal, under the recorded owner."""
    renewals = [each for each in recorded_writes().values() if kind_of(each) == "renew"]
    rows = [row for each in renewals if (row := seed(each)) is not None]
    assert len(rows) >= 3
    for number, row in enumerate(rows):
        named = row | {"leaseKey": {"S": f"kcl-{number}"}}
        bench.put(named)
        lease = await bench.store.read(f"kcl-{number}")
        assert lease is not None
        moved, stands = renewed(replace(lease, counter=lease.counter + 1)), renewed(lease)
        assert isinstance(await together(bench, moved), Refused)
        assert isinstance(await together(bench, stands), Applied)
        counter = {"leaseCounter": {"N": str(lease.counter + 1)}}
        assert same(bench.get(f"kcl-{number}"), named | counter)


async def test_twenty_five_go_together_and_each_has_its_own_result(bench: Bench) -> None:
    leases = [replace(OWNED, key=f"s{number:02d}") for number in range(25)]
    for lease in leases[:-1]:
        bench.put(to_item(lease))
    writes = [renewed(replace(lease, counter=7 + number % 2)) for number, lease in enumerate(leases)]
    results = await bench.store.write_many(writes, timeout_seconds=10.0)
    assert [type(each) for each in results] == [Applied, Refused] * 12 + [Refused]
    assert results[-1] == Refused(None), "an update makes no row"
    assert bench.get("s24") is None
    rows = await bench.store.read_many([lease.key for lease in leases[:-1]])
    assert [row.counter for row in rows if isinstance(row, Lease)] == [8, 7] * 12


@pytest.mark.parametrize(
    "writes",
    [
        [renewed(OWNED), verbs.renew(OWNED, "w1")],
        [renewed(replace(OWNED, key=str(number))) for number in range(26)],
        [verbs.create(Lease(key="new")), renewed(OWNED)],
        [verbs.delete(OWNED), renewed(BESIDE)],
        [replace(renewed(OWNED), place="metrics"), renewed(BESIDE)],
    ],
    ids=["one key twice", "26", "a put", "a delete", "another table"],
)
async def test_what_may_not_go_together_is_not_sent(bench: Bench, writes: list[Write]) -> None:
    bench.put(to_item(OWNED))
    with pytest.raises(ValueError, match="together"):
        await bench.store.write_many(writes, timeout_seconds=10.0)
    assert same(bench.get(), to_item(OWNED))


async def test_rows_are_read_together_in_the_order_asked_for(bench: Bench) -> None:
    bench.put(to_item(OWNED))
    bench.put(to_item(BESIDE))
    bench.put({"leaseKey": {"S": "broken"}, "leaseCounter": {"N": "1"}, "entityType": {"S": "LEASE"}})
    rows = await bench.store.read_many(["beside", "nowhere", "shard-1", "broken"])
    assert rows[:3] == [BESIDE, None, OWNED]
    assert isinstance(rows[3], InvalidRow)


async def test_a_refusal_by_an_unreadable_row_among_others_names_it(bench: Bench) -> None:
    bench.put({"leaseKey": {"S": "shard-1"}, "leaseCounter": {"N": "1"}, "entityType": {"S": "LEASE"}})
    result = await together(bench, renewed(OWNED))
    assert isinstance(result, InvalidRow)
