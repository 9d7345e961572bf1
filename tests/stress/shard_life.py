"""One shard under a policy, from its first read to its end: something is done to it at one step of its loop."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from consumer.dead_letters.letter import DeadLetter, Identity
from consumer.errors import DeadLetterStoreUnavailable
from consumer.processor import RecordProcessor
from consumer.shards.lifecycle import Event
from consumer.testing.memory_dead_letters import MemoryDeadLetters
from tests.unit.delivery.delivery_stage import letters_of, pages
from tests.unit.shards.shard_fakes import KINESIS, FakeSource, FakeTenure, Stage

__all__ = ["RECORDS", "Act", "ShardLife"]

RECORDS = 12
_KEYS = 5
_BAD = {2, 7, 11}
_QUICK = {"max_attempts": 2, "lone_failure_seconds": 3.0, "retry_limit_seconds": 1.0}
_WITHIN_SECONDS = 200.0

Act = Callable[[Stage], None]


class ShardLife:
    """The user code, the store and the records of one life. ``plain``: bad records raise, and are not named.

    ``stubborn`` code goes on when it is cancelled. Nothing of any of it may run once the life is over.
    """

    def __init__(self, *, plain: bool = False, stubborn: bool = False, **settings: Any) -> None:
        self.plain = plain
        self.stubborn = stubborn
        self.done: set[int] = set()
        self.told: dict[int, list[str]] = defaultdict(list)
        self.running: set[object] = set()
        self.is_over = False
        self.was_reached = False
        self._settings = settings

    async def live(self, act: Act, place: int) -> None:
        """Live to the end, and do ``act`` at the loop's step ``place``, from 0 on, where it comes so far."""
        letters = _Store(self)
        records = [(number, f"k{number % _KEYS}") for number in range(1, RECORDS + 1)]
        source = FakeSource(*pages(records[:4], records[4:5], records[5:]))
        settings = {"dead_letters": "file:in memory", "batch_size": 4, **_QUICK, **self._settings}
        stage = Stage(FakeTenure(), source, lambda: _Code(self), stream=KINESIS, letters=letters, **settings)
        loop: Any = asyncio.get_running_loop()
        steps = count()

        def step() -> None:
            if next(steps) == place:
                self.was_reached = True
                act(stage)

        loop.on_step = step
        stage.consumer.begin()
        ended, _ = await asyncio.wait({stage.ended}, timeout=_WITHIN_SECONDS)
        loop.on_step = None
        self.is_over = True
        assert ended, "it goes on"
        await asyncio.sleep(0)
        self._check(stage, {number for number, _ in letters_of(letters)})

    def _check(self, stage: Stage, letters: set[int]) -> None:
        """Nothing is left of it, and all that it stored as done is done."""
        assert not self.running, "user code, or a write of letters, outlives the tenure"
        assert stage.shared.budget.used_bytes == 0
        assert stage.wheel.under_way == 0
        breaker = stage.policy.breaker
        assert [breaker._waiting, breaker._streak, breaker._unproven, breaker._probing] == [{}, {}, {}, None]
        stored = [int(place) for _, place in stage.tenure.stored]
        assert stored == sorted(stored)
        assert set(range(1, max(stored, default=0) + 1)) <= self.done | letters, "a checkpoint passed an open record"
        if stage.tenure.children is not None:
            assert self.done | letters == set(range(1, RECORDS + 1)), "the shard ended before its records"
        event = None if stage.ended.cancelled() else stage.ended.result()
        for told in self.told.values():
            assert tuple(told) in _words(event), "callbacks in another order than the KCL's"

    async def work(self, who: object, seconds: float) -> None:
        """Something of this life takes its time: a lane's user code, or a write of letters."""
        assert not self.is_over, "called after its end"
        assert who not in self.running, "called twice at once"
        self.running.add(who)
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            if not (self.stubborn and isinstance(who, int)):  # a lane's number: user code
                raise
            await asyncio.sleep(seconds)
        finally:
            self.running.discard(who)


def _words(event: Event | None) -> set[tuple[str, ...]]:
    """What a processor may be told in a life that ends with ``event`` (None: it was abandoned at any place)."""
    ends = ((), ("ended",), ("shutdown",), ("lost",), ("shutdown", "lost"), ("ended", "lost"))
    whole = {("initialize", *end) for end in ends}
    if event is Event.END_STORED:
        return {("initialize", "ended")}
    return {(), *whole}


class _Code(RecordProcessor):
    def __init__(self, life: ShardLife) -> None:
        self._life = life
        self._lane = 0

    async def initialize(self, shard: Any) -> None:
        self._lane = shard.lane
        self._life.told[self._lane].append("initialize")

    async def process_records(self, records: Any, checkpointer: Any) -> None:
        numbers = [int(record.sequence_number) for record in records]
        await self._life.work(self._lane, 2.0 if self._life.stubborn and _BAD & {*numbers} else 0.5)
        for number, record in zip(numbers, records, strict=True):
            if number not in _BAD:
                self._life.done.add(number)
            elif self._life.plain:
                raise ValueError(number)
            else:
                record.fail(ValueError(number))

    async def shard_ended(self, checkpointer: Any) -> None:
        self._life.told[self._lane].append("ended")
        await checkpointer.checkpoint()

    async def shutdown_requested(self, checkpointer: Any) -> None:
        self._life.told[self._lane].append("shutdown")
        await checkpointer.checkpoint()

    async def lease_lost(self) -> None:
        self._life.told[self._lane].append("lost")
        await asyncio.sleep(0)


class _Store(MemoryDeadLetters):
    """Slow, and every third write of it fails."""

    def __init__(self, life: ShardLife) -> None:
        super().__init__()
        self._life = life

    async def put(self, letters: Sequence[DeadLetter]) -> None:
        await self._life.work(self, 0.05)
        await super().put(letters)
        if self.puts % 3 == 1:
            raise DeadLetterStoreUnavailable("its reply is lost")

    async def find(self, identity: Identity) -> DeadLetter | None:
        await asyncio.sleep(0.02)
        return await super().find(identity)
