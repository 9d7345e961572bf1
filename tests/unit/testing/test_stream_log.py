"""The shard log: lineage, order, positions, retention and iterators, by example and by random histories."""

from __future__ import annotations

import itertools
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.testing import iterators
from consumer.testing.hash_space import HASH_SPACE
from consumer.testing.log_shard import LogRecord
from consumer.testing.service_error import ServiceError
from consumer.testing.shard_log import ShardLog
from consumer.testing.stream_log import StreamLog
from consumer.testing.stream_rules import Staleness, StreamOptions

DAY = 24 * 3600.0
HOUR = 3600.0


class HandClock:
    """Wall time that moves when told."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def log(clock: HandClock) -> ShardLog:
    return ShardLog(clock, seed=1)


def put(log: ShardLog, key: str, n: int = 0, table: str = "orders") -> str:
    return log.put_item(table, new_image={"pk": key, "n": n})


def drain(log: StreamLog, shard_id: str, kind: str = "TRIM_HORIZON", limit: int | None = None) -> list[LogRecord]:
    """Everything in a shard from a position on: to its end, or to the tip of an open one."""
    return follow(log, log.iterator(shard_id, kind), limit)  # type: ignore[arg-type]


def follow(log: StreamLog, token: str | None, limit: int | None = None) -> list[LogRecord]:
    found: list[LogRecord] = []
    while token is not None:
        page = log.read(iterators.decode(token), limit)
        found += page.records
        if not page.records:
            break
        token = page.next_iterator
    return found


def numbers(records: list[LogRecord]) -> list[str]:
    return [str(record.sequence) for record in records]


def refusal(code: str) -> object:
    return pytest.raises(ServiceError, match=f"^{code}:")


# -- random histories

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 12)),
        st.tuples(st.just("rotate"), st.integers(0, 9)),
        st.tuples(st.just("split"), st.integers(0, 9)),
        st.tuples(st.just("merge"), st.integers(0, 9)),
        st.tuples(st.just("wait"), st.integers(1, 20)),
        st.tuples(st.just("count"), st.integers(1, 5)),
    ),
    max_size=60,
)


@dataclass(frozen=True)
class Written:
    key: str
    sequence: int
    at: float


def step(log: ShardLog, stream: StreamLog, clock: HandClock, action: str, number: int) -> Written | None:
    """Apply one step to the Kinesis stream ``clicks``; what was written, for a put."""
    shards = stream.open_shards()
    chosen = shards[number % len(shards)]
    if action == "put":
        return Written(f"k{number}", int(log.put_record("clicks", f"k{number}", b"x")), clock.now)
    if action == "rotate":
        stream.lineage.rotate(chosen.id)
    elif action == "split" and chosen.hash_range[0] < chosen.hash_range[1]:
        stream.lineage.split(chosen.id)
    elif action == "merge" and len(shards) > 1:
        place = number % (len(shards) - 1)
        stream.lineage.merge(shards[place].id, shards[place + 1].id)
    elif action == "count":
        stream.lineage.reshard(number)
    elif action == "wait":
        clock.now += number
    return None


def play(log: ShardLog, stream: StreamLog, clock: HandClock, steps: list[tuple[str, int]]) -> list[Written]:
    """Apply all steps; what was written, in order."""
    done = [step(log, stream, clock, action, number) for action, number in steps]
    return [each for each in done if each is not None]


def topological(stream: StreamLog) -> list[str]:
    """Every shard after its parents."""
    order: list[str] = []
    waiting = {shard.id: set(shard.parents) for shard in stream.listing()}
    while waiting:
        ready = [shard for shard, parents in waiting.items() if not parents & waiting.keys()]
        assert ready, "the lineage has a cycle"
        order += ready
        for shard in ready:
            del waiting[shard]
    return order


def by_key(records: Iterable[tuple[str, int]]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for key, sequence in records:
        found[key].append(sequence)
    return found


@given(steps=STEPS, limit=st.integers(1, 7), keep=st.sampled_from([10, 10_000]))
def test_every_record_is_read_once_along_the_lineage_and_keys_keep_their_order(
    steps: list[tuple[str, int]], limit: int, keep: int
) -> None:
    clock = HandClock()
    log = ShardLog(clock, options=StreamOptions(retention_seconds=keep))
    stream = log.create_stream("clicks", 2)
    written = play(log, stream, clock, steps)
    left = [(each.key, each.sequence) for each in written if each.at > clock.now - keep]
    read = [record for shard in topological(stream) for record in drain(stream, shard, limit=limit)]
    assert sorted(record.sequence for record in read) == [sequence for _, sequence in left]
    assert by_key((record.key, record.sequence) for record in read) == by_key(left)


@given(steps=STEPS, limit=st.integers(1, 7), data=st.data())
def test_who_reads_while_shards_change_gets_every_record_once(
    steps: list[tuple[str, int]], limit: int, data: st.DataObject
) -> None:
    clock = HandClock()
    log = ShardLog(clock)
    stream = log.create_stream("clicks", 2)
    tokens: dict[str, str | None] = {}
    written: list[Written | None] = []
    read: list[tuple[str, int]] = []

    def read_a_page(shard: str) -> bool:
        token = tokens[shard] if shard in tokens else stream.iterator(shard, "TRIM_HORIZON")
        if token is None:
            return False
        page = log.read(token, limit)
        tokens[shard] = page.next_iterator
        read.extend((record.key, record.sequence) for record in page.records)
        return bool(page.records)

    for action, number in steps:
        written.append(step(log, stream, clock, action, number))
        read_a_page(data.draw(st.sampled_from(topological(stream))))
    for shard in topological(stream):
        while read_a_page(shard):
            pass
        assert (tokens[shard] is None) == (shard not in {each.id for each in stream.open_shards()})
    puts = [(each.key, each.sequence) for each in written if each is not None]
    assert sorted(read, key=lambda pair: pair[1]) == puts


@given(steps=STEPS)
def test_open_shards_cover_the_hash_space_and_sequences_grow_from_parent_to_child(steps: list[tuple[str, int]]) -> None:
    clock = HandClock()
    log = ShardLog(clock)
    stream = log.create_stream("clicks", 3)
    play(log, stream, clock, steps)
    ranges = [shard.hash_range for shard in stream.open_shards()]
    assert ranges[0][0] == HASH_SPACE[0]
    assert ranges[-1][1] == HASH_SPACE[1]
    assert all(low[1] + 1 == high[0] for low, high in itertools.pairwise(ranges))
    shards = {shard.id: shard for shard in stream.listing()}
    for shard in shards.values():
        held = [record.sequence for record in drain(stream, shard.id)]
        end = shard.ending_sequence
        assert held == sorted(set(held))
        assert all(shard.starting_sequence < sequence and (end is None or sequence < end) for sequence in held)
        for parent in shard.parents:
            ending = shards[parent].ending_sequence
            assert ending is not None
            assert ending < shard.starting_sequence


@given(steps=STEPS, data=st.data())
def test_positions_are_exact(steps: list[tuple[str, int]], data: st.DataObject) -> None:
    clock = HandClock()
    log = ShardLog(clock)
    stream = log.create_stream("clicks", 1)
    play(log, stream, clock, steps)
    shard = data.draw(st.sampled_from(stream.listing()))
    records = drain(stream, shard.id)
    if not records:
        return
    place = data.draw(st.integers(0, len(records) - 1))
    number = str(records[place].sequence)
    at = follow(stream, stream.iterator(shard.id, "AT_SEQUENCE_NUMBER", sequence_number=number))
    after = follow(stream, stream.iterator(shard.id, "AFTER_SEQUENCE_NUMBER", sequence_number=number))
    instant = records[place].stamp
    timed = follow(stream, stream.iterator(shard.id, "AT_TIMESTAMP", timestamp=instant))
    assert numbers(at) == numbers(records[place:])
    assert numbers(after) == numbers(records[place + 1 :])
    assert numbers(timed) == numbers([record for record in records if record.stamp >= instant])


@given(ages=st.lists(st.integers(0, 40), min_size=1, max_size=30), keep=st.integers(5, 30))
def test_trimming_takes_exactly_what_is_too_old(ages: list[int], keep: int) -> None:
    clock = HandClock()
    log = ShardLog(clock, options=StreamOptions(retention_seconds=keep))
    stream = log.create_stream("clicks", 1)
    arrived: list[tuple[int, float]] = []
    for wait in ages:
        clock.now += wait
        arrived.append((int(log.put_record("clicks", "k", b"x")), clock.now))
    kept = [sequence for sequence, at in arrived if at > clock.now - keep]
    assert [record.sequence for record in drain(stream, stream.listing()[0].id)] == kept


# -- lineage by example


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


# -- pages and iterators


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
