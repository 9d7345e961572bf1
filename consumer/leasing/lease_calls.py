"""Writes of tenures on their way: what each asks of the table, and the calls that answer one of them or many.

What a reply means is decided step by step in a generator that asks to send or to look and is told what came of it: a
tenure's by its ``HeldLease``, one that may begin a tenure by ``Leases``. Here are the calls: those who ask for the same
at the same moment share one.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol, TypeVar

from consumer.clock import Clock
from consumer.errors import LeaseLost
from consumer.leasing.places import Places
from consumer.leasing.timing import LeaseTiming
from lease_store import verbs
from lease_store.errors import LeaseStoreError, LeaseTableUnavailable
from lease_store.lease import Lease
from lease_store.store import MOST_AT_ONCE, LeaseStore, Unknown, WriteResult
from lease_store.writes import Write

__all__ = ["Answer", "Ask", "Begin", "LeaseCalls", "Look", "OnEnd", "Send", "Steps", "Writing"]

# For what is about no lease: this worker's row, a leader's lock.
_BESIDES: Final = 4
_FOR_RENEWALS: Final = 8


@dataclass(frozen=True, slots=True)
class Send:
    """Please send ``write``; a reply after ``until`` (monotonic) is worth nothing. Answered by a WriteResult.

    ``seen`` is the row that it goes by, for one that may go with others (``verbs.as_seen``); None: it goes alone.
    """

    write: Write
    until: float = math.inf
    seen: Lease | None = None

    @property
    def key(self) -> str:
        """Of the row that it is about."""
        return self.write.key


@dataclass(frozen=True, slots=True)
class Look:
    """Please read the row of ``key`` consistently, after a pause; an answer after ``until`` is worth nothing.

    Answered by the lease, or None.
    """

    key: str
    until: float = math.inf
    after_seconds: float = 0.0


Ask = Send | Look
Answer = WriteResult | Lease | None
Steps = Generator[Ask, Answer, bool]
"""A write's way; whether anything was written. A LeaseStoreError thrown in is an answer, too: not applied, not read."""


OnEnd = Callable[["Writing"], None]


class Writing:
    """One write on its way, and what it asks for now (None: it has ended). ``on_end`` is called once, at its end.

    ``error`` is then what went wrong, if anything did; ``was_abandoned``: nobody waited for how it ends.
    """

    __slots__ = ("_has_written", "_on_end", "_steps", "ask", "error", "was_abandoned")

    def __init__(self, steps: Steps, on_end: OnEnd = lambda _: None) -> None:
        self.ask: Ask | None = None
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

    def _go_on(self, step: Callable[[], Ask]) -> None:
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


Begin = Callable[[], Writing | None]
"""Begins a write whose turn to be sent has come; None: not now, after all."""


class _Asking(Protocol):
    """Who asks for something, or has asked and is at its end."""

    @property
    def ask(self) -> Ask | None: ...


AskingT = TypeVar("AskingT", bound=_Asking)


class _Waiting:
    """One who waits for a place. ``turn`` ends with the group to lead, or with nobody: it was led, or did not begin."""

    __slots__ = ("begin", "error", "turn", "writing")

    def __init__(self, begin: Begin) -> None:
        self.begin = begin
        self.turn: asyncio.Future[Sequence[_Waiting]] = asyncio.get_running_loop().create_future()
        self.writing: Writing | None = None
        self.error: Exception | None = None

    @property
    def ask(self) -> Ask | None:
        return None if self.writing is None else self.writing.ask

    def begun(self) -> Ask | None:
        """What it asks for, its turn having come; what goes wrong is for its own caller to hear."""
        try:
            self.writing = self.writing or self.begin()
        except Exception as error:
            self.error = error
        return self.ask

    def answer(self, ask: Ask | None, answer: Answer | LeaseStoreError) -> None:
        """What came of ``ask``, unless whoever asked has gone."""
        try:
            if self.writing is not None and self.writing.ask is ask:
                self.writing.answer(answer)
        except Exception as error:
            self.error = error
        self.end()

    def end(self) -> None:
        if not self.turn.done():
            self.turn.set_result(())


class LeaseCalls:
    """Carries writes to their ends. Lives on the lease loop.

    ``places`` bounds all requests of the worker that are about leases. Nobody waits for company: who finds a place goes
    at once, and those who find none meanwhile go together by the next. So few are as quick as ever, and many are few
    requests.
    """

    def __init__(self, store: LeaseStore, timing: LeaseTiming, clock: Clock) -> None:
        self.places = Places(MOST_AT_ONCE - _BESIDES, _FOR_RENEWALS)
        self._store = store
        self._timing = timing
        self._clock = clock
        self._waiting: list[_Waiting] = []
        self._going_on: list[_Waiting] = []
        self._is_gathering = False

    @property
    def most_together(self) -> int:
        """How many writes one request may carry now."""
        return self._store.most_together

    async def write(self, write: Write) -> WriteResult:
        """One write by itself, as the store does it, when there is a place."""
        await self.places.take()
        try:
            return await self._store.write(write, timeout_seconds=self._timing.call_seconds)
        finally:
            self.places.give_back()

    async def carry(self, writings: Sequence[Writing]) -> None:
        """Until all have ended, which are to other leases each. The caller has a place, and gives it up by this.

        The first request is theirs; who has to go on after it waits for places as anybody does, ahead of those who have
        not begun: what is to be settled keeps no place from others.
        """
        going = [each for each in writings if each.ask is not None]
        try:
            try:
                for part in self._parts(going)[:1]:
                    for each, answer in zip(part, await self._asked([each.ask for each in part]), strict=True):
                        each.answer(answer)
            finally:
                self.places.give_back()
            await asyncio.gather(*(self._go_on(each) for each in going if each.ask is not None))
        finally:
            for each in going:
                each.abandon()

    async def join(self, begin: Begin) -> Writing | None:
        """Begin a write once there is a place, beside others that wait for one; it has ended when this returns.

        None where ``begin`` did not begin any.
        """
        writing = await self._one_request(_Waiting(begin), self._waiting)
        if writing is not None:
            await self._go_on(writing)
        return writing

    async def _go_on(self, writing: Writing) -> None:
        try:
            while writing.ask is not None:
                await self._one_request(_Waiting(lambda: writing), self._going_on)
        finally:
            writing.abandon()

    async def _one_request(self, mine: _Waiting, line: list[_Waiting]) -> Writing | None:
        """Wait for a place in ``line``, and for one reply; the first of those who go together sends for all."""
        line.append(mine)
        self._gather()
        is_led = False
        try:
            if group := await mine.turn:
                is_led = True
                await self._lead(group)
        except asyncio.CancelledError:
            if not is_led and not mine.turn.cancelled():
                self._give_up_the_lead(mine.turn.result())
            if mine.writing is not None:
                mine.writing.abandon()
            raise
        if mine.error is not None:
            raise mine.error
        return mine.writing

    def _gather(self) -> None:
        """Have all that wait by the loop's next turn go by the next place that is free."""
        if not self._is_gathering and (self._going_on or self._waiting):
            self._is_gathering = True
            when_free = partial(self.places.when_free, self._form, first=bool(self._going_on))
            asyncio.get_running_loop().call_soon(when_free)

    def _form(self) -> bool:
        """There is a place: begin those that one request may carry, and have the first of them send it."""
        self._is_gathering = False
        group: dict[str, _Waiting] = {}
        once_more: list[_Waiting] = []
        while len(group) < self.most_together and (line := self._going_on or self._waiting):
            mine = line.pop(0)
            if mine.turn.done():
                continue
            ask = mine.begun()
            if ask is None:
                mine.end()
            elif ask.until <= self._clock.monotonic():
                mine.answer(ask, _not_made())
            elif group.setdefault(ask.key, mine) is not mine:
                once_more.append(mine)  # no request names a key twice
        first, *others = self._parts(list(group.values())) or [[]]
        self._going_on[:0] = [each for part in [*others, once_more] for each in part]
        self._gather()
        if first:
            first[0].turn.set_result(first)
        return bool(first)

    def _give_up_the_lead(self, group: Sequence[_Waiting]) -> None:
        """Who was to send for all was cancelled: nothing was sent."""
        if group:
            self._going_on[:0] = group[1:]
            self.places.give_back()
            self._gather()

    async def _lead(self, group: Sequence[_Waiting]) -> None:
        asks = [each.ask for each in group]
        answers: Sequence[Answer | LeaseStoreError] = [_unheard(each) for each in asks]
        try:
            answers = await self._asked(asks)
        finally:
            self.places.give_back()
            for each, ask, answer in zip(group, asks, answers, strict=True):
                each.answer(ask, answer)

    def _parts(self, group: Sequence[AskingT]) -> list[list[AskingT]]:
        """Who may share a call: looks, and sends that may wait about as long for a reply: no time-out is cut."""
        in_time = self._clock.monotonic() + self._timing.call_seconds
        looks = [each for each in group if isinstance(each.ask, Look)]
        sends = [(each, each.ask) for each in group if isinstance(each.ask, Send)]
        parts = [looks] if looks else []
        parts += [[each] for each, ask in sends if ask.seen is None]
        until = -math.inf
        for each, ask in sorted(sends, key=lambda send: min(send[1].until, in_time)):
            if ask.seen is None:
                continue
            if min(ask.until, in_time) > until:
                parts.append([])
                until = min(ask.until, in_time) + self._timing.gather_seconds
            parts[-1].append(each)
        return parts

    async def _asked(self, asks: Sequence[Ask | None]) -> Sequence[Answer | LeaseStoreError]:
        """What came of asks that share a call."""
        if sends := [each for each in asks if isinstance(each, Send)]:
            return await self._send(sends)
        return await self._look([each for each in asks if isinstance(each, Look)])

    async def _send(self, sends: Sequence[Send]) -> Sequence[WriteResult | LeaseStoreError]:
        left = min(each.until for each in sends) - self._clock.monotonic()
        seconds = min(left, self._timing.call_seconds)
        try:
            if len(sends) == 1:
                return [await self._store.write(sends[0].write, timeout_seconds=seconds)]
            return await self._store.write_many([_in_company(each) for each in sends], timeout_seconds=seconds)
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


def _in_company(send: Send) -> Write:
    return send.write if send.seen is None else verbs.as_seen(send.write, send.seen)


def _not_made() -> LeaseTableUnavailable:
    return LeaseTableUnavailable("A call about a lease waited too long for others, and was not made.")


def _unheard(ask: Ask | None) -> Answer | LeaseStoreError:
    """What is known of a call whose sender was cancelled."""
    if isinstance(ask, Send):
        return Unknown(f"who sent {ask.write.verb} of {ask.write.key} along with others was cancelled")
    return LeaseTableUnavailable("Who read a lease along with others was cancelled.")
