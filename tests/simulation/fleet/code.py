"""User code of the fleet world: it tells the judge what it saw and is through with, and is as rough as drawn."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

from consumer.errors import BatchTimedOut, CheckpointError, ConfigError, LeaseLost
from consumer.outcomes import BatchFailures, RetryAfter
from consumer.processor import Checkpointer, RecordProcessor, ShardContext
from consumer.record import Record, Records
from tests.simulation.fleet.draw import Code
from tests.simulation.fleet.judge import StreamJudge
from tests.simulation.fleet.policy import pk_of, serial_of
from tests.simulation.fleet.trouble import Trouble, Verdict

__all__ = ["AsyncCode", "PlainCode"]

_RAISED = (ValueError, KeyError, asyncio.CancelledError, SystemExit, KeyboardInterrupt, LeaseLost)


class _Code(RecordProcessor):
    """What both kinds share. One object for each tenure; a second initialize is a breach.

    ``was_told``: that its tenure is over, in whichever words.
    """

    def __init__(
        self,
        worker: str,
        judge: StreamJudge,
        code: Callable[[], Code],
        draw: random.Random,
        begins: Callable[[str], None],
        *,
        trouble: Trouble,
        manual: bool,
    ) -> None:
        self.was_told = False
        self._worker = worker
        self._judge = judge
        self._code = code
        self._draw = draw
        self._tell_begins = begins
        self._trouble = trouble
        self._manual = manual
        self._shard_id = ""
        self._lane = 0
        self._is_over = ""
        self._is_busy = False

    def initialize(self, shard: ShardContext) -> None:
        self._maybe_raise()
        if self._shard_id:
            self._judge.breach(f"{self._worker}: initialize of {shard.shard_id} after it had returned")
        self._shard_id = shard.shard_id
        self._lane = shard.lane

    def lease_lost(self) -> None:
        self._ends("lease_lost")

    def _begins(self, records: Sequence[Record]) -> None:
        if self._is_busy or self._is_over or not self._shard_id:
            self._judge.breach(f"{self._worker}: process_records of {self._shard_id!r} out of turn ({self._is_over})")
        self._is_busy = True
        self._judge.begins(self._worker, self._shard_id, self._lane, records)
        self._tell_begins(self._shard_id)

    def _through(self) -> None:
        self._is_busy = False
        self._judge.calls.ends(self._worker, self._shard_id, self._lane)

    @property
    def is_initialized(self) -> bool:
        return bool(self._shard_id)

    def _ends(self, how: str) -> None:
        self.was_told = True
        self._maybe_raise()
        if self._is_over == "lease_lost":
            self._judge.breach(f"{self._worker}: {how} of {self._shard_id} after {self._is_over}")
        self._is_over = how

    def _maybe_raise(self) -> None:
        if self._draw.random() < self._code().raises:
            raise self._draw.choice(_RAISED)

    def _see(self, records: Sequence[Record]) -> None:
        for record in records:
            self._judge.delivering(self._worker, self._shard_id, serial_of(record), record, lane=self._lane)

    def _finish(self, records: Sequence[Record]) -> None:
        for record in records:
            self._judge.done(serial_of(record), self._worker)

    def _good(self, records: Sequence[Record], verdict: Verdict) -> list[Record]:
        """What is through: neither failed nor after a record of its key that did."""
        if not verdict.failed:
            return list(records)
        held: set[str] = set()
        good = []
        for at, record in enumerate(records):
            key = self._judge.policy.lane_key(pk_of(record))
            if at in verdict.failed:
                held.add(key)
            elif key not in held:
                good.append(record)
        return good

    def _blow(self, verdict: Verdict, before: int) -> None:
        """Raise what was to be raised at one of the records ``before`` which it has come, or by what it writes to."""
        if verdict.error is not None and verdict.at < before:
            raise verdict.error
        if self._trouble.is_down():
            raise ConnectionError("the sink is down")

    def _comes_to(self, records: Sequence[Record], good: Sequence[Record], verdict: Verdict) -> None:
        """The call has come to its end: nobody is to blame for what has no meaning, but for the only one."""
        self._judge.returned(self._worker, self._shard_id, self._lane, map(serial_of, good))
        if verdict.failed:
            named = sorted(verdict.failed) if verdict.value is not True or len(records) == 1 else ()
            is_understood = isinstance(verdict.value or verdict.error, BatchFailures | None)
            self._failed(records, [records[at] for at in named], BatchFailures if is_understood else ConfigError)

    def _raised(self, records: Sequence[Record], error: BaseException) -> None:
        """The call raised."""
        if isinstance(error, RetryAfter):
            serials = [*map(serial_of, records)]
            self._judge.asked_for_pause(self._worker, self._shard_id, serials, error.seconds)
        elif records:  # nobody is to blame for a batch without records
            self._failed(records, records if len(records) == 1 else (), type(error))

    def _failed(self, records: Sequence[Record], blamed: Sequence[Record], kind: type[BaseException]) -> None:
        kinds = {serial_of(each): (each.failure and each.failure.raised) or kind for each in records}
        self._judge.failed(self._worker, self._shard_id, kinds, [*map(serial_of, blamed)])

    def _seconds(self) -> float:
        code = self._code()
        longest = code.long_seconds if self._draw.random() < code.long else code.usual_seconds
        return self._draw.uniform(0.0, longest)


class PlainCode(_Code):
    """``def`` methods, which block a thread: what they do last is done at the end of that (``at_return``)."""

    def __init__(self, *rest: Any, at_return: Callable[[Callable[[], None]], None], **named: Any) -> None:
        super().__init__(*rest, **named)
        self._at_return = at_return

    def process_records(self, records: Records[Any], checkpointer: Checkpointer) -> Any:
        self._begins(records)
        self._at_return(self._through)
        verdict = self._trouble.verdict(records)
        try:
            self._play(records, checkpointer, verdict)
        except BatchFailures:
            self._end(records, verdict)
            raise
        except BaseException as error:
            self._raised(records, error)
            raise
        self._end(records, verdict)
        return verdict.value

    def _play(self, records: Records[Any], checkpointer: Checkpointer, verdict: Verdict) -> None:
        middle = len(records) // 2
        self._see(records[: middle + 1])
        self._maybe_raise()
        self._blow(verdict, middle + 1)
        if records and self._manual and not verdict.failed and self._draw.random() < self._code().mid_batch:
            self._finish(records[: middle + 1])
            checkpointer.checkpoint(records[middle])
        self._see(records[middle + 1 :])
        self._maybe_raise()
        self._blow(verdict, len(records) + 1)
        if self._manual and not verdict.failed and self._draw.random() < self._code().at_end:
            self._finish(records)
            checkpointer.checkpoint()

    def _end(self, records: Records[Any], verdict: Verdict) -> None:
        good = self._good(records, verdict)
        self._at_return(lambda: self._finish(good))
        self._at_return(lambda: self._comes_to(records, good, verdict))

    def shard_ended(self, checkpointer: Checkpointer) -> None:
        self._ends("shard_ended")
        checkpointer.checkpoint()

    def shutdown_requested(self, checkpointer: Checkpointer) -> None:
        self._ends("shutdown_requested")
        checkpointer.checkpoint()


class AsyncCode(_Code):
    """``async def`` methods that take their time by the worker's clock."""

    def __init__(self, *rest: Any, sleep: Callable[[float], Any], **named: Any) -> None:
        super().__init__(*rest, **named)
        self._sleep = sleep
        self._went_on = False

    async def process_records(self, records: Records[Any], checkpointer: Checkpointer) -> Any:
        self._begins(records)
        self._went_on = False
        verdict = self._trouble.verdict(records)
        try:
            await self._play(records, checkpointer, verdict)
            if self._went_on and not isinstance(verdict.value, BatchFailures):
                self._timed_out(records)
            else:
                self._comes_to(records, self._good(records, verdict), verdict)
            return verdict.value
        except BatchFailures:
            good = self._good(records, verdict)
            self._finish(good)
            self._comes_to(records, good, verdict)
            raise
        except BaseException as error:
            if self._went_on and not isinstance(error, RetryAfter):
                self._timed_out(records)
            else:
                self._raised(records, error)
            raise
        finally:
            self._through()

    def _timed_out(self, records: Sequence[Record]) -> None:
        """It went on although it was cancelled: whatever it came to, its time was up, unless it names what failed."""
        serials = [*map(serial_of, records)]
        if serials:
            kinds = dict.fromkeys(serials, BatchTimedOut)
            self._judge.failed(self._worker, self._shard_id, kinds, serials if len(serials) == 1 else ())

    async def _play(self, records: Records[Any], checkpointer: Checkpointer, verdict: Verdict) -> None:
        middle = len(records) // 2
        self._see(records[: middle + 1])
        await self._work(self._seconds() / 2)
        self._maybe_raise()
        self._blow(verdict, middle + 1)
        if records and self._manual and not verdict.failed and self._draw.random() < self._code().mid_batch:
            self._finish(records[: middle + 1])
            await self._store(checkpointer, records[middle])
        self._see(records[middle + 1 :])
        await self._work(self._seconds() / 2)
        self._maybe_raise()
        self._blow(verdict, len(records) + 1)
        self._finish(self._good(records, verdict))
        if self._manual and not verdict.failed and self._draw.random() < self._code().at_end:
            await self._store(checkpointer, None)

    async def _work(self, seconds: float) -> None:
        work = asyncio.ensure_future(self._sleep(seconds))
        while not work.done():
            try:
                await asyncio.shield(work)
            except asyncio.CancelledError:
                if not self._code().stubborn:
                    work.cancel()
                    raise
                self._went_on = True

    async def _store(self, checkpointer: Checkpointer, record: Record | None) -> None:
        storing = checkpointer.checkpoint(record)
        if self._draw.random() >= self._code().forgets_await:
            await storing

    async def shard_ended(self, checkpointer: Checkpointer) -> None:
        await self._sleep(self._seconds())
        self._ends("shard_ended")
        await checkpointer.checkpoint()

    async def shutdown_requested(self, checkpointer: Checkpointer) -> None:
        self._ends("shutdown_requested")
        try:
            await checkpointer.checkpoint()
        except CheckpointError as error:
            self._judge.breach(f"{self._worker}: checkpoint() of {self._shard_id} was refused: {error}")
