"""A table made fit for a KCL 2.x: nothing but leases stays, and nobody's row goes who would write it again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from consumer.cli.table import prepare
from consumer.operate.findings import Look
from consumer.operate.life_signs import LifeSigns
from consumer.testing.virtual_time import VirtualClock, run_virtual
from lease_store import verbs
from lease_store.coordination import ClientVersion, LeaderLock
from lease_store.item import item_of
from lease_store.layout import LegacyRows
from lease_store.lease import ForeignRow, Lease, TableScan, WorkerRow
from lease_store.memory import MemoryLeaseStore

LOCK = LeaderLock(owner="java-1", version="v1", duration_seconds=120.0)
KCL_ROW = WorkerRow(worker_id="java-1", beat=None, updated_at=1_000)
OURS = WorkerRow(worker_id="py-1", beat=3, failover_seconds=10.0)


class Table(MemoryLeaseStore):
    """Three leases of one owner, and whatever is put beside them; ``act`` is done every second."""

    def __init__(self) -> None:
        super().__init__("orders")
        self.clock = VirtualClock()
        self.beside: LegacyRows | None = None
        self.deleted: list[str] = []
        for number in range(3):
            self.apply(verbs.create(Lease(key=f"shard-{number}", owner="py-1", counter=5, created_at="1")))

    def add(self, *rows: LeaderLock | WorkerRow | ClientVersion | ForeignRow) -> None:
        for row in rows:
            self.put_item(item_of(row))

    async def legacy(self) -> LegacyRows | None:
        return self.beside

    def prepared(self, *, apply: bool = True, act: Callable[[int], None] = lambda second: None) -> tuple[int, float]:
        """The exit code, and how long it took."""

        async def main() -> tuple[int, float]:
            async def acting() -> None:
                for second in range(1000):
                    act(second)
                    await self.clock.sleep(1.0)

            beside = asyncio.get_running_loop().create_task(acting())
            began = self.clock.monotonic()
            code = await prepare(self, self.clock, apply=apply)
            beside.cancel()
            return code, self.clock.monotonic() - began

        return run_virtual(main())

    def beats(self, *, sees_marks: bool) -> Callable[[int], None]:
        """A worker of ours writes its row; one that ``sees_marks`` deletes it once a lease has one."""

        def act(second: int) -> None:
            row = replace(OURS, beat=10 + second)
            if sees_marks and any(lease.rules == "2.x" for lease in self.rows().leases):
                self.apply(verbs.delete_worker(replace(row, beat=9 + second)))
            else:
                self.add(row)

        return act

    @property
    def keys(self) -> list[str]:
        scan = self.rows()
        others = [*scan.workers, *scan.foreign]
        return [type(row).__name__ for row in (*others, scan.lock, scan.client_version) if row is not None]

    @property
    def marks(self) -> list[str | None]:
        return [lease.rules for lease in self.rows().leases]


def test_a_dead_fleet_of_3x_leaves_lease_rows_only(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table()
    table.add(LOCK, KCL_ROW, OURS, ClientVersion(state="CLIENT_VERSION_3X", modified_by="java-1"))
    table.add(ForeignRow("orders:1", "STREAM", {"leaseKey": {"S": "orders:1"}, "entityType": {"S": "STREAM"}}))
    code, seconds = table.prepared()
    assert (code, table.keys, table.marks) == (0, [], ["2.x"] * 3)
    assert 125.0 <= seconds <= 160.0  # the lock was watched for the time that its holder may be silent
    assert [(lease.counter, lease.owner) for lease in table.rows().leases] == [(5, "py-1")] * 3
    told = capsys.readouterr().out
    assert "Watching the leader lock of 'java-1' (a lease of 120 s)" in told
    assert "Workers of a KCL 2.x may start now" in told


def test_a_live_leader_is_found_by_its_heartbeat_and_nothing_is_changed(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table()
    table.add(LOCK, KCL_ROW)
    code, seconds = table.prepared(act=lambda second: table.add(replace(LOCK, version=f"v{second // 30}")), apply=True)
    assert (code, table.marks) == (1, [None] * 3)
    assert sorted(table.keys) == ["LeaderLock", "WorkerRow"]
    assert seconds <= 40.0
    assert "Refused: the leader lock of 'java-1' (a lease of 120 s) moves" in capsys.readouterr().out


def test_a_kcl_3x_worker_that_lives_is_found_by_its_metric_row(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table()
    code, _ = table.prepared(act=lambda second: table.add(replace(KCL_ROW, updated_at=1_000 + second // 30)))
    assert (code, table.marks) == (1, [None] * 3)
    assert "metric row of the KCL 3.x worker 'java-1' moves" in capsys.readouterr().out


def test_what_lies_in_a_legacy_table_counts_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table()

    def act(second: int) -> None:
        table.beside = LegacyRows(lock=replace(LOCK, version=f"v{second // 30}"))

    assert table.prepared(act=act)[0] == 1
    table.beside = LegacyRows(client_version=ClientVersion(state="CLIENT_VERSION_3X_WITH_ROLLBACK"))
    assert table.prepared()[0] == 1
    assert "Roll it back" in capsys.readouterr().out
    assert table.marks == [None] * 3


def test_a_living_worker_of_ours_goes_on_and_deletes_its_row_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table()
    code, seconds = table.prepared(act=table.beats(sees_marks=True))
    assert (code, table.keys) == (0, [])
    assert seconds <= 20.0
    assert "Owners of its leases: py-1" in capsys.readouterr().out


def test_the_row_of_a_living_worker_is_not_deleted_under_it(capsys: pytest.CaptureFixture[str]) -> None:
    """An older Leasehold would write it again and again; its peers would take it for one that left."""
    table = Table()
    gone: list[int] = []
    beat = table.beats(sees_marks=False)

    def act(second: int) -> None:
        if second and not table.rows().workers:
            gone.append(second)
        beat(second)

    code, seconds = table.prepared(act=act)
    assert (code, gone, table.keys) == (1, [], ["WorkerRow"])
    assert 180.0 <= seconds <= 200.0
    assert "Not finished after 180 s: the row of worker 'py-1'" in capsys.readouterr().out


def test_leases_that_come_while_it_works_are_marked_too() -> None:
    table = Table()

    def act(second: int) -> None:
        if second == 3:
            table.apply(verbs.create(Lease(key="shard-9", parents=("shard-0",), created_at="2")))

    assert table.prepared(act=act)[0] == 0
    assert table.marks == ["2.x"] * 4


def test_a_leader_that_comes_while_rows_are_deleted_stops_it(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table()
    table.add(OURS)

    def act(second: int) -> None:
        if second >= 4:
            table.add(replace(LOCK, version=f"v{second}"))

    assert table.prepared(act=act)[0] == 1
    assert "LeaderLock" in table.keys
    assert "Nothing more is changed" in capsys.readouterr().out


def test_a_dry_run_says_what_would_be_done_and_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table()
    table.add(LOCK, OURS)
    before = table.rows()
    assert table.prepared(apply=False)[0] == 0
    assert table.rows() == before
    told = capsys.readouterr().out
    assert "With --apply: 3 of 3 lease rows of orders are marked" in told
    assert "With --apply: the leader lock of 'java-1' goes, since nobody writes it any more." in told
    assert "This was a dry run, nothing was changed." in told


def test_a_table_without_a_lease_and_a_row_that_cannot_be_read_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table()
    table.put_item({"leaseKey": {"S": "odd"}, "leaseCounter": {"S": "no number"}})
    assert table.prepared()[0] == 1
    assert "row 'odd' can't be read" in capsys.readouterr().out
    assert run_virtual(prepare(MemoryLeaseStore("none"), VirtualClock(), apply=True)) == 1
    assert "--coordination 2x" in capsys.readouterr().out


def test_a_lock_that_was_given_up_or_comes_up_while_watched() -> None:
    signs = LifeSigns()
    signs.see(Look(at=0.0, scan=TableScan(lock=replace(LOCK, is_released=True))))
    assert (signs.undecided(0.0), signs.alive) == ((), ())
    signs.see(Look(at=5.0, scan=TableScan(lock=LOCK)))
    assert len(signs.alive) == 1
