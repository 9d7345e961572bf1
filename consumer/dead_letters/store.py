"""What a store of dead letters must be able to do: the seam between delivery, the ``dlq`` command and the stores."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from consumer.dead_letters.letter import DeadLetter, Identity, digest_of
from consumer.errors import DeadLetterError
from consumer.retry import is_transient

__all__ = ["ALL", "DeadLetterStore", "Findings", "Selection", "Unreadable"]


@dataclass(frozen=True, slots=True)
class Findings:
    """What ``check`` found: sentences that forbid a start, and sentences that it should be told with."""

    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, error: DeadLetterError) -> Findings:
        """What a call of a check came to. Raises ``error`` itself where it may be gone a moment later."""
        if is_transient(error):
            raise error
        return cls((str(error),))

    def __add__(self, other: Findings) -> Findings:
        return Findings(self.problems + other.problems, self.warnings + other.warnings)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters are meant; what is None does not matter. ``key`` is compared by its digest."""

    stream: str | None = None
    shard_id: str | None = None
    key: str | None = None

    def fits(self, identity: Identity) -> bool:
        """Whether a letter is one of those."""
        return (
            self.stream in (None, identity.stream)
            and self.shard_id in (None, identity.shard_id)
            and (self.key is None or digest_of(self.key) == identity.digest)
        )


ALL = Selection()


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Something in a store that is no letter, or none that this release can read: where, and why."""

    place: str
    why: str


class DeadLetterStore(Protocol):
    """Where dead letters are kept. Used on the loop that entered ``open``; every error is a DeadLetterError.

    Each method tries once (``retry.is_transient`` says whether to try again). Writing the letter of one record again
    writes over the first, where ``tells_repeats``.
    """

    @property
    def name(self) -> str:
        """The store as its user named it, for messages."""
        ...

    @property
    def tells_repeats(self) -> bool:
        """Whether a second write of a letter surely makes no second one."""
        ...

    @property
    def tells_keys(self) -> bool:
        """Whether ``held_keys`` and ``holds`` can be asked: what ``after_dead_letter="hold_key"`` needs."""
        ...

    def open(self) -> AbstractAsyncContextManager[None]:
        """Connections while it is entered. What a listing holds back from others is given back when it is left."""
        ...

    async def check(self) -> Findings:
        """Whether letters can be written: all that stands in the way, at once.

        Raises DeadLetterError for what may be gone a moment later, and for nothing else: it is to be asked again then.
        """
        ...

    async def put(self, letters: Sequence[DeadLetter]) -> None:
        """Return once all of them are stored for good.

        Raises DeadLetterError; some may be stored then, nobody knows which, and the same call again is right.
        """
        ...

    def letters(self, selection: Selection = ALL) -> AsyncGenerator[DeadLetter | Unreadable, None]:
        """The selected letters, stream by stream, key by key, those of one key in the order of the stream.

        Bodies that lie elsewhere are left there (``whole``). Memory is bounded by a page, or by an entry of about
        200 bytes a letter where the store has no order of its own (file, SQS).
        """
        ...

    async def find(self, identity: Identity) -> DeadLetter | None:
        """One letter, whole; None where it is not there."""
        ...

    async def whole(self, letter: DeadLetter) -> DeadLetter:
        """The letter with its body, fetched where it lies elsewhere."""
        ...

    async def remove(self, identity: Identity) -> None:
        """Delete a letter and its body; none is there afterwards, even if there was none before."""
        ...

    async def held_keys(self, stream: str) -> frozenset[str]:
        """Digests (``digest_of``) of the keys of ``stream`` that have letters.

        Raises DeadLetterError, also where the store can't tell.
        """
        ...

    async def holds(self, stream: str, digest: str) -> bool:
        """Whether a key of ``stream`` has a letter. Raises as ``held_keys`` does."""
        ...

    async def note(self, seen: str, text: str) -> str:
        """The store's one note, by which those who work on its letters know of one another; "" is none.

        Writes ``text`` where the note is ``seen``, in one step, and returns what the note is then: ``text``, or what
        somebody else has written. A store that keeps what one has taken from all others needs none, and keeps none.
        """
        ...
