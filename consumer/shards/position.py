"""Pure decisions about reading one shard: where to open it, how long to pause, how far behind it is."""

from __future__ import annotations

import math
from collections.abc import Sequence

from consumer.record import Record
from consumer.shards.checkpointer import place_of
from consumer.streams.source import Page, Position
from lease_store.checkpoint import Checkpoint
from lease_store.errors import InvalidRow
from lease_store.lease import Lease

__all__ = ["after", "fresh", "is_at_tip", "lag_seconds", "pause_seconds", "start_position"]

EMPTY_PAUSE_SECONDS = 0.25
EMPTY_PAGES_BEFORE_IDLE = 5


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
        return Position("TRIM_HORIZON")
    if word in ("LATEST", "AT_TIMESTAMP") and lease.start_at is not None:
        return Position("AT_TIMESTAMP", timestamp=float(lease.start_at))
    if word == "LATEST":
        return Position("LATEST")
    raise InvalidRow(f"Lease {lease.key} can't be opened at {checkpoint} (start instant {lease.start_at}).")


def after(checkpoint: Checkpoint) -> Position:
    """Right after a record that was read."""
    return Position("AFTER_SEQUENCE_NUMBER", sequence_number=checkpoint.sequence_number)


def fresh(records: Sequence[Record], *, above: Checkpoint | None, drop_before: float | None) -> Sequence[Record]:
    """The records that are to be delivered: above a place that is done, and not older than an instant.

    DynamoDB's creation times are whole seconds, so that the instant is floored before it is compared.
    """
    if above is None and drop_before is None:
        return records
    oldest = None if drop_before is None else math.floor(drop_before)
    return [
        record
        for record in records
        if (above is None or place_of(record) > above)
        and (oldest is None or record.timestamp is None or record.timestamp >= oldest)
    ]


def is_at_tip(page: Page) -> bool:
    """Whether a reply says, or suggests, that nothing newer was there."""
    return page.millis_behind_latest == 0 or (page.millis_behind_latest is None and not page.records)


def pause_seconds(page: Page, *, empty_in_a_row: int, idle_wait_seconds: float) -> float:
    """The pause before the next read: none after records, 0.25 s after an empty page, more once the shard is idle."""
    if page.records:
        return 0.0
    doublings = empty_in_a_row if page.millis_behind_latest == 0 else empty_in_a_row - EMPTY_PAGES_BEFORE_IDLE
    return min(EMPTY_PAUSE_SECONDS * 2.0 ** min(max(doublings, 0), 10), idle_wait_seconds)


def lag_seconds(page: Page, now: float) -> float | None:
    """Age of what is still unread after ``page``: as the service says, else by the last record while more is likely.

    ``now`` in epoch seconds. None where a record carries no time.
    """
    if page.millis_behind_latest is not None:
        return page.millis_behind_latest / 1000.0
    if not page.records:
        return 0.0
    timestamp = page.records[-1].timestamp
    return None if timestamp is None else max(0.0, now - timestamp)
