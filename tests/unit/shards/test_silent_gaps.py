"""Where a service drops records without a word: what says so, and what is no ground to (fleet world's seeds)."""

from __future__ import annotations

import pytest

from consumer.errors import DataTrimmed, IteratorExpired, ShardNotFound
from consumer.hooks import GapFound
from consumer.shards.lifecycle import Event
from consumer.streams.source import Page, Position, Shard
from lease_store.checkpoint import LATEST, TRIM_HORIZON, Checkpoint
from tests.unit.shards.reader_stage import Sink, run_for
from tests.unit.shards.shard_fakes import DYNAMODB, KINESIS, FakeSource, FakeTenure, Stage, at, page, records, virtual

DAY = 86_400_000
NOW = 1_800_000_000_000


def facts_of(source, *, stream=KINESIS, seconds=5.0, **lease):
    async def main():
        stage = Stage(FakeTenure(**lease), source, Sink, stream=stream, child_wait_seconds=0.0)
        task = stage.start()
        await at(seconds)
        stage.tenure.ask("lost")
        await task
        return stage.of(GapFound)

    return virtual(main)


def at_tip():
    return Page([], "next", millis_behind_latest=0)


BEGUN = {"checkpoint": Checkpoint("5")}
OLD_ROW = {"created_at": f"{NOW - DAY - 1000}-x"}


def test_kinesis_that_goes_on_behind_a_trimmed_checkpoint_is_a_gap_that_stops_nobody():
    """Seeds 145, 192: GetShardIterator at a trimmed number answers with the oldest record."""
    assert facts_of(FakeSource(records(9)), **BEGUN) == [GapFound("shard-1", "5", "9", stopped=False)]


def test_a_checkpoint_that_is_still_there_is_no_gap_whatever_follows():
    assert facts_of(FakeSource(records(5, 900)), **BEGUN) == []


def test_an_idle_shard_whose_checkpoint_was_trimmed_is_no_gap_once_its_tip_was_seen():
    assert facts_of(FakeSource(at_tip(), records(9)), **BEGUN) == []


def test_a_shard_that_ends_without_its_checkpoint_is_a_gap():
    """Seed 30: closed and emptied while nobody worked."""
    assert facts_of(FakeSource(page(last=True)), **BEGUN) == [GapFound("shard-1", "5", "SHARD_END", stopped=False)]


def test_kinesis_is_asked_for_the_last_record_again_when_an_iterator_expired():
    source = FakeSource(records(6, 7), IteratorExpired(), records(7, 8), IteratorExpired(), records(11))
    assert facts_of(source) == [GapFound("shard-1", "8", "11", stopped=False)]
    assert source.opened[1:] == [Position("AT_SEQUENCE_NUMBER", "7"), Position("AT_SEQUENCE_NUMBER", "8")]


def test_what_kinesis_is_asked_for_again_is_not_delivered_again():
    _, sink = run_for(5.0, FakeSource(records(6, 7), IteratorExpired(), records(7, 8)), stream=KINESIS)
    assert sink.seen == [6, 7, 8]


def test_a_gap_that_the_service_names_leaves_no_doubt():
    source = FakeSource(DataTrimmed(), records(9))
    assert facts_of(source, **BEGUN) == [GapFound("shard-1", "5", "TRIM_HORIZON", stopped=False)]


@pytest.mark.parametrize("stream", [DYNAMODB, KINESIS])
@pytest.mark.parametrize("word", [TRIM_HORIZON, LATEST])
def test_a_row_that_has_not_begun_a_day_after_it_was_made_may_have_lost_its_first_records(stream, word):
    """Seeds 3, 1068."""
    expected = [GapFound("shard-1", word.sequence_number, "9", stopped=False)]
    assert facts_of(FakeSource(records(9)), stream=stream, checkpoint=word, **OLD_ROW) == expected
    assert facts_of(FakeSource(records(9)), stream=stream, checkpoint=word, created_at=f"{NOW}-x") == []
    assert facts_of(FakeSource(records(9)), stream=stream, checkpoint=word) == []


def test_a_deleted_kinesis_stream_may_take_records_along_even_after_its_tip_was_seen():
    """Seed 58: what came between the last read and the deletion."""

    async def main():
        source = FakeSource(records(1), at_tip(), ShardNotFound())
        stage = Stage(FakeTenure(), source, Sink, stream=KINESIS, on_trimmed="stop", child_wait_seconds=0.0)
        assert await stage.start() is Event.END_STORED
        assert stage.of(GapFound) == [GapFound("shard-1", "1", "SHARD_END", stopped=False)]

    virtual(main)


@pytest.mark.parametrize(
    ("born_days_ago", "read_for_days", "told"), [(1.01, 2.0, True), (0.9, 2.0, False), (1.5, 0.1, False)]
)
def test_a_child_of_a_parent_that_was_read_to_its_end_a_day_late_is_a_gap(born_days_ago, read_for_days, told):
    """Seed 200694's kin: the child's row is young, its first records are gone."""
    source = FakeSource(page(last=True))
    source.child_answers.append((Shard("child-1", ("shard-1",), created_at=(NOW - born_days_ago * DAY) / 1000),))
    facts = facts_of(source, stream=DYNAMODB, created_at=f"{int(NOW - read_for_days * DAY)}-x", **BEGUN)
    assert facts == ([GapFound("child-1", "TRIM_HORIZON", "TRIM_HORIZON", stopped=False)] if told else [])
