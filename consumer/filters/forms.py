"""The two forms of patterns, for both services: which names a record has, what may stand there, and how it is read.

Lambda's form has the names of an event as Lambda gives it to a function. The short form has the names of our records
(``new_image.price``) and plain values. The first names of a pattern tell which one it is; they share none but Kinesis'
``data``, which means the same in both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final, Literal

from consumer.filters.leaf import Takes
from consumer.record import ViewType
from consumer.streams.event_fields import DYNAMODB_FIELDS, DYNAMODB_IMAGES, KINESIS_FIELDS, time_of, wire_image

__all__ = ["Document", "Field", "Form", "Path", "Service", "forms_of"]

Path = tuple[str, ...]
Service = Literal["dynamodb", "kinesis"]

TEXT: Final = Takes(frozenset({"text"}), "the place holds a text; write it in quotes.")
NUMBER: Final = Takes(frozenset({"number"}), "the place holds a number; write it without quotes.")
TRUTH: Final = Takes(frozenset({"boolean"}), "the place holds true or false; write it without quotes.")
EVENT_NAME: Final = Takes(TEXT.kinds, TEXT.why, words=frozenset({"INSERT", "MODIFY", "REMOVE"}))
VIEW_TYPE: Final = Takes(TEXT.kinds, TEXT.why, words=frozenset(ViewType))


@dataclass(frozen=True, slots=True)
class Field:
    """A single value of a record; ``read`` gives None where the record has none."""

    takes: Takes
    read: Callable[[Any], Any]


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """A part of a record with names of its own, which is decoded only as far as a filter asks.

    ``item``: attributes of DynamoDB by name, looked at as Python values; otherwise JSON as it came. ``typed``: that
    JSON is an image, where a type stands below each attribute. ``image``: which of them, None for data.
    """

    read: Callable[[Any], Any]
    item: bool = False
    typed: bool = False
    image: str | None = None


@dataclass(frozen=True, slots=True)
class Form:
    """One way to name what a record has. ``whole``: ``exists`` counts objects and lists, too."""

    title: str
    fields: Mapping[Path, Field]
    documents: Mapping[Path, Document]
    whole: bool
    elsewhere: Mapping[str, str]

    @property
    def first_names(self) -> frozenset[str]:
        """What a pattern of this form begins with."""
        return frozenset(path[0] for path in (*self.fields, *self.documents))


def forms_of(service: Service, stream_arn: str | None) -> tuple[Form, Form]:
    """Lambda's form and the short one."""
    if service == "kinesis":
        return _KINESIS_LAMBDA, _KINESIS_SHORT
    if stream_arn is None:
        return _DYNAMODB_LAMBDA, _DYNAMODB_SHORT
    arn = {("eventSourceARN",): Field(TEXT, lambda _: stream_arn)}
    fields = MappingProxyType({**_DYNAMODB_LAMBDA.fields, **arn})
    lambdas = Form(_LAMBDA, fields, _DYNAMODB_LAMBDA.documents, False, _DYNAMODB_LAMBDA.elsewhere)
    return lambdas, _DYNAMODB_SHORT


def _user_identity(name: str) -> Callable[[Any], Any]:
    def read(record: Any) -> Any:
        identity = record.user_identity
        return None if identity is None else identity[name]

    return read


_LAMBDA: Final = "Lambda's form"
_SHORT: Final = "the short form"
_NUMBERS: Final = {"ApproximateCreationDateTime", "SizeBytes", "approximateArrivalTimestamp"}
_WORDS: Final = {"eventName": EVENT_NAME, "StreamViewType": VIEW_TYPE}
_UNDER_DYNAMODB: Final = {
    name: f'stands under "dynamodb": {{"dynamodb": {{"{name}": ...}}}}.'
    for name in ("Keys", "NewImage", "OldImage", "SequenceNumber", "SizeBytes", "StreamViewType")
}

_DYNAMODB_LAMBDA: Final = Form(
    _LAMBDA,
    {
        path: Field(_WORDS.get(path[-1], NUMBER if path[-1] in _NUMBERS else TEXT), read)
        for path, read in DYNAMODB_FIELDS.items()
    },
    {
        ("dynamodb", name): Document(wire_image(image), typed=True, image=image)
        for name, image in DYNAMODB_IMAGES.items()
    },
    whole=False,
    elsewhere={
        **_UNDER_DYNAMODB,
        "Records": "a pattern is written for one record, without Records around it.",
        "eventSourceARN": "the stream's ARN is not known here; a pattern holds for the one stream that is read.",
        "data": "this is a DynamoDB stream, and data is what Kinesis has; name attributes under dynamodb.NewImage.",
    },
)
_DYNAMODB_SHORT: Final = Form(
    _SHORT,
    {
        ("event_id",): Field(TEXT, attrgetter("event_id")),
        ("event_name",): Field(EVENT_NAME, attrgetter("event_name")),
        ("is_ttl_delete",): Field(TRUTH, attrgetter("is_ttl_delete")),
        ("sequence_number",): Field(TEXT, attrgetter("sequence_number")),
        ("size_bytes",): Field(NUMBER, attrgetter("size_bytes")),
        ("timestamp",): Field(NUMBER, time_of),
        ("user_identity", "principal_id"): Field(TEXT, _user_identity("principal_id")),
        ("user_identity", "type"): Field(TEXT, _user_identity("type")),
    },
    {(image,): Document(wire_image(image), item=True, image=image) for image in DYNAMODB_IMAGES.values()},
    whole=True,
    elsewhere={},
)
_KINESIS_LAMBDA: Final = Form(
    _LAMBDA,
    {path: Field(NUMBER if path[-1] in _NUMBERS else TEXT, read) for path, read in KINESIS_FIELDS.items()},
    {("data",): Document(attrgetter("data"))},
    whole=False,
    elsewhere={
        "kinesis": 'Lambda\'s patterns have partitionKey and data at the top, without "kinesis" around them.',
        "Records": "a pattern is written for one record, without Records around it.",
        "body": "body is what SQS has; for a Kinesis stream write data.",
        "dynamodb": "this is a Kinesis stream; what its records hold is under data.",
        "eventName": "it is aws:kinesis:record for every record of Kinesis.",
    },
)
_KINESIS_SHORT: Final = Form(
    _SHORT,
    {
        ("encryption_type",): Field(TEXT, attrgetter("encryption_type")),
        ("partition_key",): Field(TEXT, attrgetter("partition_key")),
        ("sequence_number",): Field(TEXT, attrgetter("sequence_number")),
        ("size_bytes",): Field(NUMBER, attrgetter("size_bytes")),
        ("sub_sequence_number",): Field(NUMBER, attrgetter("sub_sequence_number")),
        ("timestamp",): Field(NUMBER, time_of),
    },
    {("data",): Document(attrgetter("data"))},
    whole=True,
    elsewhere={},
)
