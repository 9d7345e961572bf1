"""What global tables of version 2017.11.29 write into each item, taken out of images and given by itself.

The service lays ``aws:rep:deleting``, ``aws:rep:updateregion`` and ``aws:rep:updatetime`` on an item, all three at once
(AWS: "DynamoDB global tables versions"). Version 2019.11.21, the one that is made today, writes none of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final, TypeVar

from msgspec import Raw

from consumer.streams.images import attributes_of, value_of

__all__ = ["UPDATE_TIME", "Replication", "remove_from", "replication_of"]

T = TypeVar("T")

UPDATE_TIME: Final = "aws:rep:updatetime"
"""Whether an item has this one is asked of each image; a name of the three that stands alone is the user's own."""

_REGION: Final = "aws:rep:updateregion"
_DELETING: Final = "aws:rep:deleting"


@dataclass(frozen=True, slots=True)
class Replication:
    """Where and when the item was last written, as its table's replicas settle it among themselves.

    ``region`` and ``time`` (exact epoch seconds: the last writer wins by it) are those of the last write to any
    replica. ``deleting``: a replica is about to delete the item, since another one did. None where an attribute is
    missing or not of its type.
    """

    region: str | None
    time: Decimal | None
    deleting: bool | None


def remove_from(image: dict[str, T]) -> None:
    """Take the three attributes out of an image."""
    for name in (_REGION, UPDATE_TIME, _DELETING):
        image.pop(name, None)


def replication_of(image: Raw) -> Replication | None:
    """What an image says of replication; None where it is not an item of such a table. Raises ValueError."""
    attributes = attributes_of(image)
    if UPDATE_TIME not in attributes:
        return None
    region, time, deleting = (
        value_of(attributes[name]) if name in attributes else None for name in (_REGION, UPDATE_TIME, _DELETING)
    )
    return Replication(
        region if isinstance(region, str) else None,
        time if isinstance(time, Decimal) else None,
        deleting if isinstance(deleting, bool) else None,
    )
