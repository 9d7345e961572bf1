"""Before a worker writes anything into a table with rows of a KCL: are they rows of the stream that it reads?"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from consumer.clock import Clock
from consumer.errors import DataTrimmed, LeaseTableConflict, PositionRefused, ShardNotFound
from consumer.leasing.table_check import stranger_in
from consumer.streams.source import Position, RecordSource, StreamIdentity
from lease_store.lease import Lease

__all__ = ["adopt"]

_log = logging.getLogger("leasehold.shards")
_ASKED_ABOUT: Final = 3
_LATE_SECONDS: Final = 3.0


async def adopt(
    leases: Sequence[Lease], source: RecordSource, stream: StreamIdentity, *, table: str, clock: Clock
) -> float:
    """Judge the rows among ``leases`` that a KCL made, where there are any.

    Returns by how many seconds this machine's clock is ahead of the stream's service; 0 where that is not known. Raises
    LeaseTableConflict where they are of another stream, StreamError.
    """
    adopted = [lease for lease in leases if lease.created_at is None]
    if not adopted:
        return 0.0
    conflict, server_time = await _judged(leases, source, stream, table)
    if conflict is not None:
        # A listing may be late with what has just been split: two of them, some seconds apart, are not.
        await clock.sleep(_LATE_SECONDS)
        conflict, server_time = await _judged(leases, source, stream, table)
    conflict = conflict or await _refused(adopted, source, stream, table)
    if conflict is not None:
        raise LeaseTableConflict(conflict)
    _log.info(
        "Lease table %s has %d leases that a KCL made: they are taken for leases of %s.",
        table,
        len(adopted),
        stream.label,
    )
    return 0.0 if server_time is None else max(0.0, clock.wall() - server_time)


async def _judged(
    leases: Sequence[Lease], source: RecordSource, stream: StreamIdentity, table: str
) -> tuple[str | None, float | None]:
    """What the stream's listing says against the rows, and the service's clock."""
    listing = await source.list_shards(stream)
    now = listing.server_time
    return stranger_in(leases, listing.shards, table=table, stream_label=stream.label, server_time=now), now


async def _refused(adopted: Sequence[Lease], source: RecordSource, stream: StreamIdentity, table: str) -> str | None:
    """Ask the service itself: Kinesis refuses to open a shard at a sequence number that did not come from the stream.

    Shards of a fresh stream have the ids and the ranges of any other, so that a few checkpoints are worth the question.
    """
    begun = [lease for lease in adopted if lease.checkpoint.is_number]
    for lease in begun[-_ASKED_ABOUT:] if stream.view_type is None else ():
        number = lease.checkpoint.sequence_number
        try:
            await source.iterator(stream, lease.key, Position("AT_SEQUENCE_NUMBER", sequence_number=number))
        except (ShardNotFound, DataTrimmed):
            continue  # gone is no proof
        except PositionRefused as error:
            return (
                f"Lease {lease.key!r} of table {table}, made by a KCL, is not of {stream.label}: the service does not "
                f"know its checkpoint {number} there ({error}). Give this app a lease table of its own with "
                "--lease-table."
            )
    return None
