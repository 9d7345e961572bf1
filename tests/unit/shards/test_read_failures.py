"""A reader whose service throttles, fails, hangs, trims or forgets the shard: tried again, told, no silent gap."""

from __future__ import annotations

import asyncio
import logging

import pytest

from consumer.errors import (
    DataTrimmed,
    IteratorExpired,
    ShardNotFound,
    StreamAccessDenied,
    StreamThrottled,
    StreamUnavailable,
)
from consumer.hooks import GapFound, RecordsSkipped, Stuck, Throttled
from consumer.shards.lifecycle import Event, State
from consumer.shards.wheel import PollWheel
from consumer.streams.source import Position
from consumer.testing.virtual_time import VirtualClock
from lease_store.checkpoint import Checkpoint
from tests.unit.shards.reader_stage import Sink, gaps, run_for, source
from tests.unit.shards.shard_fakes import FakeSource, FakeTenure, Stage, at, page, records, virtual


def test_throttling_backs_off_and_is_reported():
    src = source(*([StreamThrottled()] * 8), records(1))
    stage, sink = run_for(120.0, src)
    assert sink.seen == [1]
    assert [fact.operation for fact in stage.of(Throttled)] == ["GetRecords"] * 8
    src = source(records(1))
    src.open_script.extend([StreamThrottled()])
    stage, _ = run_for(10.0, src)
    assert [fact.operation for fact in stage.of(Throttled)] == ["GetShardIterator"]


def test_a_success_lets_the_next_failure_wait_shortly_again():
    again = [step for number in range(2, 12) for step in (StreamThrottled(), records(number))]
    src = source(*([StreamThrottled()] * 12), records(1), *again)
    run_for(300.0, src)
    assert max(gaps(src.reads)[:12]) > 1
    assert max(gaps(src.reads)[12:30]) <= 0.25


class SlowToBeCancelled(FakeSource):
    """Its first read hangs, and is five seconds and a second call away from listening."""

    async def read(self, *rest):
        if not self.reads:
            self.reads.append(0.0)
            try:
                await asyncio.sleep(1_000_000)
            finally:
                try:
                    await asyncio.sleep(2.5)
                finally:
                    await asyncio.sleep(2.5)
        return await super().read(*rest)


def test_a_read_that_has_to_be_given_up_more_than_once_is_made_again():
    sink = Sink()

    async def main():
        wheel = PollWheel(VirtualClock(), 1, patience_seconds=10.0)
        stage = Stage(FakeTenure(), SlowToBeCancelled(records(1)), lambda: sink, wheel=wheel)
        task = stage.start()
        await at(20)
        assert (sink.seen, task.done()) == ([1], False)
        stage.tenure.ask("lost")
        await task

    virtual(main)


def test_a_service_that_fails_for_hours_is_tried_for_ever_and_shows_as_stuck(caplog):
    src = source(*([StreamUnavailable()] * 100_000))

    def check(stage):
        status = stage.consumer.status()
        assert status.stage == "reading"
        assert status.stuck_seconds == pytest.approx(7_200, abs=1)

    stage, _ = run_for(7_200.0, src, check=check)
    assert [fact.stage for fact in stage.of(Stuck)] == ["reading"]
    assert 1_000 < len(src.reads) < 20_000
    assert 60 < len([line for line in caplog.messages if "can't be read" in line]) <= 125, "loud, but not a flood"


def cant_be_read(caplog):
    return [(line.levelno, line.args[2]) for line in caplog.records if "can't be read" in line.message]


def test_what_fails_again_and_again_between_successes_is_told_once_a_minute(caplog):
    rounds = [step for n in range(1, 101) for step in (*([StreamUnavailable()] * 3), records(n))]
    src = source(*rounds, StreamUnavailable(), StreamUnavailable(), records(101))
    _, sink = run_for(400.0, src)
    assert sink.seen == list(range(1, 102))
    lasted = src.reads[400]
    assert lasted > 50, "long enough to tell more than once"
    assert cant_be_read(caplog) == [(logging.WARNING, 3)] * (1 + int(lasted // 61))


def test_two_failures_that_pass_are_not_told_a_refusal_is_at_once(caplog):
    run_for(100.0, source(StreamUnavailable(), StreamUnavailable(), records(1)))
    assert cant_be_read(caplog) == []
    run_for(100.0, source(StreamUnavailable(), StreamUnavailable(), StreamUnavailable(), records(1)))
    assert cant_be_read(caplog) == [(logging.WARNING, 3)]
    caplog.clear()
    run_for(10.0, source(records(1), StreamAccessDenied("no"), records(2)))
    assert cant_be_read(caplog) == [(logging.ERROR, 1)]


def test_a_refusal_is_told_also_right_after_a_failure_that_passes_was(caplog):
    denied = StreamAccessDenied("no")
    run_for(30.0, source(records(1), *([StreamUnavailable()] * 4), denied, denied, records(2)))
    assert cant_be_read(caplog) == [(logging.WARNING, 3), (logging.ERROR, 5)]


def test_refused_reads_are_paused_for_up_to_a_minute_and_failed_ones_for_seconds():
    denied = StreamAccessDenied("no")
    src = source(records(1), *([denied] * 40), *([StreamUnavailable()] * 40), records(2))
    run_for(3_600.0, src)
    pauses = gaps(src.reads)
    assert 30 < max(pauses[1:41]) <= 60
    assert 2.5 < max(pauses[41:80]) <= 5


@pytest.mark.parametrize(
    ("failures", "seconds", "is_kept"),
    [
        ([IteratorExpired()], 5.0, False),
        ([StreamUnavailable()] * 2, 5.0, False),
        ([StreamAccessDenied("no")], 5.0, True),
        ([StreamAccessDenied("no")], 90.0, False),
    ],
)
def test_trouble_that_is_over_costs_nothing_a_minute_after_it_was_told(failures, seconds, is_kept):
    def check(stage):
        assert (stage.consumer._reader._trouble is not None) == is_kept

    run_for(seconds, source(records(1), *failures, records(2)), check=check)


def test_reading_goes_on_when_the_service_comes_back():
    src = source(*([StreamUnavailable()] * 40), records(1))
    stage, sink = run_for(400.0, src)
    assert sink.seen == [1]
    assert stage.consumer.status().stuck_seconds == 0


def test_a_permission_that_is_taken_away_is_loud_and_tried_slowly(caplog):
    src = source(records(1), *([StreamAccessDenied("dynamodb:GetRecords is missing.")] * 50), records(2))
    with caplog.at_level(logging.ERROR):
        _, sink = run_for(7_200.0, src)
    assert sink.seen == [1, 2]
    assert "dynamodb:GetRecords is missing." in caplog.text
    assert 0 < len([line for line in caplog.records if line.levelno == logging.ERROR]) <= 50


def test_a_refusal_before_anything_was_read_is_for_whoever_starts_the_worker():
    async def main():
        source = FakeSource()
        source.open_script.append(StreamAccessDenied("no"))
        stage = Stage(FakeTenure(), source, Sink)
        with pytest.raises(StreamAccessDenied):
            await stage.start()

    virtual(main)


def test_a_defect_in_a_source_is_survived():
    src = source(records(1), KeyError("Records"), records(2))
    _, sink = run_for(10.0, src)
    assert sink.seen == [1, 2]


def test_a_call_that_hangs_is_given_up_and_made_again(caplog):
    src = source(records(1))

    async def hang_once(*_):
        src.read = FakeSource.read.__get__(src)
        await asyncio.Event().wait()

    src.read = hang_once
    _, sink = run_for(100.0, src)
    assert sink.seen == [1]
    assert cant_be_read(caplog) == [], "a hang may pass, like any other time-out"


def test_trimmed_records_are_reported_and_skipped(caplog):
    src = source(records(1, 2), DataTrimmed(), records(2), records(8, 9), records(10))
    stage, sink = run_for(5.0, src)
    assert stage.of(GapFound) == [GapFound("shard-1", "2", "TRIM_HORIZON", stopped=False)]
    assert sink.seen == [1, 2, 8, 9, 10], "what was read comes no second time"
    assert src.opened[1] == Position("TRIM_HORIZON")
    assert [line for line in caplog.messages if "after the gap" in line] == [
        "Shard shard-1: after the gap from 2, reading goes on at 8."
    ]


def test_a_shard_of_which_nothing_was_read_is_not_stopped_for_what_was_trimmed():
    src = source(DataTrimmed(), records(8))
    stage, sink = run_for(5.0, src, on_trimmed="stop")
    assert stage.of(GapFound) == [GapFound("shard-1", "TRIM_HORIZON", "TRIM_HORIZON", stopped=False)]
    assert sink.seen == [8]


def test_a_checkpoint_that_was_trimmed_is_reported_when_its_iterator_is_made():
    src = source(records(8))
    src.open_script.append(DataTrimmed())
    stage, sink = run_for(5.0, src, tenure=lambda: FakeTenure(checkpoint=Checkpoint("2")))
    assert stage.of(GapFound) == [GapFound("shard-1", "2", "TRIM_HORIZON", stopped=False)]
    assert src.opened == [Position("AFTER_SEQUENCE_NUMBER", "2"), Position("TRIM_HORIZON")]
    assert sink.seen == [8]


def test_on_trimmed_stop_delivers_what_was_read_keeps_the_lease_and_reads_no_further(caplog):
    src = source(records(1, 2), DataTrimmed(), records(8, 9))

    def check(stage):
        assert stage.consumer.state is State.STOPPED_AT_GAP
        assert stage.consumer.status().stage == "stopped_at_gap"
        assert stage.tenure.calls == [("checkpoint", "2")]

    stage, sink = run_for(600.0, src, on_trimmed="stop", check=check)
    assert stage.of(GapFound) == [GapFound("shard-1", "2", "TRIM_HORIZON", stopped=True)]
    assert sink.seen == [1, 2]
    assert len(src.reads) == 2
    assert "restart with --on-trimmed skip" in caplog.text.replace("\n", " ")


def test_a_shard_stopped_at_a_gap_still_drains():
    async def main():
        stage = Stage(FakeTenure(), FakeSource(records(1), DataTrimmed()), Sink, on_trimmed="stop")
        task = stage.start()
        await at(5)
        stage.tenure.ask("drain")
        assert await task is Event.LET_GO

    virtual(main)


@pytest.mark.parametrize("on_trimmed", ["skip", "stop"])
def test_a_shard_that_vanishes_unread_is_a_gap(on_trimmed):
    async def main():
        src = FakeSource(records(1), ShardNotFound())
        stage = Stage(FakeTenure(), src, Sink, on_trimmed=on_trimmed, child_wait_seconds=0.0)
        task = stage.start()
        await at(5)
        assert stage.of(GapFound) == [GapFound("shard-1", "1", "SHARD_END", stopped=on_trimmed == "stop")]
        if on_trimmed == "stop":
            assert stage.consumer.state is State.STOPPED_AT_GAP
            stage.tenure.ask("lost")
        assert await task is (Event.END_STORED if on_trimmed == "skip" else Event.LOSS_TOLD)

    virtual(main)


def test_a_shard_that_vanishes_after_its_tip_was_seen_just_ends():
    async def main():
        src = FakeSource(records(1), page(), ShardNotFound())
        stage = Stage(FakeTenure(), src, Sink, on_trimmed="stop", child_wait_seconds=0.0)
        assert await stage.start() is Event.END_STORED
        assert stage.of(GapFound) == []

    virtual(main)


@pytest.mark.parametrize(("hours", "told"), [(22.9, 0), (23.1, 1)])
def test_a_tip_seen_almost_a_day_ago_proves_nothing(hours, told):
    """DynamoDB keeps what came after it for 24 h; nobody could read it meanwhile."""

    class Refused(FakeSource):
        async def read(self, *rest):
            if self.reads and asyncio.get_running_loop().time() - self.reads[0] < hours * 3600:
                raise StreamUnavailable
            return await super().read(*rest)

    stage, _ = run_for(hours * 3600 + 60, Refused(page(), ShardNotFound()), child_wait_seconds=0.0)
    assert len(stage.of(GapFound)) == told


def test_a_listed_shard_that_is_dead_at_the_first_contact_ends_under_either_policy():
    async def main():
        src = FakeSource()
        src.open_script.append(ShardNotFound())
        stage = Stage(FakeTenure(), src, Sink, on_trimmed="stop", child_wait_seconds=0.0)
        assert await stage.start() is Event.END_STORED
        assert len(stage.of(GapFound)) == 1

    virtual(main)


def test_malformed_entries_are_counted_and_survived():
    stage, sink = run_for(1.0, source(page(records(1), skipped=3)))
    assert stage.of(RecordsSkipped) == [RecordsSkipped("shard-1", 3)]
    assert sink.seen == [1]
