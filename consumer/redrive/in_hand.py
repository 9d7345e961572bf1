"""Letters of one key on their way through a worker's delivery, of which this is ground, inflow and code in one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from consumer.clock import Clock
from consumer.dead_letters.letter import DeadLetter
from consumer.delivery.callbacks import call_user_code
from consumer.delivery.ground import Policy, Taken
from consumer.delivery.one_lane import OneLane
from consumer.delivery.outcome import Raised
from consumer.delivery.reading import AllDone, Busy, Reading, SomeFailed, read_outcome
from consumer.delivery.threads import UserThreads
from consumer.delivery.time_limit import Overdue, TimedCall, TimeLimit
from consumer.failures import Failure
from consumer.hooks import Fact, RecordsGivenUp
from consumer.record import Record, Records, ViewType
from consumer.redrive.processors import NoCheckpoints, Processors
from consumer.shards.signal import Signal
from lease_store.checkpoint import TRIM_HORIZON, Checkpoint

__all__ = ["Calls", "InHand", "unheard"]

_MOST_PAUSES: Final = 10


class Calls:
    """How user code is called in a redrive: on which threads, and for how long.

    ``overdue`` hears of calls that last longer than ``timeout_seconds`` (None: no limit) and can't be ended.
    """

    def __init__(
        self,
        processors: Processors,
        threads: UserThreads,
        clock: Clock,
        timeout_seconds: float | None = None,
        overdue: Overdue | None = None,
    ) -> None:
        self.processors = processors
        self.clock = clock
        self._threads = threads
        self._timeout_seconds = timeout_seconds
        self._overdue = overdue or Overdue()

    async def process(self, letter: DeadLetter, records: Sequence[Any]) -> Reading:
        """One call over ``records``, the first of which is that of ``letter``."""
        processor = await self.processors.of(letter)
        if isinstance(processor, Raised):
            return read_outcome(processor, records)
        batch: Records[Any] = Records(records, shard_id=letter.shard_id, view_type=_view_type(records[0]))
        call = partial(processor.process_records, batch, NoCheckpoints())
        outcome = await call_user_code(self._threads, call, limit=self._limit(letter, len(records)))
        assert outcome is not None  # it is, where ``may_begin`` is not asked
        return read_outcome(outcome, records)

    def _limit(self, letter: DeadLetter, count: int) -> TimedCall | None:
        if self._timeout_seconds is None:
            return None
        limit = TimeLimit(
            letter.shard_id, self._timeout_seconds, clock=self.clock, hooks=unheard, overdue=self._overdue
        )
        return limit.call(lambda: f"{count} letters from {letter.identity} on")


class InHand:
    """Letters of one key and one shard, in order, until they are done, or the first that is not has been given up.

    ``on_done`` is awaited with the letters that a call has done, right after it. What delivery gives up is left where
    it is, and ends this: what follows it under its key must not overtake it. So does user code that asks for a pause
    once too often.
    """

    def __init__(
        self,
        letters: Sequence[DeadLetter],
        records: Sequence[Record],
        calls: Calls,
        on_done: Callable[[Sequence[DeadLetter]], Awaitable[None]],
    ) -> None:
        self._letters = {_number(record): letter for record, letter in zip(records, letters, strict=True)}
        self._first = letters[0]
        self._untaken: Sequence[Record] = records
        self._calls = calls
        self._on_done = on_done
        self._signal = Signal(calls.clock)
        self._is_over = False
        self._pauses = 0
        self.failure: Failure | None = None
        """What the last call came to that failed."""

    @property
    def left(self) -> list[DeadLetter]:
        """Those that are not done, in order."""
        return list(self._letters.values())

    async def run(self, policy: Policy) -> None:
        """As far as it goes."""
        delivery = OneLane(replace(policy, hooks=self._heard), self, self, (self,), TRIM_HORIZON)
        try:
            await delivery.run()
        finally:
            await delivery.close()

    def _heard(self, fact: Fact) -> None:
        if isinstance(fact, RecordsGivenUp):
            self._end()

    def _end(self) -> None:
        self._is_over = True
        self.notify()

    # -- what delivery calls (``delivery.ground.Code``)

    async def process(self, records: Sequence[Record], millis_behind_latest: int | None) -> Reading:
        """One call; what it has done is removed before anything else is tried."""
        reading = await self._calls.process(self._letters[_number(records[0])], records)
        if isinstance(reading, AllDone):
            await self._done(records)
            return reading
        self.failure = reading.failure
        if isinstance(reading, SomeFailed):
            await self._done(records[: min(reading.failures)])
        self._pauses = self._pauses + 1 if isinstance(reading, Busy) else 0
        if self._pauses > _MOST_PAUSES:
            self._end()
        return reading

    async def _done(self, records: Sequence[Record]) -> None:
        await self._on_done([self._letters.pop(_number(record)) for record in records])

    def returned(self, records: Sequence[Record], seconds: float) -> None:
        """Nothing is left to be done for them."""

    # -- what it takes records from (``delivery.ground.Inflow``)

    @property
    def is_at_end(self) -> bool:
        return not self._untaken

    def take(self, most: int) -> Taken | None:
        """All of them, as if they were of one page."""
        taken, self._untaken = self._untaken[:most], self._untaken[most:]
        return Taken(taken, None) if taken else None

    def done_with(self, count: int) -> None:
        """They stand in no page."""

    # -- what it stands on (``delivery.ground.Ground``)

    @property
    def shard_id(self) -> str:
        return self._first.shard_id

    @property
    def stream(self) -> str:
        return self._first.stream

    @property
    def stream_arn(self) -> str:
        return self._first.stream_arn

    def must_stop(self) -> bool:
        return self._is_over

    async def trusted(self) -> bool:
        """There is no lease that could be lost."""
        return True

    def notify(self) -> None:
        self._signal.notify()

    async def until(self, condition: Callable[[], object], within_seconds: float | None = None) -> bool:
        return await self._signal.until(condition, within_seconds)

    async def change(self, within_seconds: float | None = None) -> None:
        await self._signal.change(within_seconds)

    def begin_stage(self, stage: str) -> None:
        """Nobody watches."""

    def end_stage(self, stage: str) -> None:
        """Nobody watches."""

    def advance(self, place: Checkpoint) -> None:
        """There is no checkpoint."""


def _number(record: Record) -> tuple[str, int]:
    return record.sequence_number, record.sub_sequence_number


def _view_type(record: Any) -> ViewType | None:
    told = record.raw.get("dynamodb", {}).get("StreamViewType")
    return ViewType(told) if told in ViewType.__members__ else None


def unheard(fact: Fact) -> None:
    """A redrive has no hooks; who waits for it sees what it says."""
