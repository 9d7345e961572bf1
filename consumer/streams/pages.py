"""One reply of GetRecords as a page: what both services share, malformed replies included.

A reply is believed at once where it looks like any other. One that ends the shard without naming children, or has
entries that are no records, is asked for a second time with the same iterator, and then believed: a reply that lost a
field on its way must neither end a shard that is open nor cost a record.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from consumer.errors import StreamUnavailable
from consumer.record import Record
from consumer.streams.source import Page, Shard

__all__ = ["believed", "page_of", "records_of"]

_log = logging.getLogger("leasehold.streams")

RecordT = TypeVar("RecordT", bound=Record)


def records_of(
    reply: Mapping[str, Any], make: Callable[[Mapping[str, Any]], RecordT], shard_id: str
) -> tuple[list[RecordT], int]:
    """The records of a reply, and how many entries are none. Raises StreamUnavailable where it has no list of records.

    Botocore drops fields that are null: without that list nothing can be said about the page, neither that it is empty
    nor that the shard goes on after it.
    """
    entries = reply.get("Records")
    if not isinstance(entries, list):
        raise StreamUnavailable(
            f"GetRecords of shard {shard_id} answered without a list of records. It is tried again."
        )
    records = []
    skipped = 0
    for entry in entries:
        try:
            records.append(make(entry))
        except (AttributeError, TypeError, ValueError):
            skipped += 1
    return records, skipped


def page_of(
    reply: Mapping[str, Any], records: list[RecordT], skipped: int, *, children: tuple[Shard, ...] | None = None
) -> Page:
    """The page that a reply with these records is; its size is the body's where records do not tell theirs."""
    behind = reply.get("MillisBehindLatest")
    length = str(reply.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("content-length") or "")
    return Page(
        records=records,
        next_iterator=reply.get("NextShardIterator") or None,
        millis_behind_latest=behind if isinstance(behind, int) and behind >= 0 else None,
        children=children,
        size_bytes=max(sum(record.size_bytes for record in records), int(length) if length.isdigit() else 0),
        skipped=skipped,
    )


async def believed(read: Callable[[], Awaitable[Page]], shard_id: str) -> Page:
    """What ``read`` answers, asked twice where the first answer is odd. Both must be reads of one iterator."""
    page = await read()
    ends = page.next_iterator is None and not page.children
    if not ends and not page.skipped:
        return page
    again = await read()
    if page.skipped > again.skipped or (ends and again.next_iterator is not None):
        _log.warning("Shard %s: a malformed reply was asked for again and came back sound; nothing is lost.", shard_id)
    return again
