"""A whole worker in virtual time under ``batch_timeout_seconds``: what is cancelled, waited for, left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from consumer.hooks import BatchFailed, BatchTimedOut, TenureEnded
from consumer.processor import RecordProcessor
from consumer.testing.virtual_time import VirtualClock, run_virtual
from consumer.worker import Outcome, Worker
from tests.unit.worker_stage import Stage, staged


def slow_at_first(stage: Stage, hung: list[float]) -> RecordProcessor:
    """Its first two calls hang; calls that overlap are an error."""

    class Slow(RecordProcessor):
        is_running = False

        async def process_records(self, records: Any, checkpointer: Any) -> None:
            assert not self.is_running
            self.is_running = True
            try:
                if len(hung) < 2:
                    hung.append(stage.clock.monotonic())
                    await asyncio.sleep(1000)
            finally:
                await asyncio.sleep(2.0)  # puts its things away
                self.is_running = False
            stage.totals += [int(record.new_image["total"]) for record in records]
            stage.seen.set()

    return Slow()


@staged
async def test_a_call_that_takes_too_long_is_cancelled_and_tried_again_once_it_has_ended(stage: Stage) -> None:
    hung: list[float] = []
    async with stage.worker(lambda: slow_at_first(stage, hung), batch_timeout_seconds=30.0) as worker:
        run = asyncio.ensure_future(worker.run())
        await stage.seen.wait()
        worker.stop()
        assert await run is Outcome.CLEAN
    assert stage.totals == [1, 2]
    assert hung[1] - hung[0] >= 32.0
    failed = [fact for fact in stage.facts if isinstance(fact, BatchFailed)]
    assert [(fact.error, fact.attempt) for fact in failed] == [("BatchTimedOut", 1), ("BatchTimedOut", 2)]
    assert [fact.cancelled for fact in stage.facts if isinstance(fact, BatchTimedOut)] == [True, True]


class Ward:
    """Two shards, and a processor that does not end its call with total 1, whatever is done, until ``ends`` is set."""

    def __init__(self) -> None:
        self.stage = Stage(VirtualClock(), shards=2)
        self.ends = asyncio.Event()
        self.leaving_seconds = 0.0
        self.calls = 0
        for number in range(20):
            self.stage.put(100 + number, key=f"k{number}")

    def processor(self) -> RecordProcessor:
        ward = self

        class Deaf(RecordProcessor):
            async def process_records(self, records: Any, checkpointer: Any) -> None:
                totals = [int(record.new_image["total"]) for record in records]
                if 1 in totals:
                    ward.calls += 1
                    ward.stage.blocked.set()
                    while not ward.ends.is_set():
                        with suppress(asyncio.CancelledError):
                            await ward.ends.wait()
                ward.stage.totals += totals

            async def shutdown_requested(self, checkpointer: Any) -> None:
                await ward.stage.clock.sleep(ward.leaving_seconds)

        return Deaf()

    def owners(self, worker: Worker) -> list[bool]:
        """Of both leases: whether they name the worker."""
        return sorted(lease.owner == worker.worker_id for lease in self.stage.table.rows().leases)


def in_ward(test: Callable[[Ward], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    async def main() -> None:
        await test(Ward())

    def run() -> None:
        run_virtual(main(), limit_seconds=3600)

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


RESTART: dict[str, Any] = {"batch_timeout_seconds": 30.0, "on_timeout": "restart", "drain_timeout_seconds": 600.0}


@in_ward
async def test_a_call_that_does_not_end_is_left_behind_once_all_else_is_handed_over(ward: Ward) -> None:
    async with ward.stage.worker(ward.processor, **RESTART) as worker:
        run = asyncio.ensure_future(worker.run())
        await ward.stage.blocked.wait()
        begun = ward.stage.clock.monotonic()
        assert await run is Outcome.BATCH_TIMED_OUT
        # Its time, five seconds for its cancellation, and the hand-over of a shard that nobody else is there to take.
        assert 35.0 <= ward.stage.clock.monotonic() - begun < 60.0
        assert ward.owners(worker) == [False, True]
        ward.ends.set()
    assert ward.calls == 1
    ended = [fact.reason for fact in ward.stage.facts if isinstance(fact, TenureEnded)]
    assert ended.count("released") == 1


@in_ward
async def test_a_call_that_ends_while_all_else_is_handed_over_leaves_nothing_behind(ward: Ward) -> None:
    ward.leaving_seconds = 20.0
    async with ward.stage.worker(ward.processor, **RESTART) as worker:
        run = asyncio.ensure_future(worker.run())
        await ward.stage.blocked.wait()
        while worker.status().draining is False:
            await ward.stage.clock.sleep(0.01)
        ward.ends.set()
        assert await run is Outcome.BATCH_TIMED_OUT
        assert ward.owners(worker) == [False, False]
    assert ward.stage.table.rows().workers == ()


@in_ward
async def test_where_it_is_to_wait_the_shard_waits_says_so_and_goes_on(ward: Ward) -> None:
    async with ward.stage.worker(ward.processor, batch_timeout_seconds=30.0) as worker:
        run = asyncio.ensure_future(worker.run())
        await ward.stage.blocked.wait()
        await ward.stage.clock.sleep(300.0)
        assert ward.stage.totals, "the other shard goes on"
        (problem,) = worker.status().problems
        assert "takes longer than batch_timeout_seconds (30 s) and does not end" in problem
        assert ward.calls == 1, "it is not tried again while it runs"
        ward.ends.set()
        while set(ward.stage.totals) != {1, 2, *range(100, 120)}:
            await ward.stage.clock.sleep(1.0)
        assert worker.status().problems == ()
        worker.stop()
        assert await run is Outcome.CLEAN


@in_ward
async def test_a_stop_that_came_first_is_a_drain_like_any_other(ward: Ward) -> None:
    async with ward.stage.worker(ward.processor, **RESTART | {"drain_timeout_seconds": 60.0}) as worker:
        run = asyncio.ensure_future(worker.run())
        await ward.stage.blocked.wait()
        worker.stop()
        assert await run is Outcome.DRAIN_TIMED_OUT
        ward.ends.set()
