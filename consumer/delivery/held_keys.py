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
_LISTED_EVERY_SECONDS: Final = 60.0
_RETRY_FIRST_SECONDS: Final = 0.5
_RETRY_LIMIT_SECONDS: Final = 10.0
_PAUSE_PER_LISTING: Final = 20
_MOST_KEYS: Final = 10_000

_Key = tuple[str, str]
"""A stream's label, and the digest of a key."""


@dataclass(slots=True)
class _Hold:
    """``pending``: letters of the key on their way; ``stored_at`` (monotonic): when the last one arrived."""

    pending: int = 0
    stored_at: float = -math.inf


class HeldKeys:
    """One worker's knowledge of them; the store of dead letters is what holds them, for all workers.

    A key is one of a stream, by the label of its incarnation: a worker may still drain the shards of an earlier one.
    It is held while it has letters. It is let go once a listing that began after this worker's last letter of the key
    shows none, and none is on its way: then somebody has redriven or dropped them all. At most 10,000 keys are held;
    beyond that, records that fail wait parked.
    """

    def __init__(self, store: DeadLetterStore, clock: Clock, random: Random, hooks: Callable[[Fact], None]) -> None:
        self._store = store
        self._clock = clock
        self._random = random
        self._hooks = hooks
        self._holds: dict[_Key, _Hold] = {}
        self._listed_at: dict[str, float] = {}
        self._listing = asyncio.Lock()
        self._listing_seconds = 0.0
        self._told = 0

    def __len__(self) -> int:
        return len(self._holds)

    def may_add(self, stream: str, record: Record) -> bool:
        """Whether the key of ``record`` is held, or may become so."""
        return len(self._holds) < _MOST_KEYS or _key_of(stream, record) in self._holds

    def holds(self, stream: str, record: Record) -> bool:
        """Whether ``record`` is to follow a dead letter of its key."""
        return bool(self._holds) and _key_of(stream, record) in self._holds

    def leaving(self, stream: str, record: Record) -> None:
        """A letter of ``record`` is on its way; its key is held from now on."""
        self._holds.setdefault(_key_of(stream, record), _Hold()).pending += 1
        self._tell()

    def left(self, stream: str, record: Record) -> None:
        """The letter was stored, or will not be by this worker."""
        hold = self._holds.setdefault(_key_of(stream, record), _Hold(1))
        hold.pending -= 1
        hold.stored_at = self._clock.monotonic()

    def let_go(self, stream: str, record: Record) -> None:
        """The store has no letter of the key of ``record`` any more, and none is on its way."""
        self._holds.pop(_key_of(stream, record), None)
        self._tell()

    async def listed_since(self, stream: str, instant: float) -> None:
        """Return once a listing of ``stream`` that began at ``instant`` (monotonic) or later has been seen."""
        trouble = Trouble(self._random, _RETRY_FIRST_SECONDS, _RETRY_LIMIT_SECONDS)
        while self._is_due(stream, instant):
            try:
                await self._list(stream, instant)
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
        """List for as long as the worker lives.

        What a listing costs grows with the keys in some stores, and so does the pause after it: who has a letter for a
        key asks for that one first (``GivingUp``), and here only the number that is told lags behind.
        """
        while True:
            await self._clock.sleep(max(_LISTED_EVERY_SECONDS, _PAUSE_PER_LISTING * self._listing_seconds))
            now = self._clock.monotonic()
            for stream in tuple(self._listed_at):
                await self.listed_since(stream, now)
            self._listing_seconds = self._clock.monotonic() - now

    def _is_due(self, stream: str, instant: float) -> bool:
        return self._listed_at.get(stream, -math.inf) < instant

    async def _list(self, stream: str, instant: float) -> None:
        async with self._listing:
            if not self._is_due(stream, instant):
                return  # while this one waited
            began_at = self._clock.monotonic()
            held = {(stream, digest) for digest in await self._store.held_keys(stream)}
            for key in held:
                self._holds.setdefault(key, _Hold())
            for key, hold in tuple(self._holds.items()):
                if key[0] == stream and key not in held and not hold.pending and hold.stored_at < began_at:
                    del self._holds[key]
            self._listed_at[stream] = began_at
            self._tell()

    def _tell(self) -> None:
        if len(self._holds) != self._told:
            self._told = len(self._holds)
            self._hooks(KeysHeld("", self._told))


def _key_of(stream: str, record: Record) -> _Key:
    return stream, digest_of(record.key)
