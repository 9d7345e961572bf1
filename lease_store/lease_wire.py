"""A lease's row from the bytes of a reply, where nothing about it is out of the ordinary; ``item`` reads all others.

Nearly all rows of a scan are such: known attributes of their own types, none empty. What is said here of a row is what
``lease_store.item`` says of it, at a twentieth of the cost; whatever looks different in any way is left to that.
"""

from __future__ import annotations

from decimal import Decimal
from sys import intern
from typing import Annotated, Final

from msgspec import UNSET, DecodeError, Meta, Struct, UnsetType
from msgspec.json import Decoder

from lease_store.attributes import NOTHING, decimal_of
from lease_store.checkpoint import Checkpoint, checkpoint_of, is_sequence_number
from lease_store.coordination import COORDINATION_KEYS
from lease_store.errors import InvalidRow
from lease_store.item import LEASE_ENTITY
from lease_store.lease import Lease

__all__ = ["plain_lease"]

_Said = Annotated[str, Meta(min_length=1)]
# What a program counts has fewer digits; more are for Decimal to judge.
_MOST_DIGITS: Final = 18


class _Text(Struct, forbid_unknown_fields=True, gc=False):
    S: _Said


class _Number(Struct, forbid_unknown_fields=True, gc=False):
    N: _Said


class _Names(Struct, forbid_unknown_fields=True, gc=False):
    SS: Annotated[list[_Said], Meta(min_length=1)]


class _Row(Struct, forbid_unknown_fields=True, gc=False):
    """All that a lease's row may hold, but for a prepared checkpoint; with any other attribute it is not ordinary."""

    leaseKey: _Text
    leaseCounter: _Number
    checkpoint: _Text
    checkpointSubSequenceNumber: _Number | UnsetType = UNSET
    ownerSwitchesSinceCheckpoint: _Number | UnsetType = UNSET
    leaseOwner: _Text | UnsetType = UNSET
    checkpointOwner: _Text | UnsetType = UNSET
    parentShardId: _Names | UnsetType = UNSET
    childShardIds: _Names | UnsetType = UNSET
    startingHashKey: _Text | UnsetType = UNSET
    endingHashKey: _Text | UnsetType = UNSET
    throughputKBps: _Number | UnsetType = UNSET
    leaseholdStream: _Text | UnsetType = UNSET
    leaseholdStartAt: _Number | UnsetType = UNSET
    leaseholdCreatedAt: _Text | UnsetType = UNSET
    leaseholdTakenBack: _Number | UnsetType = UNSET
    leaseholdApp: _Text | UnsetType = UNSET
    leaseholdRules: _Text | UnsetType = UNSET
    leaseholdNewcomer: _Text | UnsetType = UNSET
    entityType: _Text | UnsetType = UNSET


_ROWS: Final = Decoder(_Row)


class _OutOfTheOrdinary(Exception):
    """Something about a row is for ``item`` to judge."""


def plain_lease(body: bytes) -> Lease | None:
    """The lease in the JSON of a row of the lease table; None where ``item.from_item`` must look at it.

    Texts that many rows have in common (owners, the stream, the app) are one object in all of them; so are those that
    the stream's listing has as well, in every copy of a shard's row (its key, its hash keys).
    """
    try:
        return _lease(_ROWS.decode(body))
    except (DecodeError, UnicodeDecodeError, _OutOfTheOrdinary):
        return None


def _lease(row: _Row) -> Lease:
    key = intern(row.leaseKey.S)
    if key in COORDINATION_KEYS or not (row.entityType is UNSET or row.entityType.S == LEASE_ENTITY):
        raise _OutOfTheOrdinary
    return Lease(
        key=key,
        counter=_whole(row.leaseCounter.N),
        owner=_shared(row.leaseOwner),
        checkpoint_owner=_shared(row.checkpointOwner),
        checkpoint=_checkpoint(row.checkpoint.S, row.checkpointSubSequenceNumber),
        owner_switches_since_checkpoint=_count(row.ownerSwitchesSinceCheckpoint) or 0,
        parents=() if row.parentShardId is UNSET else tuple(sorted(row.parentShardId.SS)),
        children=() if row.childShardIds is UNSET else tuple(sorted(row.childShardIds.SS)),
        hash_range=_hash_range(row.startingHashKey, row.endingHashKey),
        throughput_kbps=_decimal(row.throughputKBps),
        stream=_shared(row.leaseholdStream),
        start_at=_decimal(row.leaseholdStartAt),
        created_at=None if row.leaseholdCreatedAt is UNSET else row.leaseholdCreatedAt.S,
        taken_back=_count(row.leaseholdTakenBack),
        app=_shared(row.leaseholdApp),
        rules=_shared(row.leaseholdRules),
        newcomer=_shared(row.leaseholdNewcomer),
        entity_type=None if row.entityType is UNSET else LEASE_ENTITY,
        extra=NOTHING,
    )


def _shared(text: _Text | UnsetType) -> str | None:
    return None if text is UNSET else intern(text.S)


def _count(number: _Number | UnsetType) -> int | None:
    return None if number is UNSET else _whole(number.N)


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        raise _OutOfTheOrdinary
    return int(text)


def _decimal(number: _Number | UnsetType) -> Decimal | None:
    if number is UNSET:
        return None
    value = decimal_of(number.N)
    if value is None:
        raise _OutOfTheOrdinary
    return value


def _checkpoint(text: str, sub_sequence_number: _Number | UnsetType) -> Checkpoint:
    number = _count(sub_sequence_number) or 0
    if number and not is_sequence_number(text):
        raise _OutOfTheOrdinary
    try:
        return checkpoint_of(text, number)
    except InvalidRow:
        raise _OutOfTheOrdinary from None


def _hash_range(start: _Text | UnsetType, end: _Text | UnsetType) -> tuple[str, str] | None:
    if start is UNSET and end is UNSET:
        return None
    pair = ("" if start is UNSET else start.S, "" if end is UNSET else end.S)
    if not (is_sequence_number(pair[0]) and is_sequence_number(pair[1])) or int(pair[0]) >= int(pair[1]):
        raise _OutOfTheOrdinary
    return intern(pair[0]), intern(pair[1])
