"""How a user names a store of dead letters."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from consumer.errors import ConfigError

__all__ = ["StoreAddress", "parse_bucket", "parse_store", "parse_topic"]

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html, and what DynamoDB, SQS and SNS say.
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX: Final = re.compile(r"[A-Za-z0-9!_.*'()/=-]{0,256}")
_TABLE: Final = re.compile(r"[A-Za-z0-9_.-]{3,255}")
_QUEUE: Final = re.compile(r"[A-Za-z0-9_-]{1,80}|[A-Za-z0-9_-]{1,75}\.fifo")
_QUEUE_URL: Final = re.compile(r"https?://\S+/[A-Za-z0-9_.-]+")
_TOPIC: Final = re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}(?:\.fifo)?")
_FORMS: Final = "write s3://BUCKET/PREFIX, dynamodb:TABLE, file:PATH or sqs:QUEUE (a name or a URL)."


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """A store as its user named it: ``place`` is a bucket, a table, a path, a queue's name or URL.

    ``can_hold_keys``: whether the store can be asked for keys, which ``after_dead_letter="hold_key"`` needs.
    ``may_need_bucket``: whether a letter may be too large for it.
    """

    kind: Literal["s3", "dynamodb", "file", "sqs"]
    place: str
    prefix: str = ""

    @property
    def can_hold_keys(self) -> bool:
        return self.kind != "sqs"

    @property
    def may_need_bucket(self) -> bool:
        return self.kind in ("dynamodb", "sqs")


def parse_store(text: str) -> StoreAddress:
    """From one of the four forms. Raises ConfigError that names them and what is wrong."""
    text = text.strip()
    if text.startswith("s3://"):
        return _in_bucket(text)
    kind, _, place = text.partition(":")
    if kind == "dynamodb":
        if not _TABLE.fullmatch(place):
            raise _refused(text, "a table's name has 3 to 255 letters, digits, dots, dashes and underscores")
        return StoreAddress("dynamodb", place)
    if kind == "sqs":
        if not _QUEUE.fullmatch(place) and not _QUEUE_URL.fullmatch(place):
            raise _refused(text, "a queue's name has 1 to 80 letters, digits, dashes and underscores; a URL ends in it")
        return StoreAddress("sqs", place)
    if kind == "file":
        if not place or "\0" in place or place.endswith("/"):
            raise _refused(text, "it names no file")
        return StoreAddress("file", place)
    raise _refused(text, "it does not say where letters are to be kept")


def parse_topic(text: str) -> str:
    """The ARN of an SNS topic. Raises ConfigError."""
    if not _TOPIC.fullmatch(text.strip()):
        raise ConfigError(f"{text!r} is no SNS topic; write arn:aws:sns:REGION:ACCOUNT:TOPIC.")
    return text.strip()


def parse_bucket(text: str) -> str:
    """The name of a bucket that takes bodies, from itself or ``s3://NAME``. Raises ConfigError."""
    name = text.strip().removeprefix("s3://").rstrip("/")
    if not _BUCKET.fullmatch(name):
        raise ConfigError(f"{text!r} is no bucket; write its name alone, 3 to 63 small letters, digits, dots, dashes.")
    return name


def _in_bucket(text: str) -> StoreAddress:
    bucket, _, prefix = text.removeprefix("s3://").partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise _refused(text, "a bucket's name has 3 to 63 small letters, digits, dots and dashes")
    if not _PREFIX.fullmatch(prefix):
        raise _refused(text, "a prefix has up to 256 letters, digits and !_.*'()/=-")
    return StoreAddress("s3", bucket, prefix.strip("/"))


def _refused(text: str, reason: str) -> ConfigError:
    return ConfigError(f"{text!r} is no store of dead letters: {reason}; {_FORMS}")
