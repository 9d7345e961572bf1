"""Two redrives of one store: the second is refused, and told until when, whatever becomes of the first."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest

from consumer.delivery.threads import InlineThreads
from consumer.errors import DeadLetterError, DeadLetterStoreUnavailable
from consumer.processor import RecordProcessor
from consumer.redrive.claim import Claim
from consumer.redrive.redrive import Redrive
from consumer.testing.memory_dead_letters import MemoryDeadLetters
from consumer.testing.virtual_time import VirtualClock, run_virtual
from tests.dead_letters import change

CLOCK = VirtualClock()


class Slow(RecordProcessor):
    """Three minutes a letter."""

    calls: list[str]

    async def process_records(self, records: Any, checkpointer: Any) -> None:
        self.calls += [record.sequence_number for record in records]
        await asyncio.sleep(180)


def redriving(store: MemoryDeadLetters, who: str) -> Redrive:
    return Redrive(store, Slow, InlineThreads(), clock=CLOCK, random=Random(7), worker_id=who)


def test_each_letter_runs_once_where_a_second_one_is_begun_meanwhile() -> None:
    Slow.calls = []

    async def main() -> None:
        store = MemoryDeadLetters()
        await store.put([change(n, f"key-{n}", key_is_held=True) for n in range(3)])
        first = asyncio.create_task(redriving(store, "ada").run(store.letters()))
        for _ in range(5):
            await asyncio.sleep(100)
            with pytest.raises(DeadLetterError, match=r"memory: is being redriven by ada: .* in (4|5|6)[0-9] s"):
                await redriving(store, "bob").run(store.letters())
        assert (await first).redriven == 3
        assert (await redriving(store, "bob").run(store.letters())).redriven == 0, "it was given back"

    run_virtual(main())
    assert sorted(Slow.calls) == ["0", "1", "2"]


def test_one_that_has_lost_the_letters_runs_no_further_key() -> None:
    Slow.calls = []

    async def main() -> None:
        store = MemoryDeadLetters()
        await store.put([change(n, f"key-{n}", key_is_held=True) for n in range(3)])
        frozen = asyncio.create_task(redriving(store, "ada").run(store.letters()))
        await asyncio.sleep(100)
        store.noted = '{"redrive": "bob", "until": 9e12}'
        with pytest.raises(DeadLetterError, match="by bob"):
            await frozen
        assert (len(store.envelopes), len(Slow.calls)) == (2, 1), "what ran is done, nothing else was begun"

    run_virtual(main())


def test_who_is_killed_has_the_letters_for_a_minute_more() -> None:
    async def main() -> None:
        store = MemoryDeadLetters()
        killed = Claim(store, CLOCK, "ada")
        assert await killed._write("")
        await asyncio.sleep(59)
        with pytest.raises(DeadLetterError, match=r"by ada: .* in 1 s"):
            async with Claim(store, CLOCK, "bob").held():
                pass
        await asyncio.sleep(1)
        async with Claim(store, CLOCK, "bob").held():
            with pytest.raises(DeadLetterError, match="for 60 s that this redrive goes on"):
                killed.check()

    run_virtual(main())


def test_who_was_frozen_for_too_long_ends_and_takes_nothing_from_the_next() -> None:
    async def main() -> None:
        store = MemoryDeadLetters()
        frozen = Claim(store, CLOCK, "ada")
        async with frozen.held():
            store.noted = '{"redrive": "bob", "until": 9e12}'
            await asyncio.sleep(20)
            with pytest.raises(DeadLetterError, match="by bob"):
                frozen.check()
        assert "bob" in store.noted

    run_virtual(main())


@pytest.mark.parametrize("noted", ["", "no JSON", "[]", '{"redrive": "ada", "until": 1.0}'])
def test_a_note_that_says_nothing_or_has_run_out_stops_nobody(noted: str) -> None:
    async def main() -> None:
        store = MemoryDeadLetters()
        store.noted = noted
        async with Claim(store, CLOCK, "bob").held():
            assert "bob" in store.noted
        assert store.noted == ""

    run_virtual(main())


def test_a_store_that_fails_for_a_moment_costs_nothing_and_one_that_fails_for_a_minute_ends_it() -> None:
    class Shaky(MemoryDeadLetters):
        down = False

        async def note(self, seen: str, text: str) -> str:
            if self.down:
                raise DeadLetterStoreUnavailable("down")
            return await super().note(seen, text)

    async def main() -> None:
        store = Shaky()
        claim = Claim(store, CLOCK, "ada")
        async with claim.held():
            store.down = True
            await asyncio.sleep(40)
            claim.check()
            store.down = False
            await asyncio.sleep(100)
            claim.check()
            store.down = True
            await asyncio.sleep(61)
            with pytest.raises(DeadLetterError, match="could not be told"):
                claim.check()

    run_virtual(main())
