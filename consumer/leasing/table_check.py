"""Whether this worker may share a lease table at all: pure judgements of what its rows and the stream's shards show."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from consumer.streams.lineage import merged, shard_created_at
from consumer.streams.source import Shard, base_of
from lease_store.checkpoint import AT_TIMESTAMP
from lease_store.lease import ForeignRow, Lease, TableScan

__all__ = ["conflict_in", "stranger_in", "unknown_movers"]

_WAY_OUT: Final = "Give this app a lease table of its own with --lease-table."
# How a KCL writes down one of several streams: account, name, creation time; a lease's key has the shard's id behind.
_ONE_OF_SEVERAL: Final = re.compile(r"\d{12}:[^:]+:\d+(:shardId-.+)?")
# A listing may be late with a shard; what is younger than a day and not listed is of another stream.
_LATE_SECONDS: Final = 900.0
_RETENTION_SECONDS: Final = 24 * 3600.0


def conflict_in(scan: TableScan, *, table: str, stream_base: str | None, app: str | None) -> str | None:
    """Why this table can't be joined by ``app``'s consumer of ``stream_base``, as a sentence; None where it can.

    Judged with every scan: another app's table, because the two would share the shards and each miss what the other was
    given; another stream's or one of several streams; a start of a KCL's that this worker was not told. ``stream_base``
    or ``app`` None: that is not judged.
    """
    for row in scan.foreign:
        if row.entity_type == "STREAM" and (conflict := _of_stream(row, table, stream_base)):
            return conflict
    for lease in scan.leases:
        if conflict := _of_lease(lease, table, stream_base, app):
            return conflict
    return None


def _of_stream(row: ForeignRow, table: str, stream_base: str | None) -> str | None:
    if _ONE_OF_SEVERAL.fullmatch(row.key):
        return _several(table, row.key, row.key)
    if stream_base is not None and row.key != stream_base.rpartition("/")[2]:
        return (
            f"Lease table {table} belongs to another stream: a KCL's row says {row.key!r}, this worker reads "
            f"{stream_base}. {_WAY_OUT}"
        )
    return None


def _of_lease(lease: Lease, table: str, stream_base: str | None, app: str | None) -> str | None:
    if (name := lease.extra.get("streamName", {}).get("S")) or _ONE_OF_SEVERAL.fullmatch(lease.key):
        return _several(table, lease.key, str(name or lease.key))
    if None not in (stream_base, lease.stream) and base_of(lease.stream or "") != stream_base:
        return (
            f"Lease table {table} belongs to another stream: its lease {lease.key!r} is of {lease.stream}, this "
            f"worker reads {stream_base}. Checkpoints of one mean nothing in the other. {_WAY_OUT}"
        )
    if None not in (app, lease.app) and lease.app != app:
        return (
            f"Lease table {table} belongs to app {lease.app!r} (lease {lease.key!r}), this worker is of app "
            f"{app!r}: two apps on one table would share the shards, and each miss what the other is given. "
            f"{_WAY_OUT} To work in that group, call this app {lease.app!r}, too."
        )
    if lease.checkpoint == AT_TIMESTAMP and lease.start_at is None and lease.created_at is None:
        return (
            f"Lease {lease.key!r} of table {table} is to start at a timestamp, and a KCL stores the word only: each of "
            "its workers is configured with the instant. Start this worker with the KCL's, "
            "--initial-position AT_TIMESTAMP=<ISO-8601 time>; at any other, records would be lost or come again."
        )
    return None


def _several(table: str, key: str, stream: str) -> str:
    return (
        f"Lease table {table} is kept by a KCL for several streams (row {key!r} is of {stream!r}); one worker of ours "
        f"reads one stream, and such a table can't be joined. {_WAY_OUT}"
    )


def stranger_in(
    leases: Sequence[Lease], shards: Iterable[Shard], *, table: str, stream_label: str, server_time: float | None = None
) -> str | None:
    """Why rows that a KCL made are not rows of the stream that lists ``shards``, as a sentence; None where they may be.

    A KCL names no stream in the table of a single one. Shard ids of DynamoDB are unique; those of Kinesis repeat from
    stream to stream, so that ranges, parents and checkpoints are compared, too. Records and shards that are gone prove
    nothing; what never was in this stream does. ``server_time`` (epoch seconds) is the listing's.
    """
    listed = merged(shards)
    adopted = [lease for lease in leases if lease.created_at is None]
    known = {*listed, *(parent for shard in listed.values() for parent in shard.parents)}
    if adopted and len(adopted) == len(leases) and not any(lease.key in known for lease in adopted):
        return (
            f"Lease table {table} has {len(adopted)} leases of a KCL ({adopted[0].key!r} is one), and none is of a "
            f"shard that {stream_label} lists: it belongs to another stream, or its fleet was away for longer than "
            f"the stream keeps records. {_WAY_OUT} If it is this stream's, nothing of what the leases stand for can be "
            "read any more: delete them, and the group starts anew."
        )
    for lease in adopted:
        shard = listed.get(lease.key)
        why = _is_elsewhere(lease, server_time) if shard is None else _is_another(lease, shard)
        if why is not None:
            return (
                f"Lease {lease.key!r} of table {table}, made by a KCL, is not of {stream_label}: {why}. The stream was "
                "made anew or is another one. Let the KCL's workers finish what they had, or give this app a lease "
                "table of its own with --lease-table."
            )
    return None


def _is_elsewhere(lease: Lease, server_time: float | None) -> str | None:
    """Why a shard that is not listed can't be one that was trimmed away."""
    born_at = None if lease.is_finished else shard_created_at(lease.key)
    if born_at is None or server_time is None:
        return None
    if _LATE_SECONDS < server_time - born_at < _RETENTION_SECONDS:
        return "its shard is younger than a day, and the stream does not list it"
    return None


def _is_another(lease: Lease, shard: Shard) -> str | None:
    """Why a listed shard of the lease's id is not the lease's shard."""
    if None not in (lease.hash_range, shard.hash_range) and lease.hash_range != shard.hash_range:
        return f"it covers the hash keys {lease.hash_range}, the stream's shard of that id {shard.hash_range}"
    if lease.parents and shard.parents and not {*lease.parents} & {*shard.parents}:
        return f"its parents are {lease.parents}, those of the stream's shard {shard.parents}"
    if lease.is_finished and shard.is_open:
        return "its row says SHARD_END, and the stream's shard of that id is open"
    first = shard.first_sequence_number
    if first is not None and lease.checkpoint.is_number and int(lease.checkpoint.sequence_number) < int(first):
        return f"its checkpoint {lease.checkpoint} lies before the shard's first sequence number {first}"
    return None


def unknown_movers(moved: Sequence[Lease], known: Collection[str]) -> dict[str, str]:
    """Leases that moved, with their owners, where no worker row of ours names these: a KCL 2.x leaves no other mark."""
    return {lease.key: owner for lease in moved if (owner := lease.actual_owner) is not None and owner not in known}
