"""Entries of replies: what both services' APIs say alike.

Shard ids and hash keys are one object wherever they occur: leases name them, too, and there may be thousands.
"""

from __future__ import annotations

from collections.abc import Mapping
from sys import intern
from typing import Any

from lease_store.checkpoint import is_sequence_number

__all__ = ["first_sequence_number_of", "hash_range_of", "is_open", "shard_id_of", "text_of"]


def shard_id_of(entry: Any) -> str | None:
    """The shard that an entry of a listing is about; None for something that is no shard."""
    shard_id = entry.get("ShardId") if isinstance(entry, Mapping) else None
    return intern(shard_id) if isinstance(shard_id, str) and shard_id else None


def is_open(entry: Mapping[str, Any]) -> bool:
    """Whether a listed shard has no ending sequence number yet."""
    return not (entry.get("SequenceNumberRange") or {}).get("EndingSequenceNumber")


def first_sequence_number_of(entry: Mapping[str, Any]) -> str | None:
    """The sequence number at which a listed shard begins; None where none is given."""
    first = (entry.get("SequenceNumberRange") or {}).get("StartingSequenceNumber")
    return first if is_sequence_number(first) else None


def hash_range_of(entry: Mapping[str, Any]) -> tuple[str, str] | None:
    """First and last hash key of a shard of Kinesis; None where they are not given as numbers."""
    hashes = entry.get("HashKeyRange")
    if not isinstance(hashes, Mapping):
        return None
    start, end = hashes.get("StartingHashKey"), hashes.get("EndingHashKey")
    return (intern(start), intern(end)) if is_sequence_number(start) and is_sequence_number(end) else None


def text_of(entry: Mapping[str, Any], name: str) -> str | None:
    """A field that is text; None where it is missing or null. Raises ValueError where it is something else."""
    value = entry.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name} of an entry is of type {type(value).__name__}, not text.")
    return value
