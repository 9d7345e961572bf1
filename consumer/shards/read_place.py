"""How far a tenure has read its shard, where it is opened again, and what may be missing there: it calls nobody."""

from __future__ import annotations

import math
from collections.abc import Sequence

from consumer.record import Record
from consumer.shards.checkpointer import place_of
from consumer.shards.position import OLDEST, Doubt, after, doubt_about, fresh, start_position
from consumer.streams.source import Opened, Page, Position
from lease_store.checkpoint import Checkpoint
from lease_store.lease import Lease

__all__ = ["ReadPlace"]


class ReadPlace:
    """Begins at ``lease``'s checkpoint at the instant ``now`` (epoch seconds); as a string, the place for people.

    ``aggregates``: a Kinesis stream, which holds records in records and says nothing of those that it has trimmed.
    """

    __slots__ = ("_above", "_aggregates", "_doubt", "_drop_before", "_gap_from", "_last_read", "_pin")

    def __init__(self, lease: Lease, *, aggregates: bool, now: float) -> None:
        self._aggregates = aggregates
        self._pin = start_position(lease, aggregates=aggregates)
        self._above = lease.checkpoint if lease.checkpoint.is_number else None
        self._doubt = doubt_about(lease, aggregates=aggregates, now=now)
        self._last_read: Checkpoint | None = None
        self._drop_before: float | None = None
        self._gap_from: str | None = None

    def __str__(self) -> str:
        place = self._last_read or self._above
        return self._pin.kind if place is None else str(place)

    @property
    def has_begun(self) -> bool:
        """Whether any record was read, in this tenure or before it."""
        return (self._last_read or self._above) is not None

    def position(self) -> Position:
        """Where the shard is to be opened now."""
        return self._pin if self._last_read is None else self._after(self._last_read)

    def _after(self, place: Checkpoint) -> Position:
        """Behind what was read. Kinesis says nothing when that was trimmed, and is asked for the last record again."""
        if not self._aggregates:
            return after(place)
        self._above, self._doubt = place, Doubt(str(place), place)
        return Position("AT_SEQUENCE_NUMBER", sequence_number=place.sequence_number)

    def opened(self, opened: Opened, now: float) -> None:
        """The shard was opened there, at ``now`` (epoch seconds)."""
        if self._last_read is not None:
            return
        self._drop_before = opened.drop_before
        if self._pin.kind == "LATEST":
            # The word slides: an iterator that expires before the first record must not skip what came meanwhile.
            # Service times are whole seconds; nothing was delivered yet, so that a second too many repeats nothing.
            self._pin = Position("AT_TIMESTAMP", timestamp=math.floor(now) - 1.0)

    def take(self, records: Sequence[Record]) -> Sequence[Record]:
        """Go on behind ``records``, which were read; those of them that are to be delivered."""
        wanted = fresh(records, above=self._above, drop_before=self._drop_before)
        self._last_read = place_of(records[-1])
        if self._above is not None and self._last_read > self._above:
            self._above = None
        return wanted

    def silent_gap(self, page: Page) -> tuple[str, str | None] | None:
        """Where the service may have gone on at its oldest record without a word: after which place, and at which.

        The second is None where ``page`` ends the shard without a record. It is asked of each page before that is
        taken, and answers once.
        """
        doubt, ends = self._doubt, page.next_iterator is None
        if doubt is None or not (page.records or ends or page.millis_behind_latest == 0):
            return None
        self._doubt = None
        first = place_of(page.records[0]) if page.records else None
        if doubt.is_settled_by(first) or not (page.records or ends):
            return None  # an open shard without anything new has most likely been idle
        return doubt.place, None if first is None else str(first)

    def trimmed(self) -> None:
        """The service refuses this place, and said so: on to its oldest record, which leaves no doubt."""
        self._gap_from = str(self)
        self._above = self._last_read or self._above
        self._last_read = self._doubt = None
        self._pin = OLDEST

    def gap_behind(self) -> str | None:
        """The place that was refused, once: it is asked for with the first records that are delivered after it."""
        gap, self._gap_from = self._gap_from, None
        return gap
