"""Batches: by records, bytes and time, in order, none empty, nothing lost between them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consumer.delivery.batching import BatchRules, Run, Waiting
from consumer.hooks import BatchProcessed
from consumer.shards.lifecycle import Event
from tests.unit.delivery.delivery_stage import Sink, kinesis, pages, play
from tests.unit.shards.shard_fakes import stored


def waiting(rules, *sizes, came_at=0.0):
    made, number = Waiting(rules), 0
    for size in sizes:
        indexes = range(number, number + size)
        made.add(Run([kinesis(index, data=b"x" * (index % 7)) for index in indexes], indexes, None, came_at))
        number += size
    return made


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=6),
    st.integers(1, 12),
    st.none() | st.integers(1, 40),
    st.sampled_from([0.0, 5.0]),
    st.booleans(),
)
def test_batches_hold_everything_once_in_order_and_keep_their_bounds(sizes, most, size_bytes, window, joins):
    queue = waiting(BatchRules(most, size_bytes, window, joins=joins), *sizes)
    indexes = []
    while queue:
        assert len(queue) == sum(sizes) - len(indexes)
        run = queue.cut()
        assert 1 <= len(run) <= most
        assert [int(record.sequence_number) for record in run.records] == list(run.indexes)
        if size_bytes is not None and len(run) > 1:
            assert sum(record.size_bytes for record in run.records) <= size_bytes
        indexes += run.indexes
    assert indexes == list(range(sum(sizes)))


def test_a_batch_waits_for_its_window_unless_it_is_full():
    rules = BatchRules(10, None, 30.0)
    assert waiting(rules).seconds_to_ready(0.0) is None
    assert waiting(rules, 3).seconds_to_ready(12.0) == 18.0
    assert waiting(rules, 3).seconds_to_ready(30.0) == 0.0
    assert waiting(rules, 3, 7).seconds_to_ready(1.0) == 0.0
    assert waiting(BatchRules(10, 10, 30.0), 3).seconds_to_ready(1.0) == 29.0
    assert waiting(BatchRules(10, 1, 30.0), 3).seconds_to_ready(1.0) == 0.0
    assert waiting(BatchRules(10), 3).seconds_to_ready(0.0) == 0.0


def test_a_window_gathers_records_of_many_pages_and_lets_their_pages_go():
    sink = Sink()
    script = pages(*([(number, "k")] for number in range(1, 21)), ends=False)
    stage = play(sink, script, seconds=100, batch_window_seconds=20.0, batch_size=1000)
    assert [len(numbers) for _, numbers in sink.calls] == [20], (
        "twenty pages of one record, four of which a shard may hold"
    )
    assert 20 <= sink.calls[0][0] < 22
    assert stored(stage)[-1] == "20"


def test_a_shards_end_does_not_wait_for_the_window():
    sink = Sink()
    stage = play(sink, pages([(1, "a")], [(2, "b")]), seconds=100, batch_window_seconds=60.0)
    assert stage.ended_by is Event.END_STORED
    assert sink.calls[-1][0] < 10
    assert sum(fact.records for fact in stage.of(BatchProcessed)) == 2
