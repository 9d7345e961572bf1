"""Conditional writes as data: what must hold of a row, and what then becomes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lease_store.attributes import AttributeValue, Place, canonical

__all__ = ["Absent", "ActualOwner", "Below", "Expect", "Is", "IsNot", "Write"]


@dataclass(frozen=True, slots=True)
class Is:
    """The stored attribute equals ``value``."""

    attribute: str
    value: AttributeValue


@dataclass(frozen=True, slots=True)
class IsNot:
    """The stored attribute is present or absent, but does not equal ``value``."""

    attribute: str
    value: AttributeValue


@dataclass(frozen=True, slots=True)
class Absent:
    """The attribute is not stored."""

    attribute: str


@dataclass(frozen=True, slots=True)
class Below:
    """The attribute is a number less than ``number``, or is not stored."""

    attribute: str
    number: int


@dataclass(frozen=True, slots=True)
class ActualOwner:
    """``checkpointOwner`` = worker, or it is absent and ``leaseOwner`` = worker."""

    worker_id: str


Expect = Is | IsNot | Absent | Below | ActualOwner


@dataclass(frozen=True, slots=True)
class Write:
    """One conditional write: all of ``expects`` must hold, then ``sets`` and ``removes`` are applied at once.

    ``puts``: ``sets`` is the whole row, and no row need be there before. ``deletes``: the row goes. Otherwise the row
    must exist. ``place`` is the table that the row lies in: leases lie in the lease table alone.
    """

    verb: str
    key: str
    expects: tuple[Expect, ...] = ()
    sets: Mapping[str, AttributeValue] | None = None
    removes: tuple[str, ...] = ()
    puts: bool = False
    deletes: bool = False
    place: Place = "leases"

    def stands_in(self, item: Mapping[str, AttributeValue] | None) -> bool:
        """Whether a row, as read after a lost reply, holds every field this write wrote: only then did it succeed."""
        if item is None:
            return self.deletes
        sets = self.sets or {}
        return (
            not self.deletes
            and all(name in item and canonical(item[name]) == canonical(value) for name, value in sets.items())
            and not any(name in item for name in self.removes)
        )
