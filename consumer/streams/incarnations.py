"""Incarnations of a stream, by the labels that rows carry: which comes before which, and whether it is done with."""

from __future__ import annotations

from collections.abc import Iterable

from lease_store.lease import Lease

__all__ = ["old_stream_drained", "older_labels", "precedes"]


def old_stream_drained(leases: Iterable[Lease], label: str | None) -> bool:
    """Whether every row of incarnations older than ``label`` is at SHARD_END; True where there are none."""
    leases = tuple(leases)
    # Each shard that starts asks this of all rows: few labels are compared in place of many rows.
    older = {stream for stream in {lease.stream for lease in leases} if precedes(stream, label)}
    return not older or all(lease.is_finished for lease in leases if lease.stream in older)


def precedes(label: str | None, other: str | None) -> bool:
    """Whether ``label`` is an earlier incarnation of the stream that ``other`` is an incarnation of."""
    if label is None or other is None:
        return False
    mine, theirs = _incarnation(label), _incarnation(other)
    return mine[0] == theirs[0] and mine[1:] < theirs[1:]


def older_labels(leases: Iterable[Lease], label: str | None) -> tuple[str, ...]:
    """The incarnations older than ``label`` that have rows, sorted."""
    labels = {lease.stream for lease in leases if lease.stream is not None}
    return tuple(sorted(each for each in labels if precedes(each, label)))


def _incarnation(label: str) -> tuple[str, float, str]:
    """(what a stream's incarnations share, creation time, creation label) of a StreamIdentity's label."""
    arn, at, seconds = label.rpartition("@")
    if at:
        try:
            return arn, float(seconds), ""
        except ValueError:
            return label, 0.0, ""
    base, _, creation_label = label.partition("/stream/")
    return base, 0.0, creation_label
