"""The JSON that a letter is stored as: Lambda's on-failure record, as its S3 destinations have it, and our own part.

Tools written for Lambda's destinations find ``requestContext``, ``responseContext``, ``DDBStreamBatchInfo`` or
``KinesisBatchInfo``, and in ``payload`` the event as a string. What only we know stands under ``leasehold``, with the
version of that part. ``responseContext`` tells of no function, since there is none: it is as for one that raised.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec

from consumer.dead_letters.letter import BodyPointer, DeadLetter, Reason
from consumer.errors import DeadLetterUnreadable
from consumer.failures import Failure

__all__ = ["VERSION", "body_of", "decode", "encode", "with_body"]

VERSION: Final = 1

_BATCH_INFO: Final = {"dynamodb": "DDBStreamBatchInfo", "kinesis": "KinesisBatchInfo"}
# The names of letters, as UUIDs of their own: the same letter has the same requestId, whoever writes it.
_NAMES: Final = uuid.UUID("6c8f5f0e-57a1-4c5b-9d39-1f0a3f6c6a11")


class _Failed(msgspec.Struct, frozen=True):
    kind: str
    message: str = ""
    where: str = ""


class _Own(msgspec.Struct, frozen=True, rename="camel"):
    """Our part of an envelope, version 1. Fields are only ever added, with a default."""

    version: int
    kind: Literal["dynamodb", "kinesis"]
    stream: str
    stream_arn: str
    shard_id: str
    sequence_number: str
    sub_sequence_number: int
    key: str
    arrived_at: float | None
    reason: Reason
    attempts: int
    failure: _Failed
    first_failed_at: float
    given_up_at: float
    app: str
    worker_id: str
    key_is_held: bool
    body_at: dict[str, Any] | None = None


def encode(letter: DeadLetter) -> bytes:
    """One line of JSON, pure ASCII, its parts in an order of their own: what is long comes last."""
    info = {
        "shardId": letter.shard_id,
        "startSequenceNumber": letter.sequence_number,
        "endSequenceNumber": letter.sequence_number,
        "approximateArrivalOfFirstRecord": _arrival(letter),
        "approximateArrivalOfLastRecord": _arrival(letter),
        "batchSize": 1,
        "streamArn": letter.stream_arn,
    }
    envelope: dict[str, Any] = {
        "requestContext": {
            "requestId": str(uuid.uuid5(_NAMES, str(letter.identity))),
            "functionArn": f"leasehold:{letter.app}",
            "condition": letter.reason.condition,
            "approximateInvokeCount": letter.attempts,
        },
        "responseContext": {
            "statusCode": 200,
            "executedVersion": "$LATEST",
            "functionError": "Unhandled" if letter.attempts else None,
        },
        "version": "1.0",
        "timestamp": _instant(letter.given_up_at, "milliseconds"),
        _BATCH_INFO[letter.kind]: info,
        "leasehold": _own_part(letter),
    }
    if letter.payload is not None:
        envelope["payload"] = letter.payload
    return json.dumps(envelope, separators=(",", ":")).encode("ascii")


def decode(stored: bytes | str) -> DeadLetter:
    """The letter of an envelope. Raises DeadLetterUnreadable for what is none, or of a version to come."""
    try:
        envelope = json.loads(stored)
    except (ValueError, RecursionError):
        raise DeadLetterUnreadable("It is no JSON: cut off, or written by something else.") from None
    own = envelope.get("leasehold") if isinstance(envelope, dict) else None
    if not isinstance(own, dict):
        raise DeadLetterUnreadable("It is no letter of Leasehold's: it has no part called leasehold.")
    version = own.get("version")
    if type(version) is not int or not 1 <= version <= VERSION:
        raise DeadLetterUnreadable(
            f"It is an envelope of version {version!r:.40}, and this Leasehold knows versions up to {VERSION}: read it "
            "with the release that wrote it, or a later one."
        )
    try:
        return _letter(msgspec.convert(own, _Own), envelope.get("payload"))
    except (msgspec.ValidationError, TypeError, ValueError) as error:
        raise DeadLetterUnreadable(f"It is no letter of version {version}: {error}") from None


def body_of(letter: DeadLetter) -> bytes:
    """What is stored elsewhere where a letter does not fit: the event's JSON. Raises RuntimeError where it is there."""
    if letter.payload is None:
        raise RuntimeError("The body lies elsewhere already.")
    return letter.payload.encode("ascii")


def with_body(letter: DeadLetter, body: bytes) -> DeadLetter:
    """The letter, whole again. Raises DeadLetterUnreadable where the body is not text of ours."""
    try:
        return replace(letter, payload=body.decode("ascii"))
    except UnicodeDecodeError:
        raise DeadLetterUnreadable(f"The body of letter {letter.identity} is not what was written there.") from None


def _own_part(letter: DeadLetter) -> dict[str, Any]:
    own = _Own(
        version=VERSION,
        kind=letter.kind,
        stream=letter.stream,
        stream_arn=letter.stream_arn,
        shard_id=letter.shard_id,
        sequence_number=letter.sequence_number,
        sub_sequence_number=letter.sub_sequence_number,
        key=letter.key,
        arrived_at=letter.arrived_at,
        reason=letter.reason,
        attempts=letter.attempts,
        failure=_Failed(letter.failure.kind, letter.failure.message, letter.failure.where),
        first_failed_at=letter.first_failed_at,
        given_up_at=letter.given_up_at,
        app=letter.app,
        worker_id=letter.worker_id,
        key_is_held=letter.key_is_held,
        body_at=None if letter.body_at is None else asdict(letter.body_at),
    )
    part: dict[str, Any] = msgspec.to_builtins(own)
    return part


def _letter(own: _Own, payload: Any) -> DeadLetter:
    if payload is not None and not isinstance(payload, str):
        raise TypeError("its payload is no text")
    if payload is None and own.body_at is None:
        raise ValueError("it has neither a payload nor the place of one")
    return DeadLetter(
        kind=own.kind,
        stream=own.stream,
        stream_arn=own.stream_arn,
        shard_id=own.shard_id,
        sequence_number=own.sequence_number,
        sub_sequence_number=own.sub_sequence_number,
        key=own.key,
        arrived_at=own.arrived_at,
        reason=own.reason,
        attempts=own.attempts,
        failure=Failure(own.failure.kind, own.failure.message, own.failure.where),
        first_failed_at=own.first_failed_at,
        given_up_at=own.given_up_at,
        app=own.app,
        worker_id=own.worker_id,
        key_is_held=own.key_is_held,
        payload=payload,
        body_at=None if own.body_at is None else _pointer(own.body_at),
    )


def _pointer(fields: Mapping[str, Any]) -> BodyPointer:
    return msgspec.convert(fields, BodyPointer)


def _arrival(letter: DeadLetter) -> str | None:
    if letter.arrived_at is None:
        return None
    return _instant(letter.arrived_at, "seconds" if letter.kind == "dynamodb" else "milliseconds")


def _instant(seconds: float, precision: str) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec=precision).replace("+00:00", "Z")
