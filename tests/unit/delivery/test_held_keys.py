"""``after_dead_letter=hold_key``: what comes after a dead letter under its key follows it, until that is resolved."""

from __future__ import annotations

import asyncio
import random
from itertools import pairwise

import pytest

from consumer.dead_letters.letter import digest_of
from consumer.delivery.held_keys import HeldKeys
from consumer.errors import DeadLetterStoreUnavailable
from consumer.hooks import KeysHeld
from consumer.processor import RecordProcessor
from consumer.shards.lifecycle import Event
from consumer.testing import MemoryDeadLetters
from consumer.testing.virtual_time import VirtualClock, run_virtual
from tests.unit.delivery.delivery_stage import Sink, kinesis, letters_of, pages, play
from tests.unit.shards.shard_fakes import KINESIS, FakeSource, numbers, page

ALL = [(number, f"k{number % 10}") for number in range(1, 51)]


def test_all_of_the_key_that_follows_goes_into_the_store_and_other_keys_go_on():
    sink, store = Sink(15, how="fail"), MemoryDeadLetters()
    stage = play(sink, pages(ALL[:20], ALL[20:]), dead_letters=store, max_attempts=2, after_dead_letter="hold_key")
    assert stage.ended_by is Event.END_STORED
    assert letters_of(store) == [(15, "attempts_exhausted"), (25, "key_held"), (35, "key_held"), (45, "key_held")]
    assert sorted(sink.effects) == [number for number in range(1, 51) if number % 10 != 5 or number < 15]
    assert stage.of(KeysHeld)[-1].keys == 1


def test_a_key_that_another_worker_holds_is_held_from_the_first_record_of_a_tenure():
    store = MemoryDeadLetters()
    play(Sink(5, how="fail"), pages(ALL[:10]), dead_letters=store, max_attempts=1, after_dead_letter="hold_key")
    sink = Sink()
    play(sink, pages(ALL[10:20]), dead_letters=store, after_dead_letter="hold_key")
    assert 15 not in sink.effects
    assert (15, "key_held") in letters_of(store)


def test_a_record_that_comes_again_does_not_replace_the_letter_that_tells_its_error():
    store = MemoryDeadLetters()
    play(Sink(5, how="fail"), pages(ALL[:10]), dead_letters=store, max_attempts=1, after_dead_letter="hold_key")
    play(Sink(), pages(ALL[:10]), dead_letters=store, after_dead_letter="hold_key")
    assert letters_of(store) == [(5, "attempts_exhausted")]


def test_a_shard_begins_no_batch_before_the_store_has_said_which_keys_it_holds():
    class Deaf(MemoryDeadLetters):
        async def held_keys(self, stream):
            if asyncio.get_running_loop().time() < 100:
                raise DeadLetterStoreUnavailable("down")
            return await super().held_keys(stream)

    sink = Sink()
    play(sink, pages(ALL), dead_letters=Deaf(), after_dead_letter="hold_key")
    assert sink.calls[0][0] >= 100
    assert sorted(sink.effects) == list(range(1, 51))


def test_what_follows_is_looked_for_eight_letters_at_a_time():
    class Slow(MemoryDeadLetters):
        async def find(self, identity):
            await asyncio.sleep(1)
            return await super().find(identity)

    store = Slow()
    settings = {"dead_letters": store, "max_attempts": 1, "after_dead_letter": "hold_key", "breaker_batches": 0}
    play(Sink(1, how="fail"), pages([(1, "k")]), **settings)
    stored_in = []
    store.after_put = lambda letters: stored_in.append((asyncio.get_running_loop().time(), len(letters)))
    play(Sink(), pages([(number, "k") for number in range(2, 82)]), **settings)
    assert [count for _, count in stored_in] == [80]
    assert stored_in[0][0] < 12, "80 round trips one after another would take 80 s"


class Desk:
    """One worker's held keys beside a store, in virtual time."""

    def __init__(self):
        self.store = MemoryDeadLetters()
        self.facts = []
        self.clock = VirtualClock()
        self.held = HeldKeys(self.store, self.clock, random.Random(1), self.facts.append)
        self.record = kinesis(7, "key")

    async def list(self):
        await self.held.listed_since(KINESIS.label, self.clock.monotonic())


def test_a_key_is_let_go_once_a_listing_that_began_later_shows_no_letter():
    async def main():
        desk = Desk()
        desk.held.leaving(KINESIS.label, desk.record)
        assert desk.held.holds(KINESIS.label, desk.record)
        await desk.list()
        assert desk.held.holds(KINESIS.label, desk.record), "its letter is on its way"
        desk.held.left(KINESIS.label, desk.record)
        await asyncio.sleep(1)
        await desk.list()
        assert not desk.held.holds(KINESIS.label, desk.record), "and somebody has redriven it"

    run_virtual(main())


def test_a_letter_stored_while_the_listing_runs_keeps_its_key_held():
    async def main():
        desk = Desk()
        slow = asyncio.Event()

        async def held_keys(stream):
            await slow.wait()
            return frozenset()

        desk.store.held_keys = held_keys
        listing = asyncio.create_task(desk.list())
        await asyncio.sleep(1)
        desk.held.leaving(KINESIS.label, desk.record)
        desk.held.left(KINESIS.label, desk.record)
        slow.set()
        await listing
        assert desk.held.holds(KINESIS.label, desk.record)

    run_virtual(main())


def test_keys_are_those_of_one_incarnation_of_the_stream():
    """A worker that still drains shards of the stream as it was lists both, and mixes up none."""

    async def main():
        desk, old = Desk(), "orders/earlier"
        desk.held.leaving(old, desk.record)
        desk.held.left(old, desk.record)
        desk.store.held_keys = lambda stream: asyncio.sleep(0, frozenset([digest_of("key")] if stream == old else []))
        await desk.held.listed_since(old, desk.clock.monotonic())
        listing = asyncio.create_task(desk.held.run())
        await desk.list()
        await asyncio.sleep(150)
        assert desk.held.holds(old, desk.record)
        assert not desk.held.holds(KINESIS.label, desk.record)
        listing.cancel()

    run_virtual(main())


def test_the_pause_grows_with_what_a_listing_takes():
    async def main():
        desk, begun = Desk(), []

        async def held_keys(stream):
            begun.append(desk.clock.monotonic())
            await asyncio.sleep(0 if len(begun) < 4 else 5)
            return frozenset()

        desk.store.held_keys = held_keys
        await desk.list()
        listing = asyncio.create_task(desk.held.run())
        await asyncio.sleep(400)
        listing.cancel()
        assert [round(later - earlier) for earlier, later in pairwise(begun)] == [60, 60, 60, 105, 105]

    run_virtual(main())


def test_no_more_than_ten_thousand_keys_are_held_and_what_fails_then_waits():
    async def main():
        desk = Desk()

        async def held_keys(stream):
            return frozenset(digest_of(str(number)) for number in range(10_000))

        desk.store.held_keys = held_keys
        await desk.list()
        assert not desk.held.may_add(KINESIS.label, kinesis(1, "new"))
        assert desk.held.may_add(KINESIS.label, kinesis(1, "17"))

    run_virtual(main())


def test_a_busy_key_goes_on_as_soon_as_its_letter_was_redriven():
    """Not with a listing: a record between two of them would be the next letter, and so for ever."""

    class Redriven(MemoryDeadLetters):
        """Somebody drops all letters after 50 s, while records of the key come and come."""

        async def holds(self, stream, digest):
            if asyncio.get_running_loop().time() > 50:
                self.held = self.held or len(self.envelopes)
                self.envelopes.clear()
            return await super().holds(stream, digest)

        held = 0

    sink, store = Sink(1, how="fail"), Redriven()
    source = FakeSource(*[page([kinesis(number, "busy")]) for number in range(1, 401)], rate=1.0)
    settings = {"dead_letters": store, "max_attempts": 1, "after_dead_letter": "hold_key", "breaker_batches": 0}
    stage = play(sink, source, seconds=500, **settings)
    assert store.held > 30
    assert letters_of(store) == []
    assert sink.effects == sorted(sink.effects), "in order all the same"
    assert sink.effects[-1] == 400
    assert len(sink.effects) > 300
    assert stage.of(KeysHeld)[-1].keys == 0


@pytest.mark.parametrize("lanes", [1, 3])
def test_a_record_that_can_not_be_judged_does_not_overtake_what_waits_under_its_key(lanes):
    """Its letter would hold the key, and a redrive at that moment run it before those."""
    store, seen = MemoryDeadLetters(), []

    class User(RecordProcessor):
        @staticmethod
        def filter(record):
            if record.sequence_number in {"3", "5"}:
                raise LookupError
            return True

        async def process_records(self, records, checkpointer):
            await asyncio.sleep(5.0)
            seen.append((numbers(records), letters_of(store)))

    class Made:
        processor = User

    script = pages([(1, "b"), (2, "a"), (3, "a"), (4, "a"), (5, "c"), (6, "b")])
    settings = {"after_dead_letter": "hold_key", "on_undecodable": "dead_letter", "lanes": lanes}
    stage = play(Made, script, dead_letters=store, **settings)
    assert all((3, "undecodable") not in letters for given, letters in seen if 2 in given)
    assert sorted(number for given, _ in seen for number in given) == [1, 2, 6]
    assert letters_of(store) == [(3, "undecodable"), (4, "key_held"), (5, "undecodable")]
    assert stage.ended_by is Event.END_STORED
