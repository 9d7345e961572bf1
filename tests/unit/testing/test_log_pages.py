"""Pages and iterators of the shard log, and what retention takes from them."""

from __future__ import annotations

import pytest

from consumer.testing import iterators
from consumer.testing.shard_log import ShardLog
from consumer.testing.stream_rules import StreamOptions
from tests.unit.testing.log_stage import DAY, HandClock, drain, numbers, put, refusal


def test_an_open_shard_always_gives_another_iterator_and_a_closed_one_ends_with_its_tail(log: ShardLog) -> None:
    stream = log.create_table("orders")
    shard = stream.listing()[0].id
    put(log, "a")
    page = log.read(stream.iterator(shard, "TRIM_HORIZON"))
    assert page.next_iterator is not None
    assert log.read(page.next_iterator).next_iterator is not None
    put(log, "b")
    stream.lineage.rotate()
    last = log.read(page.next_iterator)
    assert [record.key for record in last.records] == ["S:b"]
    assert last.next_iterator is None


def test_a_closed_shard_may_end_with_an_empty_page(log: ShardLog) -> None:
    stream = log.create_table("orders", options=StreamOptions(empty_last_page=True))
    put(log, "a")
    shard = stream.listing()[0].id
    stream.lineage.rotate()
    page = log.read(stream.iterator(shard, "TRIM_HORIZON"))
    assert len(page.records) == 1
    assert page.next_iterator is not None
    assert log.read(page.next_iterator) == type(page)([], None, 0, ())


def test_pages_are_limited_by_count_and_by_bytes(log: ShardLog) -> None:
    stream = log.create_table("orders")
    shard = stream.listing()[0].id
    for n in range(1001):
        put(log, "k", n)
    assert len(log.read(stream.iterator(shard, "TRIM_HORIZON")).records) == 1000
    log.create_table("wide")
    for _ in range(3):
        log.put_item("wide", new_image={"pk": "k", "blob": b"x" * 400_000})
    wide = log.stream("wide")
    assert len(log.read(wide.iterator(wide.listing()[0].id, "TRIM_HORIZON")).records) == 2


def test_a_record_larger_than_a_page_comes_alone(log: ShardLog) -> None:
    stream = log.create_table("orders")
    for n in range(2):
        put(log, "k", n)
    (shard,) = stream.lineage.open_shards()
    assert len(shard.from_position(0, 10, 1)) == 1


@pytest.mark.parametrize(("kind", "lifetime"), [("dynamodb", 900), ("kinesis", 300)])
def test_iterators_expire(clock: HandClock, log: ShardLog, kind: str, lifetime: int) -> None:
    stream = log.create_table("orders") if kind == "dynamodb" else log.create_stream("clicks")
    token = stream.iterator(stream.listing()[0].id, "LATEST")
    clock.now += lifetime
    token_at_the_limit = log.read(token).next_iterator
    assert token_at_the_limit is not None
    clock.now += 1
    with refusal("ExpiredIteratorException"):
        log.read(token)
    log.read(token_at_the_limit)


def test_an_altered_iterator_is_refused(log: ShardLog) -> None:
    stream = log.create_table("orders")
    token = stream.iterator(stream.listing()[0].id, "LATEST")
    flipped = token[:-6] + ("A" if token[-6] != "A" else "B") + token[-5:]
    for bad in (flipped, "", "no base64!", token[: len(token) // 2], "ü"):
        with pytest.raises(ValueError, match="iterator"):
            log.read(bad)


def test_latest_is_fixed_when_the_iterator_is_made(log: ShardLog) -> None:
    stream = log.create_table("orders")
    put(log, "before")
    token = stream.iterator(stream.listing()[0].id, "LATEST")
    put(log, "after")
    assert [record.key for record in log.read(token).records] == ["S:after"]


def test_at_timestamp_uses_published_whole_seconds_and_refuses_the_future(clock: HandClock, log: ShardLog) -> None:
    stream = log.create_table("orders")
    shard = stream.listing()[0].id
    clock.now = 1_800_000_100.7
    put(log, "a")
    clock.now = 1_800_000_101.2
    put(log, "b")
    at = {"a": 1_800_000_100.0, "b": 1_800_000_100.5}
    for key, instant in at.items():
        found = log.read(stream.iterator(shard, "AT_TIMESTAMP", timestamp=instant)).records
        assert found[0].key == f"S:{key}"
    with refusal("ValidationException"):
        stream.iterator(shard, "AT_TIMESTAMP", timestamp=clock.now + 1)


# -- retention


def test_trimmed_positions_raise_for_dynamodb(clock: HandClock, log: ShardLog) -> None:
    stream = log.create_table("orders")
    shard = stream.listing()[0].id
    old = [put(log, "k", n) for n in range(2)]
    token = stream.iterator(shard, "TRIM_HORIZON")
    clock.now += 600
    token = log.read(token, 1).next_iterator or ""
    clock.now += DAY - 300
    fresh = put(log, "k", 2)
    with refusal("TrimmedDataAccessException"):
        stream.iterator(shard, "AFTER_SEQUENCE_NUMBER", sequence_number=old[0])
    assert numbers(drain(stream, shard)) == [fresh]
    stale = iterators.decode(token)
    reissued = iterators.Cursor(stale.incarnation, stale.shard_id, stale.position, clock.now)
    with refusal("TrimmedDataAccessException"):
        stream.read(reissued)


def test_an_iterator_at_the_very_record_that_is_trimmed_is_lost_with_it(clock: HandClock, log: ShardLog) -> None:
    stream = log.create_table("orders")
    number = put(log, "a")
    clock.now += DAY - 1
    at, after = (
        stream.iterator(stream.listing()[0].id, kind, sequence_number=number)
        for kind in ("AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER")
    )
    clock.now += 1
    with refusal("TrimmedDataAccessException"):
        log.read(at)
    assert log.read(after).records == []


def test_trimmed_positions_move_on_in_silence_for_kinesis(clock: HandClock, log: ShardLog) -> None:
    stream = log.create_stream("clicks")
    shard = stream.listing()[0].id
    old = log.put_record("clicks", "k", b"1")
    clock.now += DAY + 1
    fresh = log.put_record("clicks", "k", b"2")
    token = stream.iterator(shard, "AT_SEQUENCE_NUMBER", sequence_number=old)
    assert numbers(log.read(token).records) == [fresh]


def test_closed_shards_leave_the_listing_while_their_children_still_name_them(clock: HandClock, log: ShardLog) -> None:
    stream = log.create_table("orders")
    parent = stream.listing()[0].id
    (child,) = stream.lineage.rotate()
    token = stream.iterator(parent, "LATEST")
    clock.now += DAY
    (left,) = stream.listing()
    assert (left.id, left.parents) == (child, (parent,))
    with refusal("ResourceNotFoundException"):
        stream.iterator(parent, "TRIM_HORIZON")
    with refusal("ResourceNotFoundException"):
        stream.read(iterators.Cursor(stream.incarnation, parent, iterators.decode(token).position, clock.now))


def test_a_shard_that_answers_not_found_may_still_be_listed(clock: HandClock, log: ShardLog) -> None:
    stream = log.create_table("orders", options=StreamOptions(gone_listed_seconds=60))
    parent = stream.listing()[0].id
    stream.lineage.rotate()
    clock.now += DAY + 30
    assert parent in [shard.id for shard in stream.listing()]
    with refusal("ResourceNotFoundException"):
        stream.iterator(parent, "TRIM_HORIZON")
    clock.now += 31
    assert parent not in [shard.id for shard in stream.listing()]
