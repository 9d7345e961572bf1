"""A page as the worker reads it: what a reply of GetRecords says, and whether that is believed at once.

A reply is believed at once where it looks like any other. One that ends the shard without naming children, or has
entries that are no records, is asked for a second time with the same iterator, and then believed: a reply that lost a
field on its way must neither end a shard that is open nor cost a record.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from consumer.streams.source import Page, Shard
from consumer.streams.wire import WirePage

__all__ = ["believed", "page_of"]

_log = logging.getLogger("leasehold.streams")


def page_of(reply: WirePage, *, children: tuple[Shard, ...] | None = None) -> Page:
    """The page that a reply is, with the children that its source believes; its size is the reply's."""
    return Page(
        records=reply.records,
        next_iterator=reply.next_iterator,
        millis_behind_latest=reply.millis_behind_latest,
        children=children,
        size_bytes=reply.body_bytes,
        skipped=reply.skipped,
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
