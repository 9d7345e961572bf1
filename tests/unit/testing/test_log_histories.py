"""The shard log by random histories: what is read is what was written, in the order of its lineage."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from consumer.testing.hash_space import HASH_SPACE
from consumer.testing.shard_log import ShardLog
from consumer.testing.stream_log import StreamLog
from consumer.testing.stream_rules import StreamOptions
from tests.unit.testing.log_stage import HandClock, drain, follow, numbers, topological

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
