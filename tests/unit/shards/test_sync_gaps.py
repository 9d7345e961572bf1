"""Gaps that the shard sync tells of: which, when, and how often."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal

import pytest

from consumer.hooks import GapFound
from consumer.streams.source import Shard
from consumer.testing.virtual_time import run_virtual
from lease_store.checkpoint import LATEST, SHARD_END, TRIM_HORIZON
from lease_store.errors import LeaseTableThrottled
from tests.unit.shards.sync_stage import BEGUN, Stage, row, tenure, virtual


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


@pytest.mark.parametrize("days", [0.9, 1.1])
@pytest.mark.parametrize(
    ("start", "start_at", "place"),
    [("LATEST", Decimal(1_799_999_990), "AT_TIMESTAMP"), ("TRIM_HORIZON", None, "TRIM_HORIZON")],
)
def test_a_kinesis_shard_of_a_groups_beginning_that_gets_its_row_a_day_later_is_one_gap(
    days: float, start: str, start_at: Decimal | None, place: str
) -> None:
    """Fleet seeds 400770, 402183: the first worker died after one row, and nobody worked for a day.

    A child of it is no other gap, and what came from a shard with a row is none: it may be young.
    """

    async def main() -> None:
        started = 1_800_000_000.0
        mark = f"{int(started * 1000)}-x"
        made = replace(row("z", BEGUN, start_at=start_at), created_at=mark)
        shards = Shard("z", is_open=False), Shard("y", ("z",)), Shard("a", is_open=False), Shard("b", ("a",))
        stage = Stage(*shards, rows=(made,), start=start)
        await stage.clock.sleep(days * 86_400.0)
        await stage.sync.once()
        assert sorted(stage.table.rows) == ["a", "b", "y", "z"]
        assert stage.facts == ([GapFound("a", place, "TRIM_HORIZON", stopped=False)] if days > 1 else [])

    run_virtual(main())
