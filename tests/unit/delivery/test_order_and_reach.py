"""What the world of policies has found: order under every policy, how far checkpoints reach, and nothing for ever."""

from __future__ import annotations

import asyncio

import pytest

from consumer.delivery.batching import BatchRules, Run, Waiting
from consumer.errors import CheckpointBackwards, DeadLetterError
from consumer.hooks import Stuck
from consumer.outcomes import BatchFailures, RetryAfter
from consumer.processor import RecordProcessor
from consumer.shards.lifecycle import Event
from consumer.testing import MemoryDeadLetters
from tests.unit.delivery.delivery_stage import Sink, kinesis, letters_of, pages, play
from tests.unit.shards.shard_fakes import FakeTenure, numbers


def processors(act, tell=None):
    """A factory of processors whose process_records is ``act(records, checkpointer)``; other calls go to ``tell``."""

    class Processor(RecordProcessor):
        async def initialize(self, shard):
            self.lane = shard.lane
            if tell:
                await tell(self.lane, "initialize")

        async def process_records(self, records, checkpointer):
            return await act(records, checkpointer)

        async def shutdown_requested(self, checkpointer):
            await checkpointer.checkpoint()

        async def lease_lost(self):
            if tell:
                await tell(self.lane, "lease_lost")

    class Made:
        processor = Processor

    return Made


@pytest.mark.parametrize("failing", [lambda: True, lambda: BatchFailures(["4711"])], ids=["value", "stranger"])
def test_a_batch_whose_outcome_is_not_understood_is_covered_by_no_checkpoint(failing):
    """Its user code says checkpoint() when it is told to leave, and means what was done with."""
    tenure = FakeTenure()

    async def act(records, checkpointer):
        if numbers(records)[0] > 2:
            tenure.ask("hand_off")
            return failing()
        return None

    play(processors(act), pages([(1, "a"), (2, "b")], [(3, "a"), (4, "b")], ends=False), tenure=tenure, batch_size=2)
    assert [call[1] for call in tenure.calls if call[0] == "checkpoint"][-1] == "2"


def test_with_lanes_a_record_that_was_parked_may_be_checkpointed_after_others_of_its_lane():
    failing = [1]
    refused = []

    async def act(records, checkpointer):
        if failing and 1 in numbers(records):
            failing.clear()
            records[0].fail(ValueError("busy"))
            return
        try:
            await checkpointer.checkpoint(records[-1])
        except CheckpointBackwards as error:
            refused.append(error)

    stage = play(
        processors(act), pages([(1, "a"), (2, "c")], [(3, "c")]), lanes=2, batch_size=1, checkpointing="manual"
    )
    assert (refused, stage.ended_by) == ([], Event.END_STORED)


def test_what_was_cut_with_a_parked_record_does_not_overtake_what_waits_behind_it():
    """Taken apart, a batch's later pieces wait while the sink is down, and parked keys and pieces take turns."""
    sink = Sink()
    fails = iter([True] * 8)
    sink.down = lambda: next(fails, False)
    run = [(1, "k"), (2, "k"), (3, "m"), (4, "k")]
    play(sink, pages(run), bisect=True, batch_size=4, seconds=3000)
    of_k = [number for number in sink.effects if number != 3]
    assert of_k == [1, 2, 4]


def test_a_batch_that_was_joined_is_in_the_order_of_the_stream():
    def run(*indexes):
        return Run([kinesis(index) for index in indexes], list(indexes), None, 0.0)

    waiting = Waiting(BatchRules(10, window_seconds=1.0))
    for each in (run(5, 9), run(3, 7), run(11)):
        waiting.add(each)
    batch = waiting.cut()
    assert (list(batch.indexes), numbers(batch.records)) == ([3, 5, 7, 9, 11], [3, 5, 7, 9, 11])


def test_manual_code_that_claims_late_is_given_more_than_it_may_be_ahead():
    seen = []

    async def act(records, checkpointer):
        seen.extend(numbers(records))
        if len(seen) >= 30:
            await checkpointer.checkpoint()

    script = pages([(number, f"k{number}") for number in range(1, 41)])
    stage = play(processors(act), script, lanes=3, batch_size=2, max_ahead_records=4, checkpointing="manual")
    assert sorted(seen) == list(range(1, 41))
    assert stage.ended_by is Event.END_STORED


def test_what_was_noted_before_a_raise_says_nothing_of_the_next_call():
    calls, effects = [], []

    async def act(records, checkpointer):
        calls.append(numbers(records))
        if len(calls) == 1:
            records[0].fail(ConnectionError())
            raise ConnectionError
        effects.extend(numbers(records))

    store = MemoryDeadLetters()
    script = pages([(number, f"k{number}") for number in (1, 2, 3, 4)])
    play(processors(act), script, dead_letters=store, bisect=True, max_attempts=1)
    assert effects == [1, 2, 3, 4]
    assert letters_of(store) == []


@pytest.mark.parametrize(("claims", "shown"), [(False, ["waiting_for_checkpoints"]), (True, [])])
def test_more_records_without_a_claim_than_a_takeover_may_repeat_are_shown(claims, shown):
    async def act(records, checkpointer):
        if claims:
            await checkpointer.checkpoint()

    script = pages([(number, f"k{number}") for number in range(1, 41)], ends=False)
    stage = play(processors(act), script, lanes=2, batch_size=5, max_ahead_records=10, checkpointing="manual")
    assert [fact.stage for fact in stage.of(Stuck)] == shown


def test_letters_that_a_hand_off_left_unwritten_are_written_once_it_is_taken_back():
    """Another lane's batch goes on meanwhile, so that the shard has not left when the stop is taken back."""
    tenure = FakeTenure()
    refusals = iter([True])

    def refuse(_):
        if next(refusals, False):
            tenure.ask("hand_off")
            asyncio.get_running_loop().call_later(1.0, tenure.ask, None)
            raise DeadLetterError

    async def act(records, checkpointer):
        if numbers(records) == [1]:
            raise ValueError
        await asyncio.sleep(10.0)

    store = MemoryDeadLetters(before_put=refuse)
    script = pages([(1, "a"), (2, "c"), (3, "c")])
    stage = play(
        processors(act),
        script,
        lanes=2,
        batch_size=1,
        dead_letters=store,
        tenure=tenure,
        max_attempts=1,
        lone_failure_seconds=1,
    )
    assert letters_of(store) == [(1, "attempts_exhausted")]
    assert stage.ended_by is Event.END_STORED


def test_records_that_a_store_does_not_take_bound_how_far_others_run_ahead():
    sink = Sink()
    factory = sink.processor

    class Factory:
        @staticmethod
        def filter(record):
            if record.sequence_number == "1":
                raise LookupError
            return True

        def __call__(self):
            return factory()

    def refuse(_):
        raise DeadLetterError

    sink.processor = Factory()
    play(
        sink,
        pages([(number, f"k{number}") for number in range(1, 101)], ends=False),
        dead_letters=MemoryDeadLetters(before_put=refuse),
        on_undecodable="dead_letter",
        max_ahead_records=10,
        batch_size=1,
    )
    assert len(sink.effects) <= 10


@pytest.mark.parametrize("lanes", [1, 2])
def test_what_the_filter_can_not_judge_holds_up_nobody_while_its_letter_is_refused(lanes):
    def refuse(_):
        raise DeadLetterError

    seen = []

    async def act(records, checkpointer):
        seen.extend(numbers(records))

    def judge(record):
        if record.key == "a":
            raise LookupError
        return True

    made = processors(act)
    made.processor.filter = staticmethod(judge)

    script = pages([(1, "a")], [(2, "b")], [], [], [(3, "c")], ends=False)
    store = MemoryDeadLetters(before_put=refuse)
    play(made, script, dead_letters=store, on_undecodable="dead_letter", lanes=lanes)
    assert seen == [2, 3]


def test_a_lane_that_was_initialized_before_a_stop_is_told_of_its_end_and_initialized_once():
    tenure, told = FakeTenure(), []

    async def tell(lane, what):
        told.append((lane, what))
        if what == "initialize" and lane == 1:
            tenure.ask("hand_off")
            raise ConnectionError

    async def act(records, checkpointer):
        raise AssertionError("it never began")

    play(processors(act, tell), pages([(1, "a")]), lanes=2, tenure=tenure, seconds=60)
    assert told == [(0, "initialize"), (1, "initialize"), (0, "lease_lost")]


def test_who_has_asked_for_a_pause_does_not_keep_others_from_finding_the_sink_up():
    """While the sink is down one unit at a time probes; a unit with an hour's pause of its own is not waited for."""
    asked, done = [], []

    async def act(records, checkpointer):
        now = asyncio.get_running_loop().time()
        number = numbers(records)[0]
        if number == 1 and now > 2.0 and not asked:
            asked.append(now)
            raise RetryAfter(3600)
        if now < 200.0:
            raise ConnectionError
        done.append((number, now))

    play(processors(act), pages([(n, f"k{n}") for n in range(1, 9)]), lanes=8, batch_size=1, seconds=5000)
    assert min(now for _, now in done) < 300.0
