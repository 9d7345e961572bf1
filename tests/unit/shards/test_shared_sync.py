"""Shard sync in a table that a Java KCL keeps, too: its rows are taken as they are, its clean-up is left alone."""

from __future__ import annotations

import asyncio

import pytest

from consumer.hooks import GapFound
from consumer.streams.source import Shard
from consumer.testing.virtual_time import run_virtual
from lease_store.checkpoint import LATEST, SHARD_END, TRIM_HORIZON
from lease_store.lease import Lease
from tests.unit.shards.sync_stage import BEGUN, Stage, kcl_row, row, tenure, virtual

FAMILY = (Shard("p", is_open=False), Shard("c1", ("p",)), Shard("c2", ("p",)))


def made(stage: Stage) -> list[str]:
    return [call.removeprefix("create ") for call in stage.table.calls if call.startswith("create ")]


@pytest.mark.parametrize("start", ["TRIM_HORIZON", "LATEST", "AT_TIMESTAMP=2026-11-20T08:00:00Z"])
def test_a_finished_shard_whose_row_the_kcl_deleted_is_not_read_again(start: str) -> None:
    stage = Stage(*FAMILY, rows=(kcl_row("c1", BEGUN, "p"), kcl_row("c2", BEGUN, "p")), start=start)
    virtual(stage.sync.once())
    assert made(stage) == []
    assert stage.facts == []


def test_what_is_deleted_here_only_by_hand_is_read_again() -> None:
    stage = Stage(*FAMILY, rows=(row("c1", BEGUN, "p"), row("c2", BEGUN, "p")))
    virtual(stage.sync.once())
    assert made(stage) == ["p"]


@pytest.mark.parametrize("unlisted", [set(), {"p"}])
def test_a_child_starts_at_once_though_its_finished_parents_row_is_gone(unlisted: set[str]) -> None:
    async def main() -> None:
        stage = Stage(*FAMILY, rows=(kcl_row("c1", BEGUN, "p"), kcl_row("c2", TRIM_HORIZON, "p")))
        stage.unlisted = unlisted
        async with asyncio.timeout(5):
            await stage.sync.wait_for_lineage(tenure(stage.table.rows["c2"]))
        assert stage.asked == ["p"], "the service answers for it"
        assert made(stage) == []

    virtual(main())


def test_a_child_that_a_kcl_did_not_live_to_make_gets_its_row() -> None:
    stage = Stage(*FAMILY, rows=(kcl_row("p", SHARD_END, children=("c1", "c2")), kcl_row("c1", BEGUN, "p")))
    virtual(stage.sync.once())
    assert stage.table.rows["c2"].checkpoint == TRIM_HORIZON
    assert made(stage) == ["c2"]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ((kcl_row("a", BEGUN),), ["b"]),
        ((kcl_row("a", BEGUN), kcl_row("b", BEGUN)), []),
        ((row("a", BEGUN),), []),
    ],
)
def test_a_kcl_finds_both_parents_rows_or_neither(rows: tuple[Lease, ...], expected: list[str]) -> None:
    """To a KCL a parent without a row is done; among ourselves a child waits for it all the same."""

    async def main() -> None:
        stage = Stage(Shard("a", is_open=False), Shard("b", is_open=False), Shard("m", ("a", "b")), rows=rows)
        await stage.sync.complete_parents([kcl_row("m", TRIM_HORIZON, "a", "b")])
        assert made(stage) == expected
        await stage.sync.complete_parents([kcl_row("c", TRIM_HORIZON, "a")])
        assert made(stage) == expected

    virtual(main())


def test_the_rest_of_a_group_that_a_kcl_had_hardly_begun_is_no_loss() -> None:
    """Its rows do not tell when they were made, which is no reason to call a shard a day late."""
    stage = Stage(Shard("a"), Shard("b"), rows=(kcl_row("a"),))
    virtual(stage.sync.once())
    assert made(stage) == ["b"]
    assert [fact for fact in stage.facts if isinstance(fact, GapFound)] == []


def test_a_kcls_group_at_latest_goes_on_at_latest_whatever_this_worker_was_told() -> None:
    stage = Stage(Shard("a"), Shard("b"), rows=(kcl_row("a", LATEST),))
    virtual(stage.sync.once())
    made_row: Lease = stage.table.rows["b"]
    assert made_row.checkpoint == LATEST
    assert made_row.start_at is not None


@pytest.mark.parametrize("is_describer", [True, False])
def test_what_is_finished_goes_as_soon_as_its_children_have_begun_whoever_describes(is_describer: bool) -> None:
    """A KCL 2.x takes finished rows for load; its leader never looks after those that ended here."""

    async def main() -> None:
        ours = row("p", SHARD_END, children=("c1", "c2"))
        stage = Stage(*FAMILY, rows=(ours, kcl_row("c1", BEGUN, "p"), kcl_row("c2", TRIM_HORIZON, "p")))
        stage.table.is_describer = is_describer
        running = asyncio.ensure_future(stage.sync.run())
        await asyncio.sleep(60)
        assert "delete p" not in stage.table.calls
        stage.table.rows["c2"] = kcl_row("c2", BEGUN, "p")
        await asyncio.sleep(60)
        assert "delete p" in stage.table.calls
        await asyncio.sleep(60)
        assert made(stage) == [], "and is not made again"
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    virtual(main())


def test_among_ourselves_a_finished_row_stays_while_its_shard_is_listed() -> None:
    rows = (row("p", SHARD_END, children=("c1", "c2")), row("c1", BEGUN, "p"), row("c2", BEGUN, "p"))
    stage = Stage(*FAMILY, rows=rows)
    virtual(stage.sync.once())
    assert "delete p" not in stage.table.calls


def test_a_kcls_finished_row_goes_once_its_shard_is_gone_and_its_children_have_begun() -> None:
    async def main() -> None:
        stage = Stage(*FAMILY[1:], rows=(kcl_row("p", SHARD_END), kcl_row("c1", BEGUN, "p"), kcl_row("c2", BEGUN, "p")))
        running = asyncio.ensure_future(stage.sync.run())
        await asyncio.sleep(500)
        assert "delete p" not in stage.table.calls, "a listing may leave a shard out for long"
        await asyncio.sleep(200)
        assert "delete p" in stage.table.calls
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    run_virtual(main(), limit_seconds=1_000)
