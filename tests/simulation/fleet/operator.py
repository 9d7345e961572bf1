"""Somebody who looks after dead letters while the fleet runs: redrives them, drops them, is interrupted at it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

from consumer.dead_letters.letter import DeadLetter
from consumer.delivery.threads import InlineThreads
from consumer.errors import DeadLetterError
from consumer.processor import Checkpointer, RecordProcessor
from consumer.record import Record, Records
from consumer.redrive.redrive import Redrive, RedriveRules
from tests.simulation.fleet.letters import DoorToLetters
from tests.simulation.fleet.policy import serial_of
from tests.simulation.fleet.process import Surroundings
from tests.simulation.fleet.written import Written
from tests.simulation.loop import SimClock, spawn_as

__all__ = ["Operator"]

_NAME = "operator"
_SEEN_SECONDS = 12.0  # longer than it takes workers to see that a key is held no more
_A_WHILE_SECONDS = 0.5
_MOST_ROUNDS = 40


class Operator:
    """One at a time: two redrives at once run a letter twice."""

    def __init__(self, seed: int, around: Surroundings) -> None:
        self._around = around
        self._policy = around.draw.policy
        self._chance = random.Random(f"{seed}:{_NAME}")
        self._clock = SimClock()
        self._store = DoorToLetters(around.letters, _NAME, clock=self._clock, draw=self._chance)
        self.mended_at: float | None = None
        """Since when nothing fails any more, and no letter holds a key (virtual time); None before."""
        self._work: asyncio.Task[Any] | None = None

    def begin(self) -> None:
        """Go through all letters, or be interrupted at it; nothing where the last one is not through yet."""
        if self._work is None or self._work.done():
            self._work = spawn_as(_NAME, self._interrupted(self._chance.choice((1.0, 10.0, 60.0))))

    async def finish(self) -> None:
        """What went wrong is mended: until nothing is left of what is there, and all that followed goes its way."""
        if self._work is not None:
            await asyncio.wait({self._work})
        judge, self._around.trouble.is_mended = self._around.judge, True
        keys = {record.key for record in judge.accounts.letters.left()}
        for _ in range(_MOST_ROUNDS):
            await spawn_as(_NAME, self._go_through())
            if not self._may_all_go():
                return
            await asyncio.sleep(_A_WHILE_SECONDS)
            # What was on its way when the last letter of its key was removed holds the key once more.
            if not self._left(keys):
                await asyncio.sleep(_SEEN_SECONDS)
                if not self._left(keys):
                    break
        else:
            judge.breach(f"after {_MOST_ROUNDS} rounds the store still has letters of {self._left(keys)}")
        self.mended_at = asyncio.get_running_loop().time()

    def _left(self, keys: set[str]) -> list[str]:
        return sorted({each.key for each in self._around.judge.accounts.letters.left()} & keys)

    def _may_all_go(self) -> bool:
        policy = self._policy
        if policy.setting("on_undecodable") == "dead_letter":
            return False  # there is always one more
        return policy.operator == "drop" or policy.holds_keys or policy.even_if_newer

    async def _interrupted(self, after_seconds: float) -> None:
        try:
            async with asyncio.timeout(after_seconds):
                await self._go_through()
        except TimeoutError:
            self._around.judge.note("the operator is interrupted")

    async def _go_through(self) -> None:
        try:
            if self._policy.operator == "drop":
                async for letter in self._store.letters():
                    if isinstance(letter, DeadLetter):
                        await self._store.remove(letter.identity)
                return
            rules = RedriveRules(
                batch_size=100 if self._around.trouble.is_mended else self._chance.choice((1, 100)),
                max_attempts=2,
                retry_limit_seconds=1.0,
                even_if_newer=self._policy.even_if_newer,
            )
            redrive = Redrive(
                self._store,
                self._made,
                InlineThreads(),
                clock=self._clock,
                random=self._chance,
                worker_id=_NAME,
                rules=rules,
            )
            tally = await redrive.run(self._store.letters())
            self._around.judge.note(f"the operator is through: {tally}")
        except DeadLetterError as error:
            self._around.judge.note(f"the operator gives up: {error}")

    def _made(self) -> RecordProcessor:
        return _Code(self._around, self._clock, self._chance)


class _Code(RecordProcessor):
    """The fleet's user code, as a redrive calls it."""

    def __init__(self, around: Surroundings, clock: SimClock, chance: random.Random) -> None:
        self._around = around
        self._judge = around.judge
        self._clock = clock
        self._chance = chance

    async def process_records(self, records: Records[Any], checkpointer: Checkpointer) -> Any:
        written = [self._written(each, records.shard_id) for each in records]
        for each, record in zip(written, records, strict=True):
            self._judge.accounts.letters.redriving(each, is_marked=record.redriven)
        verdict = self._around.trouble.verdict(records)
        await self._clock.sleep(self._chance.uniform(0.0, 0.3))
        if verdict.error is not None and not verdict.failed:
            raise verdict.error
        if verdict.value is not True:
            first = min(verdict.failed, default=len(records))
            self._redriven([each for each in written[:first] if each is not None])
        if verdict.error is not None:
            raise verdict.error
        return verdict.value

    def _written(self, record: Record, shard_id: str) -> Written | None:
        found = self._judge.written(serial_of(record))
        return found if found is not None and found.place[1] == shard_id else None

    def _redriven(self, records: Sequence[Written]) -> None:
        if records:
            name = records[0].place[0], records[0].key
            self._judge.note(f"the operator redrives {[each.serial for each in records]} of {name[1]}")
            self._judge.accounts.letters.redriven(records, self._judge.accounts.newest_done.get(name, -1))
