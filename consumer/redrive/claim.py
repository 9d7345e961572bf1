"""One redrive of a store at a time: two would run letters twice, and out of order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from consumer.clock import Clock
from consumer.dead_letters.store import DeadLetterStore
from consumer.errors import DeadLetterError
from lease_store.uninterrupted import uninterrupted

__all__ = ["Claim"]

_LASTS_SECONDS: Final = 60.0
_RENEWED_EVERY_SECONDS: Final = 15.0


class Claim:
    """``who`` has the letters of ``store``, as its note says; who is killed has them for a minute more.

    The note is read by other machines, so its time is the wall clock's: where that is wrong by most of a minute, two
    may run.
    """

    def __init__(self, store: DeadLetterStore, clock: Clock, who: str) -> None:
        self._store = store
        self._clock = clock
        self._who = who
        self._note = ""
        self._until = 0.0
        self._taken_by: str | None = None

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Raises DeadLetterError where another redrive has the letters."""
        if not await self._write(""):
            raise self._refused()
        renewing = asyncio.get_running_loop().create_task(self._renew(), name="redrive's claim")
        try:
            yield
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            with suppress(DeadLetterError):  # it runs out by itself
                await uninterrupted(self._store.note(self._note, ""))

    def check(self) -> None:
        """Raises DeadLetterError where it was lost: to be asked before each key."""
        if self._taken_by is not None:
            raise self._refused()
        if self._clock.wall() >= self._until:
            raise DeadLetterError(
                f"{self._store.name} could not be told for {_LASTS_SECONDS:.0f} s that this redrive goes on (it was "
                "frozen, or the store did not answer): it ends, for another may have begun. What was counted is done, "
                "the rest is where it was."
            )

    async def _renew(self) -> None:
        while self._taken_by is None:
            await self._clock.sleep(_RENEWED_EVERY_SECONDS)
            with suppress(DeadLetterError):  # tried again, until ``check`` says that it is too late
                await self._write(self._note)

    async def _write(self, seen: str) -> bool:
        """Whether the note is ours, now and for a minute; it was ``seen`` before, or has run out."""
        while True:
            until = self._clock.wall() + _LASTS_SECONDS
            note = json.dumps({"redrive": self._who, "until": until})
            found = await self._store.note(seen, note)
            if found == note:
                self._note, self._until = note, until
                return True
            who, its_until = _read(found)
            if who == self._who or its_until <= self._clock.wall():
                seen = found  # a reply of ours was lost, or its owner was killed
                continue
            self._taken_by = who
            self._until = its_until
            return False

    def _refused(self) -> DeadLetterError:
        seconds = max(0.0, self._until - self._clock.wall())
        return DeadLetterError(
            f"{self._store.name} is being redriven by {self._taken_by}: two at once would run letters twice. Wait for "
            f"it; if it was killed, its claim ends in {seconds:.0f} s."
        )


def _read(note: str) -> tuple[str, float]:
    """Whose it is, and until when; of what is no such note, nobody's."""
    try:
        told = json.loads(note)
        return str(told["redrive"]), float(told["until"])
    except (LookupError, TypeError, ValueError):
        return "", 0.0
