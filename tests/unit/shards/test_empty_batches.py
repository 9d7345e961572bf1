"""``empty_batches``: user code hears of a read that found nothing, and only where it is asked for."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from consumer.hooks import BatchFailed, BatchProcessed
from consumer.shards.lifecycle import Event
from tests.unit.shards.shard_fakes import (
    CHILD,
    FakeSource,
    FakeTenure,
    Recorder,
    Stage,
    numbers,
    page,
    records,
    virtual,
)


class Counter(Recorder):
    """Notes each batch with what it says of the lag; two calls at once on one object are an error."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[tuple[list[int], int | None]] = []
        self.is_running = False

    async def process_records(self, batch: Any, checkpointer: Any) -> None:
        assert not self.is_running
        self.is_running = True
        await asyncio.sleep(0.01)
        self.batches.append((numbers(batch), batch.millis_behind_latest))
        self.is_running = False


def script() -> FakeSource:
    """Reads that find nothing, each with a pause after it, between some that do."""
    return FakeSource(records(1, 2), page(millis_behind_latest=0), page(), records(3), page(last=True))


def test_without_the_setting_user_code_never_hears_of_nothing():
    async def main() -> None:
        user = Counter()
        await Stage(FakeTenure(), script(), lambda: user).start()
        assert [batch for batch, _ in user.batches] == [[1, 2], [3]]

    virtual(main)


def test_a_read_that_finds_nothing_is_a_batch_of_none_with_what_it_says_of_the_lag():
    async def main() -> None:
        user = Counter()
        stage = Stage(FakeTenure(), script(), lambda: user, empty_batches=True)
        assert await stage.start() is Event.END_STORED
        assert user.batches == [([1, 2], None), ([], 0), ([], None), ([3], None), ([], None)]
        assert [fact.records for fact in stage.of(BatchProcessed)] == [2, 1]
        assert stage.consumer.records_processed == 3
        assert [call for call in stage.tenure.calls if call[0] == "checkpoint"][-1] == ("checkpoint", "3")

    virtual(main)


def test_each_lane_s_processor_hears_of_it_and_never_while_it_works():
    async def main() -> None:
        made: list[Counter] = []

        def factory() -> Counter:
            made.append(Counter())
            return made[-1]

        stage = Stage(FakeTenure(), script(), factory, empty_batches=True, lanes=3)
        assert await stage.start() is Event.END_STORED
        assert len(made) == 3
        for user in made:
            assert [millis for batch, millis in user.batches if not batch] == [0, None, None]

    virtual(main)


def test_what_raises_without_records_is_told_and_called_again_with_the_next_read(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.WARNING, "leasehold.delivery")

    async def main() -> None:
        class Raising(Counter):
            async def process_records(self, batch: Any, checkpointer: Any) -> None:
                await super().process_records(batch, checkpointer)
                if not batch and batch.millis_behind_latest == 0:
                    raise ValueError("payload")

        user = Raising()
        stage = Stage(FakeTenure(), script(), lambda: user, empty_batches=True)
        assert await stage.start() is Event.END_STORED
        assert [batch for batch, _ in user.batches] == [[1, 2], [], [], [3], []]
        (fact,) = stage.of(BatchFailed)
        assert (fact.callback, fact.error) == ("process_records_empty", "ValueError")
        assert stage.consumer.status().oldest_failing_batch_seconds is None

    virtual(main)
    assert "it had no records" in caplog.text
    assert "payload" not in caplog.text


def test_a_shard_that_stays_empty_is_told_so_at_the_pace_of_its_reads():
    async def main() -> None:
        user = Counter()
        stage = Stage(FakeTenure(), FakeSource(), lambda: user, empty_batches=True, idle_wait_seconds=1.0)
        running = stage.start()
        await asyncio.sleep(60.0)
        stage.tenure.request_stop("drain")
        assert await running is Event.LET_GO
        assert len(user.batches) == pytest.approx(len(stage.source.reads), abs=1)
        assert 30 < len(user.batches) < 150

    virtual(main)


def test_what_was_found_meanwhile_comes_in_its_place():
    async def main() -> None:
        user = Counter()
        source = FakeSource(records(1), page(millis_behind_latest=9), records(2), page(last=True))
        stage = Stage(FakeTenure(), source, lambda: user, empty_batches=True)
        assert await stage.start() is Event.END_STORED
        assert user.batches == [([1], None), ([2], None), ([], None)], "read again at once, while the first was in work"

    virtual(main)


def test_children_are_begun_after_the_last_call():
    async def main() -> None:
        user = Counter()
        source = FakeSource(page(records(1), last=True, children=(CHILD,)))
        stage = Stage(FakeTenure(), source, lambda: user, empty_batches=True)
        assert await stage.start() is Event.END_STORED
        assert user.batches == [([1], None)]
        assert user.log[-1] == "shard_ended"

    virtual(main)
