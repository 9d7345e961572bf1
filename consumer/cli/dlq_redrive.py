"""``leasehold dlq redrive``: letters through a processor, or to stdout."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import uuid
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import aclosing, contextmanager
from random import Random
from typing import Any, Final

from consumer.cli.dlq_report import counted
from consumer.cli.dlq_work import Chosen, Progress
from consumer.clock import SystemClock
from consumer.dead_letters.envelope import encode
from consumer.dead_letters.letter import DeadLetter
from consumer.delivery.threads import DaemonThreads
from consumer.delivery.time_limit import Overdue
from consumer.exit_codes import BATCH_TIMED_OUT, CLEAN, ERROR
from consumer.processor import ProcessorFactory
from consumer.redrive.redrive import MOVED_ON, Kept, Redrive, RedriveRules, Tally

__all__ = ["redrive", "to_stdout"]

_KEPT_TOLD: Final = 20
_KEYS_NAMED: Final = 20


async def redrive(chosen: Chosen, factory: ProcessorFactory, rules: RedriveRules, *, dry_run: bool) -> int:
    """Through a processor; the exit code says whether anything is left.

    BATCH_TIMED_OUT: a call runs on that nothing but the end of the process can end.
    """
    if dry_run:
        return await _dry_run(chosen, rules)
    kept = _KeptReport()
    progress = Progress(SystemClock())
    threads = DaemonThreads(1)
    hangs = asyncio.Event()
    run = Redrive(
        chosen.store,
        factory,
        threads,
        clock=SystemClock(),
        random=Random(),
        worker_id=f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}",
        rules=rules,
        overdue=Overdue(hangs.set),
        on_kept=kept.note,
        progress=lambda tally: progress.tell(_so_far(tally)),
    )
    try:
        with _quiet_delivery():
            tally = await _unless(hangs, _redriven(run, chosen))
    finally:
        threads.close()
        print(f"{_so_far(run.tally)} ({chosen.store.name})")
        kept.tell()
    if tally is None:
        print(
            "leasehold: a call of process_records has not ended in --batch-timeout-seconds and can't be interrupted: "
            "the command ends with it, its letters stay, and nobody knows how far it came.",
            file=sys.stderr,
        )
        return BATCH_TIMED_OUT
    if tally.given_up:
        print(
            "leasehold: ten keys in a row failed: what they need is not there, most likely. The rest was not tried.",
            file=sys.stderr,
        )
    return CLEAN if tally.is_complete else ERROR


@contextmanager
def _quiet_delivery() -> Iterator[None]:
    """Delivery warns of keys that are parked and shards that go on; what stays here, and why, the report tells."""
    log = logging.getLogger("leasehold.delivery")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


async def _redriven(run: Redrive, chosen: Chosen) -> Tally:
    async with aclosing(chosen.letters()) as letters:
        return await run.run(letters)


async def _unless(event: asyncio.Event, work: Coroutine[Any, Any, Tally]) -> Tally | None:
    """What ``work`` comes to; None once ``event`` is set, whatever work makes of being cancelled."""
    working, waiting = asyncio.ensure_future(work), asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    except asyncio.CancelledError:
        working.cancel()
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
        raise
    finally:
        waiting.cancel()


async def to_stdout(chosen: Chosen) -> int:
    """A whole envelope a line, in key order; the letters stay."""
    left = 0
    async with aclosing(chosen.letters()) as letters:
        async for letter in letters:
            if isinstance(letter, DeadLetter):
                sys.stdout.write(encode(await chosen.store.whole(letter)).decode("ascii") + "\n")
            else:
                left += 1
    return ERROR if left else CLEAN


async def _dry_run(chosen: Chosen, rules: RedriveRules) -> int:
    would, skipped, unreadable = 0, _KeptReport(), 0
    async with aclosing(chosen.letters()) as letters:
        async for letter in letters:
            if not isinstance(letter, DeadLetter):
                unreadable += 1
            elif letter.key_is_held or rules.even_if_newer:
                would += 1
            else:
                skipped.note(Kept(letter, MOVED_ON))
    print(f"{counted(would, 'letter')} of {chosen.store.name} would be redriven; nothing was done")
    skipped.tell()
    return ERROR if unreadable or skipped.moved_on else CLEAN


class _KeptReport:
    """What stayed: the first twenty failures, and the keys that may have moved on.

    Keys are shown, for they are what is asked about; nothing else of a payload is.
    """

    def __init__(self) -> None:
        self.moved_on: Counter[str] = Counter()
        self._others = 0
        self._failed = 0

    def note(self, kept: Kept) -> None:
        letter = kept.letter
        if kept.why == MOVED_ON:
            self.moved_on[letter.key if letter.key in self.moved_on or len(self.moved_on) < _KEYS_NAMED else ""] += 1
            return
        if kept.failure is None:
            self._others += 1
            return
        self._failed += 1
        if self._failed <= _KEPT_TOLD:
            where = f" at {kept.failure.where}" if kept.failure.where else ""
            print(f"leasehold: {letter.identity}: {kept.why}: {kept.failure.kind}{where}", file=sys.stderr)

    def tell(self) -> None:
        """The rest of it."""
        if self._failed > _KEPT_TOLD:
            print(f"leasehold: and {self._failed - _KEPT_TOLD:,} more that failed", file=sys.stderr)
        if not self.moved_on:
            return
        print(
            f"leasehold: left alone: {counted(self.moved_on.total(), 'letter')}, since their keys were not held "
            "(after_dead_letter=continue), so later records of these may have been delivered since, and a redrive "
            "would bring an older one after them. If your processor can tell (record.redriven is set), say "
            "--even-if-newer. The keys:",
            file=sys.stderr,
        )
        for key, count in self.moved_on.items():
            print(f"leasehold:   {count:,} of {ascii(key) if key else 'further keys'}", file=sys.stderr)


def _so_far(tally: Tally) -> str:
    kept = "; ".join(f"{count:,} kept: {why}" for why, count in tally.kept.items())
    return f"{counted(tally.redriven, 'letter')} redriven{f'; {kept}' if kept else ''}"
