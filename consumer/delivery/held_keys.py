"""Keys that have a dead letter: with ``after_dead_letter=hold_key`` whatever comes later under them follows it."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from consumer.clock import Clock
from consumer.dead_letters.letter import digest_of
from consumer.dead_letters.store import DeadLetterStore
from consumer.errors import DeadLetterError
from consumer.hooks import Fact, KeysHeld
from consumer.record import Record
from consumer.retry import Trouble

__all__ = ["HeldKeys"]

_log = logging.getLogger("leasehold.delivery")
_LISTED_EVERY_SECONDS: Final = 10.0
_RETRY_FIRST_SECONDS: Final = 0.5
_MOST_KEYS: Final = 10_000


@dataclass(slots=True)
class _Hold:
    """``pending``: letters of the key on their way; ``stored_at`` (monotonic): when the last one arrived."""

    pending: int = 0
    stored_at: float = -math.inf


class HeldKeys:
    """One worker's knowledge of them; the store of dead letters is what holds them, for all workers.

    A key is held while it has letters. It is let go once a listing that began after this worker's last letter of the
    key shows none, and none is on its way: then somebody has redriven or dropped them all. At most 10,000 keys are
    held; beyond that, records that fail wait parked.
    """

    def __init__(
        self, store: DeadLetterStore, stream: str, clock: Clock, random: Random, hooks: Callable[[Fact], None]
    ) -> None:
        self._store = store
        self._stream = stream
        self._clock = clock
        self._random = random
        self._hooks = hooks
        self._holds: dict[str, _Hold] = {}
        self._listed_at = -math.inf
        self._listing = asyncio.Lock()
        self._told = 0

    def __len__(self) -> int:
        return len(self._holds)

    def may_add(self, record: Record) -> bool:
        """Whether the key of ``record`` is held, or may become so."""
        return len(self._holds) < _MOST_KEYS or digest_of(record.key) in self._holds

    def holds(self, record: Record) -> bool:
        """Whether ``record`` is to follow a dead letter of its key."""
        return bool(self._holds) and digest_of(record.key) in self._holds

    def leaving(self, record: Record) -> None:
        """A letter of ``record`` is on its way; its key is held from now on."""
        self._holds.setdefault(digest_of(record.key), _Hold()).pending += 1
        self._tell()

    def left(self, record: Record) -> None:
        """The letter was stored, or will not be by this worker."""
        hold = self._holds.setdefault(digest_of(record.key), _Hold(1))
        hold.pending -= 1
        hold.stored_at = self._clock.monotonic()

    def let_go(self, record: Record) -> None:
        """The store has no letter of the key of ``record`` any more, and none is on its way."""
        self._holds.pop(digest_of(record.key), None)
        self._tell()

    async def listed_since(self, instant: float) -> None:
        """Return once a listing that began at ``instant`` (monotonic) or later has been seen."""
        trouble = Trouble(self._random, _RETRY_FIRST_SECONDS, _LISTED_EVERY_SECONDS)
        while self._listed_at < instant:
            try:
                await self._list(instant)
            except DeadLetterError as error:
                now = self._clock.monotonic()
                pause = trouble.put_off(now)
                if trouble.is_to_be_told(now):
                    _log.error(
                        "%s does not say which keys have dead letters (%s): shards that begin wait for it, the others "
                        "hold the keys that are known. Asked again in %.1f s.",
                        self._store.name,
                        error,
                        pause,
                    )
                await self._clock.sleep(pause)

    async def run(self) -> None:
        """List for as long as the worker lives."""
        while True:
            await self._clock.sleep(_LISTED_EVERY_SECONDS)
            await self.listed_since(self._clock.monotonic())

    async def _list(self, instant: float) -> None:
        async with self._listing:
            if self._listed_at >= instant:
                return  # while this one waited
            began_at = self._clock.monotonic()
            held = await self._store.held_keys(self._stream)
            for digest in held:
                self._holds.setdefault(digest, _Hold())
            for digest, hold in tuple(self._holds.items()):
                if digest not in held and not hold.pending and hold.stored_at < began_at:
                    del self._holds[digest]
            self._listed_at = began_at
            self._tell()

    def _tell(self) -> None:
        if len(self._holds) != self._told:
            self._told = len(self._holds)
            self._hooks(KeysHeld("", self._told))
