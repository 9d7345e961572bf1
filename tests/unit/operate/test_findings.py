"""What looks at a table find: held against rows of the real KCL 3.5.1, and against what changes between looks."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from consumer.operate.findings import (
    HandOffFound,
    Look,
    hand_offs_in,
    leases_in,
    locks_in,
    makers_of,
    workers_in,
)
from lease_store.checkpoint import Checkpoint
from lease_store.coordination import ClientVersion, LeaderLock
from lease_store.item import table_scan
from lease_store.layout import LegacyRows
from lease_store.lease import Lease, PendingCheckpoint, TableScan, WorkerRow
from tests.house.tree import ROOT

GOLDEN = json.loads((ROOT / "tests/golden/kcl-3.5.1-tables.json").read_text())
LOCK = LeaderLock(owner="java-1", version="v1", duration_seconds=120.0)
JAVA = Lease(key="a", counter=5, owner="java-1", checkpoint=Checkpoint("100"))
OURS = Lease(key="b", counter=5, owner="py-1", stream="arn:o/stream/1", created_at="1-x", checkpoint=Checkpoint("7"))


def look(at: float, *leases: Lease, workers: tuple[WorkerRow, ...] = (), **rows: object) -> Look:
    legacy = rows.pop("legacy", None)
    return Look(at=at, scan=TableScan(leases, workers, **rows), legacy=legacy)  # type: ignore[arg-type]


def test_a_table_of_the_real_kcl_is_known_by_its_rows():
    moments = [Look(at=float(number), scan=table_scan(items)) for number, items in enumerate(GOLDEN.values())]
    first = moments[0]
    assert makers_of(first) == ("KCL 3.5 or later: 4 lease rows with an entityType",)
    assert [(each.worker_id, each.library, len(each.leases)) for each in workers_in([first])] == [
        ("w1", "KCL", 2),
        ("w2", "KCL", 2),
    ]
    assert [(lock.owner, lock.place, lock.duration_seconds, lock.moved) for lock in locks_in([first])] == [
        ("w1", "leases", 120.0, None)
    ]
    assert leases_in(first.scan).total == 4
    # While both lived, and after the leader was killed.
    assert all(each.moved for each in workers_in(moments[:2]))
    assert not any(each.moved for each in workers_in(moments[3:]) if each.worker_id == "w1")


@pytest.mark.parametrize(
    ("seen", "maker"),
    [
        (look(0), ()),
        (look(0, OURS), ("Leasehold: 1 lease row",)),
        (
            look(0, replace(JAVA, entity_type=None)),
            ("KCL 2.x (or 1.x): no migration row, no lock: 1 lease row without",),
        ),
        (
            look(0, replace(JAVA, entity_type=None), client_version=ClientVersion(state="CLIENT_VERSION_3X")),
            ("KCL 2.x or 3.0 to 3.4, before a KCL 3.5",),
        ),
        (look(0, replace(JAVA, entity_type=None), legacy=LegacyRows()), ("KCL 3.0 to 3.4, which has two tables",)),
        (look(0, JAVA, OURS), ("Leasehold: 1 lease row", "KCL 3.5 or later: 1 lease row")),
        (
            look(0, replace(JAVA, hash_range=("0", "1")), replace(OURS, hash_range=("0", "1"))),
            ("Leasehold: 1", "KCL 3.5", "the KCL's adapter for DynamoDB Streams: 1 lease row of"),
        ),
        (look(0, lock=LOCK), ("nobody: rows of workers or a lock, and no lease",)),
    ],
)
def test_who_made_the_rows_is_told_by_their_marks(seen: Look, maker: tuple[str, ...]):
    told = makers_of(seen)
    assert len(told) == len(maker)
    for clause, start in zip(told, maker, strict=True):
        assert clause.startswith(start)


def test_with_one_look_nobody_is_called_dead_or_alive():
    (found,) = workers_in([look(0, JAVA, workers=(WorkerRow(worker_id="java-1", beat=None, updated_at=9),))])
    assert (found.moved, found.row_moved) == (None, None)


def test_a_worker_lives_by_a_counter_that_grew_or_a_row_that_changed():
    rows = (WorkerRow(worker_id="java-2", beat=None, updated_at=9), WorkerRow(worker_id="py-1", beat=3))
    looks = [
        look(0, JAVA, replace(OURS, owner="gone"), workers=rows),
        look(5, replace(JAVA, counter=6), replace(OURS, owner="gone"), workers=(rows[0], replace(rows[1], beat=4))),
    ]
    found = {each.worker_id: (each.moved, each.row_moved, each.library) for each in workers_in(looks)}
    assert found == {
        "gone": (False, None, "unknown"),
        "java-1": (True, None, "unknown"),
        "java-2": (False, False, "KCL"),
        "py-1": (True, True, "Leasehold"),
    }


def test_a_lease_that_went_to_another_owner_is_no_sign_of_life_of_either():
    looks = [look(0, JAVA), look(5, replace(JAVA, owner="java-2", counter=6))]
    assert [(each.worker_id, each.moved) for each in workers_in(looks)] == [("java-2", False)]


def test_finished_leases_make_nobody_an_owner():
    assert workers_in([look(0, replace(JAVA, checkpoint=Checkpoint("SHARD_END")))]) == ()


def test_a_metric_row_in_the_legacy_table_counts_as_one():
    legacy = LegacyRows(workers=(WorkerRow(worker_id="java-1", beat=None, updated_at=1),))
    (found,) = workers_in([look(0, JAVA, legacy=legacy)])
    assert (found.has_row, found.library, found.leases) == (True, "KCL", ("a",))


def test_a_hand_off_is_as_old_as_the_looks_that_showed_it():
    pending = replace(JAVA, owner="py-1", checkpoint_owner="java-1")
    looks = [look(0, JAVA), look(5, pending), look(11, replace(pending, counter=6))]
    assert hand_offs_in(looks) == (HandOffFound(lease="a", from_worker="java-1", to_worker="py-1", seconds=6.0),)
    assert hand_offs_in(looks[:1]) == ()
    # Another receiver: another hand-off.
    looks.append(look(20, replace(pending, owner="py-2", counter=8)))
    assert hand_offs_in(looks)[0].seconds == 0.0


def test_who_hands_over_still_processes_and_the_next_one_is_only_named():
    pending = replace(JAVA, owner="py-1", checkpoint_owner="java-1")
    found = {each.worker_id: (each.leases, each.receiving) for each in workers_in([look(0, pending)])}
    assert found == {"java-1": (("a",), ()), "py-1": ((), ("a",))}


def test_both_locks_are_found_each_with_its_own_movement():
    legacy = LegacyRows(lock=replace(LOCK, owner="java-old", version="x"))
    looks = [look(0, lock=LOCK, legacy=legacy), look(30, lock=replace(LOCK, version="v2"), legacy=legacy)]
    assert [(lock.owner, lock.place, lock.moved) for lock in locks_in(looks)] == [
        ("java-1", "leases", True),
        ("java-old", "coordinator", False),
    ]


def test_leases_are_counted_by_what_they_say():
    scan = TableScan(
        leases=(
            replace(JAVA, checkpoint=Checkpoint("SHARD_END"), owner=None),
            replace(JAVA, key="b", owner=None),
            replace(JAVA, key="c", checkpoint=Checkpoint("LATEST")),
            replace(OURS, key="d", checkpoint=Checkpoint("LATEST"), start_at=1),
            replace(JAVA, key="e", pending_checkpoint=PendingCheckpoint(Checkpoint("101"))),
            replace(JAVA, key="f", checkpoint=Checkpoint("100", 3)),
            replace(JAVA, key="g", extra={"streamName": {"S": "1:orders:2"}}),
        )
    )
    found = leases_in(scan)
    assert (found.total, found.finished, found.free, found.not_begun) == (7, 1, 1, 2)
    assert (found.at_latest, found.prepared, found.inside_aggregates, found.multi_stream) == (1, 1, 1, 1)


@pytest.mark.parametrize(
    ("samples", "newest"), [({}, None), ({"C": ()}, None), ({"C": (3.0, 7.5)}, 7.5), ({"C": (3.0, -1.0)}, -1.0)]
)
def test_the_newest_sample_of_a_metric_row_is_told(samples: dict[str, tuple[float, ...]], newest: float | None):
    row = WorkerRow(worker_id="java-1", beat=None, samples=samples)
    assert workers_in([look(0, workers=(row,))])[0].cpu_percent == newest
