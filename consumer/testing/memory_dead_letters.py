"""Dead letters in memory, for tests: the store that every other one must behave like, and one that fails on demand."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from consumer.dead_letters.envelope import decode, encode
from consumer.dead_letters.letter import DeadLetter, Identity
from consumer.dead_letters.store import ALL, Findings, Selection, Unreadable
from consumer.errors import DeadLetterError, DeadLetterUnreadable

__all__ = ["MemoryDeadLetters"]


class MemoryDeadLetters:
    """A dictionary of envelopes, sorted when it is listed.

    ``before_put`` sees what is to be stored and may raise in place of it; ``after_put`` is called once it is stored,
    and what it raises is a reply that was lost. ``puts`` counts calls, ``envelopes`` is what is kept, by identity.
    """

    name = "memory:"
    tells_repeats = True
    tells_keys = True

    def __init__(
        self,
        *,
        before_put: Callable[[Sequence[DeadLetter]], None] | None = None,
        after_put: Callable[[Sequence[DeadLetter]], None] | None = None,
    ) -> None:
        self.envelopes: dict[Identity, bytes] = {}
        self.puts = 0
        self.noted = ""
        self.before_put = before_put
        self.after_put = after_put

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Nothing to connect; may be entered again and again, and what is stored stays."""
        yield

    async def check(self) -> Findings:
        """Nothing stands in the way, but for what ``before_put`` raises."""
        try:
            if self.before_put is not None:
                self.before_put(())
        except DeadLetterError as error:
            return Findings.of(error)
        return Findings()

    async def put(self, letters: Sequence[DeadLetter]) -> None:
        """Store them, over those of the same identity."""
        self.puts += 1
        if self.before_put is not None:
            self.before_put(letters)
        self.envelopes.update({letter.identity: encode(letter) for letter in letters})
        if self.after_put is not None:
            self.after_put(letters)

    async def letters(self, selection: Selection = ALL) -> AsyncGenerator[DeadLetter | Unreadable, None]:
        """As they were when it began."""
        for identity in sorted(self.envelopes, key=lambda each: (each.stream, each.place)):
            stored = self.envelopes.get(identity)
            if stored is not None and selection.fits(identity):
                try:
                    yield decode(stored)
                except DeadLetterUnreadable as error:
                    yield Unreadable(str(identity), str(error))

    async def find(self, identity: Identity) -> DeadLetter | None:
        """One letter."""
        stored = self.envelopes.get(identity)
        return None if stored is None else decode(stored)

    async def whole(self, letter: DeadLetter) -> DeadLetter:
        """It is whole."""
        return letter

    async def remove(self, identity: Identity) -> None:
        """Forget it."""
        self.envelopes.pop(identity, None)

    async def held_keys(self, stream: str) -> frozenset[str]:
        """Digests of keys with letters."""
        return frozenset(identity.digest for identity in self.envelopes if identity.stream == stream)

    async def holds(self, stream: str, digest: str) -> bool:
        """Whether the key has a letter."""
        return digest in await self.held_keys(stream)

    async def note(self, seen: str, text: str) -> str:
        """In ``noted``."""
        if self.noted == seen:
            self.noted = text
        return self.noted
