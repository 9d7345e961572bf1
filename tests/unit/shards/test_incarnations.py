"""A stream that was re-enabled or recreated: what is read first, what blocks whom, what is said (fleet seeds)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from consumer.config import InitialPosition
from consumer.errors import StreamMissing
from consumer.hooks import GapFound
from consumer.processor import RecordProcessor
from consumer.streams import shard_graph
from consumer.streams.incarnations import precedes
from consumer.streams.source import Opened, Position, Shard, ShardListing, StreamIdentity
from consumer.testing.virtual_time import run_virtual
from lease_store import verbs
from lease_store.checkpoint import LATEST, SHARD_END, TRIM_HORIZON, Checkpoint
from lease_store.errors import LeaseTableUnavailable
from lease_store.lease import Lease
from tests.unit.leasing.loop_stage import child_of, loop_on
from tests.unit.leasing.scripted_store import Bench, Step, on_bench
from tests.unit.shards.shard_fakes import FakeSource, FakeTenure, page, records
from tests.unit.shards.shard_fakes import Stage as ShardStage
from tests.unit.shards.shard_fakes import virtual as shard_virtual
from tests.unit.shards.sync_stage import BEGUN, STREAM, Stage, row, tenure, virtual

OLD = "arn:s@1"


class Sink(RecordProcessor):
    async def process_records(self, records: Any, checkpointer: Any) -> None: ...


class TwoStreams(Stage):
    """Lists the older incarnation, too: None where it is gone."""

    def __init__(self, *shards: Shard, old: tuple[Shard, ...] | None, rows: tuple[Lease, ...]) -> None:
        super().__init__(*shards, rows=rows)
        self.old = old
        self.old_listings = 0

    async def list_shards(self, stream: StreamIdentity) -> ShardListing:
        if stream.label == STREAM.label:
            return await super().list_shards(stream)
        self.old_listings += 1
        if self.old is None:
            raise StreamMissing
        return ShardListing(self.old, server_time=1_800_000_000.0)

    async def iterator(self, stream: StreamIdentity, shard_id: str, position: Position) -> Opened:
        if stream.label != STREAM.label:
            raise StreamMissing
        return await super().iterator(stream, shard_id, position)


def old_row(key: str, checkpoint: Checkpoint = SHARD_END, *parents: str) -> Lease:
    return replace(row(key, checkpoint, *parents), stream=OLD)


async def waits(stage: Stage, key: str, seconds: float = 60.0) -> bool:
    """Whether the shard's lineage is still not done with after some time."""
    wait = asyncio.ensure_future(stage.sync.wait_for_lineage(tenure(stage.table.rows[key])))
    await stage.clock.sleep(seconds)
    done = wait.done()
    wait.cancel()
    await asyncio.gather(wait, return_exceptions=True)
    return not done


def test_shards_of_the_older_incarnation_that_have_no_row_yet_get_one_and_are_read_first() -> None:
    """Seed 169: a group that died while it made its first rows, and a stream that was re-enabled meanwhile."""

    async def main() -> None:
        old = (Shard("x", is_open=False), Shard("y", is_open=False))
        stage = TwoStreams(Shard("b"), old=old, rows=(old_row("x"), row("b")))
        assert await waits(stage, "b")
        await stage.sync.once()
        assert stage.table.rows["y"].stream == OLD
        assert await waits(stage, "b")
        stage.table.rows["y"] = replace(stage.table.rows["y"], checkpoint=SHARD_END)
        assert not await waits(stage, "b")

    virtual(main())


def test_the_new_incarnation_waits_for_as_long_as_a_child_of_the_old_one_may_be_listed_late() -> None:
    """Fleet seed 20097: a listing left the last old shard out, which was read after the first new one."""

    async def main() -> None:
        x, y = Shard("x", is_open=False), Shard("y", ("x",), is_open=False)
        stage = TwoStreams(Shard("b"), old=(x,), rows=(old_row("x"), row("b")))
        wait = asyncio.ensure_future(stage.sync.wait_for_lineage(tenure(stage.table.rows["b"])))
        await stage.clock.sleep(10.0)
        stage.old = (x, y)
        await stage.clock.sleep(10.0)
        await stage.sync.once()
        assert stage.table.rows["y"].stream == OLD
        assert not wait.done()
        stage.table.rows["y"] = replace(stage.table.rows["y"], checkpoint=SHARD_END)
        await wait

    virtual(main())


def test_an_older_shards_missing_parent_is_not_looked_for_in_the_present_stream() -> None:
    """Seed 112: recreated Kinesis streams repeat their shard ids, and both sides waited for each other."""

    async def main() -> None:
        stage = TwoStreams(Shard("a"), old=None, rows=(old_row("c", TRIM_HORIZON, "a"),))
        assert not await waits(stage, "c")

    virtual(main())


@pytest.mark.parametrize("rows", [(), (row("b"),)])
def test_a_group_that_finds_its_stream_recreated_at_its_start_says_so_once(rows: tuple[Lease, ...]) -> None:
    """Seed 1010: nobody worked when it happened."""

    async def main() -> None:
        stage = TwoStreams(Shard("b"), old=(), rows=(old_row("x", BEGUN), *rows))
        await stage.sync.once()
        await stage.sync.once()
        told = [] if rows else [GapFound("", f"end of {OLD}", f"start of {STREAM.label}", stopped=False)]
        assert stage.facts == told

    virtual(main())


def test_a_shard_of_the_older_incarnation_found_late_is_a_reported_gap_as_well() -> None:
    async def main() -> None:
        late = Shard("y", ("w",), created_at=1_800_007_200.0)
        stage = TwoStreams(Shard("b"), old=(Shard("x"), late), rows=(old_row("x", BEGUN), row("b")))
        await stage.sync.once()
        assert stage.table.rows["y"].stream == OLD
        assert [(fact.shard_id, fact.from_position) for fact in stage.facts if isinstance(fact, GapFound)] == [
            ("y", "shard w")
        ]

    virtual(main())


def test_a_finished_row_whose_shard_id_is_listed_again_is_replaced_and_not_deleted() -> None:
    """Seed 112: a replacement whose reply was lost, and the deletion of what it had not replaced."""
    leases = (old_row("a"), old_row("z"), row("b"))
    assert [lease.key for lease in shard_graph.deletable(leases, [Shard("a"), Shard("b")], STREAM.label)] == ["z"]


def test_rows_of_an_older_incarnation_stay_while_it_is_listed_or_they_are_made_anew_and_read_again() -> None:
    """Seed 2: a disabled stream is listed for a day; one worker deleted its rows, the next one missed them."""

    async def main() -> None:
        old = (Shard("x", is_open=False), Shard("y", ("x",), is_open=False))
        stage = TwoStreams(Shard("b"), old=old, rows=(old_row("x"), old_row("y", SHARD_END, "x"), row("b", BEGUN)))
        for _ in range(50):
            await stage.sync.once()
            await stage.clock.sleep(30.0)
        assert set(stage.table.rows) == {"x", "y", "b"}
        stage.old = None
        for _ in range(50):
            await stage.sync.once()
            await stage.clock.sleep(30.0)
        assert set(stage.table.rows) == {"b"}
        assert not [call for call in stage.table.calls if call.startswith("create")]

    run_virtual(main())


def test_a_row_goes_only_when_its_shard_was_in_no_listing_for_ten_minutes() -> None:
    """A listing may leave shards out; a row deleted meanwhile would be made anew, its shard read from its start."""

    async def main() -> None:
        a, b = Shard("a", is_open=False), Shard("b", ("a",))
        stage = Stage(a, b, rows=(row("a", SHARD_END), row("b", BEGUN, "a")))
        for turn in range(60):
            stage.shards = (a, b) if turn % 10 == 0 else (b,)
            await stage.sync.once()
            await stage.clock.sleep(30.0)
        assert "delete a" not in stage.table.calls
        stage.shards = (b,)
        for _ in range(25):
            await stage.sync.once()
            await stage.clock.sleep(30.0)
        assert set(stage.table.rows) == {"b"}

    run_virtual(main())


def test_looks_an_hour_apart_say_nothing_of_the_time_between() -> None:
    """Another worker was the describer meanwhile: its shard may have been listed until a moment ago."""

    async def main() -> None:
        a, b = Shard("a", is_open=False), Shard("b", ("a",))
        stage = Stage(b, rows=(row("a", SHARD_END), row("b", BEGUN, "a")))
        await stage.sync.once()
        stage.shards = (a, b)
        await stage.clock.sleep(3_600.0)
        stage.shards = (b,)
        await stage.sync.once()
        assert "delete a" not in stage.table.calls
        for _ in range(21):
            await stage.clock.sleep(30.0)
            await stage.sync.once()
        assert set(stage.table.rows) == {"b"}

    run_virtual(main())


@pytest.mark.parametrize(("has_begun", "asks"), [(False, True), (True, False)])
def test_only_the_first_shard_of_an_incarnation_looks_for_what_the_older_ones_lack(has_begun: bool, asks: bool) -> None:
    """Once its incarnation has begun, a shard need not list the old one, which is listed for a day longer."""

    async def main() -> None:
        begun = (row("a", BEGUN),) if has_begun else ()
        stage = TwoStreams(Shard("a"), Shard("b"), old=(), rows=(old_row("x"), row("b"), *begun))
        assert not await waits(stage, "b", 20.0)
        assert (stage.old_listings > 0) is asks

    virtual(main())


def test_a_closed_kinesis_shard_that_nothing_links_to_a_row_is_read_once_the_group_is_a_day_old() -> None:
    """Seed 52: at LATEST, after days in which nobody worked, its children do not stand for it."""
    listed = [Shard("p", is_open=False), Shard("c", ("p",))]
    leases = [row("a", LATEST, start_at=1_000_000), row("c", TRIM_HORIZON, "p", start_at=1_000_000)]

    def missing(server_time: float) -> list[str]:
        start = InitialPosition("LATEST")
        made = shard_graph.leases_to_create(listed, leases, start, STREAM.label, server_time=server_time)
        return sorted(lease.key for lease in made)

    assert missing(1_000_000 + 3_600.0) == []
    assert missing(1_000_000 + 90_000.0) == ["p"]
    assert not shard_graph.may_start(leases[1], leases, listed, server_time=1_090_000.0)


@pytest.mark.parametrize(("start", "waits_for"), [("AT_TIMESTAMP", ("a",)), ("LATEST", ())])
def test_a_parent_to_come_is_known_by_how_the_group_was_told_to_start(start: str, waits_for: tuple[str, ...]) -> None:
    """Fleet seed 3172: no row said AT_TIMESTAMP any more, and the parent's child was taken to stand for it."""
    listed = [Shard("a", is_open=False), Shard("b", ("a",))]
    leases = [row("z", BEGUN, start_at=1_000_000), row("b", TRIM_HORIZON, "a", start_at=1_000_000)]
    told = InitialPosition.parse(start) if start == "LATEST" else InitialPosition("AT_TIMESTAMP", 1_000_000.0)
    found = shard_graph.blocking_parents(leases[1], leases, listed, start=told, server_time=1_003_600.0)
    assert found == waits_for


@pytest.mark.parametrize(
    ("label", "other", "expected"),
    [
        ("arn:s@1", "arn:s@2", True),
        ("arn:s@2", "arn:s@1", False),
        ("arn:s@9", "arn:s@10", True),
        ("arn:s@1", "arn:t@2", False),
        ("t/stream/2026-01-01", "t/stream/2026-01-02", True),
        (None, "arn:s@2", False),
    ],
)
def test_which_incarnation_precedes_which(label: str | None, other: str, expected: bool) -> None:
    assert precedes(label, other) is expected


@on_bench
async def test_a_parents_row_of_another_incarnation_counts_as_absent(bench: Bench) -> None:
    loop = loop_on(bench)
    bench.apply(verbs.create(Lease(key="parent", owner="other", created_at="1", stream="clicks@2")))
    bench.apply(verbs.create(Lease(key="ended", checkpoint=SHARD_END, created_at="1", stream="clicks@2")))
    held: Any = await child_of(loop, "child", "ended", "parent")
    wait = bench.begin(loop.parents_finished(held))
    await bench.clock.sleep(5.0)
    assert wait.result() == ("ended", "parent")


def test_a_shard_whose_stream_is_gone_ends_without_waiting_for_children() -> None:
    """Seed 5097: each generation of a deleted stream's shards took another ``child_wait_seconds``."""

    async def main() -> float:
        source = FakeSource(page(records(1), last=True))
        source.child_answers.append(StreamMissing())
        stage = ShardStage(FakeTenure(), source, Sink)
        await stage.start()
        assert stage.tenure.children == ()
        return asyncio.get_running_loop().time()

    assert shard_virtual(main) < 1.0


@on_bench
async def test_a_child_in_a_recreated_stream_takes_the_place_of_the_finished_row_of_its_id(bench: Bench) -> None:
    """Seed 5208: the row that was in the way counted as the child's, and SHARD_END was stored without one."""
    loop = loop_on(bench, STREAM.base)
    bench.apply(verbs.create(Lease(key="child", checkpoint=SHARD_END, counter=9, created_at="1", stream=OLD)))
    await loop.create(Lease(key="child", parents=("p",), stream=STREAM.label), owner="me")
    (made,) = bench.rows().leases
    assert (made.stream, made.checkpoint, made.parents, made.counter) == (STREAM.label, TRIM_HORIZON, ("p",), 10)


@pytest.mark.parametrize("stream", [OLD, STREAM.label, "arn:t@1"])
def test_a_row_of_a_later_incarnation_or_of_the_same_is_left_as_it_stands(stream: str) -> None:
    """A zombie ends a shard of the old stream after the new one's shard of that id is done."""

    @on_bench
    async def play(bench: Bench) -> None:
        bench.apply(verbs.create(Lease(key="child", checkpoint=SHARD_END, created_at="1", stream=STREAM.label)))
        await loop_on(bench, STREAM.base).create(Lease(key="child", stream=stream))
        (stands,) = bench.rows().leases
        assert stands.is_finished

    play()


@on_bench
async def test_a_replacement_whose_reply_is_lost_is_not_taken_for_made(bench: Bench) -> None:
    loop = loop_on(bench, STREAM.base)
    bench.apply(verbs.create(Lease(key="child", checkpoint=SHARD_END, created_at="1", stream=OLD)))
    bench.script.extend([Step(), Step(applied=False, lost=True)])
    with pytest.raises(LeaseTableUnavailable):
        await loop.create(Lease(key="child", stream=STREAM.label))
    await loop.create(Lease(key="child", stream=STREAM.label))
    (made,) = bench.rows().leases
    assert made.stream == STREAM.label
