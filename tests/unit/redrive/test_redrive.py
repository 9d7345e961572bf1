"""A redrive: what is done is removed and nothing else, in the order of each key, whatever user code does."""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.dead_letters.letter import DeadLetter
from consumer.delivery.threads import InlineThreads
from consumer.delivery.time_limit import Overdue
from consumer.errors import CheckpointError
from consumer.outcomes import BatchFailures, RetryAfter
from consumer.processor import RecordProcessor, ShardContext
from consumer.record import Records
from consumer.redrive.redrive import MOVED_ON, Kept, Redrive, RedriveRules, Tally
from consumer.testing.memory_dead_letters import MemoryDeadLetters
from consumer.testing.virtual_time import VirtualClock, run_virtual
from tests.dead_letters import change, put

HELD = {"key_is_held": True}


class Sink(RecordProcessor):
    """Notes what came; ``poison`` are sequence numbers that fail, in the way that ``how`` has it."""

    def __init__(self, poison: set[str], how: str = "raise") -> None:
        self.poison = poison
        self.how = how
        self.calls: list[list[str]] = []
        self.done: list[str] = []
        self.shards: list[str] = []
        self.redriven: list[bool] = []
        self.ended = 0

    def initialize(self, shard: ShardContext) -> None:
        self.shards.append(shard.shard_id)

    def process_records(self, records: Records[Any], checkpointer: Any) -> Any:
        numbers = [record.sequence_number for record in records]
        self.calls.append(numbers)
        self.redriven += [record.redriven for record in records]
        assert records.shard_id in self.shards
        bad = [record for record in records if record.sequence_number in self.poison]
        if bad and self.how == "raise":
            raise KeyError("alice")
        self.done += [number for number in numbers if number not in self.poison]
        if bad and self.how == "return":
            return BatchFailures(bad)
        for record in bad:
            record.fail("poison")
        return None

    def shutdown_requested(self, checkpointer: Any) -> None:
        self.ended += 1


def run(
    sink: RecordProcessor,
    letters: list[DeadLetter],
    clock: VirtualClock | None = None,
    overdue: Overdue | None = None,
    **rules: Any,
) -> tuple[Tally, list[Kept], MemoryDeadLetters]:
    """Redrive a store with these; what came of it."""
    store = MemoryDeadLetters()
    kept: list[Kept] = []

    def factory() -> RecordProcessor:
        return sink

    factory.retries = sink.retries  # type: ignore[attr-defined]

    async def redrive() -> Tally:
        await store.put(letters)
        redriving = Redrive(
            store,
            factory,
            InlineThreads(),
            clock=clock or VirtualClock(),
            random=Random(7),
            worker_id="w",
            rules=RedriveRules(**rules),
            overdue=overdue,
            on_kept=kept.append,
        )
        return await redriving.run(store.letters())

    return run_virtual(redrive()), kept, store


def numbers(store: MemoryDeadLetters) -> set[str]:
    return {identity.sequence_number for identity in store.envelopes}


def test_all_of_it_goes_through_and_the_store_is_empty() -> None:
    sink = Sink(set())
    tally, kept, store = run(sink, [change(n, "ab"[n % 2], **HELD) for n in range(10)] + [put(3, **HELD)])
    assert (tally.redriven, kept, store.envelopes) == (11, [], {})
    assert tally.is_complete
    assert all(sink.redriven)
    assert sink.ended == 2, "one processor a shard of each stream, each given the chance to finish"


@pytest.mark.parametrize("how", ["raise", "return", "fail"])
def test_what_fails_is_kept_with_what_follows_under_its_key_and_nothing_else(how: str) -> None:
    letters = [change(n, "a", **HELD) for n in (1, 2, 3, 4)] + [change(n, "b", **HELD) for n in (5, 6)]
    sink = Sink({"3"}, how)
    tally, kept, store = run(sink, letters)
    assert numbers(store) == {"3", "4"}
    assert (tally.redriven, sum(tally.kept.values())) == (4, 2)
    assert not tally.is_complete
    assert [each.failure is not None for each in kept] == [True, False]
    assert {"1", "2", "5", "6"} <= set(sink.done)


def test_a_failure_over_several_is_taken_apart_in_order() -> None:
    sink = Sink({"3"})
    run(sink, [change(n, "a", **HELD) for n in (1, 2, 3, 4)])
    assert sink.calls == [["1", "2", "3", "4"], ["1", "2"], ["3", "4"], *[["3"]] * 5]


def test_a_batch_is_of_one_key_and_no_larger_than_asked() -> None:
    sink = Sink(set())
    run(sink, [change(n, "ab"[n % 2], **HELD) for n in range(10)], batch_size=3)
    assert sorted(map(len, sink.calls)) == [2, 2, 3, 3]
    assert all(len({int(number) % 2 for number in call}) == 1 for call in sink.calls)


def test_keys_that_were_not_held_are_left_alone_unless_it_is_said() -> None:
    letters = [change(1, "a"), change(2, "a", **HELD), change(3, "b", **HELD)]
    sink = Sink(set())
    tally, kept, store = run(sink, letters)
    assert sink.done == ["3"]
    assert numbers(store) == {"1", "2"}
    assert [each.why for each in kept] == [MOVED_ON, MOVED_ON], "a batch is of one key: nothing overtakes what is kept"
    tally, _, store = run(Sink(set()), letters, even_if_newer=True)
    assert (tally.redriven, store.envelopes) == (3, {})


def test_ten_keys_in_a_row_that_fail_are_enough() -> None:
    letters = [change(n, f"key-{n}", **HELD) for n in range(30)]
    sink = Sink({str(n) for n in range(30)})
    tally, _, store = run(sink, letters)
    assert tally.given_up
    assert len({call[0] for call in sink.calls}) == 10
    assert len(store.envelopes) == 30


def test_one_that_is_busy_is_waited_for() -> None:
    clock, at = VirtualClock(), []

    class Busy(Sink):
        def process_records(self, records: Records[Any], checkpointer: Any) -> Any:
            at.append(clock.monotonic())
            if len(self.calls) < 3:
                self.calls.append([])
                raise RetryAfter(30)
            return super().process_records(records, checkpointer)

    tally, _, _ = run(Busy(set()), [change(1, **HELD)], clock)
    assert tally.redriven == 1
    assert at[-1] - at[0] == pytest.approx(90)


def test_what_was_said_of_a_record_before_the_pause_is_forgotten() -> None:
    class Undecided(Sink):
        def process_records(self, records: Records[Any], checkpointer: Any) -> Any:
            self.calls.append([])
            if len(self.calls) == 1:
                records[0].fail("not sure")
                raise RetryAfter(1)

    assert run(Undecided(set()), [change(1, **HELD)])[0].redriven == 1


def test_a_processor_that_can_not_begin_keeps_its_letters() -> None:
    class Broken(Sink):
        def initialize(self, shard: ShardContext) -> None:
            raise OSError("no network")

    sink = Broken(set())
    tally, kept, store = run(sink, [change(1, **HELD)])
    assert (tally.redriven, len(store.envelopes), sink.calls) == (0, 1, [])
    assert kept[0].failure is not None
    assert kept[0].failure.kind == "OSError"


async def test_checkpoints_are_nothing_here_in_plain_code_and_in_async_code() -> None:
    class Manual(RecordProcessor):
        async def process_records(self, records: Records[Any], checkpointer: Any) -> None:
            await checkpointer.checkpoint(records[0])
            with pytest.raises(CheckpointError, match="no checkpoints to prepare"):
                await checkpointer.prepare(records[0])

        def shutdown_requested(self, checkpointer: Any) -> None:
            checkpointer.checkpoint()

    store = MemoryDeadLetters()
    await store.put([change(1, **HELD)])
    redriving = Redrive(store, Manual, InlineThreads(), clock=VirtualClock(), random=Random(7), worker_id="w")
    assert (await redriving.run(store.letters())).redriven == 1


def test_a_letter_whose_body_was_changed_is_kept_and_holds_its_key() -> None:
    spoilt = replace(change(1, **HELD), payload=json.dumps({"Records": []}))
    tally, kept, store = run(Sink(set()), [spoilt, change(2, **HELD), change(3, "b", **HELD)])
    assert numbers(store) == {"1", "2"}
    assert tally.redriven == 1
    assert "alice" not in repr(kept)


def test_more_shards_than_processors_may_be_there_at_once() -> None:
    sink = Sink(set())
    tally, _, _ = run(sink, [change(n, f"{n}", shard=f"shard-{n}", **HELD) for n in range(130)])
    assert (tally.redriven, sink.ended, len(sink.shards)) == (130, 130, 130)


@given(
    keys=st.lists(st.sampled_from("abc"), min_size=1, max_size=12),
    poison=st.sets(st.integers(0, 11)),
    how=st.sampled_from(["raise", "return", "fail"]),
    batch_size=st.integers(1, 5),
)
def test_whatever_fails_a_key_s_letters_are_done_from_the_front_and_what_is_left_is_kept(
    keys: list[str], poison: set[int], how: str, batch_size: int
) -> None:
    letters = [change(n, key, **HELD) for n, key in enumerate(keys)]
    tally, kept, store = run(Sink({str(n) for n in poison}, how), letters, batch_size=batch_size)
    for key in set(keys):
        own = [n for n, each in enumerate(keys) if each == key]
        stop = next((n for n in own if n in poison), 99)
        assert {n for n in own if str(n) not in numbers(store)} == {n for n in own if n < stop}
    assert tally.redriven + len(kept) == len(letters)
    assert {each.letter.identity for each in kept} == set(store.envelopes)
