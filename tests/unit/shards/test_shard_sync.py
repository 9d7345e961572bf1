"""Shard sync by itself: what it asks of whom, what it says, and what a shard waits for."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Coroutine
from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from consumer.config import InitialPosition, WorkerConfig
from consumer.errors import DataTrimmed, ShardNotFound
from consumer.hooks import Fact, GapFound, Hooks
from consumer.leasing.lease_loop import TableState
from consumer.leasing.seam import LeasesInline
from consumer.shards.shard_sync import ShardSync
from consumer.streams.source import Opened, Position, Shard, ShardListing, StreamIdentity
from consumer.testing.virtual_time import VirtualClock, run_virtual
from lease_store.checkpoint import LATEST, SHARD_END, TRIM_HORIZON, Checkpoint
from lease_store.errors import LeaseTableThrottled
from lease_store.lease import Lease

STREAM = StreamIdentity("arn:s", "arn:s@2", "arn:s")
BEGUN = Checkpoint("100")


class Table:
    """What ShardSync asks of the lease loop, over plain rows."""

    def __init__(self, *rows: Lease) -> None:
        self.rows = {row.key: row for row in rows}
        self.calls: list[str] = []
        self.unseen: set[str] = set()
        self.refusals: dict[str, int] = {}

    async def state(self) -> TableState:
        self.calls.append("state")
        return TableState(tuple(self.rows[key] for key in sorted(self.rows.keys() - self.unseen)), 1, True, False)

    async def seen_since(self, instant: float) -> TableState:
        self.unseen.clear()
        return await self.state()

    async def create(self, lease: Lease) -> None:
        self.calls.append(f"create {lease.key}")
        if self.refusals.get(lease.key, 0):
            self.refusals[lease.key] -= 1
            raise LeaseTableThrottled
        self.rows.setdefault(lease.key, lease)

    async def delete(self, lease: Lease) -> None:
        self.calls.append(f"delete {lease.key}")
        self.rows.pop(lease.key, None)

    async def apply_plan(self) -> None:
        self.calls.append("plan")

    async def parents_finished(self, held: Any) -> tuple[str, ...]:
        self.calls.append("parents_finished")
        return tuple(parent for parent in held.first_lease.parents if parent not in self.rows)


class Stage:
    def __init__(self, *shards: Shard, rows: tuple[Lease, ...] = (), start: str = "TRIM_HORIZON") -> None:
        self.clock = VirtualClock()
        self.shards = shards
        self.listings = 0
        self.asked: list[str] = []
        self.unlisted: set[str] = set()
        self.trimmed: set[str] = set()
        self.facts: list[Fact] = []
        self.table = Table(*rows)
        self.sync = ShardSync(
            self,  # type: ignore[arg-type]  # all it needs of a source
            STREAM,
            self.table,  # type: ignore[arg-type]
            LeasesInline(),
            WorkerConfig(app="audit", initial_position=InitialPosition.parse(start)),
            clock=self.clock,
            random=random.Random(1),
            hooks=Hooks([self.facts.append]),
        )

    name = "kinesis:s"

    def share(self, workers: int) -> None: ...

    async def resolve(self) -> StreamIdentity:
        return STREAM

    async def list_shards(self, stream: StreamIdentity) -> ShardListing:
        self.listings += 1
        shown = tuple(shard for shard in self.shards if shard.id not in self.unlisted)
        return ShardListing(shown, server_time=1_800_000_000.0)

    async def iterator(self, stream: StreamIdentity, shard_id: str, position: Position) -> Opened:
        self.asked.append(shard_id)
        if shard_id in self.trimmed:
            raise DataTrimmed
        if all(shard.id != shard_id for shard in self.shards):
            raise ShardNotFound
        return Opened("iterator")


def row(key: str, checkpoint: Checkpoint = TRIM_HORIZON, *parents: str, **fields: Any) -> Lease:
    return Lease(key=key, checkpoint=checkpoint, parents=parents, stream=STREAM.label, created_at="1-x", **fields)


def tenure(lease: Lease) -> Any:
    return SimpleNamespace(first_lease=lease, over=None)


def virtual(main: Coroutine[Any, Any, None]) -> None:
    run_virtual(main, limit_seconds=600)


def test_a_shard_that_has_begun_starts_without_asking_anybody() -> None:
    """Of a dead worker's shards most have parents that were trimmed away long ago: no read, no listing for those."""

    async def main() -> None:
        stage = Stage(Shard("b", ("a",)), rows=(row("b", BEGUN, "a"),))
        await stage.sync.wait_for_lineage(tenure(stage.table.rows["b"]))
        assert (stage.table.calls, stage.listings) == ([], 0)

    virtual(main())


def test_a_shard_whose_parents_the_service_does_not_know_starts_and_costs_no_listing() -> None:
    """Scenario C71: 1,000 shards whose parents were trimmed long ago, each of which asked for a listing."""

    async def main() -> None:
        stage = Stage(Shard("b", ("a",)), rows=(row("b", TRIM_HORIZON, "a"),))
        await stage.sync.wait_for_lineage(tenure(stage.table.rows["b"]))
        assert (stage.listings, stage.asked) == (0, ["a"])

    virtual(main())


def test_a_parent_that_listings_leave_out_is_waited_for() -> None:
    """Fleet seeds 43, 98, scenario C28: a listing showed the child alone, which was read before its parent."""

    async def main() -> None:
        stage = Stage(Shard("a", is_open=False), Shard("b", ("a",)), rows=(row("b", TRIM_HORIZON, "a"),))
        stage.unlisted = {"a"}
        wait = asyncio.ensure_future(stage.sync.wait_for_lineage(tenure(stage.table.rows["b"])))
        await stage.clock.sleep(120.0)
        assert not wait.done()
        assert stage.listings <= 8  # at 0, 2, 4, 8, 16, 32 s, then one an audit interval
        stage.unlisted = set()
        await stage.clock.sleep(40.0)
        await stage.sync.once()
        await stage.clock.sleep(5.0)
        assert "a" in stage.table.rows
        assert not wait.done()
        stage.table.rows["a"] = replace(stage.table.rows["a"], checkpoint=SHARD_END)
        await wait

    virtual(main())


@pytest.mark.parametrize("pin", [None, Decimal(1_700_000_000)])
def test_a_parent_that_no_listing_ever_shows_is_read_by_its_name_and_the_gap_above_it_is_told(
    pin: Decimal | None,
) -> None:
    """Its child waited for ever; now its records come, in order, and only what came before it is unknown."""

    async def main() -> None:
        siblings = () if pin is None else (row("z", LATEST, start_at=pin),)
        child = row("b", TRIM_HORIZON, "a", start_at=pin)
        shards = Shard("a", is_open=False), Shard("b", ("a",)), Shard("z")
        stage = Stage(*shards[: 2 + len(siblings)], rows=(child, *siblings))
        stage.unlisted = {"a"}
        wait = asyncio.ensure_future(stage.sync.wait_for_lineage(tenure(child)))
        running = asyncio.ensure_future(stage.sync.run())
        await stage.clock.sleep(590.0)
        assert "a" not in stage.table.rows
        assert stage.facts == []
        await stage.clock.sleep(45.0)
        running.cancel()
        made = stage.table.rows["a"]
        assert (made.checkpoint, made.start_at) == (TRIM_HORIZON if pin is None else LATEST, pin)
        assert stage.facts == [GapFound("a", "what came before it", "TRIM_HORIZON", stopped=False)]
        assert not wait.done()
        stage.table.rows["a"] = replace(made, checkpoint=SHARD_END)
        await wait
        assert stage.listings <= 2 * 635 / 30.0 + 8

    run_virtual(main(), limit_seconds=1_200)


def test_a_parent_that_was_listed_once_more_is_waited_for_anew() -> None:
    """Its row is made from the listing, which knows what came before it."""

    async def main() -> None:
        stage = Stage(Shard("a", is_open=False), Shard("b", ("a",)), rows=(row("b", TRIM_HORIZON, "a"),))
        wait = asyncio.ensure_future(stage.sync.wait_for_lineage(tenure(stage.table.rows["b"])))
        for stage.unlisted, seconds in (({"a"}, 400.0), (set(), 70.0), ({"a"}, 400.0)):
            await stage.clock.sleep(seconds)
        wait.cancel()
        assert stage.facts == []
        assert "a" not in stage.table.rows

    run_virtual(main(), limit_seconds=1_200)


@pytest.mark.parametrize("is_known", [True, False])
def test_a_gap_is_reported_only_for_parents_that_the_service_does_not_know(is_known: bool) -> None:
    async def main() -> None:
        born = 1_800_000_000.0 + 7_200.0
        rows = (row("z", BEGUN),)
        shards = [Shard("z"), Shard("b", ("a",), created_at=born)]
        stage = Stage(*shards, *([Shard("a")] if is_known else []), rows=rows)
        stage.unlisted = {"a"}
        await stage.sync.once()
        assert "b" in stage.table.rows
        assert [fact.shard_id for fact in stage.facts] == ([] if is_known else ["b"])

    virtual(main())


def test_a_gap_is_told_once_however_often_the_row_below_it_is_refused() -> None:
    """Each failing sync told it again; told before the row is made, it can't be lost with the write's reply."""

    async def main() -> None:
        born = 1_800_000_000.0 + 7_200.0
        stage = Stage(Shard("z"), Shard("b", ("a",), created_at=born), rows=(row("z", BEGUN),))
        stage.table.refusals = {"b": 2 * 5}
        for _ in range(2):
            with pytest.raises(LeaseTableThrottled):
                await stage.sync.once()
            assert len(stage.facts) == 1
        await stage.sync.once()
        await stage.sync.once()
        del stage.table.rows["b"]
        await stage.sync.once()
        await stage.sync.once()
        assert [fact.shard_id for fact in stage.facts] == ["b", "b"]  # that row was gone, and so it is another's gap

    virtual(main())


@pytest.mark.parametrize(("days", "told"), [(0.5, []), (1.5, ["b"])])
def test_a_shard_that_no_listing_showed_for_a_day_is_a_reported_gap(days: float, told: list[str]) -> None:
    """Fleet seed 2051: left out of a group's first listing, then nobody worked for a day."""

    async def main() -> None:
        born = 1_800_000_000.0
        made = replace(row("z", BEGUN), created_at=f"{int(born * 1000)}-x")
        stage = Stage(Shard("z"), Shard("b", created_at=born), rows=(made,))
        await stage.clock.sleep(days * 86_400.0)
        await stage.sync.once()
        assert "b" in stage.table.rows
        assert [fact.shard_id for fact in stage.facts] == told

    run_virtual(main())


def test_a_worker_that_joins_a_group_lists_nothing_at_its_start_and_soon_what_others_left_undone() -> None:
    async def main() -> None:
        stage = Stage(Shard("a"), Shard("b"), rows=(row("a", BEGUN),))
        await stage.sync.start()
        assert stage.listings == 0
        running = asyncio.ensure_future(stage.sync.run())
        await stage.clock.sleep(12.0)
        running.cancel()
        assert stage.listings == 1
        assert sorted(stage.table.rows) == ["a", "b"]

    virtual(main())


def test_a_leaf_pinned_at_latest_is_judged_by_the_listing_that_made_its_row() -> None:
    """Scenario C71: its parent is known and gets no row; twenty workers must not list a thousand shards twice each."""

    async def main() -> None:
        stage = Stage(Shard("a", is_open=False), Shard("b", ("a",)), start="LATEST")
        await stage.sync.once()
        assert sorted(stage.table.rows) == ["b"]
        await stage.clock.sleep(50.0)
        await stage.sync.wait_for_lineage(tenure(stage.table.rows["b"]))
        assert stage.listings == 1
        await stage.clock.sleep(20.0)
        await stage.sync.wait_for_lineage(tenure(stage.table.rows["b"]))
        assert stage.listings == 2

    virtual(main())


def test_a_shard_waits_while_an_older_incarnation_is_read_and_asks_for_no_listing_meanwhile() -> None:
    async def main() -> None:
        old = replace(row("x", BEGUN), stream="arn:s@1")
        stage = Stage(Shard("b"), rows=(row("b"), old))
        waits = stage.clock.timeout(30.0)
        with pytest.raises(TimeoutError):
            async with waits:
                await stage.sync.wait_for_lineage(tenure(stage.table.rows["b"]))
        assert stage.listings == 0
        stage.table.rows["x"] = replace(old, checkpoint=SHARD_END)
        await stage.sync.wait_for_lineage(tenure(stage.table.rows["b"]))

    virtual(main())


def test_the_first_row_settles_the_instant_of_a_new_group() -> None:
    async def main() -> None:
        stage = Stage(Shard("a"), Shard("b"), Shard("c"), start="LATEST")
        await stage.sync.once()
        creates = [call for call in stage.table.calls if call.startswith("create")]
        first = stage.table.calls.index(creates[0])
        assert stage.table.calls[first + 1] == "state"  # made alone, then a look at what stands
        assert sorted(creates) == ["create a", "create b", "create c"]
        assert {each.checkpoint for each in stage.table.rows.values()} == {LATEST}
        assert {each.start_at for each in stage.table.rows.values()} == {1_799_999_999}

    virtual(main())


def test_a_group_that_starts_at_latest_waits_for_the_first_listing_that_shows_a_shard() -> None:
    """Fleet seed 27: an empty listing ended the worker with a ValueError."""

    async def main() -> None:
        stage = Stage(start="LATEST")
        await stage.sync.once()
        assert stage.table.rows == {}
        stage.shards = (Shard("a"),)
        await stage.clock.sleep(30.0)
        await stage.sync.once()
        assert stage.table.rows["a"].checkpoint == LATEST

    virtual(main())


def test_a_refused_row_is_made_again_by_itself() -> None:
    """Scenario C38: of 500 rows every tenth was throttled, and each refusal sent all back to the listing."""

    async def main() -> None:
        stage = Stage(*(Shard(f"s{number:03}") for number in range(100)))
        stage.table.refusals = {f"s{number:03}": 1 for number in range(0, 100, 10)}
        await stage.sync.once()
        assert len(stage.table.rows) == 100
        assert stage.listings == 1
        assert sum(call.startswith("create") for call in stage.table.calls) == 110

    virtual(main())


def test_an_oddity_is_told_once_and_again_when_it_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        stage = Stage(Shard("a", is_open=False), rows=(row("a", SHARD_END),))
        alone, followed = (Shard("a", is_open=False),), (Shard("a", is_open=False), Shard("b", ("a",)))
        for listed in (alone, alone, alone, followed, alone):
            stage.shards = listed
            stage.table.rows.pop("b", None)
            await stage.clock.sleep(30.0)
            await stage.sync.once()

    with caplog.at_level(logging.INFO, "leasehold.shards"):
        virtual(main())
    told = [each.getMessage() for each in caplog.records if "no child is listed yet" in each.getMessage()]
    assert len(told) == 2


RESHARDED = (Shard("a", is_open=False), Shard("b", ("a",), is_open=False), Shard("c", ("b",)))


def test_a_row_whose_reply_was_lost_is_seen_before_a_group_is_taken_for_new() -> None:
    """Fleet seed 200094: leaves were read from LATEST on, beside the ancestor that the group had begun with."""

    async def main() -> None:
        stage = Stage(*RESHARDED, rows=(row("a", LATEST),), start="LATEST")
        stage.table.unseen.add("a")
        await stage.sync.once()
        assert all(lease.checkpoint != LATEST for key, lease in stage.table.rows.items() if key != "a")

    virtual(main())


def test_a_parent_of_which_nothing_is_left_holds_no_child_back() -> None:
    """GetShardIterator at the horizon may say that a shard is trimmed in place of: not found."""

    async def main() -> None:
        child = row("b", TRIM_HORIZON, "a")
        stage = Stage(Shard("b", ("a",)), rows=(child,))
        stage.trimmed.add("a")
        async with stage.clock.timeout(5.0):
            await stage.sync.wait_for_lineage(tenure(child))

    virtual(main())


@pytest.mark.parametrize(("born_days_ago", "told"), [(1.1, True), (0.9, False)])
def test_a_childs_row_made_a_day_after_its_birth_is_a_gap_whoever_its_parents_are(
    born_days_ago: float, told: bool
) -> None:
    """Fleet seed 200694: nobody worked for a day, and the parent's row was there."""

    async def main() -> None:
        born_at = 1_800_000_000.0 - born_days_ago * 86_400.0
        stage = Stage(Shard("a", is_open=False), Shard("b", ("a",), created_at=born_at), rows=(row("a", BEGUN),))
        await stage.sync.once()
        assert "b" in stage.table.rows
        assert [fact.shard_id for fact in stage.facts if isinstance(fact, GapFound)] == (["b"] if told else [])

    virtual(main())
