"""Keeps N worker processes running: starts them, starts again what dies, drains them all, and says what happened."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal, Protocol

from consumer.clock import Clock
from consumer.exit_codes import BATCH_TIMED_OUT, CLEAN, DRAIN_TIMED_OUT, ERROR
from consumer.operate.supervisor.lifeline import Asked, AtWork, Failed, Told
from consumer.operate.supervisor.restarts import GiveUp, Restart, Restarts, ended_how

__all__ = ["Child", "ProcessState", "ProcessView", "Start", "Supervisor"]

_log = logging.getLogger("leasehold.supervisor")

# A worker ends itself within a second of its drain's time-out, with its last words; so this is for one that can't.
GRACE_SECONDS: Final = 2.0
# What a worker told to leave needs for its last words.
LEAVE_SECONDS: Final = 1.0
# To whoever asked for the drain it is one thing: user code still ran, and its shards come again from their checkpoints.
_LEFT_RUNNING: Final = (DRAIN_TIMED_OUT, BATCH_TIMED_OUT)

ProcessState = Literal["starting", "at_work", "restarting", "draining", "ended"]


class Child(Protocol):
    """A worker process as the supervisor knows it."""

    @property
    def pid(self) -> int: ...

    def ask(self, request: Asked) -> None: ...

    def kill(self) -> None: ...

    async def ended(self) -> int: ...


Start = Callable[[int, Callable[[Told], None]], Awaitable[Child]]
"""Starts the process of a number; what it tells goes to the callable. Raises OSError."""


@dataclass(frozen=True, slots=True)
class ProcessView:
    """One process at this instant.

    ``start`` counts its starts, from 1; ``port`` is that of its page, while it has one; ``reason`` says why it is not
    at work, as a sentence without its subject and full stop.
    """

    number: int
    state: ProcessState
    start: int
    pid: int | None
    worker_id: str | None
    port: int | None
    reason: str


class _Place:
    """A number among the processes, and the process that has it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.start = 0
        self.child: Child | None = None
        self.at_work: AtWork | None = None
        self.sentences: tuple[str, ...] = ()
        self.began_at = 0.0
        self.reason = "is starting"

    def begin(self, now: float) -> None:
        self.start += 1
        self.at_work, self.sentences = None, ()
        self.began_at, self.reason = now, "is starting"

    def named(self) -> str:
        return f"Process {self.number}" + (f" (pid {self.child.pid})" if self.child else "")


class Supervisor:
    """``processes`` worker processes, numbered from 1. ``start`` makes one; nothing here knows what it does.

    ``failover_seconds`` is told to whoever reads of a death, ``drain_timeout_seconds`` is the workers' own.
    """

    def __init__(
        self, processes: int, start: Start, *, drain_timeout_seconds: float, failover_seconds: float, clock: Clock
    ) -> None:
        self._places = [_Place(number) for number in range(1, processes + 1)]
        self._start = start
        self._drain_timeout_seconds = drain_timeout_seconds
        self._failover_seconds = failover_seconds
        self._clock = clock
        self._judge = Restarts(processes)
        self._draining = asyncio.Event()
        self._leaving = asyncio.Event()
        self._given_up: GiveUp | None = None
        self._worst_end = CLEAN
        self._is_late = False
        self._killed: set[int] = set()
        self._last_told: tuple[str, ...] = ()
        self.restarts = 0
        self.failure: tuple[str, ...] = ()
        """Why a process ended that made all of them end, in its own sentences."""

    async def run(self) -> int:
        """Until all have ended; the exit code, that of a single worker."""
        late = asyncio.create_task(self._end_the_late(), name="drain's deadline")
        try:
            async with asyncio.TaskGroup() as group:
                for place in self._places:
                    group.create_task(self._keep(place), name=f"process {place.number}")
        finally:
            late.cancel()
        return self._given_up.code if self._given_up else self._worst_end

    def drain(self) -> None:
        """All hand over what they hold and end; legal more than once."""
        self._draining.set()
        self._ask_all("drain")

    def leave(self) -> None:
        """All end at once."""
        self._draining.set()
        self._leaving.set()
        self._ask_all("leave")

    @property
    def is_draining(self) -> bool:
        """Whether nothing is started any more."""
        return self._draining.is_set()

    def view(self) -> tuple[ProcessView, ...]:
        """Every process at this instant, by its number."""
        return tuple(
            ProcessView(
                place.number,
                self._state(place),
                place.start,
                place.child.pid if place.child else None,
                place.at_work.worker_id if place.at_work else None,
                place.at_work.port if place.at_work and place.child else None,
                place.reason,
            )
            for place in self._places
        )

    def _state(self, place: _Place) -> ProcessState:
        if self.is_draining:
            return "draining" if place.child else "ended"
        if place.at_work and place.child:
            return "at_work"
        return "restarting" if place.start and not place.child else "starting"

    def _ask_all(self, request: Asked) -> None:
        for place in self._places:
            if place.child:
                place.child.ask(request)

    async def _keep(self, place: _Place) -> None:
        """The processes of one number, one after the other, until all drain."""
        while not self.is_draining:
            code = await self._live(place)
            if self.is_draining:
                self._ended(place, code)
                place.child = None
                return
            pause_seconds = self._died(place, code)
            place.child = None
            with suppress(TimeoutError):
                async with self._clock.timeout(pause_seconds):
                    await self._draining.wait()

    async def _live(self, place: _Place) -> int:
        """One process, from its start to its exit code."""
        place.begin(self._clock.monotonic())
        try:
            place.child = await self._start(place.number, partial(self._hear, place))
        except OSError as error:
            place.sentences = (f"no process could be started: {error}",)
            return ERROR
        _log.info("%s starts.", place.named())
        if self.is_draining:  # asked while it was being started
            place.child.ask("leave" if self._leaving.is_set() else "drain")
        if self._is_late:
            self._kill(place, place.child)
        return await place.child.ended()

    def _hear(self, place: _Place, told: Told) -> None:
        match told:
            case AtWork(worker_id):
                place.at_work, place.reason = told, ""
                self._judge.began_to_work()
                _log.info("%s is at work as worker %s.", place.named(), worker_id)
            case Failed(sentences):
                place.sentences = sentences

    def _died(self, place: _Place, code: int) -> float:
        """Say it and what follows; the pause before the next start, in seconds."""
        now = self._clock.monotonic()
        lived = f"after {now - place.began_at:.0f} s" + ("" if place.at_work else ", in its start")
        why = ". ".join([ended_how(code), *self._told_once(place.sentences)])
        left = ""
        # User code may run before the start is over; a worker that says why it did not start holds nothing.
        if code != CLEAN and (place.at_work or not place.sentences):
            left = (
                f" The leases it held expire in at most {self._failover_seconds:g} s, and their next owners begin at "
                "the last checkpoint stored: records after it come again."
            )
        match self._judge.died(place.number, code, now):
            case Restart(pause_seconds):
                place.reason = f"ended ({ended_how(code)}) and is started again"
                self.restarts += 1
                level = logging.WARNING if code == CLEAN else logging.ERROR
                _log.log(
                    level,
                    "%s ended %s: %s.%s It is started again in %g s.",
                    *(place.named(), lived, why, left, pause_seconds),
                )
                return pause_seconds
            case GiveUp(end_code, because) as verdict:
                self._given_up = verdict
                place.reason = f"ended ({ended_how(code)})"
                self.failure = place.sentences
                _log.error(
                    "%s ended %s: %s.%s It is not started again: %s. The others drain, then all ends with exit "
                    "code %d.",
                    *(place.named(), lived, ended_how(code), left, because, end_code),
                )
                self.drain()
                return 0.0

    def _told_once(self, sentences: tuple[str, ...]) -> tuple[str, ...]:
        """Processes mostly fail alike, and nobody reads the same page once for each."""
        if sentences and sentences == self._last_told:
            return ("As before",)
        self._last_told = sentences
        return tuple(sentence.rstrip(".") for sentence in sentences)

    def _ended(self, place: _Place, code: int) -> None:
        """Say how a process came through the drain, and note what that makes of the exit code."""
        if place.number in self._killed:
            code = DRAIN_TIMED_OUT
        elif code == CLEAN or not place.at_work:  # what had not begun to work leaves nothing behind
            _log.info("%s has ended.", place.named())
            return
        else:
            _log.error("%s did not drain: %s.", place.named(), ". ".join([ended_how(code), *place.sentences]))
        self._worst_end = max(self._worst_end, DRAIN_TIMED_OUT if code in _LEFT_RUNNING else ERROR)

    async def _end_the_late(self) -> None:
        """See to it that a drain has an end, whatever a process does."""
        await self._draining.wait()
        with suppress(TimeoutError):
            async with self._clock.timeout(self._drain_timeout_seconds + GRACE_SECONDS):
                await self._leaving.wait()
        self.leave()
        await self._clock.sleep(LEAVE_SECONDS)
        self._is_late = True
        for place in self._places:
            if place.child:
                self._kill(place, place.child)

    def _kill(self, place: _Place, child: Child) -> None:
        self._killed.add(place.number)
        _log.error(
            "%s does not end; it is killed. The leases it holds expire in at most %g s, and their next owners begin at "
            "the last checkpoint stored: records after it come again.",
            place.named(),
            self._failover_seconds,
        )
        child.kill()
