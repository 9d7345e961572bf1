"""Shard sync by itself: what it asks of whom, what it says, and what a shard waits for."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest

from consumer.streams.source import Shard
from consumer.testing.virtual_time import run_virtual
from lease_store.checkpoint import LATEST, SHARD_END, TRIM_HORIZON
from tests.unit.shards.sync_stage import BEGUN, Stage, row, tenure, virtual


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


def test_a_leafs_row_that_no_scan_shows_yet_still_stands_for_what_closed_before_it() -> None:
    """Fleet seed 400268: taken for a late leaf, it had its parent made and read after it."""

    async def main() -> None:
        rows = (row("z", LATEST, start_at=1_799_999_990), row("c", LATEST, "b", start_at=1_799_999_990))
        stage = Stage(Shard("z"), *RESHARDED, rows=rows, start="LATEST")
        stage.table.unseen.add("c")
        await stage.sync.once()
        assert sorted(stage.table.rows) == ["c", "z"]
        del stage.table.rows["c"]
        await stage.sync.once()
        assert sorted(stage.table.rows) == ["a", "b", "c", "z"]

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


def test_of_a_listing_nothing_is_kept_that_nobody_asks_for() -> None:
    """Scale: the sequence numbers at which 10,000 shards begin, in the memory of the worker that lists them."""

    async def main() -> None:
        stage = Stage(Shard("a", hash_range=("0", "9"), first_sequence_number="4" * 56))
        await stage.sync.once()
        kept = stage.sync._listings.last(None)
        assert kept is not None
        assert kept.shards == stage.shards
        assert kept.shards[0].first_sequence_number is None
        assert kept.server_time == 1_800_000_000.0
        stage.shards = (replace(stage.shards[0]), Shard("b"))
        await stage.clock.sleep(1.0)
        await stage.sync.once()
        again = stage.sync._listings.last(None)
        assert again is not None
        assert again.shards == stage.shards
        assert again.shards[0] is kept.shards[0]
        stage.shards = (replace(stage.shards[0], is_open=False), Shard("b"))
        await stage.clock.sleep(1.0)
        await stage.sync.once()
        assert (ended := stage.sync._listings.last(None)) is not None
        assert ended.shards == stage.shards

    virtual(main())
