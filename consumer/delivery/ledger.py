"""Which of a shard's records are done, and how far all of them are: the place that a checkpoint may name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import takewhile

from consumer.record import Record
from lease_store.checkpoint import Checkpoint

__all__ = ["Ledger", "Prefix"]


class Prefix:
    """How far a count is complete, its numbers being added in any order; ``end`` is the first one missing."""

    __slots__ = ("_beyond", "end")

    def __init__(self) -> None:
        self.end = 0
        self._beyond: set[int] = set()

    def __contains__(self, index: int) -> bool:
        return index < self.end or index in self._beyond

    def add(self, indexes: Sequence[int]) -> int:
        """``indexes``, ascending, are there; by how much ``end`` moves on. What was there before changes nothing."""
        before, beyond = self.end, self._beyond
        end = before
        if isinstance(indexes, range) and indexes.start <= before:
            end = max(before, indexes.stop)
            if beyond:
                beyond.difference_update(range(before, end))
        elif indexes and indexes[0] >= before:
            beyond.update(indexes)
        else:
            beyond.update([index for index in indexes if index >= before])
        while end in beyond:
            beyond.remove(end)
            end += 1
        self.end = end
        return end - before


class _Places:
    """Where records stand, by index: two lists of plain values, for there may be very many of them."""

    __slots__ = ("_low", "_numbers", "_sub_numbers")

    def __init__(self) -> None:
        self._low = 0
        self._numbers: list[str] = []
        self._sub_numbers: list[int] = []

    def add(self, index: int, records: Sequence[Record]) -> None:
        """``records`` follow all that are there, the first of them at ``index``."""
        if not self._numbers:
            self._low = index
        self._numbers += [record.sequence_number for record in records]
        self._sub_numbers += [record.sub_sequence_number for record in records]

    def at(self, index: int) -> Checkpoint:
        """The place of one that is there."""
        return Checkpoint(self._numbers[index - self._low], self._sub_numbers[index - self._low])

    def forget(self, end: int) -> None:
        """Nobody asks for those before ``end`` any more; they go together, since each time all others have to move."""
        dead = end - self._low
        if dead > len(self._numbers) // 2:
            del self._numbers[:dead], self._sub_numbers[:dead]
            self._low = end


class Ledger:
    """The records of one tenure, numbered as they come; every one at ``place`` or below it is done.

    Done is: processed, filtered, or given up by an acknowledged write. In the ordinary case, a run of records that is
    done before the next is admitted, nothing is kept of any. Where runs overlap (``overlapping``: lanes, windows), or
    while something stays behind, places are remembered, of the records from there to the head.
    """

    __slots__ = ("_done", "_is_overlapping", "_last", "_places", "head", "place")

    def __init__(self, place: Checkpoint, *, overlapping: bool) -> None:
        self.place = place
        """The watermark: never goes back."""
        self.head = 0
        """The index of the next record to be admitted."""
        self._done = Prefix()
        self._last = place
        self._is_overlapping = overlapping
        self._places: _Places | None = _Places() if overlapping else None

    @property
    def ahead(self) -> int:
        """Records from the first that is not done to the head."""
        return self.head - self._done.end

    def __contains__(self, index: int) -> bool:
        """Whether a record is done."""
        return index in self._done

    def admit(self, records: Sequence[Record]) -> range:
        """The indexes of ``records``, which follow all that were admitted before; there is at least one."""
        indexes = range(self.head, self.head + len(records))
        if self._places is None and self._done.end < self.head:
            raise RuntimeError("Records were admitted above others whose places nobody remembers.")
        self.head = indexes.stop
        self._last = _place(records[-1])
        if self._places is not None:
            self._remember(records)
        return indexes

    def remember(self, records: Sequence[Record]) -> None:
        """The run admitted last, whole and with nothing open below it, is not going to be done as one."""
        if self._places is None:
            self._places = _Places()
            self._remember(records)

    def done(self, indexes: Sequence[int]) -> bool:
        """Records are done: whether ``place`` has moved."""
        if self._places is None and not (isinstance(indexes, range) and indexes.stop == self.head):
            raise RuntimeError("A part of a run is done whose places nobody remembers.")
        moved = self._done.add(indexes)
        if not moved:
            return False
        if self._done.end == self.head:
            self.place, self._places = self._last, _Places() if self._is_overlapping else None
        elif self._places is not None:
            self.place = self._places.at(self._done.end - 1)
            self._places.forget(self._done.end)
        return True

    def up_to(self, place: Checkpoint, indexes: Iterable[int]) -> list[int]:
        """Those of ``indexes``, ascending, whose records stand at ``place`` or below it; places are remembered."""
        places = self._places
        assert places is not None
        return list(takewhile(lambda index: index < self._done.end or places.at(index) <= place, indexes))

    def limit(self, besides: Sequence[int]) -> Checkpoint | None:
        """What would be ``place`` if ``besides`` were done, too; None: no record that was admitted stands above it."""
        if self._places is None:
            return None
        wanted = set(besides)
        limit = self.place
        for index in range(self._done.end, self.head):
            if index not in wanted and index not in self._done:
                return limit
            limit = self._places.at(index)
        return None

    def _remember(self, records: Sequence[Record]) -> None:
        assert self._places is not None
        self._places.add(self.head - len(records), records)


def _place(record: Record) -> Checkpoint:
    return Checkpoint(record.sequence_number, record.sub_sequence_number)
