"""``leasehold dlq list``, ``show`` and ``drop``, and how letters are gone through by all four."""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from consumer.cli.dlq_report import Summary, counted, letter_line
from consumer.clock import Clock, SystemClock
from consumer.dead_letters.envelope import encode
from consumer.dead_letters.letter import DeadLetter, Identity
from consumer.dead_letters.store import DeadLetterStore, Selection, Unreadable
from consumer.exit_codes import BATCH_TIMED_OUT, CLEAN, ERROR

__all__ = ["Chosen", "Progress", "drop", "list_letters", "show", "within"]

_TOLD_EVERY_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Chosen:
    """The letters of a store that are meant."""

    store: DeadLetterStore
    selection: Selection
    reason: str | None = None

    async def letters(self) -> AsyncGenerator[DeadLetter | Unreadable, None]:
        """In key order; what can't be read is told, and passed on."""
        async with aclosing(self.store.letters(self.selection)) as letters:
            async for letter in letters:
                if isinstance(letter, Unreadable):
                    print(f"leasehold: {letter.place}: {letter.why}", file=sys.stderr)
                    yield letter
                elif self.reason in (None, letter.reason):
                    yield letter


def within(
    store: DeadLetterStore, work: Callable[[], Coroutine[Any, Any, int]], end: Callable[[int], Any] = os._exit
) -> int:
    """Run ``work`` with the store open; its exit code. Raises KeyboardInterrupt after Ctrl-C and SIGTERM.

    Both let the store be left in order, which gives back what it had taken from a queue. The first waits for user code
    that runs; a second does not, nor does BATCH_TIMED_OUT: ``end`` ends the process, whatever runs in its threads.
    """
    stops = 0

    async def opened() -> int:
        task = asyncio.current_task()
        assert task is not None

        def stop() -> None:
            nonlocal stops
            stops += 1
            task.cancel()
            if stops == 1:
                print("leasehold: stopping once what runs has ended; a second signal does not wait.", file=sys.stderr)

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        code = ERROR
        try:
            async with store.open():
                code = await work()
            return code
        finally:
            if stops > 1 or code == BATCH_TIMED_OUT:
                sys.stdout.flush()
                sys.stderr.flush()
                end(code)
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    try:
        return asyncio.run(opened())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


class Progress:
    """Tells how far a long job is, every five seconds, to whoever sits before it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told_at = clock.monotonic()

    def tell(self, line: str) -> None:
        """Print the line if it is time."""
        now = self._clock.monotonic()
        if now - self._told_at >= _TOLD_EVERY_SECONDS:
            self._told_at = now
            print(f"leasehold: {line}", file=sys.stderr, flush=True)


async def list_letters(chosen: Chosen, *, kind: str | None, as_json: bool) -> int:
    """Counts, by ``key`` as well, or a line ``each``. Of payload, only keys are shown, where they are asked for."""
    summary = Summary(by_key=kind == "key")
    progress = Progress(SystemClock())
    async with aclosing(chosen.letters()) as letters:
        async for letter in letters:
            if isinstance(letter, DeadLetter):
                summary.count(letter)
                progress.tell(f"{counted(summary.letters, 'letter')} so far")
                if kind == "each":
                    print(letter_line(letter, as_json=as_json))
    if kind != "each":
        for line in summary.as_json() if as_json else summary.table():
            print(line)
    if not as_json:
        print(f"{summary.line()} in {chosen.store.name}")
    return CLEAN


async def show(chosen: Chosen, identity: Identity) -> int:
    """One letter, its payload taken out of the string that it is stored as."""
    letter = await chosen.store.find(identity)
    if letter is None:
        print(f"leasehold: there is no letter {identity} in {chosen.store.name}.", file=sys.stderr)
        return ERROR
    envelope = json.loads(encode(letter))
    try:
        envelope["payload"] = json.loads(envelope["payload"])
    except ValueError:
        print("leasehold: the payload is no JSON; it is shown as it is.", file=sys.stderr)
    print(json.dumps(envelope, indent=2))
    return CLEAN


async def drop(chosen: Chosen, names: Sequence[Identity], *, ask: bool) -> int:
    """Delete those named, or those selected that were there when it was asked."""
    clock = SystemClock()
    asked_at = clock.wall() if ask else math.inf
    if ask:
        meant = counted(len(names) or await _count(chosen), "letter")
        if not await asyncio.to_thread(_is_sure, f"Delete {meant} of {chosen.store.name} for good? [y/N] "):
            print("leasehold: nothing was deleted.", file=sys.stderr)
            return ERROR
    dropped, left = await (_drop_named(chosen, names) if names else _drop_selected(chosen, asked_at, clock))
    print(f"{counted(dropped, 'letter')} deleted from {chosen.store.name}")
    return ERROR if left else CLEAN


async def _drop_named(chosen: Chosen, names: Sequence[Identity]) -> tuple[int, int]:
    """How many were deleted, and how many were not there."""
    dropped = 0
    for name in names:
        if await chosen.store.find(name) is None:
            print(f"leasehold: there is no letter {name} in {chosen.store.name}.", file=sys.stderr)
        else:
            await chosen.store.remove(name)
            dropped += 1
    return dropped, len(names) - dropped


async def _drop_selected(chosen: Chosen, asked_at: float, clock: Clock) -> tuple[int, int]:
    """How many were deleted, and how many were not: they can't be read, or came after the question."""
    dropped = unreadable = newer = 0
    progress = Progress(clock)
    async with aclosing(chosen.letters()) as letters:
        async for letter in letters:
            if isinstance(letter, Unreadable):
                unreadable += 1
            elif letter.given_up_at > asked_at:
                newer += 1
            else:
                await chosen.store.remove(letter.identity)
                dropped += 1
                progress.tell(f"{counted(dropped, 'letter')} deleted so far")
    if newer:
        print(f"leasehold: kept: {counted(newer, 'letter')} that came after the question.", file=sys.stderr)
    return dropped, unreadable + newer


async def _count(chosen: Chosen) -> int:
    count = 0
    async with aclosing(chosen.letters()) as letters:
        async for letter in letters:
            count += isinstance(letter, DeadLetter)
    return count


def _is_sure(question: str) -> bool:
    print(question, end="", flush=True, file=sys.stderr)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
