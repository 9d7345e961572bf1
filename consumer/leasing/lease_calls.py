"""Writes of tenures on their way: what each asks of the table, and the calls that answer one of them or many.

What a reply means for a tenure is decided by its ``HeldLease`` alone, step by step in a generator that asks to send or
to look and is told what came of it. Here are the calls: those who ask for the same at the same moment share one.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial

from consumer.clock import Clock
from consumer.errors import LeaseLost
from consumer.leasing.timing import LeaseTiming
from lease_store.errors import LeaseStoreError, LeaseTableUnavailable
from lease_store.lease import Lease
from lease_store.store import LeaseStore, WriteResult
from lease_store.writes import Write

__all__ = ["Answer", "LeaseCalls", "Look", "OnEnd", "Send", "Steps", "Writing"]


@dataclass(frozen=True, slots=True)
class Send:
    """Please send ``write``; a reply after ``until`` (monotonic) is worth nothing. Answered by a WriteResult."""

    write: Write
    until: float


@dataclass(frozen=True, slots=True)
class Look:
    """Please read the row of ``key`` consistently, after a pause. Answered by the lease, or None."""

    key: str
    after_seconds: float = 0.0


Answer = WriteResult | Lease | None
Steps = Generator[Send | Look, Answer, bool]
"""A write's way; whether anything was written. A LeaseStoreError thrown in is an answer, too: not applied, not read."""


OnEnd = Callable[["Writing"], None]


class Writing:
    """One write on its way, and what it asks for now (None: it has ended). ``on_end`` is called once, at its end.

    ``error`` is then what went wrong, if anything did; ``was_abandoned``: nobody waited for how it ends.
    """

    __slots__ = ("_has_written", "_on_end", "_steps", "ask", "error", "was_abandoned")

    def __init__(self, steps: Steps, on_end: OnEnd) -> None:
        self.ask: Send | Look | None = None
        self._steps = steps
        self._on_end = on_end
        self.error: LeaseLost | LeaseStoreError | None = None
        self.was_abandoned = False
        self._has_written = False
        self._go_on(partial(next, steps))

    def answer(self, answer: Answer | LeaseStoreError) -> None:
        """What came of what was asked for."""
        raised = isinstance(answer, LeaseStoreError)
        self._go_on(partial(self._steps.throw if raised else self._steps.send, answer))  # type: ignore[arg-type]

    def _go_on(self, step: Callable[[], Send | Look]) -> None:
        self.ask = None
        try:
            self.ask = step()
        except StopIteration as end:
            self._has_written = bool(end.value)
        except (LeaseLost, LeaseStoreError) as error:
            self.error = error
        finally:
            if self.ask is None:
                self._on_end(self)

    def abandon(self) -> None:
        """End it, if it has not ended: whoever carried it was cancelled."""
        if self.ask is not None:
            self.ask, self.was_abandoned = None, True
            self._steps.close()
            self._on_end(self)

    def outcome(self) -> bool:
        """Once it has ended: whether anything was written. Raises LeaseLost, LeaseStoreError."""
        if self.error is not None:
            raise self.error
        return self._has_written


class LeaseCalls:
    """Carries writes to their ends. Lives on the lease loop."""

    def __init__(self, store: LeaseStore, timing: LeaseTiming, clock: Clock) -> None:
        self._store = store
        self._timing = timing
        self._clock = clock

    @property
    def most_together(self) -> int:
        """How many writes one request may carry now."""
        return self._store.most_together

    async def carry(self, writings: Sequence[Writing]) -> None:
        """Until all have ended. They are to other leases each; those that may share a call do."""
        group = [each for each in writings if each.ask is not None]
        try:
            while group:
                if len(parts := self._parts(group)) > 1:
                    await asyncio.gather(*map(self.carry, parts))
                    return
                await self._answer(group)
                group = [each for each in group if each.ask is not None]
        finally:
            for each in group:
                each.abandon()

    def _parts(self, group: Sequence[Writing]) -> list[list[Writing]]:
        """Who may share a call: looks, and sends that may wait about as long for a reply: no time-out is cut."""
        in_time = self._clock.monotonic() + self._timing.call_seconds
        sends = {each: min(each.ask.until, in_time) for each in group if isinstance(each.ask, Send)}
        looks = [each for each in group if each not in sends]
        parts = [looks] if looks else []
        until = -math.inf
        for each in sorted(sends, key=sends.__getitem__):
            if sends[each] > until:
                parts.append([])
                until = sends[each] + self._timing.gather_seconds
            parts[-1].append(each)
        return parts

    async def _answer(self, group: Sequence[Writing]) -> None:
        sends = [each.ask for each in group if isinstance(each.ask, Send)]
        if sends:
            answers: Sequence[Answer | LeaseStoreError] = await self._send(sends)
        else:
            answers = await self._look([each.ask for each in group if isinstance(each.ask, Look)])
        for each, answer in zip(group, answers, strict=True):
            each.answer(answer)

    async def _send(self, sends: Sequence[Send]) -> Sequence[WriteResult | LeaseStoreError]:
        left = min(each.until for each in sends) - self._clock.monotonic()
        seconds = min(left, self._timing.call_seconds)
        try:
            if len(sends) == 1:
                return [await self._store.write(sends[0].write, timeout_seconds=seconds)]
            return await self._store.write_many([each.write for each in sends], timeout_seconds=seconds)
        except LeaseStoreError as error:
            return [error] * len(sends)

    async def _look(self, looks: Sequence[Look]) -> Sequence[Lease | LeaseStoreError | None]:
        if (pause := max(each.after_seconds for each in looks)) > 0.0:
            await self._clock.sleep(pause)
        try:
            async with self._clock.timeout(self._timing.call_seconds):
                if len(looks) == 1:
                    return [await self._store.read(looks[0].key)]
                return await self._store.read_many([each.key for each in looks])
        except TimeoutError:
            return [LeaseTableUnavailable("No reply to a read of a lease in time.")] * len(looks)
        except LeaseStoreError as error:
            return [error] * len(looks)
