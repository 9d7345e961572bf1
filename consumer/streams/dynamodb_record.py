"""A record of a DynamoDB stream."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Self

from msgspec import UNSET, Meta, Raw, Struct
from msgspec.structs import force_setattr

from consumer.errors import ViewTypeMismatch
from consumer.record import ViewType
from consumer.streams.changes import Change, changed_names, changes
from consumer.streams.delivered import DeliveredRecord
from consumer.streams.entries import text_of
from consumer.streams.images import NO_IMAGE, as_botocore, canonical, decoded, encoded
from consumer.streams.moments import Moment, moment_of, utc
from consumer.streams.replication import UPDATE_TIME, Replication, remove_from, replication_of
from consumer.streams.sequence_numbers import SequenceNumber
from lease_store.checkpoint import is_sequence_number

__all__ = ["DynamoDBRecord"]

_UNDECODED: Final[Any] = UNSET


class _Change(
    Struct,
    frozen=True,
    eq=False,
    gc=False,
    rename={
        "sequence_number": "SequenceNumber",
        "size_bytes": "SizeBytes",
        "timestamp": "ApproximateCreationDateTime",
        "keys": "Keys",
        "new_image": "NewImage",
        "old_image": "OldImage",
        "view_type": "StreamViewType",
    },
):
    """The part of an entry that is called ``dynamodb``; images are views of the reply's body."""

    sequence_number: SequenceNumber
    size_bytes: Annotated[int, Meta(ge=0)] = 0
    timestamp: Moment | None = None
    keys: Raw = NO_IMAGE
    new_image: Raw = NO_IMAGE
    old_image: Raw = NO_IMAGE
    view_type: str | None = None

    def __repr__(self) -> str:
        return f"<change {self.sequence_number}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("sequence_number", self.sequence_number)]


class _Identity(Struct, frozen=True, eq=False, gc=False):
    """Who made a change. The API's model spells the fields one way, events handed to Lambda the other."""

    Type: str | None = None
    PrincipalId: str | None = None
    type: str | None = None
    principalId: str | None = None

    @property
    def spelled(self) -> tuple[str | None, str | None]:
        """Kind and name, however they were spelled."""
        return (
            self.type if self.Type is None else self.Type,
            self.principalId if self.PrincipalId is None else self.PrincipalId,
        )


class DynamoDBRecord(
    DeliveredRecord,
    frozen=True,
    eq=False,
    gc=False,
    rename={
        "_change": "dynamodb",
        "event_id": "eventID",
        "event_name": "eventName",
        "_event_version": "eventVersion",
        "_event_source": "eventSource",
        "_aws_region": "awsRegion",
        "_identity": "userIdentity",
        # No service has these: values that are kept.
        "_keys": "leasehold:keys",
        "_new_image": "leasehold:newImage",
        "_old_image": "leasehold:oldImage",
    },
):
    """One change of one item, as a source reads it; ``from_entry`` makes one of a dictionary.

    Images are decoded on first access and kept; an image that the stream's view type does not carry, or that the event
    does not have, is None. Until then they are views of the reply that they came in: **a record that is kept keeps its
    whole page** (up to 1 MB of items, some 1.5 MB of JSON) unless it is told to ``detach``.
    """

    _change: _Change
    event_id: str | None = None
    """Unique for this change in this stream; None where the service sent none."""
    event_name: str | None = None
    """``INSERT``, ``MODIFY`` or ``REMOVE``; None where the service sent none."""
    _event_version: str | None = None
    _event_source: str | None = None
    _aws_region: str | None = None
    _identity: _Identity | None = None
    _keys: Any = _UNDECODED
    _new_image: Any = _UNDECODED
    _old_image: Any = _UNDECODED

    @classmethod
    def from_entry(cls, entry: Mapping[str, Any], *, redriven: bool = False) -> Self:
        """A record made of an entry as boto3 gives it, or as it stands in the service's JSON or in an event of Lambda.

        ``redriven``: out of a store of dead letters. Fields that are missing or None count as not sent. Raises
        ValueError where the entry has no sequence number or a field is not of its type; images are looked into no
        earlier than on access.
        """
        change = entry.get("dynamodb")
        number = change.get("SequenceNumber") if isinstance(change, Mapping) else None
        if change is None or not is_sequence_number(number):
            raise ValueError("An entry of the stream has no sequence number.")
        size = change.get("SizeBytes")
        if size is not None and type(size) is not int:
            raise ValueError("SizeBytes of an entry of the stream is no whole number.")
        identity = entry.get("userIdentity")
        if identity is not None and not isinstance(identity, Mapping):
            raise ValueError("userIdentity of an entry of the stream is no map.")
        return cls(
            _Change(
                number,
                max(0, size or 0),
                moment_of(change.get("ApproximateCreationDateTime")),
                encoded(change.get("Keys")),
                encoded(change.get("NewImage")),
                encoded(change.get("OldImage")),
                text_of(change, "StreamViewType"),
            ),
            text_of(entry, "eventID"),
            text_of(entry, "eventName"),
            text_of(entry, "eventVersion"),
            text_of(entry, "eventSource"),
            text_of(entry, "awsRegion"),
            None if identity is None else _Identity(*(text_of(identity, name) for name in _Identity.__struct_fields__)),
            redriven=redriven,
        )

    @property
    def sequence_number(self) -> str:
        """Decimal digits, ascending within a shard."""
        return self._change.sequence_number

    @property
    def sub_sequence_number(self) -> int:
        """Always 0: DynamoDB aggregates nothing."""
        return 0

    @property
    def key(self) -> str:
        """What delivery keeps in order: the item's primary key as DynamoDB's JSON, its attributes sorted by name.

        It is payload, and has no place in a log.
        """
        return canonical(self._change.keys)

    @property
    def size_bytes(self) -> int:
        """Keys and images as DynamoDB counts them; 0 where the service does not say."""
        return self._change.size_bytes

    @property
    def keys(self) -> dict[str, Any]:
        """The item's primary key."""
        keys: dict[str, Any] = self._keys
        if keys is _UNDECODED:
            keys = decoded(self._change.keys) or {}
            force_setattr(self, "_keys", keys)
        return keys

    @property
    def new_image(self) -> dict[str, Any] | None:
        """The item after the change; None for REMOVE, and where the view type does not carry it."""
        image: dict[str, Any] | None = self._new_image
        if image is _UNDECODED:
            image = decoded(self._change.new_image)
            if image is not None and UPDATE_TIME in image:
                remove_from(image)
            force_setattr(self, "_new_image", image)
        return image

    @property
    def old_image(self) -> dict[str, Any] | None:
        """The item before the change; None for INSERT, and where the view type does not carry it."""
        image: dict[str, Any] | None = self._old_image
        if image is _UNDECODED:
            image = decoded(self._change.old_image)
            if image is not None and UPDATE_TIME in image:
                remove_from(image)
            force_setattr(self, "_old_image", image)
        return image

    @property
    def view_type(self) -> str | None:
        """Which images the stream carries, as a ``ViewType`` or a word that this version does not know."""
        return self._change.view_type

    @property
    def images_as_sent(self) -> tuple[Raw, Raw]:
        """Old and new image as JSON, empty where none came: for what reads a part of them and leaves the rest."""
        return self._change.old_image, self._change.new_image

    @property
    def replication(self) -> Replication | None:
        """The item's ``aws:rep:`` attributes, which images are without; None for any but an old kind of global table.

        Those of the new image, of the old one where an item was deleted. ``raw`` has them as they came. Raises
        ValueError as images do.
        """
        return replication_of(self._change.new_image) or replication_of(self._change.old_image)

    def changed_attributes(self) -> frozenset[str]:
        """Names of the attributes that this change added, removed or gave another value: all, of an INSERT or REMOVE.

        Empty for a change of ``aws:rep:`` attributes alone. Raises ViewTypeMismatch where the stream does not carry
        both images, and ValueError for an attribute that can't be decoded.
        """
        return changed_names(*self._images("changed_attributes"))

    def diff(self) -> tuple[Change, ...]:
        """The places, down to map keys and list indexes, that this change made other than they were, in order.

        Attributes of an INSERT are added and those of a REMOVE removed, each as a whole. Lists are compared index by
        index, so that an element put in front changes all of them. Raises as ``changed_attributes`` does.
        """
        return changes(*self._images("diff"))

    def _images(self, purpose: str) -> tuple[Raw, Raw]:
        """Old and new image; none of an item that was not there. Raises ViewTypeMismatch."""
        change = self._change
        misses_old = change.old_image is NO_IMAGE and self.event_name != "INSERT"
        misses_new = change.new_image is NO_IMAGE and self.event_name != "REMOVE"
        # Asked even of an INSERT, which needs no old image: not the first MODIFY is to show that they are missing.
        if misses_old or misses_new or change.view_type not in (None, ViewType.NEW_AND_OLD_IMAGES):
            raise ViewTypeMismatch(
                f"{purpose}() compares both images, and a record of view type {change.view_type} lacks one. Enable "
                "the table's stream anew with NEW_AND_OLD_IMAGES; a processor that declares requires = {'old_image', "
                "'new_image'} is refused at start where the stream lacks them."
            )
        return change.old_image, change.new_image

    @property
    def approximate_creation_time(self) -> datetime | None:
        """When the change was made, a whole second in UTC; None where the service sent none."""
        return utc(self._change.timestamp)

    @property
    def timestamp(self) -> float | None:
        """``approximate_creation_time`` in epoch seconds."""
        return self._change.timestamp

    @property
    def user_identity(self) -> dict[str, Any] | None:
        """Who made the change, as ``{"type": ..., "principal_id": ...}``; None for an ordinary write."""
        kind, name = (None, None) if self._identity is None else self._identity.spelled
        return None if kind is None and name is None else {"type": kind, "principal_id": name}

    @property
    def is_ttl_delete(self) -> bool:
        """Whether DynamoDB itself removed the item because it had expired.

        Where a global table's delete arrives in another region it carries no such mark (AWS: "DynamoDB Streams and Time
        to Live"), and is False here: there, compare the old image's time-to-live attribute with ``timestamp``.
        """
        return self.event_name == "REMOVE" and self.user_identity == {
            "type": "Service",
            "principal_id": "dynamodb.amazonaws.com",
        }

    @property
    def raw(self) -> dict[str, Any]:
        """The entry as boto3 gives it, put together anew with every access; times are in UTC.

        What an image holds that is not of its type is there as it came.
        """
        change = self._change
        kind, name = (None, None) if self._identity is None else self._identity.spelled
        entry = {
            "eventID": self.event_id,
            "eventName": self.event_name,
            "eventVersion": self._event_version,
            "eventSource": self._event_source,
            "awsRegion": self._aws_region,
            "dynamodb": _sent(
                {
                    "ApproximateCreationDateTime": utc(change.timestamp),
                    "Keys": as_botocore(change.keys),
                    "NewImage": as_botocore(change.new_image),
                    "OldImage": as_botocore(change.old_image),
                    "SequenceNumber": change.sequence_number,
                    "SizeBytes": change.size_bytes or None,
                    "StreamViewType": change.view_type,
                }
            ),
            "userIdentity": None if self._identity is None else _sent({"PrincipalId": name, "Type": kind}),
        }
        return _sent(entry)

    def detach(self) -> Self:
        """Let go of the page: copies this record's own images out of it and returns the record itself.

        Afterwards the record holds some 850 bytes and its images as JSON (as long as in the reply), besides what
        has been decoded, which stays. Doing it twice costs nothing more. Meant for records that outlive their batch.
        """
        for name in ("keys", "new_image", "old_image"):
            image: Raw = getattr(self._change, name)
            if image is not NO_IMAGE:
                force_setattr(self._change, name, image.copy())
        return self

    def __repr__(self) -> str:
        # Nothing of the item: records end up in logs and tracebacks.
        return f"<DynamoDBRecord {self.event_name} {self.sequence_number}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("event_name", self.event_name), ("sequence_number", self.sequence_number)]


def _sent(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
