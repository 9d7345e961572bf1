"""The shard log: lineage, incarnations, and listings that are late."""

from __future__ import annotations

import time

import pytest

from consumer.testing.hash_space import HASH_SPACE
from consumer.testing.shard_log import ShardLog
from consumer.testing.stream_rules import Staleness, StreamOptions
from tests.unit.testing.log_stage import DAY, HOUR, HandClock, drain, put, refusal, topological


def test_a_day_of_rotations_passes_in_no_time(clock: HandClock, log: ShardLog) -> None:
    options = StreamOptions(rotate_every_seconds=4 * HOUR, retention_seconds=10 * DAY)
    stream = log.create_table("orders", shard_count=4, options=options)
    begun = time.process_time()
    for minute in range(24 * 60):
        clock.now += 60
        put(log, f"k{minute % 9}", minute)
    assert time.process_time() - begun < 1.0
    assert stream.lineage.rotations == 24
    assert len(stream.listing()) == 28
    read = [record for shard in topological(stream) for record in drain(stream, shard)]
    assert len(read) == 24 * 60


def test_a_clock_that_jumps_a_day_rotates_at_the_instants_it_missed(clock: HandClock, log: ShardLog) -> None:
    options = StreamOptions(rotate_every_seconds=4 * HOUR, retention_seconds=10 * DAY)
    stream = log.create_table("orders", options=options)
    begun = clock.now
    clock.now += DAY
    births = sorted(shard.created_at - begun for shard in stream.listing())
    assert births == [hours * HOUR for hours in (0, 4, 8, 12, 16, 20, 24)]


def test_dynamodb_shard_ids_carry_their_birth_and_one_parent(clock: HandClock, log: ShardLog) -> None:
    stream = log.create_table("orders")
    clock.now += 12.5
    (child,) = stream.lineage.rotate()
    parent, young = stream.listing()
    assert young.id == child
    assert child.startswith(f"shardId-{int(clock.now * 1000):020d}-")
    assert len(child) == 37
    assert young.parents == (parent.id,)
    with refusal("ValidationException"):
        stream.lineage.merge(*stream.lineage.split())


def test_sequence_numbers_gain_a_digit_so_that_text_comparison_fails(log: ShardLog) -> None:
    log.create_table("orders")
    sequences = [put(log, "k", n) for n in range(1000)]
    assert {len(sequence) for sequence in sequences} == {21, 22}
    assert sequences != sorted(sequences)
    assert sequences == sorted(sequences, key=int)


def test_reshard_ends_with_even_shards_from_any_count(log: ShardLog) -> None:
    stream = log.create_stream("clicks", 3)
    stream.lineage.reshard(5)
    widths = {high - low for low, high in (shard.hash_range for shard in stream.open_shards())}
    assert len(stream.open_shards()) == 5
    assert max(widths) - min(widths) <= 1
    stream.lineage.reshard(1)
    assert [shard.hash_range for shard in stream.open_shards()] == [HASH_SPACE]


def test_only_open_shards_can_be_changed(log: ShardLog) -> None:
    stream = log.create_stream("clicks", 2)
    first = stream.open_shards()[0].id
    stream.lineage.rotate(first)
    for change in (stream.lineage.rotate, stream.lineage.split):
        with refusal("ResourceInUseException"):
            change(first)
    with refusal("ResourceNotFoundException"):
        stream.lineage.rotate("shardId-000000000099")


# -- incarnations


def test_a_stream_enabled_again_has_a_new_arn_and_begins_anew(clock: HandClock, log: ShardLog) -> None:
    first = log.create_table("orders")
    put(log, "a")
    log.tables.disable("orders")
    with refusal("ValidationException"):
        put(log, "lost")
    second = log.tables.enable("orders").log
    put(log, "b")
    assert first.arn != second.arn
    assert log.stream("orders") is second
    old = first.listing()
    assert [shard.ending_sequence is None for shard in old] == [False]
    assert [record.key for record in drain(first, old[0].id)] == ["S:a"]
    assert [record.key for record in drain(second, second.listing()[0].id)] == ["S:b"]
    assert second.listing()[0].starting_sequence < (old[0].ending_sequence or 0)
    clock.now += DAY
    with refusal("ResourceNotFoundException"):
        log.stream(first.arn)


def test_a_kinesis_stream_made_again_repeats_ids_but_not_iterators(log: ShardLog) -> None:
    first = log.create_stream("clicks", 2)
    token = first.iterator(first.listing()[0].id, "TRIM_HORIZON")
    log.kinesis.delete("clicks")
    second = log.create_stream("clicks", 2)
    assert first.arn == second.arn
    assert [shard.id for shard in first.listing()] == [shard.id for shard in second.listing()]
    assert log.kinesis.stream("clicks").created_at > int(first.created_at)
    with refusal("ResourceNotFoundException"):
        log.read(token)


def test_kinesis_transitions_take_their_time(clock: HandClock, log: ShardLog) -> None:
    log.create_stream("clicks", options=StreamOptions(transition_seconds=10))
    assert log.kinesis.stream("clicks").status == "CREATING"
    clock.now += 10
    assert log.kinesis.stream("clicks").status == "ACTIVE"
    log.kinesis.delete("clicks")
    assert log.kinesis.stream("clicks").status == "DELETING"
    clock.now += 10
    with refusal("ResourceNotFoundException"):
        log.kinesis.stream("clicks")


# -- stale listings


def test_a_late_child_is_hidden_for_so_many_listings(log: ShardLog) -> None:
    stream = log.create_table("orders")
    stale = Staleness(child_late_calls=2)
    stream.lineage.rotate()
    assert [len(stream.listing(stale)) for _ in range(3)] == [1, 1, 2]


def test_a_child_may_be_listed_before_its_parents_end(clock: HandClock, log: ShardLog) -> None:
    stream = log.create_table("orders")
    stream.lineage.rotate()
    stale = Staleness(end_late_seconds=5)
    parent, child = stream.listing(stale)
    assert (parent.ending_sequence, child.parents) == (None, (parent.id,))
    clock.now += 5
    assert stream.listing(stale)[0].ending_sequence is not None


def test_reads_above_the_limit_are_refused_when_asked_for(clock: HandClock, log: ShardLog) -> None:
    stream = log.create_stream("clicks", options=StreamOptions(reads_per_second=5))
    token = stream.iterator(stream.listing()[0].id, "LATEST")
    for _ in range(5):
        log.read(token)
    with refusal("ProvisionedThroughputExceededException"):
        log.read(token)
    clock.now += 1
    log.read(token)


@pytest.mark.parametrize(("name", "value"), [("rotate_every_seconds", 0.01), ("retention_seconds", 0), ("rotate", 1)])
def test_options_that_can_not_work_are_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{name}"):
        StreamOptions().changed({name: value})
