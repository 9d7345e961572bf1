"""Pure decisions about reading one shard: where to open it, how long to pause, how far behind it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from consumer.record import Record
from consumer.shards.checkpointer import place_of
from consumer.streams.source import Page, Position
from lease_store.checkpoint import Checkpoint, is_sequence_number
from lease_store.errors import InvalidRow
from lease_store.lease import Lease

__all__ = [
    "EMPTY_PAGES_COUNTED",
    "OLDEST",
    "Doubt",
    "after",
    "came_late",
    "doubt_about",
    "fresh",
    "is_at_tip",
    "lag_seconds",
    "made_at",
    "pause_seconds",
    "start_position",
]

EMPTY_PAUSE_SECONDS = 0.25
EMPTY_PAGES_BEFORE_IDLE = 5
_MOST_DOUBLINGS = 10
EMPTY_PAGES_COUNTED = EMPTY_PAGES_BEFORE_IDLE + _MOST_DOUBLINGS  # after so many in a row nothing changes any more
LEAST_RETENTION_SECONDS = 24 * 3600.0
OLDEST = Position("TRIM_HORIZON")


def start_position(lease: Lease, *, aggregates: bool) -> Position:
    """Where a tenure opens its shard: after the checkpoint, or at the word, or at the instant the word stands for.

    ``aggregates`` (Kinesis): one stored record may hold several user records, of which the checkpoint covers only some.
    Such a shard is opened *at* the checkpoint, as the KCL does, and ``fresh`` drops what is done. Raises InvalidRow for
    SHARD_END, and for AT_TIMESTAMP without its instant.
    """
    checkpoint = lease.checkpoint
    if checkpoint.is_number:
        kind = "AT_SEQUENCE_NUMBER" if aggregates else "AFTER_SEQUENCE_NUMBER"
        return Position(kind, sequence_number=checkpoint.sequence_number)  # type: ignore[arg-type]  # one of two literals
    word = checkpoint.sequence_number
    if word == "TRIM_HORIZON":
        return OLDEST
    if word in ("LATEST", "AT_TIMESTAMP") and lease.start_at is not None:
        return Position("AT_TIMESTAMP", timestamp=float(lease.start_at))
    if word == "LATEST":
        return Position("LATEST")
    raise InvalidRow(f"Lease {lease.key} can't be opened at {checkpoint} (start instant {lease.start_at}).")


@dataclass(frozen=True, slots=True)
class Doubt:
    """Records behind ``place`` may have been trimmed without a word of the service.

    They were not where the first one that it sends is ``known``, which was read before and is trimmed earlier.
    """

    place: str
    known: Checkpoint | None = None

    def is_settled_by(self, first: Checkpoint | None) -> bool:
        """Whether the first record says that nothing is missing."""
        if self.known is None or first is None:
            return False
        return int(first.sequence_number) <= int(self.known.sequence_number)


def doubt_about(lease: Lease, *, aggregates: bool, now: float) -> Doubt | None:
    """What opening ``lease`` at ``now`` (epoch seconds) leaves unsaid; None where trimming can't be missed.

    DynamoDB refuses a trimmed sequence number. Kinesis goes on at the oldest record, and both do where a shard is
    opened at a word: a row that has not begun 24 h after it was made, the shortest retention, may have lost its first.
    """
    if lease.checkpoint.is_number:
        return Doubt(str(lease.checkpoint), lease.checkpoint) if aggregates else None
    born_at = made_at(lease)
    return Doubt(str(lease.checkpoint)) if born_at and now - born_at > LEAST_RETENTION_SECONDS else None


def came_late(created_at: float | None, *, known_since: float, now: float) -> bool:
    """Whether a shard that gets its row ``now`` may have lost its first records unread; all in epoch seconds.

    ``created_at``: when the shard was born, None where nobody says. ``known_since``: what a group missed before it
    began is no loss. Streams keep records for 24 h at least.
    """
    return created_at is not None and now - max(created_at, known_since) > LEAST_RETENTION_SECONDS


def made_at(lease: Lease) -> float:
    """When a row was made (epoch seconds), as its mark of creation says; 0 where it carries none of ours."""
    millis = (lease.created_at or "").partition("-")[0]
    return int(millis) / 1000 if is_sequence_number(millis) else 0.0


def after(checkpoint: Checkpoint) -> Position:
    """Right after a record that was read."""
    return Position("AFTER_SEQUENCE_NUMBER", sequence_number=checkpoint.sequence_number)


def fresh(records: Sequence[Record], *, above: Checkpoint | None, drop_before: float | None) -> Sequence[Record]:
    """The records that are to be delivered: above a place that is done, and not older than an instant.

    A place inside an aggregate (a KCL stopped there) covers a part of a record that is not taken apart: it is to come
    again, whole. What was done of it repeats, and nothing of it is lost. DynamoDB's creation times are whole seconds,
    so that the instant is floored before it is compared.
    """
    if above is None and drop_before is None:
        return records
    oldest = None if drop_before is None else math.floor(drop_before)
    begun = None if above is None else _begun(records, above)
    return [
        record
        for record in records
        if (above is None or record is begun or place_of(record) > above)
        and (oldest is None or record.timestamp is None or record.timestamp >= oldest)
    ]


def _begun(records: Sequence[Record], above: Checkpoint) -> Record | None:
    """The record of the aggregate inside which ``above`` lies, where nobody took it apart."""
    if above.sub_sequence_number == 0:
        return None
    parts = [record for record in records if record.sequence_number == above.sequence_number]
    return parts[0] if len(parts) == 1 and parts[0].sub_sequence_number == 0 else None


def is_at_tip(page: Page) -> bool:
    """Whether a reply says, or suggests, that nothing newer was there."""
    return page.millis_behind_latest == 0 or (page.millis_behind_latest is None and not page.records)


def pause_seconds(page: Page, *, empty_in_a_row: int, idle_wait_seconds: float) -> float:
    """The pause before the next read: none after records, 0.25 s after an empty page, more once the shard is idle.

    A service that says that there is more (Kinesis) is asked for it at once, at the rate that it allows: a shard with a
    record in every hundredth page would never be caught up with otherwise.
    """
    if page.records or page.millis_behind_latest:
        return 0.0
    doublings = empty_in_a_row if page.millis_behind_latest == 0 else empty_in_a_row - EMPTY_PAGES_BEFORE_IDLE
    return min(EMPTY_PAUSE_SECONDS * 2.0 ** min(max(doublings, 0), _MOST_DOUBLINGS), idle_wait_seconds)


def lag_seconds(page: Page, now: float) -> float | None:
    """Age of what is still unread after ``page``: as the service says, else by the last record while more is likely.

    ``now`` in epoch seconds. None where a record carries no time.
    """
    if is_at_tip(page):
        return 0.0
    if page.millis_behind_latest is not None:
        return page.millis_behind_latest / 1000.0
    timestamp = page.records[-1].timestamp
    return None if timestamp is None else max(0.0, now - timestamp)
