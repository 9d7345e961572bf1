"""What user code that checkpoints by itself may say to be done, and what it has said."""

from __future__ import annotations

from collections.abc import Sequence

from consumer.delivery.batching import Run
from consumer.delivery.books import Books
from lease_store.checkpoint import Checkpoint

__all__ = ["Claims"]


class Claims:
    """One lane's records that it was given and has not said to be done.

    ``awaited``: none is done before it has. Otherwise what returns is done, and a claim only tells how far a checkpoint
    may go while the call runs.
    """

    __slots__ = ("_awaited", "_books", "_in_hand", "_returned")

    def __init__(self, books: Books, *, awaited: bool) -> None:
        self._books = books
        self._awaited = awaited
        self._in_hand: Run | None = None
        self._returned: list[int] = []

    def __len__(self) -> int:
        """Records that have returned, and are not claimed."""
        return len(self._returned)

    def begin(self, run: Run) -> None:
        """User code is called with ``run``."""
        self._in_hand = run

    def end(self) -> None:
        """The call has come to its end."""
        self._in_hand = None

    def returned(self, indexes: Sequence[int]) -> None:
        """These have been processed."""
        if self._awaited:
            self._books.release_pages(indexes)
            self._returned += [index for index in indexes if index not in self._books.ledger]  # claimed in the call
        else:
            self._books.done(indexes)

    def claim(self, place: Checkpoint) -> None:
        """All of it up to ``place`` is done."""
        indexes = self._books.ledger.up_to(place, self._given())
        claimed = set(indexes)
        self._returned = [index for index in self._returned if index not in claimed]
        self._books.done(indexes)

    def limit(self) -> Checkpoint | None:
        """How far a checkpoint may go if all of it is done; None: as far as it likes."""
        return self._books.ledger.limit(self._given())

    def _given(self) -> Sequence[int]:
        """Ascending, and none that user code has said to have failed."""
        run = self._in_hand
        if run is None:
            return sorted(self._returned)
        given: Sequence[int] = run.indexes
        if any(record.failure is not None for record in run.records):
            self._books.remember(run)
            given = [index for index, record in zip(run.indexes, run.records, strict=True) if record.failure is None]
        return sorted({*self._returned, *given}) if self._returned else given
