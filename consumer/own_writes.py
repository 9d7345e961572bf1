"""Own writes: telling a processor's writes to the table that it reads from everybody else's, so as not to loop.

Each write is marked by an attribute of its own, whose value is another one each time. It is the **change** of the
marker that tells: an item that somebody else updates goes on carrying the marker of whoever marked it last, and a
marker that stayed as it was says nothing of the update. So both images are needed: with NEW_IMAGE alone a change of the
marker and a marker that was left alone look the same, and somebody else's change would be skipped.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random, SystemRandom
from re import IGNORECASE
from re import compile as pattern
from typing import Any, Final

from consumer.clock import Clock, SystemClock
from consumer.errors import ViewTypeMismatch
from consumer.record import Record, ViewType
from consumer.streams.dynamodb_record import DynamoDBRecord
from consumer.streams.source import StreamIdentity
from consumer.streams.text_attribute import TextAttribute

__all__ = ["OwnWrites", "check_own_writes"]

_ATTRIBUTE: Final = "leaseholdWriter"
_NAME: Final = "#leaseholdWriter"
_VALUE: Final = ":leaseholdWriter"
# SET is a reserved word: bare, it can only be the clause. A placeholder or a part of a path may still be called so.
_SET: Final = pattern(r"(?<![\w.#:])SET(?!\w)", IGNORECASE)


class OwnWrites:
    """Marks writes of ``writer`` and knows them again; ``skip_own_writes`` knows those whose writer is the app's name.

    ``attribute`` takes some 60 bytes of each item that was marked. ``trusted_seconds``: how far the time in a marker
    may lie from the record's own, both ways (clocks differ, batches wait). What is further apart was copied: an item
    put back from a backup brings its marker along and is nobody's own write. Whatever is in doubt counts as somebody
    else's, for that is processed. Two things can't be told. **A delete carries no marker** and is always somebody
    else's. And where a replica of a global table shows several writes as one record, the last marker speaks for all.
    """

    def __init__(
        self,
        writer: str,
        *,
        attribute: str = _ATTRIBUTE,
        trusted_seconds: float = 300.0,
        clock: Clock | None = None,
        random: Random | None = None,
    ) -> None:
        if not writer or not attribute:
            raise ValueError("A writer has a name, and the attribute that marks its writes has one.")
        if not 1 <= trusted_seconds <= 86_400:
            raise ValueError(f"trusted_seconds={trusted_seconds}: it lies between 1 and 86,400 s.")
        self.writer = writer
        self._marker = _marker_called(attribute)
        self._trusted_seconds = trusted_seconds
        self._clock = clock or SystemClock()
        self._random = random or SystemRandom()

    @property
    def attribute(self) -> str:
        """The marker's name in the table."""
        return self._marker.name

    def mark(self) -> str:
        """A marker for one write where neither ``item`` nor ``update`` fits, such as PartiQL: what to set it to."""
        return f"{self.writer}#{round(self._clock.wall() * 1000)}#{self._random.getrandbits(64):016x}"

    def item(self, item: Mapping[str, Any], *, typed: bool = False) -> dict[str, Any]:
        """A marked copy of an item, to be put once.

        ``typed``: it is in DynamoDB's JSON, as boto3's client takes it, and not in plain values, as its resource does.
        """
        return {**item, self.attribute: self._value(typed)}

    def update(self, *, typed: bool = False, **request: Any) -> dict[str, Any]:
        """The arguments of one UpdateItem, with the marker in its SET clause; what is given stays as it is.

        ``typed`` as in ``item``. Raises ValueError for the old way, AttributeUpdates, and where the marker's
        placeholders are taken.
        """
        names = request.get("ExpressionAttributeNames") or {}
        values = request.get("ExpressionAttributeValues") or {}
        if "AttributeUpdates" in request:
            raise ValueError("AttributeUpdates has no place for a marker beside it; write an UpdateExpression.")
        if _NAME in names or _VALUE in values:
            raise ValueError(f"{_NAME} and {_VALUE} are the marker's; an update is marked once, for one write.")
        return {
            **request,
            "UpdateExpression": _with_marker(request.get("UpdateExpression") or ""),
            "ExpressionAttributeNames": {**names, _NAME: self.attribute},
            "ExpressionAttributeValues": {**values, _VALUE: self._value(typed)},
        }

    def is_own_write(self, record: Record) -> bool:
        """Whether this writer made the change; always False for a delete and for Kinesis.

        Raises ViewTypeMismatch where the stream does not carry both images.
        """
        if not isinstance(record, DynamoDBRecord):
            return False
        if record.view_type not in (None, ViewType.NEW_AND_OLD_IMAGES):
            raise ViewTypeMismatch(_needs_both(f"a record has view type {record.view_type}"))
        old, new = record.images_as_sent
        marker = self._marker.of(new)
        if marker is None or not self._is_of_now(marker, record.timestamp):
            return False
        if record.event_name == "INSERT":
            return True
        return bytes(old) not in (b"", b"null") and self._marker.of(old) != marker

    def _is_of_now(self, marker: str, timestamp: float | None) -> bool:
        writer, _, rest = marker.rpartition("#")[0].rpartition("#")
        if writer != self.writer or timestamp is None or not (rest.isascii() and rest.isdigit()):
            return False
        return abs(timestamp - int(rest) / 1000) <= self._trusted_seconds

    def _value(self, typed: bool) -> Any:
        return {"S": self.mark()} if typed else self.mark()

    def __repr__(self) -> str:
        return f"<OwnWrites of {self.writer}, marked by {self.attribute}>"


def check_own_writes(stream: StreamIdentity) -> None:
    """Raise ViewTypeMismatch unless ``stream`` carries both images, without which no own write can be told."""
    if stream.view_type is not ViewType.NEW_AND_OLD_IMAGES:
        has = "no images of items" if stream.view_type is None else f"view type {stream.view_type}"
        raise ViewTypeMismatch(_needs_both(f"stream {stream.arn} has {has}"))


def _needs_both(what_is: str) -> str:
    return (
        f"Own writes are told by a marker that differs between the old and the new image, and {what_is}. A stream's "
        "view type is fixed: disable the table's stream and enable it again with NEW_AND_OLD_IMAGES, or do without "
        "skip_own_writes."
    )


def _marker_called(attribute: str) -> TextAttribute:
    try:
        return TextAttribute(attribute)
    except ValueError:
        raise ValueError("The marker's name has no quotes, backslashes or control characters.") from None


def _with_marker(expression: str) -> str:
    """``expression`` with the marker in front of what it sets; it has one SET clause at most."""
    assignment = f"SET {_NAME} = {_VALUE}"
    found = _SET.search(expression)
    if found is None:
        return f"{assignment} {expression}".strip()
    return f"{expression[: found.start()]}{assignment},{expression[found.end() :]}"
