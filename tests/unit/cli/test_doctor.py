"""The doctor as a command: what it asks, how it judges, what it prints at any width, how it exits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from consumer.cli.doctor import examine, look_on
from consumer.cli.doctor_report import report
from consumer.cli.main import main
from consumer.operate.diagnosis import StreamLook, diagnose
from consumer.operate.findings import Diagnosis, Look
from consumer.streams.source import Shard, ShardListing, StreamIdentity
from consumer.testing.virtual_time import VirtualClock, run_virtual
from lease_store.checkpoint import Checkpoint
from lease_store.coordination import ClientVersion, LeaderLock
from lease_store.item import table_scan
from lease_store.layout import LegacyRows, legacy_rows
from lease_store.lease import Lease, TableScan, WorkerRow
from lease_store.memory import MemoryLeaseStore
from tests.golden import recordings

KCL_2X = Lease(key="a", counter=5, owner="java-1", checkpoint=Checkpoint("100"), entity_type=None)
LOCK = LeaderLock(owner="java-1", version="v1", duration_seconds=120.0)


def told(found: Diagnosis, label: str) -> list[str]:
    """The report's lines under a label."""
    return [line[12:] for line in report(found, width=None) if line[:12].strip() == label]


def recorded(edition: str) -> list[Look]:
    """The tables of a real KCL at every moment that was recorded, a look each."""
    places: dict[str, dict[str, Any]] = {}
    for name, place, rows in recordings.tables():
        if name.startswith(f"{edition} "):
            moment = name.removeprefix(f"{edition} ").split(" ")[0]
            places.setdefault(moment, {})[place] = rows
    assert places, edition
    return [
        Look(
            at=30.0 * number,
            scan=table_scan(rows["leases"]),
            legacy=legacy_rows(rows["coordinator"], rows.get("metrics")) if "coordinator" in rows else None,
        )
        for number, rows in enumerate(places.values())
    ]


@pytest.mark.parametrize(
    ("edition", "maker", "mode", "lock_at", "workers_at"),
    [
        ("kcl-3.5.1", "KCL 3.5 or later: ", "leader", "leases", "leases"),
        ("kcl-3.3.0", "KCL 3.0 to 3.4, which has two tables", "leader", "coordinator", "metrics"),
        ("adapter-2.0.1", "KCL 3.0 to 3.4, which has two tables", "leader", "coordinator", "metrics"),
        ("kcl-2.7.2", "KCL 2.x (or 1.x): ", "2x", "leases", "leases"),
    ],
)
def test_each_recorded_kcl_is_known_at_every_moment(edition: str, maker: str, mode: str, lock_at: str, workers_at: str):
    looks = recorded(edition)
    for look in looks:
        found = diagnose([look], table="app7")
        assert found.made_by[0].startswith(maker)
        assert (found.mode, found.lock_at, found.workers_at) == (mode, lock_at, workers_at)
        assert found.unreadable == ()
        assert found.is_joinable, found.refusals
        assert any("adapter" in clause for clause in found.made_by) is edition.startswith("adapter")
    alive = {worker.worker_id for worker in diagnose(looks[1:3], table="app7").workers if worker.moved}
    assert alive == {"w1", "w2"}


@pytest.mark.parametrize("edition", ["kcl-3.3.0", "adapter-2.0.1", "kcl-2.7.2"])
def test_a_checkpoint_that_java_prepared_is_told(edition: str):
    found = diagnose(recorded(edition)[-1:], table="app7")
    assert found.leases.prepared
    assert any(line.startswith("With a prepared checkpoint: ") for line in found.joining)


def test_a_table_of_kcl_3_5_may_be_joined_under_its_leader():
    found = diagnose(recorded("kcl-3.5.1")[:2], table="app7", has_index=True)
    assert found.is_joinable
    assert (found.mode, found.client_version, found.lock_at, found.workers_at) == (
        "leader",
        "CLIENT_VERSION_3X",
        "leases",
        "leases",
    )
    assert "Migration3.0" in found.because
    assert any("w1 holds the lock of the lease table and plans" in line for line in found.joining)
    assert told(found, "workers")[0] == "w1: KCL, 1 lease, lives"


@pytest.mark.parametrize(("seconds", "words"), [(34.0, "lives"), (35.0, "lives, though its row stood still")])
def test_a_row_that_stood_still_is_told_once_it_should_have_moved(seconds: float, words: str):
    row = WorkerRow(worker_id="java-1", beat=None, updated_at=9)
    looks = [Look(at=at, scan=TableScan((replace(KCL_2X, counter=5 + int(at)),), (row,))) for at in (0.0, seconds)]
    assert told(diagnose(looks, table="t"), "workers") == [f"java-1: KCL, 1 lease, {words}"]


def test_a_table_of_kcl_2x_may_be_joined_with_lease_rows_only():
    found = diagnose([Look(at=0.0, scan=TableScan((KCL_2X,)))], table="app7", has_index=False)
    assert (found.mode, found.is_joinable) == ("2x", True)
    assert "writes lease rows only" in found.joining[0]
    assert any("give that name with --app" in line for line in found.joining)
    assert told(found, "workers") == ["java-1: no row, as nobody in mode 2x, 1 lease"]


def test_a_worker_without_a_row_is_known_by_its_name_only():
    scan = TableScan((KCL_2X, replace(KCL_2X, key="b", owner="orders-1-00ff00ff00")))
    assert told(diagnose([Look(at=0.0, scan=scan)], table="app7"), "workers") == [
        "java-1: no row, as nobody in mode 2x, 1 lease",
        "orders-1-00ff00ff00: named as Leasehold's are, no row, as nobody in mode 2x, 1 lease",
    ]


def test_a_2x_worker_in_a_table_of_ours_is_noticed_when_its_leases_move():
    lease = replace(KCL_2X, stream="arn:o/stream/1", created_at="1-x", entity_type="LEASE")
    looks = [Look(at=number, scan=TableScan((replace(lease, counter=number),))) for number in (5, 6)]
    assert diagnose(looks[:1], table="t").mode == "peer"
    assert diagnose(looks, table="t").mode == "2x"


def test_a_leader_that_left_while_the_table_was_watched_leaves_its_mode_behind():
    lease = replace(KCL_2X, stream="arn:o/stream/1", created_at="1-x", entity_type="LEASE")
    looks = [Look(at=0.0, scan=TableScan((lease,), lock=LOCK)), Look(at=5.0, scan=TableScan((lease,)))]
    found = diagnose(looks, table="t")
    assert (found.mode, found.locks) == ("leader", ())
    assert any("Nobody holds the lock" in line for line in found.joining)


def test_a_legacy_layout_says_which_table_gets_what():
    legacy = LegacyRows(
        lock=LOCK,
        client_version=ClientVersion(state="CLIENT_VERSION_3X"),
        workers=(WorkerRow(worker_id="java-1", beat=None, updated_at=1),),
    )
    found = diagnose([Look(at=0.0, scan=TableScan((KCL_2X,)), legacy=legacy)], table="app7")
    assert (found.mode, found.lock_at, found.workers_at, found.has_legacy_tables) == (
        "leader",
        "coordinator",
        "metrics",
        True,
    )
    assert any("java-1 holds the lock of the legacy coordinator table" in line for line in found.joining)
    assert any("Its metric row goes to the legacy metrics table" in line for line in found.joining)
    assert found.made_by[0].startswith("KCL 3.0 to 3.4")


def test_two_locks_that_both_beat_are_refused_with_the_way_out():
    def look(at: float) -> Look:
        other = replace(LOCK, owner="java-old", version=f"o{at}")
        legacy = LegacyRows(lock=other, client_version=ClientVersion(state="CLIENT_VERSION_3X"))
        return Look(at=at, scan=TableScan((KCL_2X,), lock=replace(LOCK, version=f"n{at}")), legacy=legacy)

    found = diagnose([look(0.0), look(31.0)], table="app7")
    assert not found.is_joinable
    assert "Two leaders: java-1 keeps a lock alive in the lease table" in found.refusals[0]
    assert "Stop the workers of one of the two" in found.refusals[0]
    assert found.joining == ()
    # One that lies there and does not beat is what a crash leaves.
    still = replace(look(31.0), scan=look(0.0).scan)
    assert diagnose([look(0.0), still], table="app7").is_joinable


def test_a_lock_of_unknown_shape_is_refused():
    scan = TableScan((KCL_2X,), unreadable=(("Leader", "leaseDuration is stored as N"),))
    found = diagnose([Look(at=0.0, scan=scan)], table="app7")
    assert not found.is_joinable
    assert "leaseDuration is stored as N" in found.refusals[0]


CLICKS = StreamIdentity(
    arn="arn:aws:kinesis:r:1:stream/clicks",
    label="arn:aws:kinesis:r:1:stream/clicks@1",
    base="arn:aws:kinesis:r:1:stream/clicks",
)


def clicks(*shards: str) -> StreamLook:
    """A stream of these shards."""
    return StreamLook(name="kinesis:clicks", identity=CLICKS, listing=ShardListing(tuple(map(Shard, shards))))


def test_leases_that_the_stream_does_not_list_are_of_another():
    look = Look(at=0.0, scan=TableScan((KCL_2X,)))
    found = diagnose([look], table="app7", stream=clicks("z"))
    assert not found.is_joinable
    assert "it belongs to another stream" in found.refusals[0]
    assert told(found, "stream") == ["kinesis:clicks: 1 shard, among them 0 of the 1 lease that are not finished"]
    assert diagnose([look], table="app7", stream=clicks("a", "b")).is_joinable
    assert diagnose([look], table="app7").is_joinable


def test_a_table_of_our_own_for_another_stream_or_app_is_refused():
    lease = replace(KCL_2X, stream="arn:aws:dynamodb:r:1:table/o/stream/1", created_at="1-x", app="audit")
    look = Look(at=0.0, scan=TableScan((lease,)))
    assert "belongs to another stream" in diagnose([look], table="t", stream=clicks("a")).refusals[0]
    assert "belongs to app 'audit'" in diagnose([look], table="t", app="search").refusals[0]
    assert diagnose([look], table="t", app="audit").is_joinable


def test_a_table_of_several_streams_is_refused():
    lease = replace(KCL_2X, key="111111111111:clicks:1700000000:shardId-0", extra={"streamName": {"S": "1:clicks:2"}})
    found = diagnose([Look(at=0.0, scan=TableScan((lease,)))], table="t")
    assert "for several streams" in found.refusals[0]


def test_a_start_at_a_timestamp_needs_the_kcls_own_and_is_no_refusal():
    lease = replace(KCL_2X, checkpoint=Checkpoint("AT_TIMESTAMP"))
    found = diagnose([Look(at=0.0, scan=TableScan((lease,)))], table="t")
    assert found.is_joinable
    assert any("--initial-position AT_TIMESTAMP=<that instant>" in line for line in found.joining)


def test_a_leader_that_may_not_be_looked_for_is_a_reason_to_refuse():
    denied = LegacyRows(denied="The credentials lack dynamodb:Scan on app7-CoordinatorState.")
    found = diagnose([Look(at=0.0, scan=TableScan((KCL_2X,)), legacy=denied)], table="app7")
    assert not found.is_joinable
    assert any("dynamodb:Scan on app7-CoordinatorState" in refusal for refusal in found.refusals)
    assert told(found, "layout")[0].startswith("not known")
    # Rows of our own, or of a KCL that keeps all in one table, leave no room for such a leader.
    ours = replace(KCL_2X, stream="arn:o", created_at="1-x", entity_type="LEASE")
    assert diagnose([Look(at=0.0, scan=TableScan((ours,)), legacy=denied)], table="app7").is_joinable


@pytest.mark.parametrize("width", [20, 40, 59, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal_and_nothing_is_left_out(width: int):
    found = diagnose(recorded("kcl-3.5.1"), table="app7")
    wrapped, plain = list(report(found, width=width)), list(report(found, width=None))
    assert max(map(len, wrapped)) <= width
    assert ("made by" in wrapped) is (width < 60)
    assert not [line for line in wrapped if width < 60 and line.startswith("   ")]
    indent = 12 if width >= 60 else 2
    entries = [line[indent:] for line in wrapped if len(line) > indent and not (indent == 2 and line[0] != " ")]
    assert "".join("".join(entries).split()) == "".join("".join(line[12:] for line in plain).split())


def test_of_many_workers_the_first_are_told_and_how_many_more_there_are():
    rows = tuple(WorkerRow(worker_id=f"w-{number:03}", beat=1) for number in range(60))
    lines = told(diagnose([Look(at=0.0, scan=TableScan(workers=rows))], table="t"), "workers")
    assert len(lines) == 51
    assert lines[49].startswith("w-049: ")
    assert lines[50] == "and 10 more: --json has them all"


def test_looks_are_spread_over_the_watch_and_never_too_many():
    clock, store = VirtualClock(), MemoryLeaseStore("t")

    async def instants(seconds: float) -> list[float]:
        async with store.open():
            return [look.at async for look in look_on(store, seconds, clock, lambda line: None)]

    assert len(run_virtual(instants(0.0))) == 1
    watched = run_virtual(instants(12.0))
    assert [round(at - watched[0], 3) for at in watched] == [0.0, 4.0, 8.0, 12.0]
    assert len(run_virtual(instants(3600.0))) == 25
    assert len(run_virtual(instants(0.5))) == 2


def test_an_empty_table_is_a_new_group():
    async def examined() -> Diagnosis:
        return await examine(MemoryLeaseStore("t"), None, watch_seconds=0.0, clock=VirtualClock())

    found = run_virtual(examined())
    assert (found.mode, found.is_joinable, found.made_by) == ("peer", True, ())
    assert any("There is no lease yet" in line for line in found.joining)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--table", "a b"], "--table 'a b': a DynamoDB table's name"),
        (["--table", "app7", "--watch", "soon"], "--watch soon: is a number of seconds from 0 (one look) to 3600"),
        (["--table", "app7", "--watch", "nan"], "--watch nan"),
        (["--table", "app7", "--watch", "-1"], "--watch -1"),
        (["--table", "app7", "--stream", "file:x"], "--stream: 'file:x' is not a stream"),
    ],
)
def test_wrong_flags_are_sentences_with_exit_code_3(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
):
    assert main(["doctor", *arguments]) == 3
    assert f"leasehold: {told}" in capsys.readouterr().err


def test_without_a_table_the_flag_is_named(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as end:
        main(["doctor"])
    assert end.value.code == 3
    assert "--table" in capsys.readouterr().err
