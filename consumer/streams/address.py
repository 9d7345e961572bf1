"""How a user names a stream."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from consumer.errors import ConfigError

__all__ = ["Address", "parse_address"]

_TABLE: Final = r"[A-Za-z0-9_.-]{3,255}"
_STREAM: Final = r"[A-Za-z0-9_.-]{1,128}"
_ARN: Final = r"arn:(?P<partition>aws[a-z-]*):{service}:(?P<region>[a-z0-9-]+):(?P<account>[0-9]{{12}}):"
_DYNAMODB_ARN: Final = re.compile(
    _ARN.format(service="dynamodb") + rf"table/(?P<table>{_TABLE})(?:/stream/(?P<label>[A-Za-z0-9:._-]+))?"
)
_KINESIS_ARN: Final = re.compile(_ARN.format(service="kinesis") + rf"stream/(?P<stream>{_STREAM})")
_FORMS: Final = (
    "write dynamodb:TABLE, kinesis:STREAM, a DynamoDB table's or stream's ARN "
    "(arn:aws:dynamodb:REGION:ACCOUNT:table/TABLE[/stream/LABEL]) or a Kinesis stream's ARN "
    "(arn:aws:kinesis:REGION:ACCOUNT:stream/STREAM)."
)


@dataclass(frozen=True, slots=True)
class Address:
    """A stream as the user named it.

    ``name`` is the table's or the Kinesis stream's name. ``arn`` is given for an address by ARN, and ``is_stream_arn``
    tells a DynamoDB stream's own ARN from its table's: it is taken as it is, whatever the table's latest stream may be.
    ``region`` comes from the ARN.
    """

    text: str
    service: Literal["dynamodb", "kinesis"]
    name: str
    arn: str | None = None
    is_stream_arn: bool = False
    region: str | None = None


def parse_address(text: str) -> Address:
    """From one of the five forms. Raises ConfigError that names them and what is wrong."""
    text = text.strip()
    if text.startswith("arn:"):
        return _from_arn(text)
    kind, colon, name = text.partition(":")
    if kind == "dynamodb" and colon:
        if not re.fullmatch(_TABLE, name):
            raise _refused(text, "a table's name has 3 to 255 letters, digits, dots, dashes and underscores")
        return Address(text, "dynamodb", name)
    if kind == "kinesis" and colon:
        if not re.fullmatch(_STREAM, name):
            raise _refused(text, "a Kinesis stream's name has 1 to 128 letters, digits, dots, dashes and underscores")
        return Address(text, "kinesis", name)
    raise _refused(text, "it does not say which service it belongs to")


def _from_arn(text: str) -> Address:
    if found := _DYNAMODB_ARN.fullmatch(text):
        return Address(text, "dynamodb", found["table"], text, bool(found["label"]), found["region"])
    if found := _KINESIS_ARN.fullmatch(text):
        return Address(text, "kinesis", found["stream"], text, False, found["region"])
    service = (text.split(":") + [""] * 3)[2]
    if service not in ("dynamodb", "kinesis"):
        raise _refused(text, f"an ARN of service {service or '(none)'} is no stream")
    raise _refused(text, "the ARN is malformed")


def _refused(text: str, reason: str) -> ConfigError:
    return ConfigError(f"--source: {text!r} is not a stream: {reason}; {_FORMS}")
