"""The reader of a shard: order, pace, iterators, bounds and lag, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from consumer.errors import IteratorExpired, StreamUnavailable
from consumer.hooks import PageRead
from consumer.shards.budget import ByteBudget
from consumer.shards.lifecycle import Event
from consumer.streams.source import Opened, Position
from lease_store.checkpoint import AT_TIMESTAMP, LATEST, Checkpoint
from tests.unit.shards.reader_stage import Blocked, Sink, gaps, run_for, source
from tests.unit.shards.shard_fakes import KINESIS, FakeRecord, FakeSource, FakeTenure, Stage, at, page, records, virtual


def test_the_next_read_follows_at_once_after_records_and_after_a_quarter_second_when_empty():
    src = source(records(1), records(2), page(), page(), records(3), page())
    run_for(1.0, src)
    pauses = gaps(src.reads)
    assert pauses[:2] == [0, 0]
    assert all(0.225 <= pause <= 0.25 for pause in pauses[2:4])
    assert pauses[4] == 0


def test_an_idle_shard_slows_down_only_after_five_empty_pages():
    src = source()
    run_for(60.0, src, idle_wait_seconds=2.0)
    pauses = gaps(src.reads)
    assert all(0.225 <= pause <= 0.25 for pause in pauses[:5])
    assert 0.45 <= pauses[5] <= 0.5
    assert 0.9 <= pauses[6] <= 1.0
    assert all(1.8 <= pause <= 2.0 for pause in pauses[7:])


def test_a_shard_known_to_be_at_its_tip_slows_down_at_once():
    src = source()
    src.millis_when_idle = 0
    run_for(30.0, src, stream=KINESIS, idle_wait_seconds=2.0)
    assert all(pause >= 1.8 for pause in gaps(src.reads)[2:])


def test_a_sparse_shard_is_read_at_the_empty_pace_as_long_as_records_keep_coming():
    src = source(*([page()] * 4 + [records(1)]), *([page()] * 4 + [records(2)]))
    _, sink = run_for(2.3, src)
    assert sink.seen == [1, 2]


def test_a_lease_that_is_lost_while_its_shard_is_opened_is_not_read():
    """Fleet seed 3042: an iterator that took a second came, and was read with."""

    class Slow(FakeSource):
        async def iterator(self, *rest):
            await asyncio.sleep(10.0)
            return await super().iterator(*rest)

    class SlowToLeave(Sink):
        async def lease_lost(self):
            await asyncio.sleep(30.0)

    src = Slow(records(1))
    run_for(5.0, src, sink=SlowToLeave())
    assert src.reads == []


def test_kinesis_is_read_at_most_five_times_a_second():
    src = source(*(records(n) for n in range(1, 20)), rate=5.0)
    run_for(3.0, src, stream=KINESIS)
    assert min(gaps(src.reads)) >= 0.2 - 1e-9
    assert len(src.reads) >= 15


def test_an_expired_iterator_is_replaced_after_the_last_record_read():
    src = source(records(1, 2), IteratorExpired(), records(3))
    _, sink = run_for(5.0, src)
    assert sink.seen == [1, 2, 3]
    assert src.opened == [Position("TRIM_HORIZON"), Position("AFTER_SEQUENCE_NUMBER", "2")]


def test_an_iterator_that_expires_while_user_code_works_neither_repeats_nor_loses():
    class Slow(Sink):
        async def process_records(self, records, checkpointer):
            await asyncio.sleep(1_200)
            await super().process_records(records, checkpointer)

    src = source(*(step for n in range(1, 40, 2) for step in (records(n, n + 1), IteratorExpired())))
    _, sink = run_for(40_000, src, sink=Slow())
    assert sink.seen == list(range(1, 41))


@pytest.mark.parametrize(
    ("lease", "pin"),
    [
        ({"checkpoint": LATEST, "start_at": 1_700_000_000}, Position("AT_TIMESTAMP", timestamp=1_700_000_000.0)),
        ({"checkpoint": AT_TIMESTAMP, "start_at": 1_700_000_000}, Position("AT_TIMESTAMP", timestamp=1_700_000_000.0)),
        ({"checkpoint": Checkpoint("5")}, Position("AFTER_SEQUENCE_NUMBER", "5")),
        ({}, Position("TRIM_HORIZON")),
    ],
    ids=["LATEST pinned", "AT_TIMESTAMP", "number", "TRIM_HORIZON"],
)
def test_an_iterator_that_expires_before_the_first_record_is_replaced_at_the_pin(lease, pin):
    src = source(page(), IteratorExpired(), page(), IteratorExpired(), records(6))
    run_for(5.0, src, tenure=lambda: FakeTenure(**lease))
    assert src.opened == [pin, pin, pin]


def test_latest_without_an_instant_does_not_slide_when_its_iterator_expires():
    src = source(page(), IteratorExpired(), records(6))
    run_for(5.0, src, tenure=lambda: FakeTenure(checkpoint=LATEST))
    assert src.opened == [Position("LATEST"), Position("AT_TIMESTAMP", timestamp=1_799_999_999.0)]


def test_an_iterator_that_always_expires_is_not_asked_for_in_a_busy_loop():
    src = source(*([IteratorExpired()] * 5_000))
    run_for(60.0, src)
    assert len(src.reads) < 100


def test_a_service_without_at_timestamp_has_older_records_dropped_by_whole_seconds():
    src = source(
        [FakeRecord("1", timestamp=98.0), FakeRecord("2", timestamp=99.0), FakeRecord("3", timestamp=100.0)],
        IteratorExpired(),
        [FakeRecord("4", timestamp=98.0), FakeRecord("5", timestamp=None)],
    )
    src.open_script.append(Opened("first", drop_before=99.9))
    _, sink = run_for(5.0, src, tenure=lambda: FakeTenure(checkpoint=LATEST, start_at=99.9))
    assert sink.seen == [2, 3, 5]


def test_an_aggregated_kinesis_record_is_resumed_in_its_middle():
    src = source([FakeRecord("9", 0), FakeRecord("9", 1), FakeRecord("9", 2), FakeRecord("10", 0)])
    _, sink = run_for(1.0, src, stream=KINESIS, tenure=lambda: FakeTenure(checkpoint=Checkpoint("9", 1)))
    assert src.opened == [Position("AT_SEQUENCE_NUMBER", "9")]
    assert [(r.sequence_number, r.sub_sequence_number) for batch in sink.batches for r in batch] == [
        ("9", 2),
        ("10", 0),
    ]


def test_a_page_is_asked_for_in_full_however_small_the_batches_are():
    src = source()
    run_for(1.0, src, batch_size=10)
    assert set(src.limits) == {1_000}
    src = source()
    run_for(1.0, src, batch_size=5_000, stream=KINESIS)
    assert set(src.limits) == {5_000}
    src = source()
    run_for(1.0, src, batch_size=10, lanes=4, stream=KINESIS)
    assert set(src.limits) == {4_000}, "five reads a second have to do for all lanes"


def test_the_last_page_of_a_closed_shard_is_delivered():
    async def main():
        sink = Sink()
        stage = Stage(FakeTenure(), FakeSource(page(records(1, 2, 3), last=True)), lambda: sink, child_wait_seconds=0.0)
        assert await stage.start() is Event.END_STORED
        assert sink.seen == [1, 2, 3]

    virtual(main)


def test_pages_read_ahead_are_bounded_by_number():
    src = source(*(records(n) for n in range(1, 100)))
    run_for(50.0, src, sink=Blocked())
    assert len(src.reads) == 4


def test_without_a_budget_each_shard_still_holds_one_page():
    async def main():
        budget = ByteBudget(0)
        stages = [
            Stage(FakeTenure(key=f"s{n}"), FakeSource(*(records(k) for k in range(1, 10))), Blocked, budget=budget)
            for n in range(100)
        ]
        tasks = [stage.start() for stage in stages]
        await at(100)
        assert [len(stage.source.reads) for stage in stages] == [1] * 100
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert budget.used_bytes == 0

    virtual(main)


def test_without_a_budget_everything_is_delivered_one_page_at_a_time():
    _, sink = run_for(30.0, source(*(records(n) for n in range(1, 50))), budget=ByteBudget(0))
    assert sink.seen == list(range(1, 50))


def test_a_budget_is_shared_settled_and_given_back():
    async def main():
        budget = ByteBudget(1_500_000)
        big = [records(k, size_bytes=600_000) for k in range(1, 10)]
        first = Stage(FakeTenure(key="a"), FakeSource(*big), Blocked, budget=budget)
        tasks = [first.start()]
        await at(10)
        assert len(first.source.reads) == 3, "one page free, two by budget"
        assert budget.used_bytes == 1_200_000
        second = Stage(FakeTenure(key="b"), FakeSource(*big), Blocked, budget=budget)
        tasks.append(second.start())
        await at(20)
        assert len(second.source.reads) == 1
        tasks[0].cancel()
        await asyncio.wait(tasks[:1])
        await at(30)
        assert len(second.source.reads) == 3, "bytes that became free go to whoever waits"
        tasks[1].cancel()
        await asyncio.wait(tasks[1:])
        assert budget.used_bytes == 0

    virtual(main)


def test_pages_larger_than_guessed_are_charged_as_they_are_and_the_front_page_is_free():
    class HoldsTheSecond(Sink):
        async def process_records(self, records, checkpointer):
            if records[0].sequence_number == "2":
                await asyncio.sleep(1_000_000)

    async def main():
        budget = ByteBudget(1_000_000)
        sizes = [100, 300_000, 500_000, 600_000, 1]
        pages = [records(number, size_bytes=size) for number, size in enumerate(sizes, start=1)]
        stage = Stage(FakeTenure(), FakeSource(*pages), HoldsTheSecond, budget=budget)
        task = stage.start()
        await at(10)
        # 2 is the front and free, 3 is charged; 4 was asked for as 500,000 and came as 600,000: full beyond the limit.
        assert (len(stage.source.reads), budget.used_bytes) == (4, 1_100_000)
        task.cancel()
        await asyncio.wait({task})
        assert budget.used_bytes == 0

    virtual(main)


def test_lag_comes_from_the_service_or_from_the_last_record():
    now = 1_800_000_000.0
    src = source(page(records(1, timestamp=now - 40), millis_behind_latest=9_000))
    stage, _ = run_for(0.1, src, stream=KINESIS)
    assert stage.of(PageRead)[0].lag_seconds == 9.0
    stage, _ = run_for(0.1, source(records(1, timestamp=now - 40), page()))
    assert [fact.lag_seconds for fact in stage.of(PageRead)][:2] == [pytest.approx(40, abs=0.1), 0.0]


def test_a_page_says_how_long_it_took():
    class Slow(FakeSource):
        async def read(self, *rest):
            await asyncio.sleep(0.5)
            return await super().read(*rest)

    stage, _ = run_for(3.0, Slow(records(1)))
    assert [fact.seconds for fact in stage.of(PageRead)][:2] == [pytest.approx(0.5), pytest.approx(0.5)]


def test_lag_rises_while_user_code_hangs_and_while_reads_fail():
    def hanging(stage):
        assert stage.consumer.status().lag_seconds == pytest.approx(500 + 3, abs=0.1)

    run_for(500.0, source(records(1, timestamp=1_800_000_000.0 - 3)), sink=Blocked(), check=hanging)

    def failing(stage):
        assert stage.consumer.status().lag_seconds == pytest.approx(500, abs=2)

    run_for(500.0, source(page(), *([StreamUnavailable()] * 10_000)), check=failing)


def test_batches_say_where_they_come_from():
    _, sink = run_for(1.0, source(page(records(1), millis_behind_latest=5)), stream=KINESIS)
    batch = sink.batches[0]
    assert (batch.shard_id, batch.view_type, batch.millis_behind_latest) == ("shard-1", None, 5)
    _, sink = run_for(1.0, source(records(1)))
    assert sink.batches[0].view_type == "NEW_AND_OLD_IMAGES"
