"""A record of a DynamoDB stream."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from consumer.streams.attributes import decode_item
from lease_store.checkpoint import is_sequence_number

__all__ = ["DynamoDBRecord"]

_UNDECODED: Final = object()


class DynamoDBRecord:
    """One change of one item, made from an entry of GetRecords as botocore parses it.

    Images are decoded on first access and kept; an image that the stream's view type does not carry, or that the event
    does not have, is None. Raises ValueError when made from something that has no sequence number.
    """

    __slots__ = ("_keys", "_new_image", "_old_image", "raw", "sequence_number", "size_bytes")

    raw: Mapping[str, Any]
    sequence_number: str
    size_bytes: int

    def __init__(self, raw: Mapping[str, Any]) -> None:
        change = raw.get("dynamodb")
        number = change.get("SequenceNumber") if isinstance(change, Mapping) else None
        if change is None or not is_sequence_number(number):
            raise ValueError("An entry of the stream has no sequence number.")
        size = change.get("SizeBytes")
        self.raw = raw
        self.sequence_number = number
        self.size_bytes = size if isinstance(size, int) and size > 0 else 0
        self._keys: Any = _UNDECODED
        self._new_image: Any = _UNDECODED
        self._old_image: Any = _UNDECODED

    @property
    def sub_sequence_number(self) -> int:
        """Always 0: DynamoDB aggregates nothing."""
        return 0

    @property
    def event_id(self) -> str | None:
        """Unique for this change in this stream; None where the service sent none."""
        return self._text("eventID")

    @property
    def event_name(self) -> str | None:
        """``INSERT``, ``MODIFY`` or ``REMOVE``; None where the service sent none."""
        return self._text("eventName")

    @property
    def keys(self) -> dict[str, Any]:
        """The item's primary key."""
        if self._keys is _UNDECODED:
            self._keys = self._decoded("Keys") or {}
        keys: dict[str, Any] = self._keys
        return keys

    @property
    def new_image(self) -> dict[str, Any] | None:
        """The item after the change; None for REMOVE, and where the view type does not carry it."""
        if self._new_image is _UNDECODED:
            self._new_image = self._decoded("NewImage")
        image: dict[str, Any] | None = self._new_image
        return image

    @property
    def old_image(self) -> dict[str, Any] | None:
        """The item before the change; None for INSERT, and where the view type does not carry it."""
        if self._old_image is _UNDECODED:
            self._old_image = self._decoded("OldImage")
        image: dict[str, Any] | None = self._old_image
        return image

    @property
    def approximate_creation_time(self) -> datetime | None:
        """When the change was made, a whole second in UTC; None where the service sent none."""
        moment = self.raw["dynamodb"].get("ApproximateCreationDateTime")
        return moment.astimezone(UTC) if isinstance(moment, datetime) else None

    @property
    def timestamp(self) -> float | None:
        """``approximate_creation_time`` in epoch seconds."""
        moment = self.raw["dynamodb"].get("ApproximateCreationDateTime")
        return moment.timestamp() if isinstance(moment, datetime) else None

    @property
    def user_identity(self) -> dict[str, Any] | None:
        """Who made the change, as ``{"type": ..., "principal_id": ...}``; None for an ordinary write.

        The API's model spells the fields Type and PrincipalId, events handed to Lambda spell them type and principalId.
        """
        identity = self.raw.get("userIdentity")
        if not isinstance(identity, Mapping) or not identity:
            return None
        return {
            "type": identity.get("Type", identity.get("type")),
            "principal_id": identity.get("PrincipalId", identity.get("principalId")),
        }

    @property
    def is_ttl_delete(self) -> bool:
        """Whether DynamoDB itself removed the item because it had expired."""
        return self.event_name == "REMOVE" and self.user_identity == {
            "type": "Service",
            "principal_id": "dynamodb.amazonaws.com",
        }

    def __repr__(self) -> str:
        # Nothing of the item: records end up in logs and tracebacks.
        return f"<DynamoDBRecord {self.event_name} {self.sequence_number}>"

    def _text(self, name: str) -> str | None:
        value = self.raw.get(name)
        return value if isinstance(value, str) else None

    def _decoded(self, name: str) -> dict[str, Any] | None:
        item = self.raw["dynamodb"].get(name)
        return None if item is None else decode_item(item)
